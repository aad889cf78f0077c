"""The toy potential: well, cut-off, and real molecules that stay whole."""
import numpy as np
import pytest

from mpiapp.potentials import lj

CARBON = 1.52  # sum of two covalent radii, A


def pair(distance):
    return lj.energy_forces(
        np.array([6, 6], np.int32),
        np.array([[0, 0, 0], [0, 0, distance]], float))


def test_minimum_is_at_the_sum_of_the_radii():
    energy, forces = pair(CARBON)
    assert energy == pytest.approx(-lj.DEPTH, abs=1e-12)
    assert np.abs(forces).max() < 1e-12


def test_nothing_beyond_the_cutoff():
    energy, forces = pair(lj.SWITCH_OFF * CARBON)
    assert energy == 0.0
    assert not forces.any()


@pytest.mark.parametrize('s', [lj.SWITCH_ON, lj.SWITCH_OFF])
def test_switch_has_no_kink(s):
    step = 1e-6
    below, above = (pair((s + d) * CARBON) for d in (-step, step))
    # slopes of the well are below 100 eV/A^2 here
    assert np.abs(below[1] - above[1]).max() < 100 * 2 * step * CARBON


@pytest.mark.parametrize('smiles', ['CCO', 'N#CC(C#N)=Cc1cccs1',
                                    'CCOP(=O)(O)c1ccccc1',
                                    'CCCC#Cc1ccccc1CCCC'])
def test_real_molecules_relax_and_keep_their_bonds(tools, smiles):
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.neighborlist import natural_cutoffs, neighbor_list
    from ase.optimize import LBFGS
    from ase.parallel import DummyMPI

    class Ours(Calculator):
        implemented_properties = ['energy', 'forces']

        def calculate(self, atoms, properties, changes):
            super().calculate(atoms, properties, changes)
            energy, forces = lj.energy_forces(atoms.numbers, atoms.positions)
            self.results = {'energy': energy, 'forces': forces}

    def bonds(atoms):
        first, second = neighbor_list(
            'ij', atoms, natural_cutoffs(atoms, mult=1.25))
        return set(zip(first, second))

    numbers, positions = tools.embed(smiles)
    atoms = Atoms(numbers, positions.copy())
    before = bonds(atoms)
    atoms.calc = Ours()
    optimizer = LBFGS(atoms, logfile=None, comm=DummyMPI())
    assert optimizer.run(fmax=0.005, steps=300)
    assert before <= bonds(atoms)
    assert np.abs(atoms.positions - positions).max() < 0.8


def test_overlapping_atoms_fail_and_do_not_warn(tools):
    potential = tools.potential('lj')
    found = potential.evaluate(tools.one([6, 6], [[0, 0, 0], [0, 0, 0]]))
    assert found.failures == {0: ('nan', 'energy or forces are not finite')}
