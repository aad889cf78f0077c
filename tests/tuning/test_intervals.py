"""Bootstrap intervals over reactions."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.tuning.intervals import bootstrap, paired


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
    ours, others = [1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]
    found = paired(ours, others, [0, 1, 2, 3])
    assert found.mean == 0.25 and found.low == 0.0 and found.sign == 0
    assert paired(ours, ours, [0, 1, 2, 3]).sign == 0
    with pytest.raises(ValueError, match='one group'):
        bootstrap([], [])
