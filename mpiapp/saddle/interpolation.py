"""A guess of the transition state from reactant and product alone.

The image dependent pair potential (S. Smidstrup, A. Pedersen, K. Stokbro,
H. Jonsson, J. Chem. Phys. 140, 214106 (2014)): the distances of all pairs
are interpolated, and the geometry is fitted to them with the weight d^-4.
"""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats

#: largest force of the fit where it ends, A^-3, and its steps at most
_TOLERANCE, _STEPS = 1e-6, 1000


def middle(numbers: NDArray[np.int32], reactant: Floats, product: Floats,
           relaxed: bool = True) -> Floats:
    """Return the middle [n, 3] A between two geometries.

    The product is laid on the reactant first.  `relaxed`: fitted to the
    mean pair distances, else the mean of the coordinates.
    """
    other = laid_on(product, reactant)
    mean = 0.5 * (reactant + other)
    if not relaxed or len(numbers) < 3:
        return mean
    wanted = 0.5 * (_distances(reactant) + _distances(other))
    return _fitted(apart(mean), wanted)


def laid_on(moved: Floats, fixed: Floats) -> Floats:
    """Return `moved` [n, 3] superposed on `fixed` by a proper rotation."""
    a, b = moved - moved.mean(axis=0), fixed - fixed.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    if np.linalg.det(u @ vt) < 0:
        u[:, -1] *= -1
    return np.asarray(a @ (u @ vt) + fixed.mean(axis=0))


def apart(positions: Floats) -> Floats:
    """Return positions in which no two atoms lie on one another.

    Atoms that change places meet in the middle; they are moved by a
    hundredth of an angstrom, each its own way.
    """
    n = len(positions)
    angle = 2.39996 * np.arange(n)  # golden angle: no two directions alike
    height = 1.0 - 2.0 * (np.arange(n) + 0.5) / n
    around = np.sqrt(1.0 - height**2)
    ways = np.stack([around * np.cos(angle), around * np.sin(angle), height])
    return positions + 0.01 * ways.T


def _distances(positions: Floats) -> Floats:
    first, second = np.triu_indices(len(positions), 1)
    return np.asarray(np.linalg.norm(
        positions[first] - positions[second], axis=1))


def _fitted(start: Floats, wanted: Floats) -> Floats:
    """Return the geometry whose pair distances come next to `wanted`."""
    from scipy.optimize import minimize
    first, second = np.triu_indices(len(start), 1)
    weights = wanted**-4.0

    def misfit(flat: Floats) -> tuple[float, Floats]:
        x = flat.reshape(-1, 3)
        way = x[first] - x[second]
        length = np.maximum(np.linalg.norm(way, axis=1), 1e-9)
        off = length - wanted
        slope = (2.0 * weights * off / length)[:, None] * way
        gradient = np.zeros_like(x)
        np.add.at(gradient, first, slope)
        np.subtract.at(gradient, second, slope)
        return float((weights * off**2).sum()), gradient.ravel()
    found = minimize(misfit, start.ravel(), jac=True, method='L-BFGS-B',
                     options={'maxiter': _STEPS, 'gtol': _TOLERANCE})
    return np.asarray(found.x).reshape(-1, 3)
