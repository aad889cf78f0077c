"""MACE models: which file, which way to compute it, guarded.

A back end is one file here that offers `build(options, name) -> Potential`
and raises InputError where it can't run the model, and one line in
`BACKENDS`.
"""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from mpiapp.potentials.base import Potential, PotentialOptions
from mpiapp.potentials.guard import check, comparable
from mpiapp.potentials.mace import files
from mpiapp.records import InputError, Structure


@dataclass(frozen=True)
class Needs:
    """A package that a back end imports, its distribution, our extra."""

    package: str
    distribution: str
    extra: str


#: back ends and what each needs beside the packages of the reference
BACKENDS: dict[str, Needs | None] = {
    'native': Needs('symmetrix', 'symmetrix-xl', 'native'),
    'cueq': Needs('cuequivariance_torch', 'cuequivariance-torch', 'gpu'),
    'oeq': Needs('openequivariance', 'openequivariance', 'oeq'),
    'poly': None,
    'reference': None,
}

#: those that have no code for CPUs
GPU_ONLY = frozenset({'cueq', 'oeq'})

#: what takes the place of a back end that can't run a model or disagrees
FALLBACKS = ('poly', 'reference')

#: structures that the guard compares at most
N_GUARD = 3

log = logging.getLogger(__name__)


class MacePotential(Potential, Protocol):
    """A MACE potential, whose description the guard completes."""

    def noting(self, **notes: str) -> MacePotential:
        """Return the same potential with more lines in `describe`."""

    def finishing(self, finisher: Potential | None) -> MacePotential:
        """Return the same potential with that finisher."""


def installed(name: str) -> bool:
    """Tell whether what a back end needs is installed."""
    needs = BACKENDS[name]
    return needs is None or find_spec(needs.package) is not None


def available() -> list[str]:
    """Return the back ends that are installed and run on any machine."""
    return [name for name in BACKENDS
            if name not in GPU_ONLY and installed(name)]


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options with the model's file; see `potentials.resolve`."""
    if options.solvent:
        raise InputError('mace has no solvent model; gfn1 and gfn2 do')
    if options.functional:
        raise InputError('mace has no functional to choose; sparrow has')
    _require_backend(options.backend)
    path = options.model_path or files.find(options.model or files.BUNDLED)
    if path is not None:
        files.check(path)
    return replace(options, model_path=path)


def _require_backend(backend: str) -> None:
    needs = BACKENDS.get(backend)
    if needs is not None and not installed(backend):
        raise InputError(
            f'back end {backend!r} needs the package {needs.distribution}, '
            f'which is not installed: pip install {needs.distribution} (or '
            f'mpiapp[{needs.extra}]), or one of auto, '
            f'{", ".join(available())}')
    if backend not in ('auto', *BACKENDS):
        raise InputError(f'unknown back end {backend!r}; '
                         f'allowed: auto, {", ".join(BACKENDS)}')


def obtain(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
    atom_steps: float = 0.0,
) -> PotentialOptions:
    """Return options with a file, downloaded if need be, and a back end.

    Warns of a file that the user named: see `files.warn`.
    `auto` weighs the predicted work `atom_steps` against the start of the
    back ends; see `choosing`.  Its `native` has one thread.
    """
    if options.model_path is None:
        path = files.download(options.model or files.BUNDLED)
        options = resolve(replace(options, model_path=path))
    files.warn(str(options.model_path))
    from mpiapp.potentials.mace.choosing import choose_backend
    return choose_backend(options, structures_sample, atom_steps)


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the named back end if it agrees with the float64 reference.

    Takes resolved options; `auto`, which `obtain` replaces, is the
    reference here.  What disagrees gives way to the next of `FALLBACKS`,
    and the description tells why.  Raises InputError where the model's file
    is missing or is no model, where the device is not there and where the
    back end can't run the model: ranks must not differ in their back ends.
    """
    if options.model_path is None:
        raise InputError(files.how_to_get(
            options.model or files.BUNDLED, 'no download was tried'))
    backend = 'reference' if options.backend == 'auto' else options.backend
    exact = load_backend('reference', replace(options, dtype='float64'))
    exact = exact.noting(guard='none needed: reference path')
    if backend == 'reference' and options.dtype == 'float64':
        return exact
    fast = proven(backend, options, exact, structures_sample)
    if fast.dtype != 'float64':
        fast = fast.finishing(_finisher(
            fast.describe()['backend'], options, exact, structures_sample))
    return fast


def proven(
    backend: str, options: PotentialOptions, exact: MacePotential,
    structures_sample: Sequence[Structure],
) -> MacePotential:
    """Return the back end, or the first that may replace it and agrees."""
    refused: list[str] = []
    sample = comparable(structures_sample, exact.elements)[:N_GUARD]
    for name in dict.fromkeys((backend, *FALLBACKS)):
        if (name, options.dtype) == ('reference', 'float64'):
            break
        fast = load_backend(name, options)
        report = check(fast, exact, sample)
        if report.passed:
            return fast.noting(guard='; '.join([str(report), *refused]))
        log.info('%s, back end %s: %s', fast.name, name, report)
        refused.append(f'{report} by {name}')
    return exact.noting(guard='; '.join(refused))


def load_backend(backend: str, options: PotentialOptions) -> MacePotential:
    """Build one back end, not compared with anything."""
    module = import_module(f'{__name__}.{backend}')
    name = f'mace:{Path(str(options.model_path)).stem}'
    potential: MacePotential = module.build(options, name)
    return potential


def _finisher(
    backend: str, options: PotentialOptions, exact: MacePotential,
    structures_sample: Sequence[Structure],
) -> Potential:
    """Return the float64 potential that ends a float32 relaxation.

    Never the native one: a second set of its tables is not worth what it
    saves on one evaluation in hundreds.
    """
    if backend == 'reference':
        return exact
    try:
        return proven('poly', replace(options, dtype='float64'), exact,
                      structures_sample)
    except InputError as error:
        log.info('%s', error)
        return exact
