"""The simulated queue keeps the rules of the real one, and its bounds."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mpiapp import bench
from mpiapp.benchmarks import simulated
from mpiapp.benchmarks.simulated import Case, case_of
from mpiapp.errors import InputError
from mpiapp.parallel.workqueue import costs_before, grant_stop

CASE = Case(ranks=64, records=20_000, per_node=8, pull=1e-5, message=5e-5)


@pytest.fixture(scope='module')
def drawn() -> tuple[np.ndarray, np.ndarray, float]:
    predicted, actual = simulated.costs(CASE, None)
    bound = max(actual.sum() / CASE.ranks, actual.max())
    return predicted, actual, float(bound)


def test_the_queue_is_near_the_bound_and_better_than_the_others(
    drawn: tuple[np.ndarray, np.ndarray, float],
) -> None:
    ours = simulated.queue(CASE, *drawn)
    assert 1.0 <= ours.over_bound < 1.02
    for way in (simulated.manager, simulated.modulo, simulated.halves):
        assert way(CASE, *drawn).over_bound > ours.over_bound


@pytest.mark.parametrize('ranks, records, seed', [
    (16, 100, 1), (8, 64, 2), (4, 30, 1)])
def test_few_records_on_nodes_of_one_rank_are_near_the_bound_too(
    ranks: int, records: int, seed: int,
) -> None:
    case = Case(ranks=ranks, records=records, per_node=1, seed=seed)
    predicted, actual = simulated.costs(case, None)
    bound = float(max(actual.sum() / ranks, actual.max()))
    assert simulated.queue(case, predicted, actual, bound).over_bound < 1.03


def test_every_record_takes_its_time_once(
    drawn: tuple[np.ndarray, np.ndarray, float],
) -> None:
    predicted, actual, bound = drawn
    one = Case(ranks=1, records=CASE.records, per_node=1, pull=1e-5,
               message=5e-5)
    alone = simulated.queue(one, predicted, actual, bound)
    assert alone.makespan == pytest.approx(
        actual.sum() + 1e-5 * len(actual), rel=1e-6)


def test_a_range_is_an_eighth_of_the_cost_and_never_less_than_the_ranks(
) -> None:
    costs = np.array([100.0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    before = costs_before(costs, 10)
    assert grant_stop(before, 0, 10, 1, 2) == 1
    assert grant_stop(before, 0, 10, 4, 8) == 4
    assert grant_stop(before, 8, 10, 4, 8) == 10
    even = costs_before(None, 800)
    assert grant_stop(even, 0, 800, 1, 2) == 50


@pytest.mark.parametrize('word', ['ranks=0', 'ranks=x', 'nodes=3', 'mean=inf',
                                  'records=1e12', 'ranks'])
def test_wrong_cases_are_refused(word: str) -> None:
    with pytest.raises(InputError, match='--simulate'):
        case_of([word])


def test_the_command_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / 'x.json'
    assert bench.main(['queue', '--simulate', 'ranks=32', 'records=2000',
                       'per_node=8', 'pull=1e-5', 'message=5e-5', '--json',
                       str(out)]) == 0
    result = json.loads(out.read_text())
    assert [w['way'] for w in result['ways']][0] == 'mpiapp, two levels'
    assert result['files']['journals'] == 32
    assert 'mpiapp, two levels' in capsys.readouterr().out
