"""Charge, spin, solvent and failures of the tight-binding methods."""
import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.potentials.tblite import TightBinding, allowed_unpaired
from mpiapp.records import InputError

#: tblite 0.8 and ASE's interface of it, at SCF accuracy 1: 1e-6 Hartree
SCF_ENERGY, SCF_FORCE = 3e-5, 1e-4


@pytest.mark.parametrize('name, method', [('gfn1', 'GFN1-xTB'),
                                          ('gfn2', 'GFN2-xTB')])
def test_agrees_with_ase_interface(tools, name, method):
    from ase import Atoms
    from tblite.ase import TBLite
    numbers, positions = tools.embed('CCO')
    atoms = Atoms(numbers, positions)
    atoms.calc = TBLite(method=method, verbosity=0)
    found = tools.potential(name).evaluate(tools.one(numbers, positions))
    assert abs(found.energies[0] - atoms.get_potential_energy()) < SCF_ENERGY
    assert np.abs(found.forces - atoms.get_forces()).max() < SCF_FORCE


def test_charge_is_computed(tools):
    """Acetate is bound: adding an electron to the radical frees energy."""
    numbers, positions = tools.embed('CC(=O)[O-]')
    potential = tools.potential('gfn2')
    neutral, anion = (
        potential.evaluate(tools.one(numbers, positions, charge=c)).energies[0]
        for c in (0, -1))
    assert anion < neutral - 1.0


def test_unpaired_electrons_are_computed(tools):
    numbers, positions = [8, 8], [[0, 0, 0], [0, 0, 1.21]]
    singlet, triplet = (
        tools.potential('gfn2').evaluate(
            tools.one(numbers, positions, unpaired=u)).energies[0]
        for u in (0, 2))
    assert singlet != triplet


@pytest.mark.parametrize('numbers, charge, unpaired, expected', [
    ([8, 1, 1], 0, 0, 0), ([8, 1, 1], 0, 1, 0), ([8, 1, 1], 0, 2, 2),
    ([8, 1, 1], 1, 0, 1), ([8, 1, 1], -1, 3, 3), ([64], 0, 7, 7),
    ([64], 0, 0, 1), ([58], 1, 0, 0),
])
def test_impossible_parity_is_mended(numbers, charge, unpaired, expected):
    assert allowed_unpaired(np.array(numbers), charge, unpaired) == expected


def test_impossible_parity_is_no_failure(tools):
    numbers, positions = tools.embed('CCO')
    found = tools.potential('gfn2').evaluate(
        tools.one(numbers, positions, unpaired=1))
    assert not found.failures


def test_scf_failure_is_that_molecule_only(tools, monkeypatch):
    make = TightBinding._calculator

    def impatient(self, numbers, positions, charge, unpaired):
        calculator = make(self, numbers, positions, charge, unpaired)
        if len(numbers) == 3:
            calculator.set('max-iter', 2)
        return calculator

    monkeypatch.setattr(TightBinding, '_calculator', impatient)
    bad, good = ((*tools.embed(s), 0, 0) for s in ('O', 'CCO'))
    potential = tools.potential('gfn2')
    found = potential.evaluate(tools.many([bad, good]))
    assert set(found.failures) == {0}
    reason, text = found.failures[0]
    assert reason == 'calculator_error'
    assert text.startswith('tblite: ')
    alone = potential.evaluate(tools.many([good]))
    assert found.energies[1] == alone.energies[0]


def test_solvent_lowers_the_energy_of_an_ion(tools):
    numbers, positions = tools.embed('CC(=O)[O-]')
    batch = tools.one(numbers, positions, charge=-1)
    gas = tools.potential('gfn2').evaluate(batch).energies[0]
    wet = build(PotentialOptions('gfn2', solvent='water'))
    assert wet.evaluate(batch).energies[0] < gas - 1.0
    assert wet.describe()['solvent'] == 'ALPB water'


@pytest.mark.parametrize('solvent', ['nosuch', 'wässer'])
def test_unknown_solvent_is_refused(solvent):
    with pytest.raises(InputError, match='not known to tblite'):
        build(PotentialOptions('gfn2', solvent=solvent))


def test_absent_package_is_named(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'tblite.interface', None)
    with pytest.raises(InputError, match='needs the package tblite'):
        build(PotentialOptions('gfn2'))
