"""Dihedrals of the bridge between the halves, and of biaryl bonds.

Which atoms define them follows from the graph; where atoms are equal by
symmetry, the start geometry decides, so that numbering never does.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, product

import numpy as np

from mpiapp.chemistry.aromatic import aromatic_molecule
from mpiapp.chemistry.chromophores import Chromophores
from mpiapp.chemistry.compat import dihedral
from mpiapp.chemistry.graph import CACHE_SIZE, Graph
from mpiapp.records import Floats, Ints

#: decimals (degrees) that decide which of equal atoms is taken
_DECIMALS = 4


@dataclass(frozen=True)
class Torsion:
    """A bond and, on either side, the equal atoms that may define it.

    `rank` orders torsions of one kind; equal ones are equal by symmetry.
    """

    before: tuple[int, ...]
    bond: tuple[int, int]
    after: tuple[int, ...]
    rank: tuple[int, ...]


@dataclass(frozen=True)
class Torsions:
    """The arms of the bridge, from half to half, and the biaryl bonds.

    `symmetric`: the bridge is the same from its other end.
    """

    arms: tuple[tuple[Torsion, ...], ...] = ()
    symmetric: bool = False
    biaryls: tuple[Torsion, ...] = ()


@dataclass(frozen=True)
class Dihedrals:
    """Names [n], atoms [n, 4] and degrees [n_conf, n] of all torsions."""

    names: tuple[str, ...]
    atoms: Ints
    degrees: Floats


def dihedrals(torsions: Torsions, positions: Floats) -> Dihedrals:
    """Measure the torsions of geometries [n_conf, n_atoms, 3] A.

    The first geometry decides between equal atoms and equal ends: the
    smaller angles come first.
    """
    start = positions[0]
    arms = [[_atoms(t, start) for t in arm] for arm in torsions.arms]
    if torsions.symmetric:
        turned = [[t[::-1] for t in arm[::-1]] for arm in arms[::-1]]
        arms = min(arms, turned, key=lambda ends: _key(ends, start))
    biaryls = sorted(((t.rank, _atoms(t, start)) for t in torsions.biaryls),
                     key=lambda item: (item[0], _size(item[1], start)))
    names = [f'bridge_{letter}{k + 1}'
             for letter, arm in zip(_letters(len(arms)), arms, strict=True)
             for k in range(len(arm))]
    names += [f'biaryl_{k + 1}' for k in range(len(biaryls))]
    atoms = [t for arm in arms for t in arm] + [t for _, t in biaryls]
    table = np.array(atoms, np.int64).reshape(-1, 4)
    return Dihedrals(tuple(names), table, dihedral(positions[:, table]))


@lru_cache(CACHE_SIZE)
def torsions_of(graph: Graph, found: Chromophores) -> Torsions:
    """Return the torsions of a graph with these chromophores."""
    search = _Search(graph, found)
    path = search.bridge()
    arms = tuple(search.arms(path))
    ranks = [search.rank[i] for i in path]
    return Torsions(arms, ranks == ranks[::-1], tuple(search.biaryls()))


def _letters(n: int) -> list[str]:
    """Name the arms: L and R at the ends, M1, M2, ... between."""
    return ['L', *(f'M{k}_' for k in range(1, n - 1)), 'R'][:n]


def _atoms(torsion: Torsion, start: Floats) -> tuple[int, ...]:
    """Choose between equal atoms: the smallest angle at the start."""
    choices = [(a, *torsion.bond, d)
               for a, d in product(torsion.before, torsion.after) if a != d]
    if len(choices) == 1:
        return choices[0]
    return min(choices, key=lambda atoms: _size(atoms, start))


def _size(atoms: tuple[int, ...], start: Floats) -> tuple[float, float]:
    value = round(float(dihedral(start[list(atoms)])), _DECIMALS)
    return (abs(value), -value) if np.isfinite(value) else (np.inf, 0.0)


def _key(arms: list[list[tuple[int, ...]]],
         start: Floats) -> list[tuple[float, float]]:
    return [_size(atoms, start) for arm in arms for atoms in arm]


class _Search:
    """Finds paths and torsions in one molecule."""

    def __init__(self, graph: Graph, found: Chromophores) -> None:
        from rdkit import Chem

        self.molecule = aromatic_molecule(graph)
        self.found = found
        self.rank = list(Chem.CanonicalRankAtoms(
            self.molecule, breakTies=False))

    def neighbours(self, i: int) -> list[int]:
        """Return bonded heavy atoms in canonical order."""
        atoms = [a.GetIdx() for a in
                 self.molecule.GetAtomWithIdx(i).GetNeighbors()
                 if a.GetAtomicNum() > 1]
        return sorted(atoms, key=lambda j: (self.rank[j], j))

    def in_ring(self, i: int, j: int) -> bool:
        """Tell whether a bond is part of a ring."""
        return bool(self.molecule.GetBondBetweenAtoms(i, j).IsInRing())

    def bridge(self) -> list[int]:
        """Return the shortest path between two halves; [] if none is."""
        paths = []
        for half in range(self.found.n_halves - 1):
            sources = [i for s in self.found.systems if s.half == half
                       for i in s.atoms]
            targets = {i for s in self.found.systems if s.half > half
                       for i in s.atoms}
            paths.append(self.shortest(sources, targets))
        ordered = [min(path, path[::-1], key=self.ranks)
                   for path in paths if path]
        return min(ordered, key=lambda p: (len(p), self.ranks(p)),
                   default=[])

    def ranks(self, path: list[int]) -> list[int]:
        """Return the canonical ranks of a path."""
        return [self.rank[i] for i in path]

    def shortest(self, sources: Iterable[int],
                 targets: set[int]) -> list[int]:
        """Return the shortest path, of several the first by rank."""
        layer = {i: [i] for i in sources}
        seen = set(layer)
        while layer:
            ends = [path for i, path in layer.items() if i in targets]
            if ends:
                return min(ends, key=self.ranks)
            new: dict[int, list[int]] = {}
            for path in sorted(layer.values(), key=self.ranks):
                for j in self.neighbours(path[-1]):
                    if j not in seen:
                        new.setdefault(j, [*path, j])
            seen |= set(new)
            layer = new
        return []

    def arms(self, path: list[int]) -> Iterator[tuple[Torsion, ...]]:
        """Yield the torsions of each run of acyclic bonds on a path."""
        bonds = list(zip(path, path[1:]))
        runs = groupby(range(len(bonds)),
                       key=lambda k: self.in_ring(*bonds[k]))
        for cyclic, places in runs:
            arm = () if cyclic else tuple(
                torsion for k in places
                if (torsion := self.on_path(path, k)) is not None)
            if arm:
                yield arm

    def on_path(self, path: list[int], k: int) -> Torsion | None:
        """Return the torsion about the bond from path[k] to path[k + 1]."""
        before = path[k - 1] if k else None
        after = path[k + 2] if k + 2 < len(path) else None
        return self.torsion(path[k], path[k + 1], before, after)

    def torsion(self, b: int, c: int, before: int | None = None,
                after: int | None = None) -> Torsion | None:
        """Return the torsion about a bond; None if an end has no ring."""
        sides = self.equal_ends(b, c, before), self.equal_ends(c, b, after)
        if not all(sides):
            return None
        return Torsion(sides[0], (b, c), sides[1],
                       tuple(sorted((self.rank[b], self.rank[c]))))

    def equal_ends(self, b: int, other: int,
                   given: int | None) -> tuple[int, ...]:
        """Return `given` and its equals, or the ring neighbours lowest."""
        if given is not None and not self.in_ring(b, given):
            return (given,)
        ring = [j for j in self.neighbours(b)
                if j != other and self.in_ring(b, j)]
        lowest = self.rank[given] if given is not None else min(
            (self.rank[j] for j in ring), default=-1)
        return tuple(j for j in ring if self.rank[j] == lowest)

    def biaryls(self) -> Iterator[Torsion]:
        """Yield acyclic single bonds of a chromophore to another aryl."""
        inside = {i for s in self.found.systems for i in s.atoms}
        for bond in self.molecule.GetBonds():
            b, c = bond.GetBeginAtom(), bond.GetEndAtom()
            if bond.IsInRing() or bond.GetBondTypeAsDouble() != 1 \
                    or not (b.GetIsAromatic() and c.GetIsAromatic()) \
                    or not inside & {b.GetIdx(), c.GetIdx()}:
                continue
            torsion = self.torsion(b.GetIdx(), c.GetIdx())
            if torsion is not None:
                yield torsion
