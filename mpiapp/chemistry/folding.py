"""Folded starts: two aromatic systems of a molecule held face to face.

Distance geometry with random starts rarely brings the chromophores of a
bridged dimer together, although stacked forms are among the lowest.  A
folded start tightens the upper bounds of the distances between the atoms of
two systems to what a stack allows; everything else of the embedding and the
whole minimisation is as always.  Systems of one shape are laid atom on atom,
in all ways in which their skeletons match.
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats

#: atoms of the smallest aromatic system that is stacked: two fused rings
MIN_SYSTEM = 9
#: A; distance of the planes in a stack, and what it may be exceeded by
PLANES = 3.8
SLACK = 0.7
#: A; what one bond adds to the distance from the middle of a system
PER_BOND = 1.25

#: A; two atoms that lie on one another in a stack, slipped by up to 3.3 A
ALIGNED = 4.8
#: ways to lay one skeleton on another that take turns
MOST_WAYS = 8

#: atoms of two systems
Pair = tuple[tuple[int, ...], tuple[int, ...]]


def aromatic_systems(molecule: Any) -> list[tuple[int, ...]]:
    """Return the atoms of each set of aromatic rings that share bonds."""
    rings = molecule.GetRingInfo()
    merged: list[tuple[set[int], set[int]]] = []
    for atoms, bonds in zip(rings.AtomRings(), rings.BondRings()):
        if not all(molecule.GetBondWithIdx(b).GetIsAromatic()
                   for b in bonds):
            continue
        system = set(atoms), set(bonds)
        for other in [m for m in merged if m[1] & system[1]]:
            merged.remove(other)
            system = system[0] | other[0], system[1] | other[1]
        merged.append(system)
    return sorted(tuple(sorted(atoms)) for atoms, _ in merged)


def fold_pairs(molecule: Any) -> list[Pair]:
    """Return the pairs of systems to be stacked, the largest alone.

    Two systems of at least `MIN_SYSTEM` atoms whose shortest connection has
    an sp3 atom outside rings; of these pairs, those with the most atoms.
    """
    systems = [s for s in aromatic_systems(molecule)
               if len(s) >= MIN_SYSTEM]
    pairs = [(a, b) for i, a in enumerate(systems) for b in systems[i + 1:]
             if _flexible(molecule, a[0], b[0])]
    most = max((len(a) + len(b) for a, b in pairs), default=0)
    return [p for p in pairs if len(p[0]) + len(p[1]) == most]


def folds(molecule: Any) -> list[Pair]:
    """Return the pairs again for each way to lay their systems together.

    The atoms of a pair are in such an order that those at the same place
    come to lie on one another, where the systems are of one shape.
    """
    ways = [[(a, tuple(b[i] for i in way)) for way in _ways(molecule, a, b)]
            or [(a, b)] for a, b in fold_pairs(molecule)]
    turns = max(map(len, ways), default=0)
    return [way[turn] for turn in range(turns)
            for way in ways if turn < len(way)]


def folded_bounds(molecule: Any, pair: Pair) -> NDArray[Any] | None:
    """Return RDKit's bounds matrix [n, n] A of a stacked start.

    None where the bonds between the systems do not let them stack.
    """
    from rdkit.Chem import rdDistGeom
    from rdkit.DistanceGeometry import DoTriangleSmoothing

    bounds = rdDistGeom.GetMoleculeBoundsMatrix(molecule)
    a, b = (np.array(system) for system in pair)
    reach = _reach(molecule, a)[:, None] + _reach(molecule, b)[None, :]
    largest = np.sqrt(reach**2 + PLANES**2) + SLACK
    if _same_shape(molecule, *pair):
        np.fill_diagonal(largest, ALIGNED)
    low = np.minimum(a[:, None], b[None, :])
    high = np.maximum(a[:, None], b[None, :])
    # the upper triangle holds upper bounds, the lower one lower bounds
    bounds[low, high] = np.minimum(bounds[low, high], np.maximum(
        largest, bounds[high, low] + 0.05))
    return bounds if DoTriangleSmoothing(bounds) else None


def _reach(molecule: Any, system: NDArray[Any]) -> Floats:
    """Return distances (A) [n_system] from the middle atom, by bonds."""
    from rdkit import Chem

    paths = Chem.GetDistanceMatrix(molecule)[np.ix_(system, system)]
    middle = np.lexsort((paths.sum(axis=1), paths.max(axis=1)))[0]
    return np.asarray(PER_BOND * paths[middle], np.float64)


def _skeleton(molecule: Any, system: tuple[int, ...]) -> Any:
    """Return the bonds among some atoms, in their order, as bare carbon."""
    from rdkit import Chem

    skeleton = Chem.RWMol()
    for _ in system:
        skeleton.AddAtom(Chem.Atom(6))
    for k, i in enumerate(system):
        for m, j in enumerate(system[:k]):
            if molecule.GetBondBetweenAtoms(i, j) is not None:
                skeleton.AddBond(m, k, Chem.BondType.SINGLE)
    skeleton.UpdatePropertyCache(strict=False)
    return skeleton.GetMol()


def _ways(
    molecule: Any, a: tuple[int, ...], b: tuple[int, ...],
) -> list[tuple[int, ...]]:
    """Return the orders of b in which its skeleton is that of a."""
    if len(a) != len(b):
        return []
    return list(_skeleton(molecule, b).GetSubstructMatches(
        _skeleton(molecule, a), uniquify=False, maxMatches=MOST_WAYS))


def _same_shape(
    molecule: Any, a: tuple[int, ...], b: tuple[int, ...],
) -> bool:
    """Tell whether bonds of the one are at the same places as the other's."""
    if len(a) != len(b):
        return False
    first, second = (
        {frozenset((x.GetBeginAtomIdx(), x.GetEndAtomIdx()))
         for x in _skeleton(molecule, s).GetBonds()} for s in (a, b))
    return first == second


def _flexible(molecule: Any, first: int, last: int) -> bool:
    """Tell whether the shortest path has an sp3 atom outside rings."""
    from rdkit import Chem

    sp3 = Chem.HybridizationType.SP3
    return any(
        atom.GetHybridization() == sp3 and not atom.IsInRing()
        for atom in map(molecule.GetAtomWithIdx,
                        Chem.GetShortestPath(molecule, first, last)))
