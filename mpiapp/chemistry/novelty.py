"""How new a structure is: distances of descriptors, and who is chosen."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Ints

#: elements that have a class of their own, the others share one
CLASSES = (1, 6, 7, 8, 9, 15, 16, 17)
#: A; centres and width of the distances of a pair of classes
CENTRES = np.linspace(1.0, 7.0, 13)
WIDTH = 0.35


def descriptor(
    numbers: NDArray[np.int32], positions: Floats,
) -> NDArray[np.float32]:
    """Return the smeared distances of element pairs, for each atom.

    One vector [n_pairs * n_centres] a structure, equal for all of its
    rotations and orders of atoms.
    """
    from scipy.spatial import cKDTree

    kind = np.full(int(max(numbers.max(), 17)) + 1, len(CLASSES))
    kind[list(CLASSES)] = np.arange(len(CLASSES))
    n = len(CLASSES) + 1
    out = np.zeros((n * n, len(CENTRES)))
    pairs = cKDTree(positions).query_pairs(
        CENTRES[-1] + 2 * WIDTH, output_type='ndarray')
    if len(pairs):
        r = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]],
                           axis=1)
        which = np.sort(kind[numbers[pairs]], axis=1) @ [n, 1]
        np.add.at(out, which, np.exp(
            -((r[:, None] - CENTRES) / WIDTH) ** 2))
    return (out.ravel() / len(numbers)).astype(np.float32)


def farthest(
    pool: Floats, known: Floats, n: int,
) -> Ints:
    """Return n rows of `pool` [n_pool, k], each far from all before.

    Greedy: the next one is that whose distance to everything known and
    chosen is largest; of equal ones the first.  `known` [n_known, k] may
    be empty.
    """
    nearest = np.full(len(pool), np.inf)
    for row in known:
        nearest = np.minimum(nearest, ((pool - row) ** 2).sum(axis=1))
    chosen: list[int] = []
    for _ in range(min(n, len(pool))):
        i = int(np.argmax(nearest))
        chosen.append(i)
        nearest = np.minimum(nearest, ((pool - pool[i]) ** 2).sum(axis=1))
        nearest[i] = -1.0
    return np.array(chosen, np.int64)


def disagreement(forces: Sequence[Floats]) -> float:
    """Return the largest spread of a force among models, eV/A.

    The standard deviation over the models of the force on an atom, as a
    vector, at the atom where it is largest.
    """
    stacked = np.stack(list(forces))
    spread = np.sqrt(stacked.var(axis=0).sum(axis=1))
    return float(spread.max())
