"""Bonds that run through rings: random starts may tie such knots.

No minimiser undoes them, and the energy does not always give them away.
"""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mpiapp.chemistry.graph import CACHE_SIZE, Graph, graph_of, molecule_of
from mpiapp.records import Floats, Ints, Structure

#: atoms of the largest ring that nothing fits through
LARGEST_RING = 8


def knotted(structure: Structure, positions: Floats) -> str:
    """Return '' or the first bond through a ring, as '3-4 through 7-8-9'.

    `positions` [n_atoms, 3] A.  Each ring of up to 8 atoms is taken as the
    triangles from its centroid to its bonds.
    """
    for ring, bonds in _rings(graph_of(structure)):
        hit = _through(positions[list(ring)], positions[bonds])
        if hit.any():
            i, j = bonds[int(np.argmax(hit))] + 1
            return f'{i}-{j} through ' + '-'.join(str(a + 1) for a in ring)
    return ''


@lru_cache(CACHE_SIZE)
def _rings(graph: Graph) -> tuple[tuple[tuple[int, ...], Ints], ...]:
    """Return small rings, each with the bonds [n, 2] that have none of it."""
    molecule: Any = molecule_of(graph)
    if molecule is None:
        return ()
    bonds = np.frombuffer(graph.bonds, np.int64).reshape(-1, 2)
    return tuple(
        (tuple(ring), bonds[~np.isin(bonds, ring).any(axis=1)])
        for ring in molecule.GetRingInfo().AtomRings()
        if len(ring) <= LARGEST_RING)


def _through(ring: Floats, ends: Floats) -> Any:
    """Tell which segments [n, 2, 3] cross the surface of a ring [m, 3].

    Möller and Trumbore's intersection of a line and a triangle, for all
    segments and triangles at once (J. Graphics Tools 1997, 2, 21).
    """
    origin = ring.mean(axis=0)
    u, v = ring - origin, np.roll(ring, -1, axis=0) - origin
    start, along = ends[:, 0] - origin, ends[:, 1] - ends[:, 0]
    p = np.cross(along[:, None], v[None])
    volume = (p * u).sum(axis=2)
    q = np.cross(start[:, None], u[None])
    with np.errstate(divide='ignore', invalid='ignore'):
        a = (p * start[:, None]).sum(axis=2) / volume
        b = (q * along[:, None]).sum(axis=2) / volume
        t = (q * v).sum(axis=2) / volume
        inside = (a >= 0) & (b >= 0) & (a + b <= 1) & (t >= 0) & (t <= 1)
    return inside.any(axis=1)
