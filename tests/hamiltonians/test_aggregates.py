"""Means, intervals and known errors."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.hamiltonians.aggregates import (
    NAMES, groups_of, is_signed, summarise
)
from mpiapp.hamiltonians.original import KEYS, means
from mpiapp.hamiltonians.perturb import RECIPES, noise
from mpiapp.workers.hamiltonian_columns import PAIRS

SHELLS = [(0, 0), (1, 0), (1, 1)]


def test_figures_are_those_of_the_values() -> None:
    values = np.array([1.0, 2.0, 3.0, 10.0])
    found = summarise({'a': values})['a']
    assert set(found) == set(NAMES)
    assert (found['n'], found['n_nan'], found['mean']) == (4, 0, 4.0)
    assert found['std'] == pytest.approx(values.std(ddof=1))
    assert found['median'] == 2.5 and found['max'] == 10.0
    assert 1.0 <= found['ci_low'] < 4.0 < found['ci_high'] <= 10.0
    signed = summarise({'a': np.array([1.0, -2.0, 3.0])})['a']
    assert (signed['mean'], signed['mean_abs']) == (
        pytest.approx(2 / 3), 2.0)


@pytest.mark.parametrize('name, signed', [
    ('pred-gt/gap_error', True), ('pred-calc/energy_one_cycle', True),
    ('start_error_pred', True), ('pred-gt/energy_diff', False),
    ('cycles_saved_pred', False)])
def test_the_size_of_signed_errors_is_that_of_absolute_values(
    name: str, signed: bool,
) -> None:
    values = np.array([-5.0, 1.0, 2.0, -3.0])
    found = summarise({name: values})[name]
    of = np.abs(values) if signed else values
    assert found['max'] == of.max()
    assert found['p95'] == np.percentile(of, 95)
    assert found['mean'] == -1.25 and found['mean_abs'] == 2.75
    assert 1.0 <= found['abs_ci_low'] < 2.75 < found['abs_ci_high'] <= 5.0


def test_every_metric_named_error_has_a_sign_or_is_none() -> None:
    named = {name for metrics in PAIRS.values() for name, _, _ in metrics
             if name.endswith('_error')}
    assert {n for n in named if not is_signed(n)} == {'dipole_vec_error'}


def test_nan_is_counted_and_enters_nothing() -> None:
    found = summarise({'a': np.array([1.0, np.nan, 3.0]),
                       'b': np.array([1.0, 2.0, 3.0]),
                       'c': np.full(3, np.nan)})
    assert list(found) == ['a', 'b', 'c']
    assert (found['a']['n'], found['a']['n_nan']) == (2, 1)
    assert found['a']['mean'] == found['b']['mean'] == 2.0
    assert found['c']['n'] == 0 and np.isnan(found['c']['mean'])


def test_the_interval_covers_the_mean_of_a_normal_sample(
    rng: np.random.Generator,
) -> None:
    sample = rng.normal(size=400)
    found = summarise({'a': sample})['a']
    width = found['ci_high'] - found['ci_low']
    assert width == pytest.approx(2 * 1.96 / 20, rel=0.15)
    again = summarise({'a': sample, 'b': sample})
    assert again['a'] == pytest.approx(again['b'], rel=1e-12)
    assert again['a'] == pytest.approx(found, rel=1e-12)


def test_molecules_keep_their_order() -> None:
    groups = groups_of(['B', 'A', 'B'])
    assert list(groups) == ['B', 'A'] and groups['B'].tolist() == [0, 2]


def test_the_original_has_its_own_names() -> None:
    found = means(lambda name: [1.0, 3.0] if name == 'e_gt' else [], 2)
    assert set(found) == {*KEYS, 'error_count'}
    assert found['gt_energy'] == 2.0 and found['error_count'] == 2
    assert found['forces_diff l2 (pred-gt)'] is None


def test_errors_are_what_they_are_called(rng: np.random.Generator) -> None:
    true = noise(rng, 5, 1.0)
    overlap = np.eye(5) + 0.1 * noise(rng, 5, 1.0)
    made = {name: recipe(true, overlap, SHELLS, 1e-2,
                         np.random.default_rng(1)) - true
            for name, recipe in RECIPES.items()}
    assert not made['zero'].any() and not made['exact'].any()
    np.testing.assert_allclose(made['shift'], 1e-2 * overlap)
    assert np.abs(made['noise']).min() > 0
    np.testing.assert_array_equal(made['noise'], made['noise'].T)
    assert np.flatnonzero(made['block']).tolist() == [0]
    assert 0 < np.abs(made['float32']).max() < 1e-6


def test_noise_has_its_size(rng: np.random.Generator) -> None:
    drawn = noise(rng, 300, 0.02)
    assert drawn.std() == pytest.approx(0.02, rel=0.02)
