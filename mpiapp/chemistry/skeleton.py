"""The graph of the atoms that count when conformers are compared.

Heavy atoms, the hydrogens that are not on carbon, and the bonds between
them; other hydrogens are counted at their carbon.  (Where an OH points may be
all that tells a conformer from another, or from its mirror image.)  Each atom
has a label that does not depend on the order of the atoms (Weisfeiler and
Lehman's refinement, started from distances in the graph): atoms with different
labels can't take each other's place.
"""
from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Ints

#: with fewer heavy atoms all atoms count: two points have no shape
MIN_HEAVY = 4
#: graphs that are remembered; an ensemble has one for each molecule
CACHE_SIZE = 512


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Atoms that count, as numbered in `atoms` [n] of the whole molecule.

    `labels` [n] are equal where the graph may be symmetric, `neighbours`
    [n] the bonded atoms among them.  `order` [n] is a good order to match
    them in: rare labels first, and next to atoms that stand before.
    `sorted_by_label` [n] and `label_starts` are for sorting within labels.
    `key` is equal for equal graphs, whatever the order of their atoms.
    """

    atoms: Ints
    labels: tuple[int, ...]
    neighbours: tuple[frozenset[int], ...]
    order: tuple[int, ...]
    key: int

    def __len__(self) -> int:
        return len(self.labels)


def skeleton_of(numbers: NDArray[Any], bonds: NDArray[Any]) -> Skeleton:
    """Return the skeleton of atoms `numbers` [n] and `bonds` [n_bonds, 2].

    Bond orders do not count: they depend on who wrote the file.
    """
    return _skeleton(np.asarray(numbers, np.int32).tobytes(),
                     np.asarray(bonds, np.int64).tobytes())


@lru_cache(CACHE_SIZE)
def _skeleton(numbers_bytes: bytes, bonds_bytes: bytes) -> Skeleton:
    numbers = np.frombuffer(numbers_bytes, np.int32)
    bonds = np.frombuffer(bonds_bytes, np.int64).reshape(-1, 2)
    heavy = numbers > 1
    counted = heavy | _on_others(numbers, bonds) \
        if heavy.sum() >= MIN_HEAVY else np.ones_like(heavy)
    atoms = np.flatnonzero(counted)
    place = np.full(len(numbers), -1)
    place[atoms] = np.arange(len(atoms))
    neighbours: list[set[int]] = [set() for _ in atoms]
    n_others = np.zeros(len(atoms), int)
    for i, j in bonds.tolist():
        a, b = int(place[i]), int(place[j])
        if a >= 0 and b >= 0:
            neighbours[a].add(b)
            neighbours[b].add(a)
        elif max(a, b) >= 0:
            n_others[max(a, b)] += 1
    frozen = tuple(map(frozenset, neighbours))
    labels = _refined(_first_labels(numbers[atoms], n_others, frozen), frozen)
    return Skeleton(atoms, labels, frozen, _order(labels, frozen),
                    _hash(sorted(labels)))


def _on_others(
    numbers: NDArray[Any], bonds: NDArray[Any],
) -> NDArray[np.bool_]:
    """Mark [n] the hydrogens that are bonded to anything but carbon."""
    found = np.zeros(len(numbers), bool)
    for ends in (bonds, bonds[:, ::-1]):
        found[ends[:, 0]] |= (numbers[ends[:, 0]] == 1) \
            & (numbers[ends[:, 1]] != 6)
    return found


def _hash(item: Any) -> int:
    """Return the same number for the same item in every process."""
    digest = hashlib.blake2b(repr(item).encode(), digest_size=7).digest()
    return int.from_bytes(digest, 'big')


def _first_labels(
    numbers: NDArray[Any], n_others: NDArray[Any],
    neighbours: tuple[frozenset[int], ...],
) -> tuple[int, ...]:
    """Label atoms by element, hydrogens and how far all others are.

    The distances tell apart what refinement alone does not (decalin and
    bicyclopentyl).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import shortest_path

    n = len(numbers)
    pairs = [(i, j) for i in range(n) for j in neighbours[i]]
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), (n, n))
    distances = shortest_path(graph.tocsr(), unweighted=True) if n else []
    return tuple(
        _hash((int(number), int(others), sorted(Counter(row).items())))
        for number, others, row in zip(
            numbers, n_others,
            [[-1 if np.isinf(d) else int(d) for d in row]
             for row in distances], strict=True))


def _refined(
    labels: tuple[int, ...], neighbours: tuple[frozenset[int], ...],
) -> tuple[int, ...]:
    """Refine labels by those of the neighbours until none is split.

    One round more than is needed to be stable, and always the same number
    for equal graphs.
    """
    while True:
        finer = tuple(
            _hash((label, sorted(labels[j] for j in around)))
            for label, around in zip(labels, neighbours, strict=True))
        if len(set(finer)) == len(set(labels)):
            return finer
        labels = finer


def _order(
    labels: tuple[int, ...], neighbours: tuple[frozenset[int], ...],
) -> tuple[int, ...]:
    count = Counter(labels)
    left = set(range(len(labels)))
    border: set[int] = set()
    order = []
    while left:
        # the least common label; among equals the one with more neighbours
        best = min(border or left, key=lambda i: (
            count[labels[i]], -len(neighbours[i]), i))
        order.append(best)
        left.remove(best)
        border = (border | neighbours[best]) & left
    return tuple(order)
