"""What a geometry is: saddle, minimum, broken; from a fresh calculation."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiapp.bonding import bond_list
from mpiapp.records import Floats
from mpiapp.saddle.base import (
    Point, Sample, SearchSettings, Surface, SurfaceError
)
from mpiapp.saddle.eckart import (
    Modes, cartesian_modes, free_modes, motions_left_out, vibrations
)

#: atoms nearer than this multiple of their covalent radii belong together:
#: bonds that form or break in a transition state included
TOGETHER = 1.9


@dataclass(frozen=True, eq=False)
class Look:
    """A geometry and all that is known of it.

    `modes` are those with masses; `plain` those in the plain metric, along
    which steps are made.
    """

    positions: Floats
    point: Point
    modes: Modes
    plain: Modes
    fmax: float
    n_neg: int

    def eigenvalue(self, i: int) -> float:
        """Return the i-th eigenvalue, NaN if there are fewer."""
        values = self.modes.values
        return float(values[i]) if i < len(values) else float('nan')


def look(surface: Surface, positions: Floats,
         settings: SearchSettings) -> Look:
    """Compute energy, forces and Hessian; raises SurfaceError."""
    point = surface.point(positions)
    return looked(surface, positions, point, surface.hessian(positions),
                  settings)


def looked(
    surface: Surface, positions: Floats, point: Point, hessian: Floats,
    settings: SearchSettings,
) -> Look:
    """Return what is known once forces and Hessian are there."""
    if not np.isfinite(hessian).all():
        raise SurfaceError('nan_hessian', 'the Hessian is not finite')
    if surface.flat is not None:
        modes = plain = free_modes(hessian, surface.flat)
    else:
        most = motions_left_out(hessian, surface.masses, positions,
                                settings.count)
        modes = vibrations(hessian, surface.masses, positions, most)
        plain = cartesian_modes(hessian, positions, most)
    return Look(positions, point, modes, plain, largest(point.forces),
                modes.n_neg(settings.count))


def largest(forces: Floats) -> float:
    """Return the largest force on an atom, eV/A."""
    return float(np.sqrt((forces**2).sum(axis=1)).max())


def verdict(
    surface: Surface, sample: Sample, end: Look, settings: SearchSettings,
    early: bool,
) -> tuple[str, str]:
    """Return the reason word of an end and a message."""
    fault = broken(surface, sample, end.positions, settings.min_distance)
    if fault[0]:
        return fault
    still = end.fmax < settings.fmax
    if end.n_neg == 1:
        return ('ts', '') if still else (
            'index_only', f'one negative mode, fmax {end.fmax:.3g} eV/A')
    if still:
        return ('minimum', 'no negative mode') if end.n_neg == 0 else (
            'higher_order', f'{end.n_neg} negative modes')
    return ('plateau', 'n_neg and fmax have stopped falling') if early else (
        'step_limit', f'{settings.max_steps} steps')


def broken(
    surface: Surface, sample: Sample, positions: Floats, least: float,
) -> tuple[str, str]:
    """Return reason and message of a geometry no molecule has, or ('', '').

    Collapsed: two atoms nearer than `least` A.  Dissociated: more fragments
    than the known geometries of the sample have.
    """
    nearest = min_distance(positions)
    if nearest < least:
        return 'collapsed', f'two atoms are {nearest:.2f} A apart'
    if not surface.bonded:
        return '', ''
    allowed = allowed_fragments(sample)
    found = n_fragments(sample.numbers, positions)
    if found > allowed:
        return 'dissociated', f'{found} fragments, known are {allowed}'
    return '', ''


def allowed_fragments(sample: Sample) -> int:
    """Return the largest number of pieces of a known geometry."""
    known = [x for x in (sample.reactant, sample.ts, sample.product)
             if x is not None] or [sample.start]
    return max(n_fragments(sample.numbers, x) for x in known)


def scattered(sample: Sample) -> bool:
    """Tell whether a start lies in more pieces than any known geometry."""
    return n_fragments(sample.numbers, sample.start) \
        > allowed_fragments(sample)


def min_distance(positions: Floats) -> float:
    """Return the least distance of two atoms, A; infinite for one atom."""
    if len(positions) < 2:
        return float('inf')
    first, second = np.triu_indices(len(positions), 1)
    return float(np.linalg.norm(
        positions[first] - positions[second], axis=1).min())


def n_fragments(numbers: NDArray[np.int32], positions: Floats) -> int:
    """Return how many pieces a geometry falls into."""
    piece = np.arange(len(numbers))
    for i, j in bond_list(numbers, positions, TOGETHER):
        piece[piece == piece[i]] = piece[j]
    return len(np.unique(piece))
