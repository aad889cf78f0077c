"""Agreement of two methods on the conformers of a molecule."""
import numpy as np
import pytest

from mpiapp.chemistry.ranking import agreement, kendall_tau


def test_the_same_order_agrees_and_the_reverse_disagrees() -> None:
    energies = np.array([0.0, 1.0, 2.0, 5.0])
    assert kendall_tau(energies, 3 * energies + 7) == pytest.approx(1)
    assert kendall_tau(energies, -energies) == pytest.approx(-1)


def test_tau_counts_pairs_in_the_same_order() -> None:
    # of the six pairs one is in another order: (5 - 1) / 6
    assert kendall_tau(np.array([1.0, 2, 3, 4]),
                       np.array([2.0, 1, 3, 4])) == pytest.approx(4 / 6)


@pytest.mark.parametrize('a, b', [
    ([1.0, 2.0], [1.0, 2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])])
def test_no_ranking_has_no_tau(a: list[float], b: list[float]) -> None:
    assert np.isnan(kendall_tau(np.array(a), np.array(b)))


def test_the_loss_is_what_trusting_the_first_method_costs() -> None:
    found = agreement(np.array([0.0, 1.0, np.nan, 2.0]),
                      np.array([0.7, 0.2, -5.0, 0.4]))
    assert (found.n, found.same_lowest) == (3, False)
    assert found.loss == pytest.approx(0.5)


def test_nothing_in_common_is_no_agreement() -> None:
    found = agreement(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))
    assert found.n == 0 and np.isnan(found.tau) and np.isnan(found.loss)
