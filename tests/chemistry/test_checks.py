"""Guards before the work: reason words and what must not be refused."""
from dataclasses import replace

import numpy as np
import pytest

from mpiapp.chemistry.checks import (
    MIN_DISTANCE, check_elements, check_structure
)
from mpiapp.records import Rejection, Structure
from mpiapp.structures import index_file, load

#: shifts a distance across a limit
MARGIN = 0.01  # A


def _atoms(text: str, **others) -> Structure:
    """Return atoms without bonds from 'C 0 0 0; O 0 0 1.2'."""
    from ase.data import atomic_numbers

    words = [atom.split() for atom in text.split(';') if atom.strip()]
    return Structure(
        0, 0, 0, np.array([atomic_numbers[w[0]] for w in words], np.int32),
        np.array([w[1:] for w in words], float).reshape(-1, 3), **others)


def _bare(structure: Structure) -> Structure:
    """Return the structure as an xyz file has it."""
    return replace(structure, bonds=np.empty((0, 2), np.int64),
                   orders=np.empty(0, np.int64),
                   formal_charges=np.empty(0, np.int32))


def _rejection(structure: Structure) -> Rejection:
    with pytest.raises(Rejection) as error:
        check_structure(structure)
    return error.value


def test_real_structures_pass(library, anions):
    for collection in (library, anions):
        for row in range(len(collection)):
            structure = collection.load(row)
            check_structure(structure)
            check_structure(_bare(structure))


@pytest.mark.parametrize('text, message', [
    ('', 'no atoms'), ('H 0 0 0', '1 atom')])
def test_less_than_two_atoms_are_unparsable(text, message):
    rejection = _rejection(_atoms(text))
    assert rejection.reason == 'unparsable'
    assert message in rejection.message


@pytest.mark.parametrize('value', ['nan', 'inf'])
def test_coordinates_must_be_finite(value):
    rejection = _rejection(_atoms(f'H 0 0 0; H 0 0 {value}'))
    assert rejection.reason == 'no_coordinates'
    assert 'H2' in rejection.message


@pytest.mark.parametrize('value', ['6e3', '-1e160', '1.7e308'])
def test_what_is_wider_than_a_molecule_is_refused(value):
    rejection = _rejection(_atoms(f'H 1e3 0 0; H 1e3 0 {value}'))
    assert rejection.reason == 'no_coordinates'
    assert 'H2 is more than' in rejection.message


def test_a_molecule_may_be_far_from_the_origin():
    check_structure(_atoms('H 1e6 0 -1e6; H 1e6 0.8 -1e6'))


def test_coordinates_must_not_all_be_zero():
    assert _rejection(_atoms('H 0 0 0; H 0 0 0')).reason == 'no_coordinates'


def test_drawings_are_no_coordinates(embed):
    from rdkit import Chem
    from rdkit.Chem.rdDepictor import Compute2DCoords

    molecule = Chem.AddHs(Chem.MolFromSmiles('c1ccccc1'))
    Compute2DCoords(molecule)
    drawing = np.array(molecule.GetConformer().GetPositions())
    benzene = embed('c1ccccc1')
    assert _rejection(replace(benzene, positions=drawing)).reason == (
        'no_coordinates')
    flat = benzene.positions.copy()
    flat = (flat - flat.mean(axis=0)) @ np.linalg.svd(flat)[2].T
    flat[:, 2] = 0
    check_structure(replace(benzene, positions=flat))
    assert _rejection(replace(benzene, positions=flat, flat=True)).reason == (
        'no_coordinates')


@pytest.mark.parametrize('smiles', ['CCO', 'c1ccccc1', 'CC(=O)[O-]', 'C#CC'])
def test_implicit_hydrogens_are_refused(embed, smiles):
    without = embed(smiles, hydrogens=False)
    assert _rejection(without).reason == 'no_hydrogens'
    assert _rejection(_bare(without)).reason == 'no_hydrogens'


def test_one_lost_hydrogen_is_seen(embed):
    ethanol = embed('CCO')
    fewer = replace(
        ethanol, numbers=ethanol.numbers[:-1],
        positions=ethanol.positions[:-1],
        formal_charges=ethanol.formal_charges[:-1],
        bonds=ethanol.bonds[:-1], orders=ethanol.orders[:-1])
    assert '1 hydrogen' in _rejection(fewer).message
    check_structure(replace(fewer, unpaired=1))


@pytest.mark.parametrize('smiles', [
    'O=C=O', 'C#N', 'FC(F)(F)C(F)(F)F', 'Fc1c(F)c(F)c(F)c(F)c1F', 'N#CC#N',
    'ClC(Cl)=O', 'N#CC(C#N)=C(C#N)C#N', '[C-]#[O+]', 'S=C=S', '[CH3]',
    'C[N+](=O)[O-]', 'O=C=C=C=O', 'FC#CF', '[NH4+]', 'c1cc[nH]c1',
    'CS(=O)(=O)C', 'O=P(O)(O)O'])
def test_molecules_with_few_or_no_hydrogens_pass(embed, smiles):
    structure = embed(smiles)
    check_structure(structure)
    check_structure(_bare(structure))


def test_a_fullerene_passes():
    from ase.build import molecule

    atoms = molecule('C60')
    check_structure(Structure(0, 0, 0, atoms.numbers.astype(np.int32),
                              atoms.positions))


def test_overlapping_atoms_are_named():
    text = 'H 0 0 5; O 0 0 0; H 0 0 {}'
    rejection = _rejection(_atoms(text.format(MIN_DISTANCE - MARGIN)))
    assert rejection.reason == 'atoms_overlap'
    assert 'O2 and H3' in rejection.message
    check_structure(_atoms(text.format(MIN_DISTANCE + MARGIN)))


def test_coinciding_atoms_overlap():
    text = 'H 0 0 1; O 0 0 0; N 0 0 0; O 0 0 0'
    assert _rejection(_atoms(text)).reason == 'atoms_overlap'


def test_the_first_check_that_fails_gives_the_reason(embed):
    without = embed('CCO', hydrogens=False)
    collapsed = without.positions.copy()
    collapsed[1] = collapsed[0]
    assert _rejection(replace(without, positions=collapsed)).reason == (
        'no_hydrogens')


@pytest.mark.parametrize('name, reason', [
    ('1a9u.sdf', 'no_hydrogens'),
    ('Issue3482695.sdf', 'unparsable'),
    ('missingCR.sdf', 'unparsable'),
    ('zinc.leads.3.sdf', 'no_coordinates'),
    ('nonexistant.xyz', 'unparsable'),
])
def test_odd_files_are_refused_for_the_right_reason(
        data_dir, name, reason):
    structure = load(index_file(data_dir / 'bad_inputs' / name), 0)
    assert _rejection(structure).reason == reason


def test_unknown_elements_are_named(library):
    structure = library.load(0)
    check_elements(structure, None, 'toy')
    check_elements(structure, {1, 6, 7, 8, 15, 16}, 'toy')
    with pytest.raises(Rejection) as error:
        check_elements(structure, frozenset({1, 6, 7, 8}), 'toy')
    assert error.value.reason == 'element'
    assert 'toy' in error.value.message
    assert 'P S' in error.value.message
    assert 'H C N O' in error.value.message


@pytest.mark.parametrize('text', [
    'C 0 0 0; S 1.535 0 0', 'C 0 0 0; F 1.03 .79 0; F -1.03 .79 0',
    'C 0 0 0; Cl 1.4 1.0 0; Cl -1.4 1.0 0'], ids=['CS', 'CF2', 'CCl2'])
def test_small_molecules_of_bare_carbon_pass(text):
    check_structure(_atoms(text))


def test_the_smallest_fullerene_passes():
    golden = (1 + 5 ** 0.5) / 2
    corners = [(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    corners += [p for i in (-golden, golden) for j in (-1 / golden, 1 / golden)
                for p in ((0, j, i), (j, i, 0), (i, 0, j))]
    cage = np.array(corners, float)
    edge = 2 / golden
    for length, lost in ((1.45, False), (1.54, True)):
        structure = Structure(
            0, 0, 0, np.full(20, 6, np.int32), cage / edge * length)
        if lost:
            assert _rejection(structure).reason == 'no_hydrogens'
        else:
            check_structure(structure)
