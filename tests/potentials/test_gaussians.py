"""Core potentials: heavy elements have theirs, or are refused."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.potentials.gaussians import (
    checked_molecule, known_elements, molecule_of, n_core, n_electrons
)
from mpiapp.potentials.kohn_sham import Field, FieldSettings
from mpiapp.records import Rejection
from tests.workers.hamiltonian_frames import done, evaluation, frame

HI = (np.array([53, 1], np.int32), np.array([[0, 0, 0], [0, 0, 1.609]]))
SVP = FieldSettings(grid_level=1)
#: A; Huber, Herzberg, Constants of Diatomic Molecules (1979)
BOND = 1.609
#: A; PBE in this basis and on this grid may be off by so much
NEAR = 0.04


@pytest.mark.parametrize('symbol, basis, electrons', [
    ('I', 'def2-svp', 28), ('Au', 'def2-svp', 60), ('Br', 'def2-svp', 0),
    ('I', 'sto-3g', 0), ('Fe', 'lanl2dz', 10), ('C', 'crenbl', 2)])
def test_cores_are_those_of_the_basis(
    symbol: str, basis: str, electrons: int,
) -> None:
    assert n_core(symbol, basis) == electrons


@pytest.mark.parametrize('symbol, basis', [
    ('I', 'ccecp-cc-pvdz'), ('C', 'bfd-vdz'), ('Ce', 'ma-def2-svp'),
    ('C', 'gth-szv'), ('I', 'minao')])
def test_valence_functions_without_their_potential_are_refused(
    symbol: str, basis: str,
) -> None:
    with pytest.raises(Rejection, match='no_basis.*core potential'):
        n_core(symbol, basis)


@pytest.mark.parametrize('basis', [
    'sto-3g', '3-21g', '6-31g', 'cc-pvdz', 'tzp', 'def2-tzvp'])
def test_sets_with_their_cores_are_kept(basis: str) -> None:
    from ase.data import chemical_symbols
    from pyscf import gto
    for number in known_elements(basis):
        assert gto.basis.load(basis, chemical_symbols[number])
    assert known_elements(basis) >= set(range(1, 11))


def test_electrons_are_those_outside_the_cores() -> None:
    made = molecule_of(*HI, 'def2-svp')
    assert made.nelectron == n_electrons(HI[0], 'def2-svp', 0) == 26
    assert made.atom_charges().tolist() == [25, 1]
    assert molecule_of(*HI, 'sto-3g').nelectron == 54
    for charge in (26, 27):
        with pytest.raises(Rejection, match='odd_electrons'):
            checked_molecule(*HI, 'def2-svp', charge, 1000)


def test_the_guesses_hold_the_electrons_outside_the_cores() -> None:
    whole = Field(checked_molecule(HI[0], HI[1] / 0.529177, 'def2-svp', 0,
                                   1000), SVP)
    overlap = whole.molecule.intor('int1e_ovlp')
    for name in ('minao', 'atom'):
        held = float(np.sum(whole.guess(name) * overlap))
        assert held == pytest.approx(26, abs=2), name


def test_hydrogen_iodide_has_its_bond_length(tools) -> None:  # type: ignore
    method = build(PotentialOptions('pbe/def2-svp'))
    assert {1, 53, 79} <= method.elements and 92 not in method.elements
    pull = []
    lengths = (1.55, 1.7)
    for length in lengths:
        found = method.evaluate(tools.one(
            HI[0], np.array([[0, 0, 0], [0, 0, length]])))
        pull.append(float(found.forces[1, 2]))
        np.testing.assert_allclose(found.forces.sum(axis=0), 0, atol=0.02)
    assert pull[0] > 0 > pull[1]
    least = float(np.interp(0, pull[::-1], lengths[::-1]))
    assert least == pytest.approx(BOND, abs=NEAR)
    refused = method.evaluate(tools.one(np.array([92]), np.zeros((1, 3))))
    assert refused.failures[0][0] == 'element'


def test_frames_with_iodine_are_evaluated_with_its_potential() -> None:
    made = frame(HI, field=SVP, forces=False)
    row, = done(made, settings=evaluation(SVP, forces=False))
    assert (row['status'], row['reason']) == (1, ''), row['message']
    assert row['n_electrons'] == 26 and -299 < row['e_calc'] < -297
    assert row['gt-calc/energy_diff'] < 1e-6
    # debye, measured 0.45 (Handbook of Chemistry and Physics)
    assert abs(row['dipole_calc'][2]) == pytest.approx(0.45, abs=0.3)
    assert row['gt-calc/mulliken_mae'] < 1e-4


def test_an_element_without_its_core_is_a_row_of_its_own() -> None:
    made = replace(frame(HI, field=SVP, forces=False), basis='',
                   prediction_basis='')
    row, = done(made, settings=evaluation(FieldSettings(
        basis='ccecp-cc-pvdz')))
    assert row['reason'] == 'no_basis' and 'core' in row['message']
