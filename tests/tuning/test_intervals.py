"""Bootstrap intervals over reactions."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.reporting.validation import comparison_lines, verdict
from mpiapp.tuning.intervals import FEWEST, Interval, bootstrap, paired
from mpiapp.tuning.outcome import Outcome


def test_the_interval_is_that_of_the_mean(rng: np.random.Generator) -> None:
    values = rng.normal(1.0, 2.0, 400)
    found = bootstrap(values.tolist(), list(range(400)))
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)
    assert found.sign == 1


def test_draws_of_one_reaction_do_not_narrow_it() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    once = bootstrap(values, list(range(6)))
    ten_draws = bootstrap(values * 10, list(range(6)) * 10)
    assert ten_draws.low == once.low and ten_draws.high == once.high


def test_a_difference_is_taken_sample_by_sample() -> None:
    ours, others = [1.0, 1.0, 0.0, 1.0] * 2, [1.0, 0.0, 0.0, 1.0] * 2
    groups = list(range(8))
    found = paired(ours, others, groups)
    assert found.mean == 0.25 and found.low == 0.0 and found.sign == 0
    assert paired(ours, ours, groups).sign == 0
    with pytest.raises(ValueError, match='one group'):
        bootstrap([], [])


@pytest.mark.parametrize('n', range(1, FEWEST))
def test_few_reactions_have_no_interval_and_no_verdict(n: int) -> None:
    groups = list(range(n)) * 3
    ours, others = [1.0] * 3 * n, [0.0] * 3 * n
    found = paired(ours, others, groups)
    assert found.mean == 1.0 and found.sign == 0 and not found.known
    assert np.isnan([found.low, found.high]).all()
    assert found.listed() == [1.0, None, None]
    told = {f'{name}_{kind}': found for name in ('success', 'index_one',
                                                 'calls')
            for kind in ('baseline', 'compared', 'difference')}
    outcomes = [[Outcome('step_limit')] * 3 * n, [Outcome('ts', True)] * 3 * n]
    lines = comparison_lines(told, outcomes, 'these', n, 3 * n)
    assert 'too few reactions for an interval, 6 at least' in lines[1]
    assert lines[-1] == 'verdict       none: too few reactions for an interval'
    assert not any('nan' in line for line in lines)


def test_six_reactions_that_agree_are_a_verdict() -> None:
    found = paired([1.0] * 6, [0.0] * 6, list(range(6)))
    assert (found.low, found.high, found.sign) == (1.0, 1.0, 1)
    assert 'more saddle points' in verdict(
        {'success_difference': found,
         'calls_difference': Interval(0.0, 0.0, 0.0)})
