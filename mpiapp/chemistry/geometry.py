"""Geometry of whole molecules: centre, size, superposition."""
from __future__ import annotations

import numpy as np

from mpiapp.records import Floats


def centred(positions: Floats) -> Floats:
    """Return positions [n_atoms, 3] A moved to have their centroid at 0.

    MACE is slower far from the origin (ACEsuit/mace#713).
    """
    return np.asarray(positions - positions.mean(axis=0))


def radius_of_gyration(positions: Floats) -> float:
    """Return the root mean square distance from the centroid, A."""
    return float(np.sqrt((centred(positions)**2).sum(axis=1).mean()))


def superposed_rmsd(a: Floats, b: Floats) -> float:
    """Return the least RMSD (A) of two [n_atoms, 3] over rigid motions.

    Kabsch's method with proper rotations only: a mirror image differs.
    """
    a, b = centred(a), centred(b)
    u, _, vt = np.linalg.svd(a.T @ b)
    if np.linalg.det(u @ vt) < 0:
        u[:, -1] *= -1
    # The difference itself: |a|^2 + |b|^2 - 2 sum(s) cancels near 0.
    return float(np.sqrt(((a @ (u @ vt) - b)**2).sum(axis=1).mean()))
