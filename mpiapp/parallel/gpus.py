"""Which GPU of the host a visible one is, and how many ranks are on it.

A launcher that hides the other GPUs (cgroups) lets every rank see a GPU `0`
of its own; one that gives a single GPU to all shows the same `0`.  The UUID
tells them apart.
"""
from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Sequence

from mpiapp.errors import InputError
from mpiapp.parallel.binding import Placement


def driver_list() -> str:
    """Return what `nvidia-smi -L` prints: GPUs of this process, by bus."""
    try:
        return subprocess.run(
            ['nvidia-smi', '-L'], capture_output=True, text=True,
            timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ''


def identity(gpu: str, listed: str) -> str:
    """Return the UUID of a GPU or of a MIG device, '' where it is not told.

    `gpu` is an entry of CUDA_VISIBLE_DEVICES: an index, or a name that may
    be cut short; `listed` is of `driver_list`.  Of a GPU that is divided
    CUDA takes the first MIG device for its index.
    """
    by_index: list[str] = []
    names: list[str] = []
    divided = False
    for line in listed.splitlines():
        found = re.search(r'UUID: ([^)\s]+)', line)
        if not found:
            continue
        names.append(found[1])
        if line.startswith('GPU '):
            by_index.append(found[1])
            divided = False
        elif by_index and not divided:
            by_index[-1] = found[1]
            divided = True
    if gpu.isdigit():
        return by_index[int(gpu)] if int(gpu) < len(by_index) else ''
    full = [n for n in names if n.startswith(gpu)]
    return full[0] if len(full) == 1 else gpu


def ranks_by_gpu(
    placements: Sequence[Placement],
) -> Counter[tuple[str, str]]:
    """Count the ranks on each GPU: (host, UUID, or device where unknown)."""
    return Counter((p.host, p.gpu or p.device) for p in placements
                   if p.device != 'cpu')


def check_sharing(
    placements: Sequence[Placement], ranks_per_gpu: int,
) -> None:
    """Refuse more ranks on a GPU than are allowed, where UUIDs are known.

    Raises:
        InputError: the same on all ranks.
    """
    known = ranks_by_gpu([p for p in placements if p.gpu])
    for (host, gpu), n in known.most_common(1):
        if n > ranks_per_gpu:
            raise InputError(
                f'{n} ranks on {host} share the GPU {gpu}, and '
                f'--ranks-per-gpu {ranks_per_gpu} allows fewer: start fewer, '
                'ask for more GPUs (--gpus-per-node, or --gpus-per-task=1), '
                f'allow it by --ranks-per-gpu {n}, or take --device cpu')
