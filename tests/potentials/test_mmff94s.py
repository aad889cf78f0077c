"""MMFF94s from geometries alone; what every potential does: the contract."""
import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.units import KCAL_PER_EV

#: kcal/mol; the same force field on the same geometry, in another order
SAME = 1e-6


def evaluate(tools, numbers, positions, charge=0):
    return build(PotentialOptions('mmff94s')).evaluate(
        tools.one(numbers, positions, charge))


@pytest.mark.parametrize('smiles, charge', [
    ('c1ccc2ccccc2c1', 0), ('O=c1cc[nH]c(=O)[nH]1', 0),
    ('CC(=O)[O-]', -1), ('N#CC(C#N)=Cc1cccs1', 0)])
def test_energy_is_that_of_rdkit_with_the_bonds_given(tools, smiles, charge):
    from rdkit import Chem
    from rdkit.Chem import AllChem
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    properties = AllChem.MMFFGetMoleculeProperties(mol, 'MMFF94s')
    expected = AllChem.MMFFGetMoleculeForceField(mol, properties).CalcEnergy()
    numbers, positions = tools.embed(smiles)
    found = evaluate(tools, numbers, positions, charge)
    assert not found.failures
    assert found.energies[0] * KCAL_PER_EV == pytest.approx(
        expected, abs=SAME)


def test_fragments_feel_each_other(tools):
    numbers, positions = tools.embed('c1ccccc1')
    alone = evaluate(tools, numbers, positions).energies[0]
    flat = positions - positions.mean(axis=0)
    normal = np.linalg.svd(flat)[2][2]
    pair = evaluate(tools, np.tile(numbers, 2),
                    np.concatenate([flat, flat + 4.5 * normal]))
    binding = (pair.energies[0] - 2 * alone) * KCAL_PER_EV
    # with the terms between fragments left out it is zero
    assert binding < -0.3


def test_what_has_no_valence_structure_fails_with_a_reason(tools):
    # one hydrogen of methane is missing
    numbers, positions = tools.embed('C')
    found = evaluate(tools, numbers[:-1], positions[:-1])
    word, text = found.failures[0]
    assert word == 'calculator_error' and 'MMFF94s' in text
