"""Bonds by distance, for structures whose file names none and for guards."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Ints

#: bonded below this multiple of the sum of covalent radii
BOND_FACTOR = 1.25


def bond_list(numbers: NDArray[np.int32], positions: Floats,
              factor: float = BOND_FACTOR) -> Ints:
    """Return pairs [n_bonds, 2] of bonded atoms, i < j, sorted.

    Bonded: nearer than `factor` times the sum of the covalent radii.  None
    where a position [n_atoms, 3] A is not finite.
    """
    from ase.data import covalent_radii
    from scipy.spatial import cKDTree

    if len(numbers) < 2 or not np.isfinite(positions).all():
        return np.empty((0, 2), np.int64)
    radii = covalent_radii[numbers]
    pairs = cKDTree(positions).query_pairs(
        2 * factor * radii.max(), output_type='ndarray')
    lengths = np.linalg.norm(
        positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    bonds = pairs[lengths < factor * radii[pairs].sum(axis=1)]
    order = np.lexsort((bonds[:, 1], bonds[:, 0]))
    return np.asarray(bonds[order], np.int64)
