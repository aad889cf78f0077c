"""What a search means to a study."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.potentials.base import PotentialOptions
from mpiapp.potentials.lj import build
from mpiapp.saddle.base import Sample, SearchSettings
from mpiapp.saddle.parameters import check
from mpiapp.saddle.surfaces import PotentialSurface
from mpiapp.saddle.toys import LennardJonesCluster
from mpiapp.workers.saddle_search import search
from mpiapp.workers.saddle_tuning import cost_cap, outcome_of

#: four atoms of argon near a square, A
NUMBERS = np.full(4, 18, np.int32)
START = np.array([[0, 0, 0], [3.8, 0, 0], [0, 3.8, 0], [3.7, 3.9, 0.4]])


@pytest.mark.parametrize('by_differences', [False, True])
def test_a_hessian_is_one_call_and_its_displacements_are_evaluations(
    by_differences: bool,
) -> None:
    toy = LennardJonesCluster(NUMBERS)
    surface = PotentialSurface(
        build(PotentialOptions(calculator='lj')), NUMBERS,
        own=None if by_differences else
        lambda numbers, x, charge, unpaired: toy.hessian(x))
    settings = check(SearchSettings('gad', max_steps=5))
    found = search(Sample(0, 0, 'four', NUMBERS, START), surface, settings)
    told = outcome_of(found, settings)
    assert found.n_hess >= 5 and told.cost == found.n_calls + found.n_hess
    each = 6 * len(NUMBERS) if by_differences else 1
    assert told.evaluations == found.n_calls + each * found.n_hess
    assert cost_cap(settings) == 10.0
