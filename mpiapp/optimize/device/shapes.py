"""Padded shapes: how molecules of several sizes share one array."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cached_property

import numpy as np

from mpiapp.optimize.internals.coordinates import Coordinates
from mpiapp.records import Ints

#: sizes are rounded up to multiples of this, so that a molecule that is a
#: little larger than those in the air finds room beside them
GRAIN = 8
#: a batch is packed anew when its arrays are so many times too long
LOOSE = 1.3


@dataclass(frozen=True)
class Shape:
    """How many atoms and coordinates of each kind a place has room for."""

    atoms: int
    pairs: int
    bends: int
    lines: int
    torsions: int

    @classmethod
    def of(cls, n_atoms: int, c: Coordinates) -> Shape:
        """Return what a molecule needs."""
        return cls(n_atoms, len(c.pairs), len(c.bends), len(c.lines),
                   len(c.torsions))

    @classmethod
    def around(cls, shapes: Iterable[Shape]) -> Shape:
        """Return a shape with room for all, rounded up."""
        most = np.max([astuple(s) for s in shapes], axis=0)
        return cls(*(-(-most // GRAIN) * GRAIN).tolist())

    def holds(self, other: Shape) -> bool:
        """Say whether there is room for the other."""
        return all(np.array(astuple(self)) >= astuple(other))

    def loose(self, other: Shape) -> bool:
        """Say whether the other would save much."""
        return self.atoms > LOOSE * other.atoms

    @cached_property
    def starts(self) -> tuple[int, int, int, int, int]:
        """Return where each kind begins in [n_q], and n_q."""
        a, b, c, d = np.cumsum([self.pairs, self.bends, 3 * self.lines,
                                self.torsions]).tolist()
        return 0, a, b, c, d

    @property
    def n_q(self) -> int:
        """Number of internal coordinates."""
        return self.starts[4]

    @property
    def size(self) -> int:
        """Length of a displacement: internal and Cartesian coordinates."""
        return self.n_q + 3 * self.atoms

    def places(self, n_atoms: int, c: Coordinates) -> Ints:
        """Return where the coordinates of a molecule stand in [size]."""
        kinds = [start + np.arange(last - first) for start, first, last
                 in zip(self.starts, c.starts, c.starts[1:], strict=False)]
        return np.concatenate([*kinds, self.n_q + np.arange(3 * n_atoms)])
