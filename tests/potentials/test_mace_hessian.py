"""MACE's Hessian by automatic differentiation, guarded."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions
from mpiapp.potentials.mace import hessian as module
from mpiapp.saddle.surfaces import PotentialSurface, compared
from mpiapp.workers.saddle_search import FD, SurfaceChoice, Surfaces

#: share of the largest entry; differences have an error of h^2
CLOSE = 2e-3


def test_rows_are_finite_differences_of_forces(
    tools: Any, random_models: dict[str, str],
) -> None:
    potential = tools.potential('mace', model_path=random_models['scaled'],
                                backend='reference')
    numbers, positions = tools.embed('N')
    surface = PotentialSurface(potential, numbers, 0, 0, potential.hessian,
                               potential.hessian_kind)
    assert compared(surface, positions) < CLOSE
    assert surface.kind == 'autograd'


def test_rows_do_not_depend_on_the_size_of_the_chunk(
    tools: Any, random_models: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    potential = tools.potential('mace', model_path=random_models['scaled'],
                                backend='reference')
    numbers, positions = tools.embed('N')
    whole = module.hessian(potential, numbers, positions)
    monkeypatch.setattr(module, 'ATOMS_AT_ONCE', 1)
    rows = module.hessian(potential, numbers, positions)
    # sums inside a batched graph have another order
    np.testing.assert_allclose(whole, rows, rtol=1e-6, atol=1e-8)
    assert np.abs(whole).max() > 0.01


def test_a_wrong_hessian_is_refused(
    tools: Any, random_models: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers, positions = tools.embed('N')
    options = PotentialOptions('mace', model_path=random_models['scaled'],
                               backend='reference')
    good = Surfaces(SurfaceChoice(options, 'auto', numbers, positions))
    assert good.about['hessian'] == 'autograd'
    right = module.hessian
    monkeypatch.setattr(module, 'hessian',
                        lambda *a: 1.1 * right(*a))
    bad = Surfaces(SurfaceChoice(options, 'auto', numbers, positions))
    assert bad.about['hessian'] == FD
    assert 'refused' in bad.about['hessian_guard']
