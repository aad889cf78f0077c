"""Molecules with their aromatic atoms known, whatever the file said.

Files with bond orders have RDKit's aromaticity.  For bonds by distance, and
for orders that make no sense, it is judged by the numbers of neighbours.
"""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from mpiapp.chemistry.graph import CACHE_SIZE, Graph, molecule_of, unchecked

#: sizes of rings that may be aromatic here
RING_SIZES = (5, 6)
#: neighbours of an atom that has a p orbital for its ring, by element
_FLAT = {6: (3,), 7: (2, 3), 8: (2,), 16: (2,), 5: (3,), 34: (2,)}
#: (element, neighbours) that bring two electrons into a ring of five
_DONORS = frozenset({(7, 3), (8, 2), (16, 2), (34, 2)})
_CHALCOGENS = (8, 16, 34)


@lru_cache(CACHE_SIZE)
def aromatic_molecule(graph: Graph) -> Any:
    """Return RDKit's molecule with aromatic flags and ring information.

    Shared by all callers: copy it before changing it.
    """
    molecule = molecule_of(graph) if graph.orders else None
    return _guessed(graph) if molecule is None else molecule


def aromatic_rings(molecule: Any) -> list[frozenset[int]]:
    """Return the rings of 5 and 6 whose atoms are all aromatic, in order."""
    return [frozenset(ring) for ring in molecule.GetRingInfo().AtomRings()
            if len(ring) in RING_SIZES and all(
                molecule.GetAtomWithIdx(i).GetIsAromatic() for i in ring)]


def merged(sets: list[frozenset[int]], shared: int) -> list[frozenset[int]]:
    """Join sets in chains of at least so many shared atoms.

    In the order of the first set of each chain.
    """
    left = list(sets)
    found = []
    while left:
        chain = [left.pop(0)]
        for one in chain:
            near = [other for other in left if len(one & other) >= shared]
            chain += near
            left = [other for other in left if other not in near]
        found.append(frozenset().union(*chain))
    return found


def _guessed(graph: Graph) -> Any:
    from rdkit import Chem

    n_bonds = len(graph.bonds) // 16
    single = np.full(n_bonds, 2, np.int64).tobytes()
    molecule = unchecked(
        Graph(graph.numbers, graph.bonds, single, graph.charges))
    molecule.UpdatePropertyCache(strict=False)
    Chem.GetSymmSSSR(molecule)
    for ring in molecule.GetRingInfo().AtomRings():
        if len(ring) in RING_SIZES and _is_conjugated(molecule, ring):
            for i in ring:
                molecule.GetAtomWithIdx(i).SetIsAromatic(True)
    return molecule


def _is_conjugated(molecule: Any, ring: tuple[int, ...]) -> bool:
    """Judge a ring by elements and neighbours.

    Every atom must be flat and no carbon a carbonyl's; a ring of five needs
    a lone pair from N, O, S or Se.
    """
    atoms = [molecule.GetAtomWithIdx(i) for i in ring]
    kinds = [(a.GetAtomicNum(), a.GetDegree()) for a in atoms]
    return (all(n in _FLAT.get(z, ()) for z, n in kinds)
            and not any(_is_carbonyl(a) for a in atoms)
            and (len(ring) == 6 or any(k in _DONORS for k in kinds)))


def _is_carbonyl(atom: Any) -> bool:
    return any(n.GetDegree() == 1 and n.GetAtomicNum() in _CHALCOGENS
               for n in atom.GetNeighbors())
