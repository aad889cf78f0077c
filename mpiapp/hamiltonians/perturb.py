"""Predictions with a known error, made of a true matrix."""
from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mpiapp.hamiltonians.ao_order import Shells, atoms_of
from mpiapp.records import Floats

#: a matrix, its overlap, shells, the size [Hartree] and a generator
Recipe = Callable[
    [Floats, Floats, Shells, float, np.random.Generator], Floats]


def unchanged(
    true: Floats, overlap: Floats, shells: Shells, size: float,
    rng: np.random.Generator,
) -> Floats:
    """Return the matrix itself: all errors are 0."""
    return true.copy()


def shifted(
    true: Floats, overlap: Floats, shells: Shells, size: float,
    rng: np.random.Generator,
) -> Floats:
    """Add size * S: every orbital energy rises by `size`, nothing else."""
    return true + size * overlap


def noisy(
    true: Floats, overlap: Floats, shells: Shells, size: float,
    rng: np.random.Generator,
) -> Floats:
    """Add symmetric noise of this standard deviation to every entry."""
    return true + noise(rng, len(true), size)


def noisy_block(
    true: Floats, overlap: Floats, shells: Shells, size: float,
    rng: np.random.Generator,
) -> Floats:
    """Add symmetric noise to the block of the first atom alone."""
    first = atoms_of(shells) == 0
    return true + noise(rng, len(true), size) * np.outer(first, first)


def rounded(
    true: Floats, overlap: Floats, shells: Shells, size: float,
    rng: np.random.Generator,
) -> Floats:
    """Round to float32."""
    return true.astype(np.float32).astype(np.float64)


def noise(rng: np.random.Generator, n: int, size: float) -> Floats:
    """Return symmetric noise [n, n]; every entry has the deviation size."""
    drawn = rng.normal(0.0, size, (n, n))
    upper = np.triu(drawn)
    return upper + np.triu(drawn, 1).T


#: errors of the numbers
RECIPES: Mapping[str, Recipe] = {
    'zero': unchanged, 'exact': unchanged, 'shift': shifted, 'noise': noisy,
    'block': noisy_block, 'float32': rounded,
}
#: errors of the description: order of the functions, unit of length
MISLABELLED = ('permuted', 'unit')
ERRORS = (*RECIPES, *MISLABELLED)
