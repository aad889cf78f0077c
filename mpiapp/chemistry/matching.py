"""The least RMSD of two conformers over rotations and equal atoms.

Atoms of one conformer are assigned to atoms of the other one by one, along
the bonds, so that every complete assignment is an isomorphism of the two
graphs.  The best superposition of the atoms that are assigned so far has a
sum of squares which the whole can't undercut: an assignment is given up as
soon as that exceeds what the limit allows.  For conformers that are nearly
equal, and only these are of interest, a wrong turn (a phenyl flipped, two
methyls of a t-butyl exchanged) is given up at once, so that the number of
automorphisms does not matter.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.skeleton import Skeleton
from mpiapp.records import Floats

#: assignments tried before a comparison is given up as undecided
MAX_NODES = 10_000
#: forced assignments between two looks at the sum of squares
_STRIDE = 6
#: relative rounding of a sum of squares from its moments
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Match:
    """What a comparison came to.

    `rmsd` [A] is infinite where none below the limit was found.  `nodes`
    are the assignments that were tried; `decided` is False where they were
    too many and a better one may exist.
    """

    rmsd: float
    nodes: int
    decided: bool


def match(
    a: Skeleton, x: Floats, b: Skeleton, y: Floats, limit: float,
    mirror: bool = False, max_nodes: int = MAX_NODES,
) -> Match:
    """Return the least RMSD below `limit` [A] of conformers x and y.

    `x` [n, 3] A are the positions of the atoms of skeleton `a`, `y` of `b`.
    With `mirror` the mirror image of y may be taken as well.
    """
    if a.key != b.key:
        return Match(np.inf, 0, True)
    return _Search(a, x, b, y, limit, mirror).run(max_nodes)


class _Search:
    """A depth-first search; one level for each atom of `a.order`."""

    def __init__(
        self, a: Skeleton, x: Floats, b: Skeleton, y: Floats, limit: float,
        mirror: bool,
    ) -> None:
        self.a, self.b, self.mirror = a, b, mirror
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        # [1, x, y, z]: products of these hold all moments at once
        self.x = np.column_stack([np.ones(len(x)), x])
        self.y = np.column_stack([np.ones(len(y)), y])
        self.xx, self.yy = (x**2).sum(axis=1), (y**2).sum(axis=1)
        self.budget = len(x) * limit**2
        self.slack = _ROUNDING * float(self.xx.sum() + self.yy.sum())
        self.nodes = 0
        self.image = [-1] * len(x)
        self.used = [False] * len(x)
        self.by_label: dict[int, list[int]] = {}
        for i, label in enumerate(b.labels):
            self.by_label.setdefault(label, []).append(i)
        before: set[int] = set()
        self.back: list[list[int]] = []
        for atom in a.order:
            self.back.append(sorted(a.neighbours[atom] & before))
            before.add(atom)

    def run(self, max_nodes: int) -> Match:
        n = len(self.a.order)
        best = np.inf
        stack = [self.children(0, np.zeros((4, 4)), 0.0)]
        while stack:
            depth = len(stack) - 1
            self.undo(depth)
            if self.nodes > max_nodes:
                return Match(self.rmsd(best), self.nodes, False)
            if not stack[-1]:
                stack.pop()
                continue
            least, atom, moments, squares = stack[-1].pop()
            if least >= self.budget:
                continue
            self.image[self.a.order[depth]] = atom
            self.used[atom] = True
            if depth + 1 < n:
                stack.append(self.children(depth + 1, moments, squares))
                continue
            # another assignment must be better by more than rounding
            best, self.budget = least, least - self.slack
        return Match(self.rmsd(best), self.nodes, True)

    def rmsd(self, squares: float) -> float:
        return float(np.sqrt(max(squares, 0.0) / len(self.image)))

    def undo(self, depth: int) -> None:
        atom = self.a.order[depth]
        if self.image[atom] >= 0:
            self.used[self.image[atom]] = False
            self.image[atom] = -1

    def children(
        self, depth: int, moments: NDArray[Any], squares: float,
    ) -> list[tuple[float, int, NDArray[Any], float]]:
        """Return what the next atom may be assigned to, the best last."""
        atom = self.a.order[depth]
        found = self.candidates(atom, self.back[depth])
        look = len(found) > 1 or depth % _STRIDE == 0 \
            or depth + 1 == len(self.image)
        made = []
        for i in found:
            self.nodes += 1
            m = moments + np.outer(self.x[atom], self.y[i])
            s = squares + float(self.xx[atom] + self.yy[i])
            least = self.least_squares(m, s) if look else -1.0
            if least < self.budget:
                made.append((least, i, m, s))
        return sorted(made, key=lambda c: (-c[0], -c[1]))

    def candidates(self, atom: int, back: list[int]) -> list[int]:
        label = self.a.labels[atom]
        if not back:
            return [i for i in self.by_label.get(label, ())
                    if self.fits(i, back)]
        around = self.b.neighbours[self.image[back[0]]]
        return [i for i in sorted(around)
                if self.b.labels[i] == label and self.fits(i, back)]

    def fits(self, i: int, back: list[int]) -> bool:
        """Tell whether i is free and bonded as the atom in its place is."""
        if self.used[i]:
            return False
        around = self.b.neighbours[i]
        return all(self.image[j] in around for j in back) \
            and sum(self.used[j] for j in around) == len(back)

    def least_squares(self, m: NDArray[Any], squares: float) -> float:
        """Return the least sum of squared distances over rigid motions.

        Kabsch's: squares about the centroids less twice the singular values
        of the covariance, the last one negative if only a reflection would
        superpose better.
        """
        n, sx, sy = m[0, 0], m[1:, 0], m[0, 1:]
        covariance = m[1:, 1:] - np.outer(sx, sy) / n
        values = np.linalg.svd(covariance, compute_uv=False)
        if not self.mirror and np.linalg.det(covariance) < 0:
            values[2] *= -1
        return float(squares - (sx @ sx + sy @ sy) / n - 2 * values.sum())
