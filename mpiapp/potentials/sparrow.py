"""SCINE Sparrow: DFTB0, DFTB2, DFTB3, PM6 and other semi-empirical methods.

Every evaluation has a calculator of its own (0.3 ms for DFTB0): one that was
used before starts its SCF from the last density, and after an error in its
parameters it crashed the process.  Threads are those of OMP_NUM_THREADS when
the module is loaded, which is why it is imported late.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.potentials.base import (
    Potential, PotentialOptions, require_plain, settle, unusable
)
from mpiapp.records import Batch, Evaluation, Floats, InputError, Structure
from mpiapp.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

DEFAULT = 'DFTB0'
_3OB = (1, 6, 7, 8, 9, 11, 12, 15, 16, 17, 19, 20, 30, 35, 53)
_HEAVY = (*range(30, 39), *range(48, 57), *range(80, 84))
#: elements whose pairs with themselves have parameters, tried one by one
#: in scine-sparrow 5.2.0
ELEMENTS: dict[str, frozenset[int]] = {
    'DFTB0': frozenset(_3OB),
    'DFTB2': frozenset((1, 6, 7, 8, 15, 16)),
    'DFTB3': frozenset(_3OB),
    'PM6': frozenset((*range(1, 43), *range(44, 58), *range(72, 84))),
    'PM3': frozenset((*range(1, 21), *_HEAVY)),
    'AM1': frozenset((*range(1, 5), *range(6, 21))),
    'RM1': frozenset((1, 6, 7, 8, 9, 15, 16, 17, 35, 53)),
    'MNDO': frozenset((*range(1, 21), *_HEAVY)) - {48},
}
#: SCF of those that have one, Hartree: forces are differentiated
SCF_ENERGY, SCF_DENSITY = 1e-9, 1e-7
#: atoms nearer than this, A, get numbers without a meaning
TOO_NEAR = 0.02


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options; raise InputError for a method it lacks."""
    require_plain(options, functional=True)
    method = options.functional or DEFAULT
    if method not in ELEMENTS:
        raise InputError(f'sparrow has no functional {method!r}; it has '
                         f'{", ".join(ELEMENTS)}')
    return options


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the potential; raise InputError where it can't run here."""
    threads = os.environ.setdefault('OMP_NUM_THREADS', str(options.threads))
    try:
        import scine_sparrow  # noqa: F401
        import scine_utilities
    except ImportError as error:
        raise InputError('--calculator sparrow needs the package scine-sparrow'
                         f' (pip install mpiapp[ts]): {error}') from error
    manager = scine_utilities.core.ModuleManager.get_instance()
    method = options.functional or DEFAULT
    if not manager.has('calculator', method):
        raise InputError(f'scine-sparrow does not offer {method}')
    return Sparrow(f'sparrow:{method}', method, ELEMENTS[method], threads)


@dataclass(frozen=True)
class Sparrow:
    """One of its methods; states with unpaired electrons are unrestricted."""

    name: str
    method: str
    elements: frozenset[int] | None
    threads: str = '1'
    accepts_charge: bool = True
    topology_guards: bool = True
    bytes_per_atom: float = 3e5
    dtype: str = 'float64'
    finisher: Potential | None = None
    hessian_kind: str = 'analytic'

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces, molecule by molecule."""
        energies = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        failures = unusable(batch, self.elements, self.name)
        for i in set(range(len(batch))) - set(failures):
            part = batch.part(i)
            try:
                found = self._results(
                    batch.numbers[part], batch.positions[part],
                    int(batch.charges[i]), int(batch.unpaired[i]), False)
                energies[i] = found.energy * EV_PER_HARTREE
                forces[part] = -found.gradients * (
                    EV_PER_HARTREE / ANGSTROM_PER_BOHR)
            except RuntimeError as error:
                failures[i] = ('calculator_error', f'sparrow: {error}')
        return settle(batch, energies, forces,
                      np.full(len(batch), np.nan), failures)

    def hessian(self, numbers: NDArray[np.int32], positions: Floats,
                charge: int, unpaired: int) -> Floats:
        """Return Sparrow's own Hessian [3n, 3n], eV/A^2; NaN if it fails."""
        try:
            found = self._results(numbers, positions, charge, unpaired, True)
        except RuntimeError:
            return np.full((3 * len(numbers),) * 2, np.nan)
        return np.asarray(found.hessian) * (
            EV_PER_HARTREE / ANGSTROM_PER_BOHR**2)

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""
        from importlib.metadata import version
        return {'name': self.name, 'backend': 'scine-sparrow',
                'method': self.method, 'dtype': self.dtype,
                'scine_sparrow': version('scine-sparrow'),
                'omp_num_threads': self.threads,
                'hessian': 'of Sparrow', 'guard': 'Hessian by differences'}

    def _results(self, numbers: NDArray[np.int32], positions: Floats,
                 charge: int, unpaired: int, hessian: bool) -> Any:
        """Calculate; raises RuntimeError where Sparrow gives up."""
        import scine_utilities as scine
        electrons = int(numbers.sum()) - charge
        if (electrons - unpaired) % 2 or unpaired < 0:
            unpaired = electrons % 2
        if unpaired and self.method == DEFAULT:
            raise RuntimeError(f'{DEFAULT} has no open shells, and there are '
                               f'{unpaired} unpaired electrons')
        if _nearest(positions) < TOO_NEAR:
            raise RuntimeError('two atoms lie on one another')
        calculator = scine.core.ModuleManager.get_instance().get(
            'calculator', self.method)
        log = scine.core.Log.silent()
        calculator.log = log
        settings = calculator.settings
        settings['molecular_charge'] = charge
        settings['spin_multiplicity'] = unpaired + 1
        settings['spin_mode'] = 'unrestricted' if unpaired else 'restricted'
        if self.method != DEFAULT:  # it has no SCF
            settings['self_consistence_criterion'] = SCF_ENERGY
            settings['density_rmsd_criterion'] = SCF_DENSITY
        calculator.structure = scine.AtomCollection(
            [scine.ElementInfo.element(int(z)) for z in numbers],
            positions / ANGSTROM_PER_BOHR)
        wanted = [scine.Property.Energy, scine.Property.Gradients]
        calculator.set_required_properties(
            wanted + [scine.Property.Hessian] * hessian)
        found = calculator.calculate()
        if not found.successful_calculation:
            raise RuntimeError('the calculation did not converge')
        return found


def _nearest(positions: Floats) -> float:
    """Return the least distance of two atoms, A."""
    first, second = np.triu_indices(len(positions), 1)
    gaps = np.linalg.norm(positions[first] - positions[second], axis=1)
    return float(gaps.min(initial=np.inf))
