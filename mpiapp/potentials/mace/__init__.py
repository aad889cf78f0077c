"""MACE models: which file, which way to compute it, guarded.

A back end is one file here that offers
`build(options, name) -> Potential`, and one line in `BACKENDS`.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from mpiapp.potentials.base import Potential, PotentialOptions
from mpiapp.potentials.guard import GuardReport, check
from mpiapp.potentials.mace import files
from mpiapp.records import InputError, Structure

#: back ends in the order in which `auto` tries them, and the packages that
#: each needs beside those of the reference
BACKENDS: dict[str, tuple[str, ...]] = {'reference': ()}

#: structures that the guard compares at most
N_GUARD = 3


class MacePotential(Potential, Protocol):
    """A MACE potential, whose description the guard completes."""

    def noting(self, **notes: str) -> MacePotential:
        """Return the same potential with more lines in `describe`."""


def available() -> list[str]:
    """Return the back ends whose packages are installed."""
    return [name for name, packages in BACKENDS.items()
            if all(find_spec(p) is not None for p in packages)]


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options with the model's file; see `potentials.resolve`."""
    if options.solvent:
        raise InputError('mace has no solvent model; gfn1 and gfn2 do')
    if options.backend not in ('auto', *available()):
        raise InputError(
            f'back end {options.backend!r} is unknown or not installed; '
            f'available: auto, {", ".join(available())}')
    path = options.model_path or files.find(options.model or files.BUNDLED)
    if path is not None:
        files.check(path)
    return replace(options, model_path=path)


def obtain(options: PotentialOptions) -> PotentialOptions:
    """Return resolved options with a file, downloaded if need be."""
    if options.model_path is None:
        path = files.download(options.model or files.BUNDLED)
        return resolve(replace(options, model_path=path))
    return options


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the fastest path that agrees with the float64 reference.

    Takes resolved options; raises InputError where the model's file is
    missing or is no model, and where the device is not there.
    """
    if options.model_path is None:
        raise InputError(files.how_to_get(
            options.model or files.BUNDLED, 'no download was tried'))
    name = f'mace:{Path(options.model_path).stem}'
    backend = available()[0] if options.backend == 'auto' else options.backend
    fast = _load(backend, options, name)
    if backend == 'reference' and options.dtype == 'float64':
        return fast.noting(guard='none needed: reference path')
    exact = fast.finisher or _load(
        'reference', replace(options, dtype='float64'), name)
    return guarded(fast, exact, structures_sample)


def guarded(
    fast: MacePotential,
    reference: Potential,
    structures_sample: Sequence[Structure],
) -> Potential:
    """Return `fast` if it agrees with the reference, else the reference.

    Both describe the outcome under `guard`.
    """
    report: GuardReport = check(fast, reference, structures_sample[:N_GUARD])
    chosen = fast if report.passed else reference
    return chosen.noting(guard=str(report))  # type: ignore[attr-defined]


def _load(
    backend: str, options: PotentialOptions, name: str,
) -> MacePotential:
    module = import_module(f'{__name__}.{backend}')
    potential: MacePotential = module.build(options, name)
    return potential
