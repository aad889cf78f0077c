"""Distances, bends, linear bends and torsions with their derivatives.

The coordinates of a molecule stand in one array [n_q]: distances in A, bends
in radian, linear bends (three numbers each, no unit) and torsions in radian.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from mpiapp.records import Floats, Ints

#: shortest distance [A] and sine that are divided by: coincident atoms and
#: straight bends give large numbers, never infinite ones
SMALLEST = 1e-3
UNIT = np.eye(3)


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Atoms of `pairs` [n, 2], `bends`, `lines` [n, 3], `torsions` [n, 4].

    The middle atom of a bend is its second; a line is a bend near 180
    degrees, the sum of the unit vectors to its ends.
    """

    n_atoms: int
    pairs: Ints
    bends: Ints
    lines: Ints
    torsions: Ints

    @cached_property
    def starts(self) -> tuple[int, int, int, int, int]:
        """Return where each kind begins in [n_q], and n_q."""
        sizes = [len(self.pairs), len(self.bends), 3 * len(self.lines),
                 len(self.torsions)]
        a, b, c, d = np.cumsum(sizes).tolist()
        return 0, a, b, c, d

    @property
    def size(self) -> int:
        """Return n_q."""
        return self.starts[4]

    @cached_property
    def atoms(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Return the atoms [n, k] of the coordinates, line by line."""
        return (self.pairs, self.bends, np.repeat(self.lines, 3, axis=0),
                self.torsions)

    @cached_property
    def columns(self) -> Ints:
        """Return the column in [3 n_atoms] of each derivative."""
        return np.concatenate([
            (3 * atoms[:, :, None] + np.arange(3)).ravel()
            for atoms in self.atoms])

    @cached_property
    def rows(self) -> Ints:
        """Return the coordinate of each derivative."""
        return np.repeat(np.arange(self.size), np.concatenate([
            np.full(len(atoms), 3 * atoms.shape[1], np.int64)
            for atoms in self.atoms]))

    @cached_property
    def order(self) -> Ints:
        """Return the atoms in an order that keeps coupled ones close."""
        n = self.n_atoms
        first = [atoms[:, i] for atoms in self.atoms
                 for i, _ in combinations(range(atoms.shape[1]), 2)]
        second = [atoms[:, j] for atoms in self.atoms
                  for _, j in combinations(range(atoms.shape[1]), 2)]
        i, j = np.concatenate(first), np.concatenate(second)
        graph = csr_matrix((np.ones(2 * len(i)), (
            np.concatenate([i, j]), np.concatenate([j, i]))), (n, n))
        return np.asarray(reverse_cuthill_mckee(graph, symmetric_mode=True),
                          np.int64)

    @cached_property
    def cartesians(self) -> Ints:
        """Return the columns [3 n_atoms] in the order of the band."""
        return (3 * self.order[:, None] + np.arange(3)).ravel()

    @cached_property
    def band(self) -> tuple[int, Ints]:
        """Return the width of the band and the cell of each product.

        The lower triangle of the matrix, in the order of `cartesians`, is
        kept column by column, `width` cells each, its diagonal first.
        """
        place = np.empty_like(self.cartesians)
        place[self.cartesians] = np.arange(len(place))
        rows, columns = [], []
        for atoms in self.atoms:
            c = place[(3 * atoms[:, :, None] + np.arange(3)).reshape(
                len(atoms), 3 * atoms.shape[1])]
            i, j = upper(c.shape[1])
            rows.append(np.maximum(c[:, i], c[:, j]).ravel())
            columns.append(np.minimum(c[:, i], c[:, j]).ravel())
        row, column = np.concatenate(rows), np.concatenate(columns)
        width = 1 + int((row - column).max(initial=0))
        return width, width * column + row - column

    def difference(self, end: Floats, start: Floats) -> Floats:
        """Return end - start [n_q], torsions the short way round."""
        change = end - start
        turns = change[self.starts[3]:]
        turns -= 2 * np.pi * np.round(turns / (2 * np.pi))
        return change


@dataclass(frozen=True, eq=False)
class Slopes:
    """The matrix of dq/dx [n_q, 3 n_atoms], its entries by kind."""

    coordinates: Coordinates
    blocks: tuple[Floats, Floats, Floats, Floats]

    @cached_property
    def entries(self) -> Floats:
        """Return the entries in the order of `rows` and `columns`."""
        return np.concatenate([block.ravel() for block in self.blocks])

    def forward(self, move: Floats) -> Floats:
        """Return the change [n_q] of the coordinates by [3 n_atoms] A."""
        c = self.coordinates
        return tally(c.rows, self.entries * move[c.columns], c.size)

    def backward(self, pull: Floats) -> Floats:
        """Return the Cartesian form [3 n_atoms] of a gradient [n_q]."""
        c = self.coordinates
        return tally(c.columns, self.entries * pull[c.rows], 3 * c.n_atoms)

    def gram(self, stiffness: Floats) -> Floats:
        """Return the Hessian of springs [n_q] as a band.

        [3 n_atoms, width]: see `Coordinates.band`.
        """
        c, products = self.coordinates, []
        for block, first, last in zip(self.blocks, c.starts, c.starts[1:],
                                      strict=False):
            rows = block.reshape(last - first, 3 * block.shape[1])
            stiff = rows * stiffness[first:last, None]
            i, j = upper(rows.shape[1])
            products.append((rows[:, i] * stiff[:, j]).ravel())
        width, cells = c.band
        return tally(cells, np.concatenate(products),
                     3 * c.n_atoms * width).reshape(-1, width)


@lru_cache(maxsize=8)
def upper(width: int) -> tuple[Ints, Ints]:
    """Return row and column of each cell of an upper triangle."""
    i, j = np.triu_indices(width)
    return i, j


def tally(places: Ints, amounts: Floats, n: int) -> Floats:
    """Return the sums [n] of the amounts at each place, in their order."""
    sums: Floats = np.bincount(places, amounts, n).astype(
        np.float64, copy=False)
    return sums


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
