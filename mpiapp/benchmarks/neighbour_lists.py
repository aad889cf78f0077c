"""Pairs of atoms within a cut-off by several libraries, alike in form.

Every finder takes positions [n, 3] A, a cut-off, a cell [3, 3] A or None
and the periodic directions, and returns all ordered pairs (i, j, shift), the
atom j in the image `shift` of the cell.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from mpiapp.errors import InputError
from mpiapp.records import Floats, Ints

Periodic = tuple[bool, bool, bool]
OPEN: Periodic = (False, False, False)


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs: `i`, `j` [n_pairs] and `shift` [n_pairs, 3]."""

    i: Ints
    j: Ints
    shift: Ints

    @property
    def edges(self) -> Ints:
        """Senders and receivers [2, n_pairs], sorted."""
        order = np.lexsort((self.j, self.i))
        return np.stack([self.i[order], self.j[order]]).astype(np.int64)

    def as_set(self) -> set[tuple[int, ...]]:
        """Return the pairs as a set of (i, j, shift)."""
        return set(map(tuple, np.column_stack(
            [self.i, self.j, self.shift]).tolist()))

    def repeated(self) -> int:
        """Return how many pairs are there more than once."""
        return len(self.i) - len(self.as_set())


Finder = Callable[[Floats, float, Floats | None, Periodic], Pairs]


def tree(
    x: Floats, cutoff: float, cell: Floats | None, pbc: Periodic,
) -> Pairs:
    """Return the pairs by the k-d tree that our graphs are made with."""
    from mpiapp.potentials.mace.graph import pairs
    if any(pbc):
        raise InputError('tree is for molecules, not for periodic cells')
    i, j = pairs(x, cutoff)
    return Pairs(i, j, np.zeros((len(i), 3), np.int64))


def by_matscipy(
    x: Floats, cutoff: float, cell: Floats | None, pbc: Periodic,
) -> Pairs:
    """Return the pairs by matscipy, which mace-torch uses."""
    from matscipy.neighbours import neighbour_list

    # it wants a cell that holds all atoms, periodic or not
    box = np.eye(3) * (np.ptp(x, axis=0).max(initial=0.0) + 2 * cutoff + 1)
    origin = x.min(axis=0) - cutoff
    periodic = any(pbc) and cell is not None
    i, j, shift = neighbour_list(
        'ijS', positions=x if periodic else x - origin,
        cell=cell if periodic else box, pbc=list(pbc), cutoff=cutoff)
    return Pairs(i, j, shift)


def by_vesin(
    x: Floats, cutoff: float, cell: Floats | None, pbc: Periodic,
) -> Pairs:
    """Return the pairs by vesin."""
    from vesin import NeighborList
    box = np.zeros((3, 3)) if cell is None else cell
    i, j, shift = NeighborList(cutoff=cutoff, full_list=True).compute(
        points=x, box=box, periodic=list(pbc), quantities='ijS')
    return Pairs(i.astype(np.int64), j.astype(np.int64),
                 shift.astype(np.int64))


def by_ase(
    x: Floats, cutoff: float, cell: Floats | None, pbc: Periodic,
) -> Pairs:
    """Return the pairs by ASE."""
    from ase.neighborlist import primitive_neighbor_list
    box = np.eye(3) if cell is None else cell
    i, j, shift = primitive_neighbor_list(
        'ijS', list(pbc), box, x, cutoff, self_interaction=False)
    return Pairs(i, j, shift)


def dense(
    x: Floats, cutoff: float, cell: Floats | None, pbc: Periodic,
) -> Pairs:
    """Return the pairs from all distances, by PyTorch."""
    import torch
    positions = torch.as_tensor(x, dtype=torch.float64)
    found = []
    for shift in _shifts(cutoff, cell, pbc):
        moved = positions + torch.as_tensor(
            shift @ (np.eye(3) if cell is None else cell))
        # differences and not torch.cdist, which loses digits in a product
        d2 = (positions[:, None] - moved[None]).square().sum(-1)
        near = d2 <= cutoff * cutoff
        if not shift.any():
            near.fill_diagonal_(False)
        i, j = near.nonzero(as_tuple=True)
        found.append((i.numpy(), j.numpy(),
                      np.tile(shift.astype(np.int64), (len(i), 1))))
    return Pairs(*(np.concatenate(p) for p in zip(*found)))


def _shifts(
    cutoff: float, cell: Floats | None, pbc: Periodic,
) -> list[Floats]:
    """Return the images of a cell that may hold a neighbour."""
    if cell is None or not any(pbc):
        return [np.zeros(3)]
    volume = abs(np.linalg.det(cell))
    reach = []
    for k in range(3):
        area = np.linalg.norm(np.cross(cell[k - 2], cell[k - 1]))
        # one more: atoms may lie outside the cell
        n = int(np.ceil(cutoff * area / volume)) + 1 if pbc[k] else 0
        reach.append(range(-n, n + 1))
    return [np.array(s, float) for s in itertools.product(*reach)]


def by_torch_cluster(
    x: Floats, cutoff: float, cell: Floats | None, pbc: Periodic,
) -> Pairs:
    """Return the pairs by torch-cluster."""
    import torch
    from torch_cluster import radius_graph
    if any(pbc):
        raise InputError('torch-cluster knows no periodic cells')
    edges = radius_graph(torch.as_tensor(x), cutoff, max_num_neighbors=10000)
    j, i = edges.numpy()
    return Pairs(i, j, np.zeros((len(i), 3), np.int64))


#: name to finder and the package it needs
FINDERS: dict[str, tuple[Finder, str]] = {
    'tree': (tree, 'scipy'),
    'matscipy': (by_matscipy, 'matscipy'),
    'vesin': (by_vesin, 'vesin'),
    'ase': (by_ase, 'ase'),
    'dense': (dense, 'torch'),
    'torch-cluster': (by_torch_cluster, 'torch_cluster'),
}


def finder(name: str) -> Finder:
    """Return a finder.

    Raises:
        InputError: unknown, or its package is not installed.
    """
    if name not in FINDERS:
        raise InputError(f'unknown neighbour list {name!r}; allowed: '
                         f'{", ".join(FINDERS)}')
    find, package = FINDERS[name]
    if find_spec(package) is None:
        raise InputError(f'neighbour list {name}: {package} is not installed')
    return find


def edges_by(name: str) -> Any:
    """Return a function (positions, cut-off) -> edges, for graphs."""
    find = finder(name)
    return lambda x, cutoff: find(x, cutoff, None, OPEN).edges
