"""Hessians by central differences of forces."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mpiapp.records import Floats

#: displacement, A: the error of a C-H stretch is about 1e-3 of its value,
#: and noise of 1e-5 eV/A in the forces makes 1e-3 eV/A^2
STEP = 0.005


def displaced(positions: Floats, step: float = STEP) -> Floats:
    """Return the geometries [6n, n, 3]: each coordinate up, then down."""
    n = positions.size
    moves = step * np.eye(n).reshape(n, *positions.shape)
    return np.concatenate([positions + moves, positions - moves])


def hessian_from(forces: Floats, step: float = STEP) -> Floats:
    """Return the Hessian [3n, 3n] from forces [6n, n, 3] of `displaced`."""
    half = len(forces) // 2
    rows = -(forces[:half] - forces[half:]).reshape(half, -1) / (2.0 * step)
    return 0.5 * (rows + rows.T)


def hessian(
    forces: Callable[[Floats], Floats], positions: Floats,
    step: float = STEP,
) -> Floats:
    """Return the Hessian of a function that gives forces [n, 3]."""
    return hessian_from(np.stack(
        [forces(x) for x in displaced(positions, step)]), step)
