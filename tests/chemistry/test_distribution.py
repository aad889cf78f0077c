"""Features of a distribution, and class fractions."""
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mpiapp.chemistry.distribution import (
    FRACTIONS, STATISTICS, fractions, indicators, statistics
)

#: float64 arithmetic in another order
ROUNDING = 1e-12


def test_statistics_are_those_of_pandas(rng: np.random.Generator) -> None:
    values = rng.normal(size=17)
    series = pd.Series(values)
    expected = [series.mean(), series.std(), series.min(), series.max(),
                series.median(), *series.quantile([.1, .25, .75, .9])]
    found = statistics(np.append(values, np.nan))
    assert found == pytest.approx(expected, abs=ROUNDING)
    assert len(found) == len(STATISTICS)


def test_of_one_value_there_is_no_spread_and_of_none_nothing() -> None:
    one = dict(zip(STATISTICS, statistics(np.array([2.0])), strict=True))
    assert np.isnan(one.pop('std')) and set(one.values()) == {2.0}
    assert np.isnan(statistics(np.array([np.nan]))).all()


def test_fractions_of_hand_made_conformers() -> None:
    columns = {
        'plane_angle': np.array([10.0, 19.9, 20.0, 80.0]),
        'vertical': np.array([3.3, 3.7, 4.5, np.nan]),
        'overlap': np.array([60.0, 50.0, 31.0, 0.0]),
        'dark': np.array([1.0, 0.0, 0.0, np.nan])}
    words = ['strong', 'weak', 'monomer', 'monomer']
    found = dict(zip(FRACTIONS, fractions(columns, words), strict=True))
    assert found == {
        'frac_strong': 0.25, 'frac_weak': 0.25, 'frac_any': 0.5,
        'frac_monomer': 0.5, 'frac_theta_lt_20': 0.5,
        'frac_d_in_range': 0.5, 'frac_d_lt_4p5': 0.5,
        'frac_overlap_gt_50': 0.25, 'frac_overlap_gt_30': 0.75,
        'frac_dark_excimer': 0.25}


def test_without_chromophores_fractions_are_not_zero_but_unknown() -> None:
    assert np.isnan(fractions({}, ['none', ''])).all()
    table = indicators(['none', 'weak', 'strong', 'monomer'],
                       np.array([0.0, 0.0, 1.0, 0.0]))
    assert np.isnan(table[0]).all()
    assert table[1:].tolist() == [[0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]]
