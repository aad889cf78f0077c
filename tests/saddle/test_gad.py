"""Steps of the dynamics: time step, modes, escapes, the end."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.records import Floats
from mpiapp.saddle.base import Point, Sample, SearchSettings
from mpiapp.saddle.eckart import Modes
from mpiapp.saddle.gad import (
    EARLY_SPAN, Walk, adapt, capped, escape, followed, needs_escape, stuck
)
from mpiapp.saddle.judge import look
from mpiapp.saddle.parameters import baseline
from mpiapp.saddle.toys import LennardJonesCluster
from mpiapp.workers.saddle_search import search

P = baseline('multimode')


class Parabola(LennardJonesCluster):
    """sum k_i x_i^2 / 2 of one particle, in its three coordinates."""

    flat = np.ones(3, bool)  # type: ignore[assignment]

    def __init__(self, *curvatures: float) -> None:
        super().__init__(np.array([1], np.int32))
        self.k = np.array(curvatures)

    def point(self, positions: Floats) -> Point:
        """Return energy and forces."""
        self.n_calls += 1
        x = positions[0]
        return Point(float(0.5 * self.k @ x**2), -(self.k * x)[None])

    def hessian(self, positions: Floats) -> Floats:
        """Return the diagonal."""
        self.n_hess += 1
        return np.diag(self.k)


def test_the_time_step_follows_the_negative_modes() -> None:
    walk = Walk(0.01)
    for _ in range(P['plateau_patience'] + 1):
        adapt(walk, 2, P)
    assert walk.dt == pytest.approx(0.02)
    adapt(walk, 3, P)
    assert walk.dt == pytest.approx(0.01)
    for _ in range(100):
        adapt(walk, 3, P)
    assert walk.dt == P['dt_min']
    adapt(walk, 1, P)
    assert walk.best == 1
    for _ in range(1000):
        adapt(walk, 1, P)
    assert walk.dt == P['dt_max']


def test_no_atom_moves_further_than_allowed() -> None:
    move = np.array([[3.0, 4, 0], [0.1, 0, 0]])
    assert np.linalg.norm(capped(move, 0.25), axis=1).max() == \
        pytest.approx(0.25)
    assert np.array_equal(capped(0.01 * move, 0.25), 0.01 * move)


def test_the_mode_is_followed_with_its_sign() -> None:
    modes = Modes(np.array([-2.0, -1.0, 3.0]), np.eye(3))
    assert np.array_equal(followed(modes, None), [1, 0, 0])
    before = np.array([0.1, -0.99, 0.0])
    assert np.array_equal(followed(modes, before), [0, -1, 0])


def test_a_resting_search_of_higher_order_escapes_downhill() -> None:
    surface = Parabola(-3.0, -1.0, 4.0)
    walk = Walk(0.01)
    for _ in range(P['escape_window']):
        walk.moves.append(1e-5)
        walk.counts.append(2)
    assert needs_escape(walk, P)
    walk.counts[-1] = 1
    assert not needs_escape(walk, P)
    here = look(surface, np.array([[0.0, 0.01, 0.0]]), SearchSettings())
    there = escape(surface, here, P)
    # lambda = -1: delta is not stretched; y is the second mode
    assert there[0, 1] == pytest.approx(0.11)
    fixed = escape(surface, here, {**P, 'adaptive_delta': False})
    assert np.array_equal(fixed, there)


def test_a_soft_second_mode_is_left_by_a_longer_way() -> None:
    surface = Parabola(-3.0, -0.04, 4.0)
    here = look(surface, np.zeros((1, 3)), SearchSettings())
    assert abs(escape(surface, here, P)[0, 1]) == pytest.approx(0.5)


def test_an_escape_keeps_atoms_apart() -> None:
    # a line of three atoms has two modes that bend it: saddle of order 2
    line = np.array([[0.0, 0, 0], [1.12, 0, 0], [2.24, 0, 0]])
    surface = LennardJonesCluster(np.full(3, 18, np.int32))
    here = look(surface, line, SearchSettings())
    far = escape(surface, here, {**P, 'min_interatomic_dist': 1.1})
    gaps = np.linalg.norm(far[:, None] - far[None], axis=2)[
        np.triu_indices(3, 1)]
    assert gaps.min() >= 1.1
    assert not np.array_equal(far, line)


class DoubleWells(Parabola):
    """The parabola and sum x_i^4 / 4: wells at +-sqrt(-k_i)."""

    def point(self, positions: Floats) -> Point:
        """Return energy and forces."""
        below, x = super().point(positions), positions[0]
        return Point(below.energy + float(0.25 * (x**4).sum()),
                     below.forces - x**3)

    def hessian(self, positions: Floats) -> Floats:
        """Return the diagonal."""
        return super().hessian(positions) + np.diag(3.0 * positions[0]**2)


def test_multimode_leaves_a_saddle_of_second_order() -> None:
    sample = Sample(0, 0, 'x', np.array([1], np.int32), np.zeros((1, 3)))
    stays, leaves = (search(
        sample, DoubleWells(-3.0, -1.0, 4.0), SearchSettings(
            method, max_steps=600)) for method in ('gad', 'multimode'))
    assert (stays.reason, stays.n_neg) == ('higher_order', 2)
    assert leaves.reason == 'ts' and leaves.n_escape > 0
    np.testing.assert_allclose(
        np.abs(leaves.positions), [[0.0, 1.0, 0.0]], atol=0.03)


def test_what_no_longer_changes_is_ended() -> None:
    flat = [2] * (2 * EARLY_SPAN)
    still = [0.5] * (2 * EARLY_SPAN)
    assert stuck(flat, still, 'both') and stuck(flat, still, 'index')
    assert not stuck(flat[:-1], still[:-1], 'both')
    falling = [3] * EARLY_SPAN + [2] * EARLY_SPAN
    assert not stuck(falling, still, 'both')
    # forces that fall are progress, though n_neg stays
    nearer = [0.5] * EARLY_SPAN + [0.2] * EARLY_SPAN
    assert not stuck(flat, nearer, 'both') and stuck(flat, nearer, 'index')


def test_minimum_and_higher_order_are_told_apart() -> None:
    places = {'minimum': (1.0, 2.0, 3.0), 'higher_order': (-1.0, -2.0, 3.0),
              'ts': (-1.0, 2.0, 3.0)}
    for reason, curvatures in places.items():
        surface = Parabola(*curvatures)
        sample = Sample(0, 0, 'x', np.array([1], np.int32), np.zeros((1, 3)))
        found = search(sample, surface, SearchSettings('gad', max_steps=3))
        assert found.reason == reason, found
