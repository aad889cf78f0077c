"""Lennard-Jones bonds between all close atoms: fast, for tests.

Each pair has its minimum at the sum of the covalent radii, depth `DEPTH`,
and is switched off between 1.15 and 1.4 times that distance.  The neighbours
of a neighbour lie beyond (with 1.5 long molecules collapsed), so a real
molecule keeps its bonds and its shape when it is relaxed, at about the
stiffness of real bonds.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mpiapp.potentials.base import (
    Potential, PotentialOptions, require_plain, settle, unusable
)
from mpiapp.records import Batch, Evaluation, Floats, Ints, Structure

#: well depth, eV; 72 DEPTH / r_min^2 is the force constant of a bond
DEPTH = 1.0
#: distances at which the switch starts and ends, in units of r_min
SWITCH_ON, SWITCH_OFF = 1.15, 1.4
#: atomic numbers with a covalent radius
KNOWN = frozenset(range(119))


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options; raise InputError for those of other potentials."""
    require_plain(options)
    return options


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the potential; it is its own reference."""
    return LennardJones()


@dataclass(frozen=True)
class LennardJones:
    """The potential of this file; charges are accepted and have no effect."""

    name: str = 'lj'
    elements: frozenset[int] | None = None
    accepts_charge: bool = True
    topology_guards: bool = False
    bytes_per_atom: float = 2e4
    dtype: str = 'float64'
    finisher: Potential | None = None

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces, molecule by molecule."""
        energies = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        for i in range(len(batch)):
            part = batch.part(i)
            energies[i], forces[part] = energy_forces(
                batch.numbers[part], batch.positions[part])
        failures = unusable(batch, KNOWN, self.name)
        return settle(batch, energies, forces,
                      np.full(len(batch), np.nan), failures)

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""
        return {
            'name': self.name,
            'backend': 'numpy',
            'dtype': self.dtype,
            'numpy': np.__version__,
            'depth_ev': repr(DEPTH),
            'switch': f'{SWITCH_ON} to {SWITCH_OFF} times the sum of the '
                      'covalent radii',
            'guard': 'none needed: reference path',
        }


def energy_forces(
    numbers: NDArray[np.int32], positions: Floats,
) -> tuple[float, Floats]:
    """Return the energy, eV, and forces [n_atoms, 3], eV/A, of a molecule.

    `numbers` [n_atoms], `positions` [n_atoms, 3] A.  Atoms at the same place
    give values that are not finite.
    """
    n = len(numbers)
    radii = _covalent_radii()[np.clip(numbers, 0, max(KNOWN))]  # [n]
    first, second = _pairs(n)
    vectors = positions[first] - positions[second]  # [n_pairs, 3]
    squares = np.einsum('ij,ij->i', vectors, vectors)
    r_min = radii[first] + radii[second]
    close = squares < (SWITCH_OFF * r_min) ** 2
    first, second = first[close], second[close]
    distance = np.sqrt(squares[close])
    energy, slope = _pair(distance / r_min[close])
    with np.errstate(invalid='ignore', divide='ignore'):
        push = -slope / (r_min[close] * distance)  # -dE/dr / r
    pulls = push[:, None] * vectors[close]
    forces = np.empty((n, 3))
    for axis in range(3):
        forces[:, axis] = (
            np.bincount(first, pulls[:, axis], n)
            - np.bincount(second, pulls[:, axis], n))
    return float(energy.sum()), forces


def _pair(s: Floats) -> tuple[Floats, Floats]:
    """Return energy and dE/ds of pairs at the distances s, in r_min."""
    with np.errstate(over='ignore', divide='ignore', invalid='ignore'):
        p6 = s ** -6.0
        well = DEPTH * (p6 * p6 - 2.0 * p6)
        well_slope = 12.0 * DEPTH * (p6 - p6 * p6) / s
        t = np.clip((s - SWITCH_ON) / (SWITCH_OFF - SWITCH_ON), 0.0, 1.0)
        # quintic: value, slope and curvature are continuous at both ends
        switch = 1.0 - t ** 3 * (10.0 - 15.0 * t + 6.0 * t * t)
        switch_slope = (-30.0 * t * t * (1.0 - t) ** 2
                        / (SWITCH_OFF - SWITCH_ON))
        return well * switch, well_slope * switch + well * switch_slope


@lru_cache(maxsize=64)
def _pairs(n: int) -> tuple[Ints, Ints]:
    """Return the indices of all pairs of n atoms, first < second."""
    return np.triu_indices(n, 1)


@lru_cache(maxsize=1)
def _covalent_radii() -> Floats:
    """Return the covalent radii by atomic number [119], A."""
    from ase.data import covalent_radii
    return np.array(covalent_radii[:max(KNOWN) + 1])
