"""Bonds by distance: which atoms are bonded, and did that change?"""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Ints

#: bonded below this multiple of the sum of covalent radii
BOND_FACTOR = 1.25
#: bonds that a message names
_NAMED = 3


def bond_list(numbers: NDArray[np.int32], positions: Floats) -> Ints:
    """Return pairs [n_bonds, 2] of bonded atoms, i < j, sorted.

    Bonded: nearer than 1.25 times the sum of the covalent radii.
    """
    from ase.data import covalent_radii
    from scipy.spatial import cKDTree

    if len(numbers) < 2:
        return np.empty((0, 2), np.int64)
    radii = covalent_radii[numbers]
    pairs = cKDTree(positions).query_pairs(
        2 * BOND_FACTOR * radii.max(), output_type='ndarray')
    lengths = np.linalg.norm(
        positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    bonds = pairs[lengths < BOND_FACTOR * radii[pairs].sum(axis=1)]
    order = np.lexsort((bonds[:, 1], bonds[:, 0]))
    return np.asarray(bonds[order], np.int64)


def bonds_changed(numbers: NDArray[np.int32], start: Floats,
                  final: Floats) -> str:
    """Return '' if both geometries have the same bonds, else which differ."""
    before = set(map(tuple, bond_list(numbers, start).tolist()))
    after = set(map(tuple, bond_list(numbers, final).tolist()))
    if before == after:
        return ''
    changes = [(pair, 'broken') for pair in before - after]
    changes += [(pair, 'formed') for pair in after - before]
    return shortened([f'{atom_name(numbers, i)}-{atom_name(numbers, j)} '
                      f'{what}' for (i, j), what in sorted(changes)])


def atom_name(numbers: NDArray[np.int32], i: int) -> str:
    """Return the symbol and the number from 1, as in 'C12'."""
    from ase.data import chemical_symbols

    return f'{chemical_symbols[numbers[i]]}{i + 1}'


def shortened(items: list[str]) -> str:
    """Join the first few of many changes."""
    rest = len(items) - _NAMED
    return ', '.join(items[:_NAMED]) + (f' and {rest} more' if rest > 0
                                        else '')
