"""Chromophores of a molecule: fused aromatic systems, halves and pairs.

Depends on the graph alone, so that conformers share it.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

from mpiapp.chemistry.aromatic import aromatic_molecule, aromatic_rings, merged
from mpiapp.chemistry.graph import CACHE_SIZE, Graph
from mpiapp.chemistry.systems import (
    MIN_ATOMS, SYSTEMS, Limits, System, limits_of, pattern_of
)

#: matches of one pattern that are looked at
_MOST_MATCHES = 10_000


@dataclass(frozen=True)
class Chromophore:
    """A fused aromatic system: its ring atoms and their carbons, ascending.

    `half`: number of the half of the molecule it belongs to.
    """

    name: str
    atoms: tuple[int, ...]
    carbons: tuple[int, ...]
    half: int


@dataclass(frozen=True)
class Pair:
    """Two chromophores by their numbers a < b and the limits they share."""

    a: int
    b: int
    same_half: bool
    limits: Limits


@dataclass(frozen=True)
class Chromophores:
    """The chromophores of a molecule by lowest atom, and all their pairs.

    `note` tells why no pair can be classified, '' where one can.
    """

    systems: tuple[Chromophore, ...]
    pairs: tuple[Pair, ...]
    n_halves: int
    note: str


@lru_cache(CACHE_SIZE)
def chromophores_of(
    graph: Graph, systems: tuple[System, ...] = SYSTEMS,
) -> Chromophores:
    """Find the chromophores of a graph, named after `systems`.

    Aromatic rings of 5 and 6 that share a bond are one system; of 10 atoms
    and more it is a chromophore.  It has the name of the first system whose
    pattern matches exactly its atoms, else fused<n>.
    """
    molecule = aromatic_molecule(graph)
    rings = aromatic_rings(molecule)
    clusters = sorted(sorted(c) for c in merged(rings, 2)
                      if len(c) >= MIN_ATOMS)
    halves = _halves(molecule, clusters)
    names = _names(molecule, clusters, systems)
    found = tuple(
        Chromophore(name, tuple(atoms), tuple(
            i for i in atoms
            if molecule.GetAtomWithIdx(i).GetAtomicNum() == 6), half)
        for name, atoms, half in zip(names, clusters, halves, strict=True))
    pairs = tuple(
        Pair(i, j, a.half == b.half, limits_of(a.name, systems).stricter(
            limits_of(b.name, systems)))
        for (i, a), (j, b) in combinations(enumerate(found), 2))
    n_halves = len(set(halves))
    return Chromophores(found, pairs, n_halves,
                        _note(bool(rings), len(found), n_halves))


def _note(any_ring: bool, n_found: int, n_halves: int) -> str:
    if not any_ring:
        return 'no aromatic ring'
    if not n_found:
        return 'no fused aromatic system of 10 atoms'
    if n_found == 1:
        return 'one chromophore only'
    return 'all chromophores in one half' if n_halves < 2 else ''


def _names(molecule: Any, clusters: list[list[int]],
           systems: tuple[System, ...]) -> list[str]:
    """Name clusters by the pattern that matches all of their atoms."""
    if not clusters:
        return []
    known: dict[frozenset[int], str] = {}
    sizes = {len(cluster) for cluster in clusters}
    for system in systems:
        pattern = pattern_of(system.smarts)
        if pattern.GetNumAtoms() in sizes:
            for match in molecule.GetSubstructMatches(
                    pattern, maxMatches=_MOST_MATCHES):
                known.setdefault(frozenset(match), system.name)
    return [known.get(frozenset(cluster), f'fused{len(cluster)}')
            for cluster in clusters]


def _halves(molecule: Any, clusters: list[list[int]]) -> list[int]:
    """Return the number of the half of each cluster.

    Halves are what remains together when acyclic single bonds with an sp3
    carbon at an end are cut.
    """
    fragment = _fragments(molecule)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(fragment[cluster[0]], len(numbers))
            for cluster in clusters]


def _fragments(molecule: Any) -> list[int]:
    """Return a label of the fragment of each atom."""
    neighbours: list[list[int]] = [
        [] for _ in range(molecule.GetNumAtoms())]
    for i, j in _uncut(molecule):
        neighbours[i].append(j)
        neighbours[j].append(i)
    labels = [-1] * len(neighbours)
    for start in range(len(labels)):
        todo = [start] if labels[start] < 0 else []
        while todo:
            i = todo.pop()
            if labels[i] < 0:
                labels[i] = start
                todo += neighbours[i]
    return labels


def _uncut(molecule: Any) -> Iterator[tuple[int, int]]:
    for bond in molecule.GetBonds():
        ends = bond.GetBeginAtom(), bond.GetEndAtom()
        if bond.IsInRing() or bond.GetBondTypeAsDouble() != 1 \
                or not any(map(is_sp3, ends)):
            yield ends[0].GetIdx(), ends[1].GetIdx()


def is_sp3(atom: Any) -> bool:
    """Tell whether an atom is a carbon with four neighbours."""
    return bool(atom.GetAtomicNum() == 6 and atom.GetDegree() == 4)
