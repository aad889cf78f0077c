"""Bonds, CIP labels and axes: what counts as a change."""
import numpy as np
import pytest

from mpiapp.chemistry.graph import graph_of, molecule_of
from mpiapp.chemistry.topology import (
    Stereo, bond_list, bonds_changed, stereo_changed, stereo_labels
)
from mpiapp.structures import index_file, load


def _mirrored(positions):
    return positions * [1.0, 1.0, -1.0]


def test_bonds_by_distance_are_those_of_the_file(library, anions):
    for collection in (library, anions):
        for row in range(len(collection)):
            structure = collection.load(row)
            found = bond_list(structure.numbers, structure.positions)
            expected = np.sort(structure.bonds, axis=1)
            expected = expected[np.lexsort(expected.T[::-1])]
            assert np.array_equal(found, expected)


def test_bonds_of_few_atoms():
    numbers = np.array([1, 1, 8], np.int32)
    assert bond_list(numbers[:0], np.empty((0, 3))).shape == (0, 2)
    assert bond_list(numbers[:1], np.zeros((1, 3))).shape == (0, 2)
    apart = np.array([[0, 0, 0], [0, 0, 9], [0, 0, 1.]])
    assert bond_list(numbers, apart).tolist() == [[0, 2]]


def test_changed_bonds_are_named():
    numbers = np.array([8, 1, 1, 6], np.int32)
    start = np.array([[0, 0, 0], [.96, 0, 0], [-.3, .9, 0], [9, 0, 0]])
    final = start.copy()
    final[1] = [8, 0, 0]
    assert bonds_changed(numbers, start, start + 1) == ''
    assert bonds_changed(numbers, start, final) == (
        'O1-H2 broken, H2-C4 formed')


def test_many_changes_are_counted(library):
    structure = library.load(0)
    message = bonds_changed(structure.numbers, structure.positions,
                            structure.positions * 2)
    n_bonds = len(structure.bonds)
    assert message.count('broken') == 3
    assert message.endswith(f'and {n_bonds - 3} more')


def test_the_three_centres_of_a_dimer_are_labelled(library, anions):
    for collection in (library, anions):
        for row in range(len(collection)):
            structure = collection.load(row)
            cip = stereo_labels(structure, structure.positions).cip
            labels = cip.split(',')
            assert len(labels) == 3
            for label in labels:
                assert structure.numbers[int(label[:-1]) - 1] == 6
                assert label[-1] in 'RS'


def test_a_proton_does_not_change_the_labels(anions):
    from mpiapp.chemistry.charge import apply_policy

    before = anions.load(0)
    after = apply_policy(before, 'neutralise', False).structure
    assert (stereo_labels(before, before.positions).cip
            == stereo_labels(after, after.positions).cip)


@pytest.mark.parametrize('smiles, label', [
    ('C[C@H](N)O', 'R'), ('C[C@@H](N)O', 'S')])
def test_labels_are_those_of_cahn_ingold_prelog(embed, smiles, label):
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    expected = Chem.FindMolChiralCenters(molecule)[0][1]
    structure = embed(smiles)
    found = stereo_labels(structure, structure.positions).cip
    assert found == f'2{expected}'
    assert expected == label


def test_a_mirror_image_changes_labels_and_axes(library):
    structure = library.load(0)
    labels = stereo_labels(structure, structure.positions)
    mirror = stereo_labels(structure, _mirrored(structure.positions))
    assert [axis for axis, _ in labels.axes] == [a for a, _ in mirror.axes]
    assert [s for _, s in labels.axes] == [-s for _, s in mirror.axes]
    swap = str.maketrans('RS', 'SR')
    assert mirror.cip == labels.cip.translate(swap)
    assert '->' in stereo_changed(labels, mirror)
    assert stereo_changed(labels, labels) == ''


def test_double_bonds_are_labelled(embed):
    texts = [stereo_labels(s, s.positions).double_bonds
             for s in (embed('F/C=C/F'), embed('F/C=C\\F'))]
    assert texts == ['2=3E', '2=3Z']
    assert stereo_changed(Stereo(double_bonds=texts[0]),
                          Stereo(double_bonds=texts[1])) == '2=3 E -> Z'


@pytest.mark.parametrize('smiles, n_axes', [
    ('c1ccc2c(-c3cccc4ccccc34)cccc2c1', 1),
    ('Cc1cccc(N)c1-c1c(C)cccc1N', 1),
    ('c1ccc(-c2ccccc2)cc1', 0),
    ('c1ccc(-c2cccc3ccccc23)cc1', 0),
    ('Cc1ccccc1-c1ccccc1', 0),
    ('Cc1ccccc1-c1cccnc1', 0),
    ('Cc1ccccc1-c1cccnc1Cl', 1),
    ('c1ccc2c(c1)-c1ccccc12', 0),
])
def test_hindered_axes_are_found(embed, smiles, n_axes):
    structure = embed(smiles)
    axes = stereo_labels(structure, structure.positions).axes
    assert len(axes) == n_axes
    mirror = stereo_labels(structure, _mirrored(structure.positions)).axes
    assert [sign for _, sign in mirror] == [-sign for _, sign in axes]
    assert all(abs(sign) == 1 for _, sign in axes)


def test_dimers_have_two_hindered_axes(library):
    for row in range(len(library)):
        structure = library.load(row)
        assert len(stereo_labels(structure, structure.positions).axes) == 2


def test_turning_the_axis_over_is_a_change(embed):
    structure = embed('c1ccc2c(-c3cccc4ccccc34)cccc2c1')
    labels = stereo_labels(structure, structure.positions)
    (i, j), sign = labels.axes[0]
    turned = Stereo(axes=(((i, j), -sign),))
    assert stereo_changed(labels, turned) == (
        f'axis {i + 1}-{j + 1} {sign:+d} -> {-sign:+d}')


@pytest.mark.parametrize('start, final, message', [
    (0.74, 0.777, ''), (0.777, 0.74, ''), (0.76, 0.86, 'H1-H2 broken'),
    (0.86, 0.74, 'H1-H2 formed')])
def test_a_bond_changes_where_its_length_does(start, final, message):
    numbers = np.array([1, 1], np.int32)
    geometries = [np.array([[0, 0, 0], [x, 0, 0]]) for x in (start, final)]
    assert bonds_changed(numbers, *geometries) == message


def test_an_axis_near_the_plane_has_no_hand(embed):
    """2,2'-bipyridine-3,3'-diol is planar: the sign is noise."""
    structure = embed('Oc1cccnc1-c1ncccc1O')
    (i, j), _ = stereo_labels(structure, structure.positions).axes[0]
    twisted = stereo_labels(structure, _twisted(structure, i, j, 60)).axes
    assert abs(twisted[0][1]) == 1
    for end in (-179, -5, 0, 5, 179):
        flat = stereo_labels(structure, _twisted(structure, i, j, end))
        assert flat.axes == (((i, j), 0),)
        assert stereo_changed(Stereo(axes=twisted), flat) == ''
        assert stereo_changed(flat, Stereo(axes=twisted)) == ''


def _twisted(structure, i, j, degrees):
    """Return positions with a dihedral N-C-C-N about the bond i-j."""
    from rdkit import Chem
    from rdkit.Chem import rdMolTransforms as transforms

    molecule = molecule_of(graph_of(structure))
    Chem.FastFindRings(molecule)
    conformer = Chem.Conformer(len(structure.numbers))
    conformer.SetPositions(structure.positions)
    conformer = molecule.GetConformer(molecule.AddConformer(conformer))
    ends = [next(n.GetIdx() for n in molecule.GetAtomWithIdx(k).GetNeighbors()
                 if n.GetAtomicNum() == 7) for k in (i, j)]
    transforms.SetDihedralDeg(conformer, ends[0], i, j, ends[1], degrees)
    return conformer.GetPositions()


def test_structures_without_bonds_have_no_labels(data_dir):
    structure = load(index_file(data_dir / 'bad_inputs/ethane.xyz'), 0)
    assert stereo_labels(structure, structure.positions) == Stereo()


def test_conformers_share_the_work_on_their_graph(anions):
    molecules = {id(molecule_of(graph_of(anions.load(row))))
                 for row in range(10)}
    assert len(molecules) == 1
    molecule = molecule_of(graph_of(anions.load(0)))
    assert molecule.GetNumConformers() == 0
