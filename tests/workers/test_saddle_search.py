"""One search: what its end is called and what is counted."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions
from mpiapp.records import Floats
from mpiapp.saddle.base import Point, Sample, SearchSettings, SurfaceError
from mpiapp.saddle.gad import arrived
from mpiapp.saddle.judge import look, verdict
from mpiapp.saddle.toys import LennardJonesCluster
from mpiapp.workers import saddle_sella
from mpiapp.workers.saddle_search import SurfaceChoice, Surfaces, search
from mpiapp.workers.saddle_tuning import outcome_of

#: O-H of linear water with GFN2, A
LINEAR_OH = 0.924741
PIECES = np.array([[0.0, 0, 0], [1.2, 0, 0], [6.0, 1.0, 0.1]])
WHOLE = np.array([[0.0, 0, 0], [1.2, 0, 0], [2.0, 1.0, 0.1]])


class Breaks(LennardJonesCluster):
    """Its bonds have a meaning; no SCF converges after so many points."""

    bonded = True
    sound = 4

    def point(self, positions: Floats) -> Point:
        """Return energy and forces; raises SurfaceError."""
        if self.n_calls >= self.sound:
            raise SurfaceError('calculator_error', 'SCF failed')
        return super().point(positions)


@pytest.mark.parametrize('start, reason', [
    (PIECES, 'dissociated'), (WHOLE, 'calculator_error')])
def test_a_search_without_an_end_is_no_result_of_0_steps(
    start: Floats, reason: str,
) -> None:
    sample = Sample(0, 0, 'co2', np.array([8, 6, 8], np.int32), start,
                    ts=WHOLE)
    settings = SearchSettings('gad', max_steps=50)
    found = search(sample, Breaks(sample.numbers), settings)
    # the fourth point is that after the third step, the fifth fails
    assert (found.reason, found.steps, found.n_neg) == (reason, 3, -1)
    assert found.n_calls == 4
    assert not outcome_of(found, settings).usable
    # one that has ended in pieces is a result
    found = search(sample, LennardJonesCluster(sample.numbers), settings)
    assert found.n_neg >= 0 and outcome_of(found, settings).usable


def test_the_steps_of_sella_before_a_failure_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def walk(atoms: Any, *words: Any) -> Iterator[int]:
        yield from range(8)
        raise SurfaceError('calculator_error', 'SCF failed')
    monkeypatch.setattr(saddle_sella, 'run', walk)
    sample = Sample(0, 0, 'co2', np.array([8, 6, 8], np.int32), WHOLE)
    found = search(sample, Breaks(sample.numbers), SearchSettings('sella'))
    assert (found.reason, found.steps) == ('calculator_error', 7)


@pytest.fixture(scope='module')
def gfn2() -> Surfaces:
    return Surfaces(SurfaceChoice(PotentialOptions('gfn2')))


def water(positions: Floats) -> Sample:
    return Sample(0, 0, 'water', np.array([8, 1, 1], np.int32), positions)


def linear(off: float) -> Floats:
    """Return linear water, its O displaced by so much, A."""
    return np.array([[off, 0, 0], [0, 0, LINEAR_OH], [0, 0, -LINEAR_OH]])


@pytest.mark.parametrize('off', [0.0, 1e-5, 3e-4, 1e-3])
def test_linear_water_is_a_saddle_of_second_order(
    off: float, gfn2: Surfaces,
) -> None:
    sample, settings = water(linear(off)), SearchSettings()
    surface = gfn2.surface(sample)
    here = look(surface, sample.start, settings)
    assert here.fmax < settings.fmax
    assert here.n_neg == 2 and here.eigenvalue(1) < -10.0
    assert not arrived(here, settings)
    assert verdict(surface, sample, here, settings, False)[0] == \
        'higher_order'


def test_no_search_for_a_saddle_of_water_ends_at_the_linear_one(
    gfn2: Surfaces,
) -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal((3, 3))
    sample = water(linear(0.0) + noise)
    found = search(sample, gfn2.surface(sample),
                   SearchSettings('multimode', max_steps=30))
    assert found.reason == 'step_limit' and found.n_neg != 1, found
