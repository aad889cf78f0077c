"""Which conformers of a molecule are one and the same?

Duplicates have energies within a limit *and* a least RMSD below a limit,
over rotations and atoms that are equal by the graph.  Few pairs need the
RMSD itself: energies are sorted, and two bounds that cost next to nothing
are never above it.  Clusters are led by their lowest member.
"""
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpiapp.chemistry.matching import MAX_NODES, match
from mpiapp.chemistry.skeleton import Skeleton
from mpiapp.records import Floats, Ints


@dataclass(frozen=True)
class Limits:
    """What counts as equal: `energy` [eV] at most, `rmsd` [A] below.

    `mirror`: mirror images are equal.
    """

    energy: float
    rmsd: float = 0.125
    mirror: bool = False


@dataclass(frozen=True)
class Clusters:
    """Each conformer's representative, and what it took to find it.

    `representative` [n] is the index of the lowest equal conformer, the
    conformer's own if there is none; `rmsd` [n] A to it.  `n_close` pairs
    were within the energy limit, `n_searched` of these were superposed;
    `n_undecided` searches were given up and count as different.
    """

    representative: Ints
    rmsd: Floats
    n_close: int
    n_searched: int
    n_undecided: int

    @property
    def unique(self) -> Ints:
        """Return the indices of the representatives, ascending."""
        return np.flatnonzero(
            self.representative == np.arange(len(self.representative)))


def find_duplicates(
    energies: Floats, skeletons: Sequence[Skeleton],
    positions: Sequence[Floats], limits: Limits, max_nodes: int = MAX_NODES,
) -> Clusters:
    """Cluster the conformers of one molecule; each has equal graphs.

    `energies` [n] eV are finite, `positions` hold [n_atoms, 3] A of the
    atoms of each skeleton.  From the lowest energy on (then by index), a
    conformer is a duplicate of the lowest representative that is equal, or
    a representative itself.
    """
    n = len(energies)
    prints = fingerprints(skeletons, positions)
    representative, rmsd = np.arange(n), np.zeros(n)
    order = np.lexsort([np.arange(n), energies]).tolist()
    leaders: list[int] = []
    lowest: list[float] = []
    n_close = n_searched = n_undecided = 0
    for i in order:
        first = bisect_left(lowest, energies[i] - limits.energy)
        near = np.array(leaders[first:], int)
        n_close += len(near)
        bounds = np.linalg.norm(prints[near] - prints[i], axis=-1).max(axis=1)
        for j in near[bounds < limits.rmsd].tolist():
            found = match(skeletons[j], positions[j], skeletons[i],
                          positions[i], limits.rmsd, limits.mirror, max_nodes)
            n_searched += 1
            n_undecided += not found.decided and not found.rmsd < limits.rmsd
            if found.rmsd < limits.rmsd:
                representative[i], rmsd[i] = j, found.rmsd
                break
        else:
            leaders.append(i)
            lowest.append(float(energies[i]))
    return Clusters(representative, rmsd, n_close, n_searched, n_undecided)


def fingerprints(
    skeletons: Sequence[Skeleton], positions: Sequence[Floats],
) -> Floats:
    """Return numbers [n, 2, n_atoms] A whose distances bound the RMSD.

    For any rotation, reflection and assignment of equal atoms, the
    Euclidean distance of two rows is at most the RMSD.  First row: the
    singular values of the centred positions, which are the roots of the
    principal moments and as good as rotational constants (Mirsky 1960:
    singular values move no farther than the matrix).  Second row: distances
    from the centroid, sorted among atoms of one label (the sorted
    assignment is the cheapest).  Both are divided by the root of n_atoms.
    """
    n_atoms = max(map(len, skeletons), default=0)
    found = np.zeros((len(skeletons), 2, max(3, n_atoms)))
    for i, (skeleton, x) in enumerate(zip(skeletons, positions,
                                          strict=True)):
        x = (x - x.mean(axis=0)) / np.sqrt(len(x))
        values = np.linalg.svd(x, compute_uv=False)
        found[i, 0, :len(values)] = values
        radii = np.linalg.norm(x, axis=1)
        found[i, 1, :len(x)] = radii[np.lexsort([radii, skeleton.labels])]
    return found


def is_own_mirror_image(
    skeleton: Skeleton, positions: Floats, limit: float,
) -> bool:
    """Tell whether a conformer equals its mirror image within `limit` [A]."""
    return match(skeleton, positions, skeleton, -positions,
                 limit).rmsd < limit
