"""Random dimers and displacements, to sample what a model must know.

All lengths are A.  Every function takes the generator it draws from.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.dimers import Start, assembled, laid_flat
from mpiapp.records import Floats

#: kinds of dimers
DIMERS = ('stack', 'slip', 't_shape', 'contact')
#: distance of the planes of a stack, of the centres of a T, smallest
#: distance of two atoms of a random contact
PLANES = (2.9, 7.0)
CENTRES = (4.3, 7.0)
NEAREST = (1.8, 4.0)
#: slip of a sandwich at most, and of slipped dimers
SANDWICH, SLIP = 0.5, (0.5, 3.0)
#: two molecules are moved apart until their atoms are as far as this
TOUCH = 1.8
#: standard deviations of rattled coordinates
RATTLE = (0.02, 0.12)
#: an eighth of the stacks lies closer together than this share tells
CLOSE_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class Monomer:
    """Atoms of a molecule, laid flat or not."""

    numbers: NDArray[np.int32]
    positions: Floats


def dimer(
    kind: str, first: Monomer, second: Monomer, rng: np.random.Generator,
) -> Floats:
    """Return the positions [n + m, 3] of a dimer of that kind."""
    flat = [laid_flat(m.numbers, m.positions) for m in (first, second)]
    if kind == 'contact':
        return contact(flat[0], flat[1], rng)
    turned = flat[1] * _side(rng)
    return pushed_apart(
        assembled(flat[0], turned, start_of(kind, rng)), len(flat[0]))


def start_of(kind: str, rng: np.random.Generator) -> Start:
    """Return how the second molecule lies over the first."""
    angle = rng.uniform(0, 2 * np.pi)
    if kind == 't_shape':
        slip = rng.uniform(0, 1.0)
        height = rng.uniform(*CENTRES)
    else:
        slip = rng.uniform(0, SANDWICH) if kind == 'stack' \
            else rng.uniform(*SLIP)
        # most of them where stacks are bound, the others as far as 7
        near = rng.random() < CLOSE_SHARE
        height = rng.uniform(PLANES[0], 4.4 if near else PLANES[1])
    aligned = rng.random() < 0.5
    twist = float(rng.normal(0, 5) if aligned else rng.uniform(-180, 180))
    return Start((slip * np.cos(angle), slip * np.sin(angle), height),
                 twist, kind == 't_shape')


def contact(
    first: Floats, second: Floats, rng: np.random.Generator,
) -> Floats:
    """Return two molecules at random, their nearest atoms at a distance."""
    from scipy.spatial.transform import Rotation

    wanted = rng.uniform(*NEAREST)
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    turned = second @ turn.T
    way = rng.normal(size=3)
    way /= np.linalg.norm(way)
    return np.concatenate([first, turned + _reach(
        first, turned, way, wanted) * way])


def pushed_apart(positions: Floats, n_first: int) -> Floats:
    """Return a dimer whose second molecule is lifted where atoms touch."""
    first, second = positions[:n_first], positions[n_first:]
    way = np.array([0.0, 0.0, 1.0])
    if _nearest(first, second) >= TOUCH:
        return positions
    lift = _reach(first, second, way, TOUCH)
    return np.concatenate([first, second + lift * way])


def _reach(
    first: Floats, second: Floats, way: Floats, wanted: float,
) -> float:
    """Return how far along a way two molecules are `wanted` apart.

    From far outside inwards, so that none passes through the other.
    """
    apart = first[:, None] - second[None, :]
    along = apart @ way
    across = (apart ** 2).sum(axis=2) - along ** 2
    touching = across < wanted ** 2
    if not touching.any():
        return 0.0
    return float((along + np.sqrt(np.maximum(
        wanted ** 2 - across, 0.0)))[touching].max())


def _nearest(first: Floats, second: Floats) -> float:
    from scipy.spatial import cKDTree
    return float(cKDTree(first).query(second)[0].min())


def _side(rng: np.random.Generator) -> Floats:
    """Return signs that turn a flat molecule over, or not."""
    return np.array([1.0, -1.0, -1.0] if rng.random() < 0.5 else
                    [1.0, 1.0, 1.0])


def rattled(positions: Floats, rng: np.random.Generator) -> Floats:
    """Return positions with random displacements, of random size."""
    width = rng.uniform(*RATTLE)
    return positions + width * rng.standard_normal(positions.shape)


def nearest_distance(positions: Floats) -> float:
    """Return the smallest distance of two atoms."""
    from scipy.spatial import cKDTree
    return float(cKDTree(positions).query(positions, k=2)[0][:, 1].min())
