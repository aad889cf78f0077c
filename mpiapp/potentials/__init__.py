"""Step 3, potentials: one file or folder each, found by its name.

A potential is a module here that offers `build(options) -> Potential` and,
where it has something to check, to fetch or to choose, `resolve(options)`
and `obtain(options, structures_sample, atom_steps)`.  Importing one is
cheap: heavy packages are imported when it is built.
"""
from __future__ import annotations

import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from mpiapp.potentials.base import (
    DEVICES, DTYPES, Potential, PotentialOptions, choose, file_sha256
)
from mpiapp.records import InputError, Structure

__all__ = ['Potential', 'PotentialOptions', 'build', 'file_sha256', 'names',
           'obtain', 'resolve']

#: further names served by one file
ALIASES = {'gfn1': 'tblite', 'gfn2': 'tblite'}

#: modules of this folder that are no potentials
SUPPORT = frozenset({'base', 'gaussians', 'guard', 'kohn_sham'})


def names() -> list[str]:
    """Return the names that `PotentialOptions.calculator` may have."""
    found = {m.name for m in pkgutil.iter_modules(__path__)}
    return sorted((found - SUPPORT) | set(ALIASES))


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options with `model_path` filled in where it is known.

    Cheap: nothing heavy is imported, no network is used.  A model that
    would have to be downloaded keeps `model_path` None.  Raises InputError
    for unknown names and for files that can't be a model.
    """
    module = _module(options.calculator)
    choose('dtype', options.dtype, DTYPES)
    choose('device', options.device, DEVICES)
    if options.threads < 1:
        raise InputError(f'threads must be at least 1, not {options.threads}')
    own = getattr(module, 'resolve', None)
    return own(options) if own else options


def obtain(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
    atom_steps: float = 0.0,
) -> PotentialOptions:
    """Return resolved options whose files are on disk; may download.

    What is left to choose is chosen, such as the back end for the user's
    first structures and the predicted work: `atom_steps` is the sum over
    all records of atoms times evaluations.  To be called by one rank only,
    whose answer all use.  Raises InputError, naming the ways out, where a
    download is needed and not possible.
    """
    resolved = resolve(options)
    own = getattr(_module(options.calculator), 'obtain', None)
    if own is None:
        return resolved
    chosen: PotentialOptions = own(resolved, structures_sample, atom_steps)
    return chosen


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the potential, its fast path guarded on the sample.

    Never downloads (see `obtain`).  A path that is not the float64
    reference of its model is compared with it on `structures_sample` and
    replaced by another where they disagree; `describe()['guard']` says so.
    Raises InputError for what the user must mend.
    """
    return _module(options.calculator).build(
        resolve(options), structures_sample)


def _module(calculator: str) -> ModuleType:
    if calculator.endswith('.py'):
        return _plugged_in(calculator)
    if '/' in calculator:
        # functional/basis, such as pbe-d3bj/def2-svp
        return import_module(f'{__name__}.dft')
    choose('calculator', calculator, (*names(), 'functional/basis', 'FILE.py'))
    key = ALIASES.get(calculator, calculator)
    return import_module(f'{__name__}.{key}')


def _plugged_in(path: str) -> ModuleType:
    """Load a potential from a user's file; see docs/add_a_potential.md."""
    file = Path(path).resolve()
    name = f'mpiapp_plugin_{file.stem}'
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(file):
        return known
    spec = spec_from_file_location(name, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise InputError(f'--calculator {path}: there is no such file')
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f'--calculator {path}: {type(error).__name__}: '
                         f'{error}') from error
    if not hasattr(module, 'build'):
        raise InputError(f'--calculator {path}: it has no function build')
    return module
