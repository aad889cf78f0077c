"""Which atoms make which coordinate, and the matrix of their derivatives.

The coordinates of a molecule stand in one array [n_q]: distances in A, bends
in radian, linear bends (three numbers each, no unit) and torsions in radian.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from mpiapp.records import Floats, Ints


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
        """Return the column in [3 n_atoms] of each derivative.

        Kind by kind, and of each as its block in `Slopes` has them.
        """
        return np.concatenate([cells_of(atoms).ravel()
                               for atoms in self.atoms])

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
            c = place[cells_of(atoms)]
            i, j = upper(len(c))
            rows.append(np.maximum(c[i], c[j]).ravel())
            columns.append(np.minimum(c[i], c[j]).ravel())
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
    """The matrix of dq/dx [n_q, 3 n_atoms], its entries by kind.

    A block is [3 k, n]: the derivatives of n coordinates of k atoms each.
    """

    coordinates: Coordinates
    blocks: tuple[Floats, Floats, Floats, Floats]

    @cached_property
    def entries(self) -> Floats:
        """Return the entries in the order of `rows` and `columns`."""
        return np.concatenate([block.ravel() for block in self.blocks])

    def forward(self, move: Floats) -> Floats:
        """Return the change [n_q] of the coordinates by [3 n_atoms] A."""
        products, parts = self.entries * move[self.coordinates.columns], []
        start = 0
        for block in self.blocks:
            part = products[start:start + block.size]
            parts.append(part.reshape(block.shape).sum(axis=0))
            start += block.size
        return np.concatenate(parts)

    def backward(self, pull: Floats) -> Floats:
        """Return the Cartesian form [3 n_atoms] of a gradient [n_q]."""
        c = self.coordinates
        products = np.concatenate([
            (block * pull[first:last]).ravel() for block, first, last in zip(
                self.blocks, c.starts, c.starts[1:], strict=False)])
        return tally(c.columns, products, 3 * c.n_atoms)

    def gram(self, stiffness: Floats) -> Floats:
        """Return the Hessian of springs [n_q] as a band.

        [3 n_atoms, width]: see `Coordinates.band`.
        """
        c, products = self.coordinates, []
        for block, first, last in zip(self.blocks, c.starts, c.starts[1:],
                                      strict=False):
            stiff = block * stiffness[first:last]
            i, j = upper(len(block))
            products.append((block[i] * stiff[j]).ravel())
        width, cells = c.band
        return tally(cells, np.concatenate(products),
                     3 * c.n_atoms * width).reshape(-1, width)


def cells_of(atoms: Ints) -> Ints:
    """Return the columns [3 k, n] of the derivatives by atoms [n, k]."""
    return (3 * atoms[:, :, None] + np.arange(3)).reshape(
        len(atoms), 3 * atoms.shape[1]).T


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
