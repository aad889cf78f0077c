"""The saddle test: what counts as a way down, and what is told."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.optimize.tasks import Relaxed
from mpiapp.records import Floats
from mpiapp.workers.dimer_saddle import SADDLE_FALL_KCAL, way_down

#: two bonded carbons, and the same torn apart
NUMBERS = np.array([6, 6], np.int32)
BONDED = np.array([[0.0, 0, 0], [1.4, 0, 0]])
TORN = np.array([[0.0, 0, 0], [3.4, 0, 0]])
#: eV; falls of the energy far above and far below what tells a saddle
DEEP, DEEPER, FAINT = -0.1, -0.2, -1e-5


def leg(energy: float, outcome: str = 'step_limit',
        positions: Floats = BONDED) -> Relaxed:
    return Relaxed(0, outcome, 'why', energy, energy, np.nan, positions,
                   0.0, 20, 21, 0.0, 42)


END = leg(0.0, 'converged')


def test_the_deepest_try_is_the_way_down() -> None:
    tries = [leg(FAINT), leg(DEEPER), leg(DEEP, 'converged'), leg(FAINT)]
    assert way_down(NUMBERS, END, tries, True) == (tries[1], '')


def test_a_faint_fall_tells_no_saddle() -> None:
    assert abs(FAINT) * 23 < SADDLE_FALL_KCAL
    assert way_down(NUMBERS, END, [leg(FAINT)] * 4, True) == (None, '')


@pytest.mark.parametrize('bad', [
    leg(DEEPER, 'exploded'), leg(DEEPER, 'nan'),
    leg(DEEPER, 'step_limit', TORN)])
def test_a_broken_try_is_no_way_down(bad: Relaxed) -> None:
    sound = leg(DEEP)
    assert way_down(NUMBERS, END, [bad, sound], True) == (sound, '')
    best, remark = way_down(NUMBERS, END, [bad, leg(FAINT)], True)
    assert best is None
    assert remark.startswith('saddle test failed in 1 of 2 tries: ')


def test_bonds_of_an_unguarded_method_may_change() -> None:
    torn = leg(DEEP, 'step_limit', TORN)
    assert way_down(NUMBERS, END, [torn], False) == (torn, '')


def test_a_test_of_which_all_tries_failed_is_told() -> None:
    tries = [leg(np.nan, 'calculator_error')] * 4
    assert way_down(NUMBERS, END, tries, True) == (
        None, 'saddle test failed: calculator_error why')
