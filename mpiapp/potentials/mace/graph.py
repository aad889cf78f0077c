"""The graph of a batch of molecules: pairs of atoms within the cut-off."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mpiapp.records import Batch, Floats, Ints


@dataclass(frozen=True)
class Graph:
    """Several molecules as one graph without edges between them.

    `positions` [n_atoms, 3] A, each molecule about its own centre;
    `species` [n_atoms] index into the model's elements; `molecule` [n_atoms]
    and `offsets` [n + 1] as in a batch; `edges` [2, n_edges] with both
    directions of each pair, sorted.
    """

    positions: Floats
    species: Ints
    molecule: Ints
    offsets: Ints
    edges: Ints

    def part(self, i: int) -> slice:
        """Return the slice of molecule i in the arrays of atoms."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))


def build(
    batch: Batch, chosen: list[int], species_of: Ints, cutoff: float,
    find: Callable[[Floats, float], Ints] | None = None,
) -> Graph:
    """Return the graph of the chosen molecules of a batch.

    `species_of` [n_numbers] gives the species of an atomic number; `cutoff`
    is in A; `find` takes the place of `pairs`.
    """
    find = find or pairs
    parts = [batch.part(i) for i in chosen]
    sizes = [p.stop - p.start for p in parts]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    # centred in float64: far from the origin, float32 has no digits left
    centred = [_centred(batch.positions[p]) for p in parts]
    edges = [find(x, cutoff) + start for x, start in zip(centred, offsets)]
    return Graph(
        np.concatenate(centred),
        species_of[np.concatenate([batch.numbers[p] for p in parts])],
        np.repeat(np.arange(len(chosen)), sizes),
        offsets,
        np.concatenate(edges, axis=1),
    )


def pairs(positions: Floats, cutoff: float) -> Ints:
    """Return all ordered pairs of atoms within the cut-off [2, n_edges].

    A tree and not a grid of cells, whose number explodes with the distance
    between two fragments.  Sorted, so that sums over edges have one order.
    """
    from scipy.spatial import cKDTree
    n = len(positions)
    found = cKDTree(positions).query_pairs(cutoff, output_type='ndarray')
    keys = np.concatenate([found[:, 0] * n + found[:, 1],
                           found[:, 1] * n + found[:, 0]])
    keys.sort()
    return np.stack(np.divmod(keys, max(n, 1)))


def rounding(graph: Graph, dtype: str) -> Floats:
    """Return what edge vectors lose in dtype, to be added [n_edges, 3] A.

    Bonds are stiff: the 1e-6 A by which float32 rounds the coordinates of a
    20 A molecule cost 1e-4 eV/A, most of the error of float32 forces.
    """
    rounded = graph.positions.astype(dtype)
    sender, receiver = graph.edges
    exact = graph.positions[receiver] - graph.positions[sender]
    return exact - (rounded[receiver] - rounded[sender])


def _centred(positions: Floats) -> Floats:
    return positions - positions.mean(axis=0) if len(positions) else positions
