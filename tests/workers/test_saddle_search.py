"""One search: what its end is called."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions
from mpiapp.records import Floats
from mpiapp.saddle.base import Sample, SearchSettings
from mpiapp.saddle.gad import arrived
from mpiapp.saddle.judge import look, verdict
from mpiapp.workers.saddle_search import SurfaceChoice, Surfaces, search

#: O-H of linear water with GFN2, A
LINEAR_OH = 0.924741


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
