"""Known saddles of exact surfaces are found."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpiapp.saddle import finite
from mpiapp.saddle.base import Sample, SearchSettings, Stopped, SurfaceError
from mpiapp.saddle.toys import EDGE, LennardJonesCluster, MullerBrown
from mpiapp.workers.saddle_samples import SampleChoice, load_samples
from mpiapp.workers.saddle_search import search

ONE = np.array([1], np.int32)
#: Mueller and Brown 1979: the saddles, and energies times 0.01
SADDLES = {(-0.822, 0.624): -0.40665, (0.212, 0.293): -0.72249}


def particle(x: float, y: float) -> Sample:
    return Sample(0, 0, 'particle', ONE, np.array([[x, y, 0.0]]))


@pytest.mark.parametrize('method', ['gad', 'multimode'])
@pytest.mark.parametrize('start', [
    (-0.75, 0.55), (-0.9, 0.7), (0.3, 0.25), (0.15, 0.35)])
def test_muller_brown_saddles_are_found(
    method: str, start: tuple[float, float],
) -> None:
    found = search(particle(*start), MullerBrown(ONE),
                   SearchSettings(method, fmax=1e-3))
    assert found.reason == 'ts' and found.n_neg == 1
    x, y = found.positions[0, :2]
    place, energy = min(SADDLES.items(), key=lambda s: np.hypot(
        x - s[0][0], y - s[0][1]))
    assert np.hypot(x - place[0], y - place[1]) < 2e-3
    assert found.energy == pytest.approx(energy, abs=1e-4)
    assert found.lambda0 < 0 < found.lambda1


def test_a_search_at_its_end_makes_no_step() -> None:
    sample = load('muller_brown', 'ts')[0]
    found = search(sample, MullerBrown(ONE), SearchSettings())
    assert (found.reason, found.steps, found.n_calls) == ('ts', 0, 1)
    assert found.n_hess == 1
    assert found.rmsd_to_reference < 1e-6


def test_the_reference_may_be_the_own_saddle_of_the_calculator() -> None:
    """The TS of the file is off by 0.1 A, as that of another method."""
    true = load('muller_brown', 'ts')[0]
    assert true.ts is not None
    sample = replace(true, ts=true.ts + [0.1, 0, 0], start=true.ts)
    by_file = search(sample, MullerBrown(ONE), SearchSettings())
    own = search(sample, MullerBrown(ONE), SearchSettings(reference='own'))
    assert by_file.rmsd_to_reference == pytest.approx(0.1)
    assert own.rmsd_to_reference < 0.01
    np.testing.assert_allclose(own.reference, true.ts, atol=0.01)
    # what the reference takes is not counted
    assert (own.n_calls, own.n_hess) == (by_file.n_calls, by_file.n_hess)


def test_without_an_own_saddle_there_is_no_reference() -> None:
    true = load('muller_brown', 'ts')[0]
    assert true.ts is not None
    sample = replace(true, ts=np.full((1, 3), 2 * EDGE), start=true.ts)
    found = search(sample, MullerBrown(ONE), SearchSettings(reference='own'))
    assert found.reason == 'ts' and len(found.reference) == 0
    assert np.isnan(found.rmsd_to_reference)


def load(name: str, start: str) -> tuple[Sample, ...]:
    from mpiapp.data_files import data_file
    path = data_file(f'saddles/{name}.extxyz')
    return load_samples([path], SampleChoice(start, max_samples=1)).samples


def test_a_cluster_has_its_rigid_motions_removed() -> None:
    sample = load('lj7', 'ts_noise0.03A')[0]
    surface = LennardJonesCluster(sample.numbers)
    found = search(sample, surface,
                   SearchSettings('multimode', fmax=1e-4, ends=True))
    assert found.reason == 'ts' and found.ends == 'ok'
    assert found.energy == pytest.approx(-15.4447, abs=1e-3)
    # none of the six motions counts: the second value is a true vibration
    assert found.lambda1 > 0.1
    assert found.rmsd_to_reference < 0.01
    assert found.same_connectivity == -1


@pytest.mark.parametrize('surface, start', [
    (MullerBrown(ONE), np.array([[-0.4, 0.7, 0.0]])),
    (LennardJonesCluster(np.full(3, 18, np.int32)),
     np.array([[0.0, 0, 0], [1.2, 0, 0.1], [0.3, 1.0, -0.2]])),
], ids=['muller-brown', 'lj'])
def test_hessians_are_differences_of_forces(
    surface: MullerBrown, start: np.ndarray,
) -> None:
    near = finite.hessian(lambda x: surface.point(x).forces, start, 1e-4)
    np.testing.assert_allclose(surface.hessian(start), near, atol=1e-4)
    assert surface.n_hess == 1 and surface.n_calls > 0


def test_far_away_is_an_error_of_the_calculator() -> None:
    with pytest.raises(SurfaceError, match='beyond'):
        MullerBrown(ONE).point(np.array([[2 * EDGE, 0, 0]]))
    found = search(particle(2 * EDGE, 0), MullerBrown(ONE))
    assert found.reason == 'calculator_error'
    assert np.isnan(found.energy)


def test_a_stop_ends_a_search() -> None:
    with pytest.raises(Stopped):
        search(particle(-0.5, 1.0), MullerBrown(ONE), stopping=lambda: True)


def test_index_alone_ends_earlier_as_the_original_did() -> None:
    start = particle(-0.62, 0.75)
    both = search(start, MullerBrown(ONE), SearchSettings('gad'))
    index = search(start, MullerBrown(ONE),
                   SearchSettings('gad', stop='index'))
    assert both.is_ts
    assert index.reason == 'index_only' and index.has_index_one
    assert index.steps < both.steps and index.fmax > 0.03


def test_counts_are_of_one_search() -> None:
    surface = MullerBrown(ONE)
    first = search(particle(-0.75, 0.55), surface)
    again = search(particle(-0.75, 0.55), surface)
    assert (first.n_calls, first.n_hess) == (again.n_calls, again.n_hess)
    assert np.array_equal(first.positions, again.positions)


def test_time_is_up_between_two_evaluations() -> None:
    found = search(particle(-0.5, 1.0), MullerBrown(ONE),
                   SearchSettings(timeout=1e-9))
    assert found.reason == 'timeout'
    assert np.array_equal(found.positions, [[-0.5, 1.0, 0.0]])
