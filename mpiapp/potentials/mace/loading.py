"""Load a MACE model from its file and say in words why that fails."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.potentials.mace import files
from mpiapp.potentials.mace.importing import import_mace
from mpiapp.records import Floats, InputError, Ints

#: what a module must have to be evaluated as a MACE model
PARTS = ('atomic_numbers', 'r_max', 'atomic_energies_fn', 'interactions')
#: classes whose energy depends on elements and positions alone; others
#: derive from them
KINDS = ('MACE', 'ScaleShiftMACE')


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready to be evaluated, without its isolated-atom energies.

    `numbers` are its elements in its own order, `e0` [n_elements] eV their
    isolated-atom energies in float64, as the file has them; in `module` they
    are zero, so that its per-atom energies keep all their digits.
    """

    module: Any
    numbers: Ints
    e0: Floats
    r_max: float
    head: int
    head_name: str


def load(
    path: str, dtype: str, device: str,
    change: Callable[[Any], Any] | None = None,
) -> Loaded:
    """Return the model of a file, cast once to dtype and on the device.

    `change` may alter the module in place, before it is cast, or return
    another one that takes its place.  Raises InputError if the file holds
    no MACE model that can be evaluated from elements and positions alone.
    """
    import torch
    files.check(path)
    module = _unpickle(path)
    _require_mace(path, module)
    head, head_name = _head(path, module)
    table = module.atomic_energies_fn.atomic_energies
    # a copy: the array would share its memory with what is zeroed next
    e0 = torch.atleast_2d(table).double().cpu().numpy().copy()
    with torch.no_grad():
        table.zero_()
    if change:
        module = change(module) or module
    module = module.to(device=device, dtype=getattr(torch, dtype)).eval()
    module.requires_grad_(False)
    numbers = module.atomic_numbers.cpu().numpy().astype(np.int64)
    # one row may serve several heads
    row = head if len(e0) > 1 else 0
    return Loaded(module, numbers, e0[row].copy(), float(module.r_max),
                  head, head_name)


def _unpickle(path: str) -> Any:
    import torch
    import_mace()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            # A model file is a pickle and may run any code.  It is loaded
            # all the same, because the user named this very file (or the
            # model that it is), and MACE models come in no other form.
            return torch.load(path, map_location='cpu', weights_only=False)
    except Exception as error:  # a pickle may raise anything
        reason = str(error).strip().splitlines()
        raise InputError(
            f'model file {path}: not a model that PyTorch can load '
            f'({type(error).__name__}: {reason[0] if reason else ""})',
        ) from error


def _require_mace(path: str, module: Any) -> None:
    """Raise InputError if the object is no MACE model of our kind."""
    import torch
    fault = ''
    inputs: Any = getattr(module, 'embedding_specs', {})
    if isinstance(module, dict):
        fault = ('this is a dictionary (a plain state_dict or a checkpoint), '
                 'not a whole model; save the model itself with torch.save')
    elif isinstance(module, torch.jit.ScriptModule):
        fault = ('this is a compiled TorchScript model; the .model file '
                 'it was made from is needed')
    elif not isinstance(module, torch.nn.Module):
        fault = f'this holds a {type(module).__name__}, not a model'
    elif any(not hasattr(module, part) for part in PARTS):
        absent = [p for p in PARTS if not hasattr(module, p)]
        fault = (f'this {type(module).__name__} is no MACE model: '
                 f'it lacks {", ".join(absent)}')
    elif type(module).__name__ not in KINDS:
        fault = (f'a {type(module).__name__} is a kind of MACE model that '
                 f'is not supported ({" and ".join(KINDS)} are)')
    elif hasattr(module, 'joint_embedding'):
        fault = ('this model needs more than elements and positions: '
                 f'{", ".join(inputs)}')
    if fault:
        raise InputError(f'model file {path}: {fault}')


def _head(path: str, module: Any) -> tuple[int, str]:
    """Return the head to use, by the rule of mace-torch's calculator."""
    heads = list(getattr(module, 'heads', None) or ['Default'])
    if len(heads) == 1:
        return 0, str(heads[0])
    for i, head in enumerate(heads):
        if str(head).lower() == 'default':
            return i, str(head)
    raise InputError(f'model file {path}: has the heads '
                     f'{", ".join(map(str, heads))} and none is "default"')
