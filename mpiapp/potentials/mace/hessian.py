"""Hessians of MACE models by automatic differentiation, rows in batches.

A batch holds one copy of the molecule for each coordinate of a chunk; copies
do not feel each other, so that one backward pass over the force component k
of copy k gives all rows of the chunk.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mpiapp.potentials.mace import graph as graphs
from mpiapp.records import Batch, Floats

if TYPE_CHECKING:
    from mpiapp.potentials.mace.reference import MaceReference

#: atoms in a batch of copies; twice differentiated graphs are large
ATOMS_AT_ONCE = 400


def hessian(potential: MaceReference, numbers: NDArray[np.int32],
            positions: Floats) -> Floats:
    """Return d2E/dx2 [3n, 3n], eV/A^2, symmetrised."""
    n = len(numbers)
    size = max(1, ATOMS_AT_ONCE // n)
    rows = [_rows(potential, numbers, positions,
                  np.arange(first, min(first + size, 3 * n)))
            for first in range(0, 3 * n, size)]
    found = np.concatenate(rows)
    return np.asarray(0.5 * (found + found.T))


def _rows(potential: MaceReference, numbers: NDArray[np.int32],
          positions: Floats, which: NDArray[np.int64]) -> Floats:
    """Return rows [len(which), 3n] of the Hessian."""
    import torch
    n, copies = len(numbers), len(which)
    batch = Batch.join([(numbers, positions, 0, 0)] * copies)
    graph = graphs.build(batch, list(range(copies)),
                         potential.species_of(), potential.model.r_max)
    inputs = potential.inputs(graph)
    inputs['positions'].requires_grad_(True)
    out = potential.model.module(inputs, training=True, compute_force=True)
    forces = out['forces'].reshape(copies, 3 * n)
    picked = forces[torch.arange(copies), torch.as_tensor(which)].sum()
    slope, = torch.autograd.grad(-picked, inputs['positions'])
    return np.asarray(
        slope.detach().double().cpu().numpy()).reshape(copies, 3 * n)
