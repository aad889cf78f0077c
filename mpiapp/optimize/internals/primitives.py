"""Distances, bends, linear bends and torsions with their derivatives.

Vectors are [3, n] here, component by component: numpy then works on long
rows, and needs half of the time.
"""
from __future__ import annotations

import numpy as np

from mpiapp.optimize.internals.coordinates import Coordinates, Slopes
from mpiapp.records import Floats, Ints

#: shortest distance [A] and sine that are divided by: coincident atoms and
#: straight bends give large numbers, never infinite ones
SMALLEST = 1e-3
UNIT, NONE = np.eye(3), np.empty(0)


def values(c: Coordinates, x: Floats) -> Floats:
    """Return the coordinates [n_q] of positions [n_atoms, 3] A."""
    xt = np.ascontiguousarray(x.T)
    return np.concatenate([
        lengths(pair(c.pairs, xt)), bend(*arms(c.bends, xt)),
        line(*arms(c.lines, xt)).T.ravel() if len(c.lines) else NONE,
        torsion(*chain(c.torsions, xt))])


def slopes(c: Coordinates, x: Floats) -> Slopes:
    """Return dq/dx at positions [n_atoms, 3] A."""
    return both(c, x)[1]


def both(c: Coordinates, x: Floats) -> tuple[Floats, Slopes]:
    """Return the coordinates [n_q] and their derivatives dq/dx."""
    xt = np.ascontiguousarray(x.T)
    r, of_pairs = pair_slopes(pair(c.pairs, xt))
    angles, of_bends = bend_slopes(*arms(c.bends, xt))
    sums, of_lines = line_slopes(*arms(c.lines, xt)) if len(c.lines) \
        else (NONE, np.empty((9, 0)))
    turns, of_torsions = torsion_slopes(*chain(c.torsions, xt))
    return (np.concatenate([r, angles, sums, turns]),
            Slopes(c, (of_pairs, of_bends, of_lines, of_torsions)))


def pair(atoms: Ints, xt: Floats) -> Floats:
    """Return the vectors [3, n] from the second atom to the first."""
    first, second = gathered(atoms, xt)
    vectors: Floats = first - second
    return vectors


def arms(atoms: Ints, xt: Floats) -> tuple[Floats, Floats]:
    """Return the vectors [3, n] from the middle atom to both others.

    `atoms` [n, 3], `xt` [3, n_atoms] A.
    """
    first, middle, last = gathered(atoms, xt)
    return first - middle, last - middle


def chain(atoms: Ints, xt: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the three vectors [3, n] along the four atoms."""
    a, b, c, d = gathered(atoms, xt)
    return b - a, c - b, d - c


def gathered(atoms: Ints, xt: Floats) -> Floats:
    """Return the positions [k, 3, n] of atoms [n, k]."""
    found = xt.take(atoms.T.ravel(), axis=1)
    return found.reshape(3, atoms.shape[1], -1).transpose(1, 0, 2)


def pair_slopes(v: Floats) -> tuple[Floats, Floats]:
    """Return the distances [n] of pairs, and their derivatives [6, n]."""
    r = lengths(v)
    u = v / r
    return r, np.concatenate([u, -u])


def bend(u: Floats, v: Floats) -> Floats:
    """Return the angles [n] between two arms, radian."""
    w = cross(u, v)
    return np.arctan2(np.sqrt(dot(w, w)), dot(u, v))


def bend_slopes(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return the angles [n] between two arms, and [9, n] of them."""
    w = cross(u, v)
    area, product = np.sqrt(dot(w, w)), dot(u, v)
    r, s = lengths(u), lengths(v)
    u, v = u / r, v / s
    cosine, sine = product / (r * s), np.maximum(area / (r * s), SMALLEST)
    a = (cosine * u - v) / (r * sine)
    b = (cosine * v - u) / (s * sine)
    return np.arctan2(area, product), np.concatenate([a, -a - b, b])


def line(u: Floats, v: Floats) -> Floats:
    """Return the sums [3, n] of the unit vectors along two arms."""
    return u / lengths(u) + v / lengths(v)


def line_slopes(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Return the sums [3 n] of unit vectors, and [9, 3 n] of them."""
    a, b = across(u), across(v)
    return line(u, v).T.ravel(), np.stack(
        [a, -a - b, b], axis=2).reshape(-1, 9).T


def across(v: Floats) -> Floats:
    """Return [n, 3, 3]: the derivative of the unit vector along v."""
    r = lengths(v)
    u = (v / r).T
    return (UNIT - u[:, :, None] * u[:, None, :]) / r[:, None, None]


def torsion(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return the torsions [n] of chains of three vectors, radian."""
    n, m = cross(a, b), cross(b, c)
    return np.arctan2(np.sqrt(dot(b, b)) * dot(a, m), dot(n, m))


def torsion_slopes(
    a: Floats, b: Floats, c: Floats,
) -> tuple[Floats, Floats]:
    """Return the torsions [n] of chains of three vectors, and [12, n]."""
    n, m = cross(a, b), cross(b, c)
    square = dot(b, b)
    length = np.sqrt(square)
    r = np.maximum(length, SMALLEST)
    first = -(r / heights(n, a, r)) * n
    last = (r / heights(m, c, r)) * m
    f, g = dot(a, b) / r**2, dot(c, b) / r**2
    turns = np.arctan2(length * dot(a, m), dot(n, m))
    second = g * last - (1 + f) * first
    third = f * first - (1 + g) * last
    return turns, np.concatenate([first, second, third, last])


def heights(n: Floats, arm: Floats, r: Floats) -> Floats:
    """Return |n|^2 [n], kept above that of a nearly straight chain."""
    return np.maximum(dot(n, n), SMALLEST**2 * dot(arm, arm) * r**2
                      + SMALLEST**4)


def lengths(v: Floats) -> Floats:
    """Return the lengths [n] of vectors [3, n], kept above SMALLEST."""
    return np.maximum(np.sqrt(dot(v, v)), SMALLEST)


def dot(u: Floats, v: Floats) -> Floats:
    """Return the scalar products [n] of vectors [3, n]."""
    return np.asarray(u[0] * v[0] + u[1] * v[1] + u[2] * v[2])


def cross(u: Floats, v: Floats) -> Floats:
    """Return the vector products [3, n]; numpy's is ten times slower."""
    (a, b, c), (d, e, f) = u, v
    product = np.empty_like(u)
    product[0] = b * f - c * e
    product[1] = c * d - a * f
    product[2] = a * e - b * d
    return product
