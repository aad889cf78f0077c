"""Sparrow's methods: energies, Hessians, what they can't compute."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build, resolve
from mpiapp.potentials.sparrow import ELEMENTS
from mpiapp.records import InputError
from mpiapp.saddle.surfaces import PotentialSurface, compared

#: share of the largest entry; differences have an error of h^2
CLOSE = 2e-3


@pytest.mark.parametrize('method', ['DFTB0', 'DFTB3', 'PM6'])
def test_its_hessian_is_that_of_finite_differences(method, tools) -> None:
    potential = build(PotentialOptions('sparrow', functional=method))
    numbers, positions = tools.embed('CO')
    surface = PotentialSurface(potential, numbers, 0, 0, potential.hessian,
                               'analytic')
    assert compared(surface, positions) < CLOSE
    assert surface.n_hess == 1
    assert surface.n_displaced == 6 * len(numbers)


def test_same_bits_whatever_was_computed_before(tools) -> None:
    potential = build(PotentialOptions('sparrow', functional='PM6'))
    water, ethanol = tools.embed('O'), tools.embed('CCO')
    first = potential.evaluate(tools.one(*water))
    potential.evaluate(tools.one(*ethanol))
    again = potential.evaluate(tools.one(*water))
    assert first.energies[0] == again.energies[0]
    assert np.array_equal(first.forces, again.forces)


def test_open_shells_are_computed_where_there_are_any(tools) -> None:
    methyl = ([6, 1, 1, 1], [[0, 0, 0], [1.08, 0, 0], [-.54, .935, 0],
                             [-.54, -.935, 0]], 0, 1)
    found = build(PotentialOptions('sparrow', functional='PM6')).evaluate(
        tools.many([methyl]))
    assert not found.failures
    refused = build(PotentialOptions('sparrow')).evaluate(
        tools.many([methyl]))
    assert 'no open shells' in refused.failures[0][1]


def test_charge_changes_the_energy(tools) -> None:
    potential = build(PotentialOptions('sparrow', functional='PM6'))
    numbers, positions = tools.embed('O')
    energies = potential.evaluate(tools.many([
        (numbers, positions, 0, 0), (numbers, positions, 2, 0)])).energies
    assert energies[1] - energies[0] > 10.0


def test_elements_it_lacks_are_refused_before_it_is_asked(tools) -> None:
    potential = build(PotentialOptions('sparrow'))
    found = potential.evaluate(tools.many([
        ([2, 1, 1], [[0, 0, 0], [0, 0, 1], [1, 0, 0]], 0, 0)]))
    assert found.failures[0][0] == 'element'
    assert 2 not in ELEMENTS['DFTB0'] and 6 in ELEMENTS['DFTB0']


@pytest.mark.parametrize('options, words', [
    ({'functional': 'B3LYP'}, 'no functional'),
    ({'solvent': 'water'}, 'no solvent'),
    ({'dtype': 'float32'}, 'float64 only'),
])
def test_wrong_options_are_told(options, words) -> None:
    with pytest.raises(InputError, match=words):
        resolve(PotentialOptions('sparrow', **options))


def test_a_suffix_names_its_method() -> None:
    chosen = PotentialOptions('sparrow:PM6')
    assert (chosen.calculator, chosen.functional) == ('sparrow', 'PM6')
    assert chosen == PotentialOptions('sparrow', functional='PM6')
    assert build(chosen).name == 'sparrow:PM6'
    with pytest.raises(InputError, match='but --functional DFTB3'):
        PotentialOptions('sparrow:PM6', functional='DFTB3')
    with pytest.raises(InputError, match="no functional 'PM5'"):
        resolve(PotentialOptions('sparrow:PM5'))


@pytest.mark.parametrize('calculator', ['gfn2', 'lj', 'mace', 'hf/sto-3g'])
def test_only_sparrow_has_functionals(calculator) -> None:
    with pytest.raises(InputError, match='functional'):
        resolve(PotentialOptions(calculator, functional='PM6'))
