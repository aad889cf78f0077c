"""What the numbers of a measurement depend on, and how they scatter."""
from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import mpiapp

#: distributions whose versions go with a result, where they are installed
PACKAGES = ('torch', 'mace-torch', 'e3nn', 'ase', 'symmetrix-xl',
            'torch-sim-atomistic')


def machine() -> dict[str, str]:
    """Return the processor, the cores, the load and the GPU if any."""
    text = Path('/proc/cpuinfo')
    lines = text.read_text().splitlines() if text.exists() else []
    model = next((x.split(':')[1].strip() for x in lines
                  if x.startswith('model name')), platform.processor())
    return {'processor': model, 'cores': str(os.cpu_count()),
            'load': f'{os.getloadavg()[0]:.1f}', 'gpu': _gpu()}


def _gpu() -> str:
    import torch
    found = torch.cuda.is_available()
    return str(torch.cuda.get_device_name(0)) if found else 'none'


def versions() -> dict[str, str]:
    """Return the versions of what was measured."""
    found = {'mpiapp': mpiapp.__version__,
             'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def quartiles(values: Sequence[float] | np.ndarray) -> list[float]:
    """Return the quartiles of values; three NaN without any."""
    array = np.asarray(values, np.float64)
    if not array.size:
        return [float('nan')] * 3
    return [float(x) for x in np.percentile(array, [25, 50, 75])]
