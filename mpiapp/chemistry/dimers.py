"""Dimers of flat molecules: how starts are built, what the ends are.

A dimer is its atoms in one array, those of the first monomer first.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mpiapp.bonding import bond_list
from mpiapp.chemistry.dimer_names import ORIGINAL
from mpiapp.chemistry.planes import pair_measures
from mpiapp.records import Floats

#: degrees: planes are parallel below, perpendicular above
STACKED_BELOW, T_ABOVE = 15.0, 70.0
#: degrees between the long axes: stacked below, crossed above
PARALLEL_BELOW, CROSSED_ABOVE = 30.0, 60.0
#: A; two monomers whose nearest carbons are farther off are no dimer
APART = 6.0
#: A; a sandwich is slipped by less, a slipped form by more
SANDWICH_SLIP, SLIPPED = 0.25, 0.5
#: relative difference of the two singular values of a disc
ROUND = 0.02
#: A; standard deviation of every coordinate of a kicked start
KICK = 0.05


@dataclass(frozen=True)
class Start:
    """How the second monomer lies over the first one, long axes on x.

    `shift` [3] A, `twist` degrees about z; `standing`: first turned about
    its long axis, so that its plane is upright.
    """

    shift: tuple[float, float, float]
    twist: float = 0.0
    standing: bool = False


STARTS: Mapping[str, Start] = {
    'pd_long': Start((1.6, 0.15, 3.5), 3.0),
    'pd_short': Start((0.15, 1.6, 3.5), 3.0),
    'pd_diag': Start((1.2, 1.0, 3.5), 3.0),
    'cross': Start((0.6, 0.4, 3.5), 80.0),
    'cross_near': Start((0.1, 0.15, 3.5), 87.0),
    'sandwich': Start((0.0, 0.0, 3.6)),
    'sandwich_off': Start((0.3, 0.2, 3.6), 10.0),
    't': Start((0.0, 0.0, 5.0), standing=True),
    ORIGINAL: Start((0.0, 0.0, 4.0)),
}


@dataclass(frozen=True)
class Measures:
    """The geometry of a dimer: A and degrees, NaN where not defined."""

    plane_angle: float
    vertical: float
    slip: float
    slip_long: float
    slip_short: float
    centroid: float
    twist: float
    contact: float
    d12: float
    d21: float


def measure(
    numbers: NDArray[np.int32], positions: Floats, n_first: int,
) -> Measures:
    """Measure a dimer [n_atoms, 3] A by the planes of its heavy atoms.

    `contact` is between carbons.  All is NaN where a monomer has fewer than
    three heavy atoms.
    """
    heavy, carbon = numbers > 1, numbers == 6
    first = np.arange(len(numbers)) < n_first
    found = pair_measures(
        positions[first & heavy], positions[~first & heavy],
        positions[first & carbon], positions[~first & carbon])
    return Measures(*(float(getattr(found, f.name))
                      for f in fields(Measures)))


def kind_of(plane_angle: float, twist: float, contact: float) -> str:
    """Name the kind of a structure.

    Planes parallel: stacked, twisted or crossed by the long axes (stacked
    without); perpendicular: t; between: tilted; no contact: apart.  Angles
    in degrees, `contact` in A.  Empty where there are no planes.
    """
    if np.isnan(plane_angle):
        return ''
    if contact > APART:
        return 'apart'
    if plane_angle < STACKED_BELOW:
        if twist > CROSSED_ABOVE:
            return 'crossed'
        return 'twisted' if twist > PARALLEL_BELOW else 'stacked'
    return 't' if plane_angle > T_ABOVE else 'tilted'


def laid_flat(numbers: NDArray[np.int32], positions: Floats) -> Floats:
    """Return positions [n_atoms, 3] A in the xy plane, long axis on x.

    The centroid of the heavy atoms is the origin, and their plane is laid
    flat; of all atoms where fewer than three are heavy.  A molecule as long
    as wide has its first heavy atom on y: the corner of a ring that stands.
    """
    heavy = positions[numbers > 1]
    if len(heavy) < 3:
        heavy = positions
    middle = heavy.mean(axis=0)
    # one or two atoms have a plane as well: any through them
    _, s, axes = np.linalg.svd(heavy - middle, full_matrices=len(heavy) < 3)
    x, z = axes[0], axes[2]
    y = np.cross(z, x)
    if len(s) > 1 and s[0] - s[1] < ROUND * s[0]:
        y = heavy[0] - middle
        y = y - (y @ z) * z
        y /= np.linalg.norm(y)
        x = np.cross(y, z)
    return np.asarray((positions - middle) @ np.stack([x, y, z]).T)


def assembled(first: Floats, second: Floats, start: Start) -> Floats:
    """Return a dimer [n + m, 3] A of two monomers that are laid flat."""
    angle = np.radians(start.twist)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    if start.standing:
        upright = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
        turn = turn @ np.array(upright)
    return np.concatenate([first, second @ turn.T + np.array(start.shift)])


def kicked(positions: Floats, seed: int) -> Floats:
    """Return positions [n_atoms, 3] A with a seeded random kick."""
    rng = np.random.default_rng(seed)
    return positions + KICK * rng.standard_normal(positions.shape)


def sideways(
    numbers: NDArray[np.int32], positions: Floats, n_first: int,
    distance: float,
) -> list[Floats]:
    """Return the dimer with its second monomer moved in four directions.

    By `distance` A in the plane of the first monomer: along its long axis
    to and fro, and across it.
    """
    heavy = positions[:n_first][numbers[:n_first] > 1]
    axes = np.linalg.svd(heavy - heavy.mean(axis=0))[2]
    moved = []
    for axis in (axes[0], axes[1]):
        for sign in (1.0, -1.0):
            new = positions.copy()
            new[n_first:] += sign * distance * axis
            moved.append(new)
    return moved


def n_aromatic(
    numbers: NDArray[np.int32], positions: Floats,
) -> int:
    """Count heavy atoms of rings with at most three neighbours.

    By distances alone: what is left after chain ends have been taken away
    again and again is called a ring.
    """
    bonds = bond_list(numbers, positions)
    degree = np.bincount(bonds.ravel(), minlength=len(numbers))
    flat = degree <= 3
    kept = np.ones(len(numbers), bool)
    while True:
        inside = bonds[kept[bonds].all(axis=1)]
        now = np.bincount(inside.ravel(), minlength=len(numbers)) > 1
        if (now & kept == kept).all():
            return int((kept & flat & (numbers > 1)).sum())
        kept &= now
