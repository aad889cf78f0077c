"""When a relaxation is done, and when it must be given up."""
from __future__ import annotations

import numpy as np

from mpiapp.records import Floats

#: eV/A; far above any bonded structure, reached when a model breaks down
#: (ACEsuit/mace#1260)
LARGEST_FORCE = 1e3
#: largest ratio of the radius of gyration to that of the start
LARGEST_GROWTH = 3.0


def largest_force(forces: Floats) -> float:
    """Return the largest |force| over atoms, eV/A, from [n_atoms, 3]."""
    # the square of a huge force overflows to inf, which is the answer
    with np.errstate(over='ignore'):
        return float(np.linalg.norm(forces, axis=1).max(initial=0.0))


def converged(forces: Floats, fmax: float) -> bool:
    """Say whether the largest force [n_atoms, 3] is below fmax, eV/A."""
    largest = largest_force(forces)
    return largest < fmax or largest == 0.0


def radius_of_gyration(positions: Floats) -> float:
    """Return the root mean square distance [A] of the atoms to their mean.

    Atoms count alike: masses would hide a hydrogen that flies away.
    """
    centred = positions - positions.mean(axis=0)
    return float(np.sqrt((centred**2).sum(axis=1).mean()))


def fault(
    positions: Floats, energy: float, forces: Floats, start_radius: float,
) -> tuple[str, str]:
    """Return (reason word, message) if the geometry is invalid, else ''s.

    Words: 'nan', 'exploded'.  `start_radius` [A] is the radius of gyration
    of the start.
    """
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        return 'nan', 'energy or forces are not finite'
    largest = largest_force(forces)
    if largest > LARGEST_FORCE:
        return 'exploded', (f'largest force {largest:.3g} eV/A is above '
                            f'{LARGEST_FORCE:g}')
    radius = radius_of_gyration(positions)
    if radius > LARGEST_GROWTH * start_radius:
        return 'exploded', (f'radius of gyration grew from '
                            f'{start_radius:.2f} to {radius:.2f} A')
    return '', ''
