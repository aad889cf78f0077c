"""A charge that leaves no electrons is a failure, not a crash."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.potentials.tblite import valence_electrons
from mpiapp.records import Batch

NITROGEN = (np.array([7, 7]), np.array([[0, 0, 0], [0, 0, 1.1]]))


@pytest.mark.parametrize('numbers, electrons', [
    ([1, 2], 3), ([6, 7, 8, 9], 22), ([15, 16, 17, 35], 25), ([30], 2),
    ([29], 11), ([53], 7), ([57, 64, 71], 9), ([72], 4), ([78], 10),
    ([80], 2), ([82], 4)])
def test_valence_electrons_are_those_of_the_method(
    numbers: list[int], electrons: int,
) -> None:
    assert valence_electrons(np.array(numbers, np.int32)) == electrons


@pytest.mark.parametrize('charge', [11, 12, 14, 30])
def test_more_charge_than_electrons_is_a_failure(charge: int) -> None:
    potential = build(PotentialOptions('gfn2'))
    batch = Batch.join([(*NITROGEN, charge, 0), (*NITROGEN, 0, 0)])
    result = potential.evaluate(batch)
    assert set(result.failures) == {0}
    assert result.failures[0][0] == 'calculator_error'
    assert np.isfinite(result.energies[1])
