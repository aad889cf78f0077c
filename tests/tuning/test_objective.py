"""Objectives: the bounded default, the Pareto pair, the original ones."""
from __future__ import annotations

import pytest

from mpiapp.tuning.objective import OBJECTIVES, Scale, score, summary
from mpiapp.tuning.outcome import (
    N_VALUES, Outcome, from_json, pack, to_json, unpack
)

SCALE = Scale(4, 100.0, 50)
WIN = Outcome('ts', True, True, True, True, 20.0, 10, n_neg=1)
SLOW_WIN = Outcome('ts', True, True, True, True, 90.0, 45, n_neg=1)
INDEX = Outcome('index_only', False, True, False, True, 30.0, 15, n_neg=1)
MISS = Outcome('step_limit', False, False, False, True, 100.0, 50, n_neg=3)
ERROR = Outcome('calculator_error', usable=False, cost=2.0)


def value(name: str, *outcomes: Outcome) -> float:
    return OBJECTIVES[name].values(outcomes, SCALE)[0]


def test_the_cost_only_breaks_ties_of_the_success_rate() -> None:
    cheap_loss = value('bounded', WIN, WIN, Outcome(
        'step_limit', cost=0.0), Outcome('step_limit', cost=0.0))
    dear_win = value('bounded', SLOW_WIN, SLOW_WIN, SLOW_WIN, MISS)
    assert dear_win > cheap_loss
    assert value('bounded', WIN, MISS) > value('bounded', SLOW_WIN, MISS)


def test_a_sample_without_result_costs_the_cap() -> None:
    assert score(ERROR, SCALE) == pytest.approx(-0.5 / 4)
    assert score(ERROR, SCALE) == score(
        Outcome('step_limit', cost=1e9), SCALE)


def test_the_bounded_value_is_the_mean_of_the_scores_of_its_samples() -> None:
    outcomes = [WIN, SLOW_WIN, MISS, ERROR]
    mean = sum(score(o, SCALE) for o in outcomes) / 4
    assert value('bounded', *outcomes) == pytest.approx(mean, abs=1e-15)


def test_two_gives_rate_and_capped_cost() -> None:
    objective = OBJECTIVES['two']
    assert objective.directions == ('maximize', 'minimize')
    assert objective.values([WIN, ERROR], SCALE) == (0.5, 60.0)


def test_the_original_speed_term_is_unbounded_and_misses_zero_steps() -> None:
    # the faults are the original's: 10 over the mean steps of successes
    assert value('original_multimode', INDEX) == pytest.approx(
        -(1 + 10 / 15))
    started_there = Outcome('ts', True, True, True, steps=0)
    assert value('original_multimode', started_there) == -1.0


def test_original_sella_leaves_failures_out_of_the_mean_steps() -> None:
    assert value('original_sella', WIN, ERROR) == pytest.approx(
        0.5 + 0.01 * (1 - 10 / 50) + 0.001 * 0.5)


@pytest.mark.parametrize('name', OBJECTIVES)
def test_every_objective_has_a_value_where_all_samples_fail(
    name: str,
) -> None:
    values = OBJECTIVES[name].values([ERROR, ERROR], SCALE)
    assert all(v == v and abs(v) < 1e9 for v in values)
    assert len(values) == len(OBJECTIVES[name].directions)


def test_the_summary_counts_what_the_samples_came_to() -> None:
    told = summary([WIN, INDEX, MISS, ERROR], SCALE)
    assert told['n_samples'] == 4 and told['n_success'] == 1
    assert told['success_rate'] == 0.25 and told['index_one_rate'] == 0.5
    assert told['n_errors'] == 1 and told['mean_steps'] == 25.0
    assert told['n_neg'] == {'1': 2, '3': 1}
    assert told['reasons']['calculator_error'] == 1
    assert summary([ERROR], SCALE)['mean_steps'] is None


def test_an_outcome_survives_packing_and_storing() -> None:
    reasons = ('ts', 'calculator_error')
    for outcome in (WIN, ERROR):
        packed = pack(outcome, reasons)
        assert len(packed) == N_VALUES
        for back in (unpack(packed, reasons), from_json(to_json(outcome))):
            assert repr(back) == repr(outcome)
    with pytest.raises(ValueError, match='not the outcome'):
        from_json([1.0] * N_VALUES)
