"""Is a stationary point a saddle: which try off it leads down?"""
from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.bonds import bonds_changed
from mpiapp.optimize.tasks import CONVERGED, STEP_LIMIT, Relaxed
from mpiapp.records import Floats
from mpiapp.units import KCAL_PER_EV

#: fall of the energy, kcal/mol, that tells a saddle
SADDLE_FALL_KCAL = 0.02
#: outcomes of a try that made its steps
MADE = (CONVERGED, STEP_LIMIT)


def way_down(
    numbers: NDArray[np.int32], end: Relaxed, tries: Sequence[Relaxed],
    guarded: bool,
) -> tuple[Relaxed | None, str]:
    """Return the deepest of the tries if it lies below `end`, else None.

    With None comes a remark if tries failed: what they would have shown is
    not known.  `guarded`: a try whose bonds changed failed too.
    """
    faults = [fault_of(numbers, end.positions, one, guarded, MADE)
              for one in tries]
    sound = [one for one, fault in zip(tries, faults, strict=True)
             if not fault]
    best = min(sound, key=lambda one: one.e_final, default=None)
    if best is not None and (
            end.e_final - best.e_final) * KCAL_PER_EV > SADDLE_FALL_KCAL:
        return best, ''
    told = [fault for fault in faults if fault]
    if not told:
        return None, ''
    share = f' in {len(told)} of {len(tries)} tries' if sound else ''
    return None, f'saddle test failed{share}: {told[0]}'


def fault_of(
    numbers: NDArray[np.int32], start: Floats, leg: Relaxed, guarded: bool,
    fit: Collection[str] = (CONVERGED,),
) -> str:
    """Return why a leg off `start` [n, 3] A is of no use, '' if it is.

    `fit` are the outcomes that are.
    """
    if leg.outcome not in fit:
        return f'{leg.outcome} {leg.message}'
    if not guarded:
        return ''
    change = bonds_changed(numbers, start, leg.positions)
    return f'bonds_changed {change}' if change else ''
