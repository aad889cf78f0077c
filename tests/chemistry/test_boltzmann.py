"""Weights, means and their errors against known answers."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiapp.chemistry.boltzmann import (
    ENERGY_ERROR, GAS_CONSTANT, bootstrap_spread, energy_error_change,
    n_effective, seed_of, weighted_means, weights
)
from mpiapp.units import KCAL_PER_EV

#: float64 sums of a few numbers
EXACT = 1e-12
#: absolute energies of 200 keV leave 3e-11 eV, 1e-9 of kT
ROUNDING = 1e-8
#: relative; 200 samples of a standard deviation have 5 %, four times that
SAMPLING = 0.2
KT = GAS_CONSTANT * 298.0 / KCAL_PER_EV  # eV


def test_two_states_have_the_weights_of_the_textbook() -> None:
    w = weights(np.array([0.0, KT * np.log(3)]), 298.0)
    assert w == pytest.approx([0.75, 0.25], abs=EXACT)


def test_equal_energies_have_equal_weights() -> None:
    w = weights(np.full(7, -2e5), 298.0)
    assert w.tolist() == [pytest.approx(1 / 7, abs=EXACT)] * 7
    assert n_effective(w) == pytest.approx(7, abs=1e-10)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
       st.floats(1.0, 5000.0), st.floats(-3e5, 3e5))
def test_weights_sum_to_one_whatever_the_energies(
    energies: list[float], temperature: float, shift: float,
) -> None:
    w = weights(np.array(energies) + shift, temperature)
    assert w.sum() == pytest.approx(1.0, abs=EXACT)
    assert 1 - EXACT <= n_effective(w) <= len(energies) + 1e-9


def test_the_offset_of_the_energies_does_not_matter() -> None:
    energies = np.array([0.0, 0.01, 0.05])
    assert weights(energies - 216_500.0, 298.0) == pytest.approx(
        weights(energies, 298.0), abs=ROUNDING)


def test_hotter_is_more_even() -> None:
    energies = np.array([0.0, 0.02, 0.03, 0.1])
    found = [n_effective(weights(energies, t)) for t in (1, 200, 400, 1e6)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(1) and found[-1] == pytest.approx(
        4, abs=1e-3)


def test_degeneracies_are_factors() -> None:
    energies = np.array([0.0, KT])
    w = weights(energies, 298.0, np.array([1.0, 2.0]))
    assert w[1] / w[0] == pytest.approx(2 / np.e, abs=EXACT)


def test_means_are_over_what_is_known() -> None:
    w = np.array([0.5, 0.25, 0.25])
    values = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan],
                       [4.0, 7.0, np.nan]])
    means = weighted_means(w, values)
    assert means[:2].tolist() == [2.0, 6.0]
    assert np.isnan(means[2])


def test_bootstrap_of_a_mean_is_its_standard_error(
    rng: np.random.Generator,
) -> None:
    values = rng.normal(size=(400, 1))
    spread = bootstrap_spread(np.zeros(400), 298.0, values, 1)
    assert spread[0] == pytest.approx(values.std() / 20, rel=SAMPLING)


def test_bootstrap_of_one_conformer_knows_nothing() -> None:
    assert np.isnan(bootstrap_spread(np.zeros(1), 298.0, np.ones((1, 2)),
                                     1)).all()
    assert energy_error_change(np.zeros(1), 298.0, np.ones((1, 2)),
                               1).tolist() == [0, 0]


def test_bootstrap_stands_samples_without_the_lowest() -> None:
    energies = np.array([0.0, 500.0, 1000.0])
    spread = bootstrap_spread(energies, 200.0, np.arange(3.0)[:, None], 3)
    assert np.isfinite(spread).all() and spread[0] > 0


def test_a_small_energy_error_changes_means_in_proportion() -> None:
    values = np.array([[0.0], [1.0]])
    change = energy_error_change(np.zeros(2), 298.0, values, 5,
                                 error=0.01)[0]
    # d<X>/dE = 1/4 kT for two equal states, by the difference of two errors
    expected = 0.25 * np.sqrt(2) * 0.01 / (GAS_CONSTANT * 298.0)
    assert change == pytest.approx(expected, rel=SAMPLING)
    assert energy_error_change(np.zeros(2), 298.0, values, 5)[0] > change
    assert ENERGY_ERROR == 0.5


def test_the_same_molecule_has_the_same_seed() -> None:
    assert seed_of('a', 0) == seed_of('a', 0) != seed_of('a', 1)
    # not Python's hash, which differs from process to process
    assert seed_of('a', 0) == 12747683443759583751
    values = np.arange(5.0)[:, None]
    twice = [bootstrap_spread(np.arange(5) * KT, 298.0, values, 9)
             for _ in range(2)]
    assert twice[0].tobytes() == twice[1].tobytes()
