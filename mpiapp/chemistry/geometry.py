"""Geometry of whole molecules: centre and superposition."""
from __future__ import annotations

import numpy as np

from mpiapp.records import Floats


def centred(positions: Floats) -> Floats:
    """Return positions [n_atoms, 3] A moved to have their centroid at 0.

    MACE is slower far from the origin (ACEsuit/mace#713).
    """
    return np.asarray(positions - positions.mean(axis=0))


def superposed_rmsd(a: Floats, b: Floats) -> float:
    """Return the least RMSD (A) of two [n_atoms, 3] over rigid motions.

    Kabsch's method with proper rotations only: a mirror image differs.  NaN
    for positions that are not finite or overflow when squared.
    """
    a, b = centred(a), centred(b)
    with np.errstate(over='ignore', invalid='ignore'):
        products = a.T @ b
    # LAPACK may never return from a matrix with infinity
    if not np.isfinite(products).all():
        return float('nan')
    u, _, vt = np.linalg.svd(products)
    if np.linalg.det(u @ vt) < 0:
        u[:, -1] *= -1
    # The difference itself: |a|^2 + |b|^2 - 2 sum(s) cancels near 0.
    return float(np.sqrt(((a @ (u @ vt) - b)**2).sum(axis=1).mean()))
