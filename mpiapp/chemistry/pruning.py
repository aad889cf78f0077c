"""Which conformers of a molecule are the same, with few superpositions.

Two conformers are duplicates if their energies are close and the RMSD of
their heavy atoms, over rigid motions and the symmetry of the molecule, is
small.  Most pairs are decided without a superposition: the sorted distances
of equivalent atoms from the centroid bound the RMSD from below, whatever the
rotation and the permutation.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Ints, Structure

#: permutations that are tried; a molecule with more may keep a duplicate
MOST_MAPPINGS = 20000
#: mappings that are superposed at a time
_SPAN = 1000


@dataclass(frozen=True)
class Limits:
    """What makes two conformers duplicates: A, kcal/mol."""

    rmsd: float = 0.25
    energy: float = 1.0


@dataclass(frozen=True, eq=False)
class Clusters:
    """Conformers of a molecule, sorted out.

    `kept` [n_kept] are the lowest of their kind, by rising energy; `first`
    [n_kept] is the earliest conformer of each kind.  `n_superposed` counts
    the pairs that needed a superposition.
    """

    kept: Ints
    first: Ints
    n_superposed: int = 0


class Matcher:
    """What comparing the conformers of one molecule needs to know.

    Compared are heavy atoms, save those of symmetric tops (the F of CF3, the
    methyls of tBu), whose own rotation makes no other conformer.
    """

    def __init__(self, structure: Structure) -> None:
        from mpiapp.chemistry.graph import graph_of, molecule_of
        self._molecule = molecule_of(graph_of(structure))
        self.atoms = _compared(self._molecule)

    @cached_property
    def classes(self) -> Ints:
        """Equivalence class [n_compared] of each atom."""
        from rdkit import Chem

        ranks = list(Chem.CanonicalRankAtoms(
            self._molecule, breakTies=False, includeChirality=False))
        return np.array([ranks[i] for i in self.atoms], np.int64)

    @cached_property
    def mappings(self) -> Ints:
        """Permutations [n_mappings, n_compared], the identity first."""
        same = np.arange(len(self.atoms))
        found = _automorphisms(self._molecule, self.atoms)
        other = found[(found != same).any(axis=1)]
        return np.concatenate([same[None, :], other])

    def radii(self, positions: Floats) -> Floats:
        """Return distances from the centroid, sorted within classes.

        `positions` [n, n_compared, 3] A, centred; result [n, n_compared].
        """
        distances = np.linalg.norm(positions, axis=2)
        classes = np.broadcast_to(self.classes, distances.shape)
        order = np.lexsort((distances, classes), axis=1)
        return np.take_along_axis(distances, order, axis=1)


def clusters(
    matcher: Matcher, energies: Floats, positions: Floats, limits: Limits,
) -> Clusters:
    """Sort out duplicates, the lowest energy of each kind is kept.

    `energies` [n] kcal/mol, `positions` [n, n_atoms, 3] A.
    """
    x = positions[:, matcher.atoms]
    x = x - x.mean(axis=1, keepdims=True)
    radii = matcher.radii(x)
    kept: list[int] = []
    first: list[int] = []
    n_superposed = 0
    for i in np.argsort(energies, kind='stable').tolist():
        near = _candidates(i, kept, energies, radii, limits)
        n_superposed += len(near)
        same = next((k for k in near if _within(
            matcher, x[i], x[kept[k]], limits.rmsd)), None)
        if same is None:
            kept.append(i)
            first.append(i)
        else:
            first[same] = min(first[same], i)
    return Clusters(np.array(kept, np.int64), np.array(first, np.int64),
                    n_superposed)


def _candidates(
    i: int, kept: list[int], energies: Floats, radii: Floats, limits: Limits,
) -> list[int]:
    """Return places in `kept` that may be duplicates of conformer i."""
    start = int(np.searchsorted(
        energies[kept], energies[i] - limits.energy))
    others = radii[kept[start:]]
    bound = np.sqrt(((others - radii[i])**2).mean(axis=1))
    return (start + np.flatnonzero(bound < limits.rmsd)).tolist()


def _within(matcher: Matcher, a: Floats, b: Floats, limit: float) -> bool:
    """Tell whether the symmetry-aware RMSD is below a limit."""
    if rmsds(a, b[None, :])[0] < limit:
        return True
    mappings = matcher.mappings
    return any(
        (rmsds(a, b[mappings[k:k + _SPAN]]) < limit).any()
        for k in range(1, len(mappings), _SPAN))


def rmsds(a: Floats, others: Floats) -> Floats:
    """Return the RMSD (A) [n] of centred `a` [m, 3] to `others` [n, m, 3].

    Kabsch's method, all at once; a mirror image differs.
    """
    covariance = np.einsum('ai,nak->nik', a, others)
    singular = np.linalg.svd(covariance, compute_uv=False)
    mirrored = np.linalg.det(covariance) < 0
    overlap = singular.sum(axis=1) - 2 * mirrored * singular[:, 2]
    squares = (a**2).sum() + (others**2).sum(axis=(1, 2)) - 2 * overlap
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / len(a)))


def _compared(molecule: Any) -> NDArray[np.int64]:
    """Return the heavy atoms that are no part of a symmetric top."""
    from rdkit import Chem

    ranks = list(Chem.CanonicalRankAtoms(molecule, breakTies=False))
    tops: set[int] = set()
    for atom in molecule.GetAtoms():
        ends = [n for n in atom.GetNeighbors()
                if n.GetAtomicNum() > 1 and _n_heavy(n) == 1]
        alike = {ranks[n.GetIdx()] for n in ends}
        if len(ends) >= 3 and len(alike) == 1:
            tops |= {n.GetIdx() for n in ends}
    heavy = [a.GetIdx() for a in molecule.GetAtoms()
             if a.GetAtomicNum() > 1 and a.GetIdx() not in tops]
    return np.array(heavy or range(molecule.GetNumAtoms()), np.int64)


def _n_heavy(atom: Any) -> int:
    return sum(n.GetAtomicNum() > 1 for n in atom.GetNeighbors())


def _automorphisms(molecule: Any, atoms: NDArray[np.int64]) -> Ints:
    """Return permutations [n, n_atoms] of the atoms that keep the graph."""
    from rdkit import Chem

    part = Chem.RWMol(molecule)
    # hydrogens and tops leave their number behind, so that C and CF3 differ
    ranks = list(Chem.CanonicalRankAtoms(molecule, breakTies=False))
    for i in atoms.tolist():
        part.GetAtomWithIdx(i).SetIsotope(ranks[i] + 1)
    gone = set(range(molecule.GetNumAtoms())) - set(atoms.tolist())
    part.BeginBatchEdit()
    for i in gone:
        part.RemoveAtom(i)
    part.CommitBatchEdit()
    found = part.GetMol().GetSubstructMatches(
        part.GetMol(), uniquify=False, maxMatches=MOST_MAPPINGS)
    return np.array(found, np.int64).reshape(-1, len(atoms))
