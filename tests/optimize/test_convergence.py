"""Guards and the convergence test, at and beside their limits."""
import numpy as np
import pytest

from mpiapp.optimize.convergence import (
    LARGEST_FORCE, LARGEST_GROWTH, converged, fault, largest_force,
    radius_of_gyration
)

SQUARE = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])


def test_largest_force_is_that_of_an_atom_not_of_a_component():
    assert largest_force(np.array([[3.0, 4.0, 0.0], [4.5, 0, 0]])) == 5.0


def test_convergence_is_strictly_below_fmax():
    forces = np.array([[0.0, 0.0, 0.5]])
    assert not converged(forces, 0.5)
    assert converged(forces, np.nextafter(0.5, 1))


def test_zero_force_is_converged_at_any_fmax():
    assert converged(np.zeros((2, 3)), 0.0)


def test_nan_is_not_converged():
    assert not converged(np.full((2, 3), np.nan), 1.0)


def test_radius_of_gyration_ignores_position():
    assert radius_of_gyration(SQUARE + 7.0) == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize('energy, force', [
    (np.nan, 0.0), (np.inf, 0.0), (0.0, np.nan), (0.0, -np.inf),
])
def test_values_that_are_not_finite_are_nan(energy, force):
    forces = np.zeros((4, 3))
    forces[2, 1] = force
    assert fault(SQUARE, energy, forces, 1.0)[0] == 'nan'


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('factor, word', [
    (1.0, ''), (1.01, 'exploded'), (1e190, 'exploded'),
])
def test_force_guard(factor, word):
    forces = np.zeros((4, 3))
    forces[3, 0] = -LARGEST_FORCE * factor
    assert fault(SQUARE, 0.0, forces, 1.0)[0] == word


@pytest.mark.parametrize('factor, word', [(0.99, ''), (1.01, 'exploded')])
def test_growth_guard(factor, word):
    grown = SQUARE * LARGEST_GROWTH * factor
    assert fault(grown, 0.0, np.zeros((4, 3)), 1.0)[0] == word


def test_a_single_atom_cannot_explode_by_moving():
    atom = np.array([[1e3, 0.1, 0.7]])
    assert fault(atom, 0.0, np.zeros((1, 3)), 0.0) == ('', '')
