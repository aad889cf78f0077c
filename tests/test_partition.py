"""Costs, order and first shares."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiapp.partition import (
    DEFAULTS, FIRST_SHARE, CostModel, cost_model, initial_shares,
    longest_first, makespan, mend
)

ROUNDING = 1e-12  # relative, of sums of float64
#: LPT is within 4/3 of the best in general; on a thousand lognormal items
#: the last ones are far below the mean load
LPT_EXCESS = 1.05

odd_costs = st.lists(
    st.one_of(st.floats(1e-3, 1e3), st.sampled_from(
        [0.0, -1.0, np.nan, np.inf])), max_size=40)


@pytest.mark.parametrize('unknown', [np.nan, 0, -3, np.inf])
def test_unknown_atoms_get_the_median_cost(unknown):
    seconds = CostModel().predict([10, 20, unknown, 40])
    assert seconds[2] == np.median(seconds[[0, 1, 3]])
    assert (np.diff(seconds[[0, 1, 3]]) > 0).all()


def test_costs_are_positive_when_no_atoms_are_known():
    seconds = CostModel().predict([np.nan, 0])
    assert seconds[0] == seconds[1] > 0


def test_no_molecules_cost_nothing():
    assert CostModel().predict([]).shape == (0,)


@pytest.mark.parametrize('optimizer', ['lbfgs', 'internal'])
@pytest.mark.parametrize('method', [*DEFAULTS, 'unheard-of'])
def test_every_method_has_a_model_that_grows_with_atoms(method, optimizer):
    seconds = cost_model(method, 500, optimizer).predict(np.arange(1, 300))
    assert (np.diff(seconds) > 0).all()


def test_the_step_cap_bounds_the_evaluations():
    model = CostModel(atom_step=1.0, max_steps=9)
    assert model.predict([1000.0])[0] == 1000 * 10


def test_refit_recovers_the_scale_in_spite_of_outliers():
    true = CostModel(atom_step=0.02, power=0.5)
    n = np.random.default_rng(1).integers(20, 200, 101)
    measured = true.predict(n)
    measured[:20] *= 1000
    measured[20:25] = np.nan
    measured[25:30] = 0.0
    fitted = CostModel(atom_step=1.0, power=0.5).refit(n, measured)
    assert fitted.atom_step == pytest.approx(0.02, rel=ROUNDING)


@pytest.mark.parametrize('n, seconds', [
    ([], []), ([10], [np.nan]), ([0], [1.0]), ([np.nan], [1.0])])
def test_refit_without_measurements_changes_nothing(n, seconds):
    assert CostModel().refit(n, seconds) == CostModel()


def test_longest_first_is_stable_by_id():
    order = longest_first([1.0, 5.0, 1.0, 5.0], [7, 9, 3, 8])
    assert order.tolist() == [3, 1, 2, 0]


@given(odd_costs)
def test_the_order_has_everything_once_and_falls(costs):
    order = longest_first(costs, np.arange(len(costs)))
    assert sorted(order) == list(range(len(costs)))
    assert (np.diff(mend(costs)[order]) <= 0).all()


@given(odd_costs, st.integers(1, 60), st.integers(1, 8))
def test_shares_begin_the_order_and_leave_the_rest(costs, n_ranks, slots):
    order = longest_first(costs, np.arange(len(costs)))
    shares = initial_shares(order, costs, n_ranks, slots)
    dealt = np.concatenate(shares)
    assert len(shares) == n_ranks
    assert max(map(len, shares)) <= slots
    assert sorted(dealt) == sorted(order[:len(dealt)])
    work = mend(costs)
    allowed = FIRST_SHARE * work.sum() * (1 + ROUNDING)
    assert work[dealt].sum() <= allowed


@given(odd_costs, st.integers(1, 60), st.integers(1, 8))
def test_each_share_is_longest_first(costs, n_ranks, slots):
    order = longest_first(costs, np.arange(len(costs)))
    work = mend(costs)
    for share in initial_shares(order, costs, n_ranks, slots):
        assert (np.diff(work[share]) <= 0).all()


def test_shares_go_to_and_fro():
    costs = np.arange(40.0, 0.0, -1.0)
    shares = initial_shares(np.arange(40), costs, 2, 2)
    assert [s.tolist() for s in shares] == [[0, 3], [1, 2]]


def test_more_ranks_than_records_is_no_error():
    shares = initial_shares(longest_first([1.0] * 8, range(8)), [1.0] * 8,
                            50, 3)
    assert sum(map(len, shares)) == 2
    assert makespan([1.0] * 8, 50, np.arange(8)) == 1.0


def test_makespan_is_that_of_list_scheduling():
    # ranks get 5; 4, 2; the last 3 goes to the one that is free at 5
    assert makespan([5, 4, 2, 3], 2, np.array([0, 1, 2, 3])) == 8.0
    assert makespan([5, 4, 2, 3], 2, np.array([0, 1, 3, 2])) == 7.0
    assert makespan([], 4, np.array([], np.int64)) == 0.0


@given(odd_costs, st.integers(1, 10))
def test_makespan_is_within_the_bounds_of_any_schedule(costs, n_ranks):
    work = mend(costs)
    order = longest_first(costs, np.arange(len(costs)))
    longest = work.max(initial=0.0)
    least = max(work.sum() / n_ranks, longest)
    found = makespan(costs, n_ranks, order)
    assert found >= least * (1 - ROUNDING)
    # Graham: list scheduling
    assert found <= (work.sum() / n_ranks + longest) * (1 + ROUNDING)


@pytest.mark.parametrize('seed', range(5))
def test_longest_first_fills_eight_ranks(seed):
    costs = np.random.default_rng(seed).lognormal(0.0, 1.0, 1000)
    order = longest_first(costs, np.arange(1000))
    best = max(costs.sum() / 8, costs.max())
    assert makespan(costs, 8, order) <= LPT_EXCESS * best
