"""Distances, bends, linear bends and torsions with their derivatives."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.internals.coordinates import Coordinates, Slopes
from mpiapp.records import Floats, Ints

#: shortest distance [A] and sine that are divided by: coincident atoms and
#: straight bends give large numbers, never infinite ones
SMALLEST = 1e-3
UNIT = np.eye(3)


def values(c: Coordinates, x: Floats) -> Floats:
    """Return the coordinates [n_q] of positions [n_atoms, 3] A."""
    return np.concatenate([
        lengths(x[c.pairs[:, 0]] - x[c.pairs[:, 1]]),
        bend(*arms(c.bends, x)),
        line(*arms(c.lines, x)).ravel(),
        torsion(*chain(c.torsions, x)),
    ])


def slopes(c: Coordinates, x: Floats) -> Slopes:
    """Return dq/dx at positions [n_atoms, 3] A."""
    return Slopes(c, (
        pair_slopes(x[c.pairs[:, 0]] - x[c.pairs[:, 1]]),
        bend_slopes(*arms(c.bends, x)),
        line_slopes(*arms(c.lines, x)),
        torsion_slopes(*chain(c.torsions, x)),
    ))


def arms(atoms: Ints, x: Floats) -> tuple[Floats, Floats]:
    """Return the vectors [n, 3] from the middle atom to both others."""
    middle = x[atoms[:, 1]]
    return x[atoms[:, 0]] - middle, x[atoms[:, 2]] - middle


def chain(atoms: Ints, x: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the three vectors [n, 3] along the four atoms."""
    a, b, c, d = (x[atoms[:, i]] for i in range(4))
    return b - a, c - b, d - c


def pair_slopes(v: Floats) -> Floats:
    """Return [n, 2, 3] of the distances of pairs."""
    u = v / lengths(v)[:, None]
    return np.stack([u, -u], axis=1)


def bend(u: Floats, v: Floats) -> Floats:
    """Return the angles [n] between two arms, radian."""
    w = cross(u, v)
    return np.arctan2(np.sqrt(dot(w, w)), dot(u, v))


def bend_slopes(u: Floats, v: Floats) -> Floats:
    """Return [n, 3, 3] of the angles between two arms."""
    r, s = lengths(u), lengths(v)
    u, v = u / r[:, None], v / s[:, None]
    cosine = dot(u, v)
    sine = np.maximum(np.sqrt(np.maximum(1 - cosine**2, 0.0)), SMALLEST)
    a = (cosine[:, None] * u - v) / (r * sine)[:, None]
    b = (cosine[:, None] * v - u) / (s * sine)[:, None]
    return np.stack([a, -a - b, b], axis=1)


def line(u: Floats, v: Floats) -> Floats:
    """Return the sums [n, 3] of the unit vectors along two arms."""
    return u / lengths(u)[:, None] + v / lengths(v)[:, None]


def line_slopes(u: Floats, v: Floats) -> Floats:
    """Return [3 n, 3, 3] of the sums of unit vectors."""
    a, b = across(u), across(v)
    return np.stack([a, -a - b, b], axis=2).reshape(-1, 3, 3)


def across(v: Floats) -> Floats:
    """Return [n, 3, 3]: the derivative of the unit vector along v."""
    r = lengths(v)
    u = v / r[:, None]
    return (UNIT - u[:, :, None] * u[:, None, :]) / r[:, None, None]


def torsion(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return the torsions [n] of chains of three vectors, radian."""
    n, m = cross(a, b), cross(b, c)
    return np.arctan2(np.sqrt(dot(b, b)) * dot(a, m), dot(n, m))


def torsion_slopes(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return [n, 4, 3] of the torsions of chains of three vectors."""
    n, m = cross(a, b), cross(b, c)
    r = lengths(b)
    first = -(r / heights(n, a, r))[:, None] * n
    last = (r / heights(m, c, r))[:, None] * m
    f = (dot(a, b) / r**2)[:, None]
    g = (dot(c, b) / r**2)[:, None]
    second = g * last - (1 + f) * first
    third = f * first - (1 + g) * last
    return np.stack([first, second, third, last], axis=1)


def heights(n: Floats, arm: Floats, r: Floats) -> Floats:
    """Return |n|^2 [n], kept above that of a nearly straight chain."""
    return np.maximum(dot(n, n), SMALLEST**2 * dot(arm, arm) * r**2
                      + SMALLEST**4)


def lengths(v: Floats) -> Floats:
    """Return the lengths [n] of vectors [n, 3], kept above SMALLEST."""
    return np.maximum(np.sqrt(dot(v, v)), SMALLEST)


def dot(u: Floats, v: Floats) -> Floats:
    """Return the scalar products [n] of vectors [n, 3]."""
    product: NDArray[np.float64] = np.einsum('ij,ij->i', u, v)
    return product


def cross(u: Floats, v: Floats) -> Floats:
    """Return the vector products [n, 3]; numpy's is ten times slower."""
    (a, b, c), (d, e, f) = u.T, v.T
    product = np.empty((3, len(u)))
    product[0] = b * f - c * e
    product[1] = c * d - a * f
    product[2] = a * e - b * d
    return product.T
