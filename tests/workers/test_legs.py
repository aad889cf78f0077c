"""Legs of a record: stopped anywhere, they go on to the same bits."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mpiapp.optimize.registry import optimizer
from mpiapp.potentials import PotentialOptions, build
from mpiapp.records import Floats
from mpiapp.workers.legs import Legs, Stopped

#: two bonded carbons and one that is pulled in
NUMBERS = np.array([6, 6, 6], np.int32)
START = np.array([[0.0, 0, 0], [1.7, 0.1, 0], [0.2, 1.9, 0.3]])
#: number of the record, as warnings name it
ROW = 7
#: steps of the last leg, which does not converge in them
FEW = 7


def legs(stopping: Callable[[], bool], state: bytes = b'') -> Legs:
    return Legs(build(PotentialOptions('lj')), optimizer('lbfgs'), 0.005,
                None, stopping, state, ROW)


def course(one: Legs) -> tuple[Floats, list[float]]:
    """Relax, shift, relax again: two legs of which one needs the other."""
    first, change = one.relax(NUMBERS, START, 200)
    assert first.outcome == 'converged'
    moved = first.positions * 1.05
    second, last = one.relax(NUMBERS, moved, FEW, 0.0, optimizer('lbfgs'))
    assert (second.outcome, second.steps) == ('step_limit', FEW)
    return second.positions, [change, last, first.e_final, second.e_final]


def never() -> bool:
    return False


def test_a_course_stopped_at_every_look_ends_in_the_same_bits() -> None:
    expected, numbers = course(legs(never))
    state, n_stops = b'', 0
    while True:
        looks = iter([False, True])
        try:
            found, same = course(legs(lambda: next(looks), state))
            break
        except Stopped as stop:
            state = stop.state
            n_stops += 1
        assert n_stops < 500
    assert n_stops > FEW
    assert found.tobytes() == expected.tobytes()
    assert same == numbers


def test_finished_legs_are_not_computed_again() -> None:
    whole = legs(never)
    course(whole)
    again = legs(never, whole.pack())
    course(again)
    assert whole.atom_steps > 0 and again.atom_steps == 0


@pytest.mark.parametrize('state', [b'no state', b'PK\x03\x04 torn'])
def test_a_damaged_state_is_a_start_anew(
    state: bytes, caplog: pytest.LogCaptureFixture,
) -> None:
    expected, _ = course(legs(never))
    assert not caplog.records
    found, _ = course(legs(never, state))
    assert found.tobytes() == expected.tobytes()
    assert f'row {ROW} is relaxed anew' in caplog.text


def test_a_leg_of_another_optimiser_is_relaxed_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks = iter([False, True])
    with pytest.raises(Stopped) as stop:
        legs(lambda: next(looks)).relax(NUMBERS, START, 200)
    other = optimizer('internal')
    found, _ = legs(never, stop.value.state).relax(
        NUMBERS, START, 200, None, other)
    expected, _ = legs(never).relax(NUMBERS, START, 200, None, other)
    assert found.positions.tobytes() == expected.positions.tobytes()
    assert f'row {ROW}: a leg is relaxed anew' in caplog.text


def test_the_last_change_of_the_energy_is_told() -> None:
    one = legs(never)
    end, change = one.relax(NUMBERS, START, 200)
    assert 0 < change < 1e-4
    still, nothing = one.relax(NUMBERS, end.positions, 200)
    assert still.steps == 0 and nothing == 0.0
