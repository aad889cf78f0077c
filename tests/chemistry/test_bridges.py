"""Dihedrals of bridges and biaryl bonds."""
from dataclasses import replace

import numpy as np
import pytest

from mpiapp.chemistry.bridges import dihedrals, torsions_of
from mpiapp.chemistry.chromophores import chromophores_of
from mpiapp.chemistry.compat import dihedral
from mpiapp.chemistry.descriptors import descriptor_graph

#: degrees: four decimals decide between equal atoms
ROUNDING = 1e-6


def measured(structure, positions=None):
    graph = descriptor_graph(structure, structure.positions)
    torsions = torsions_of(graph, chromophores_of(graph))
    x = structure.positions[None] if positions is None else positions
    return dihedrals(torsions, x)


def renumbered(structure, order):
    place = np.argsort(order)
    charges = structure.formal_charges
    return replace(
        structure, numbers=structure.numbers[order],
        positions=structure.positions[order],
        formal_charges=charges[order] if len(charges) else charges,
        bonds=place[structure.bonds])


def bonded(structure):
    return {frozenset(pair) for pair in structure.bonds.tolist()}


def test_library_bridges_have_two_arms_of_four(library, anions):
    for structure in (library.load(0), library.load(3), anions.load(0),
                      anions.load(10)):
        names = measured(structure).names
        assert [n for n in names if n.startswith('bridge')] == [
            f'bridge_{arm}{k}' for arm in 'LR' for k in range(1, 5)]


def test_every_dihedral_is_over_a_bonded_chain(library):
    structure = library.load(0)
    found, bonds = measured(structure), bonded(structure)
    for atoms in found.atoms.tolist():
        assert len(set(atoms)) == 4
        for pair in zip(atoms, atoms[1:]):
            assert frozenset(pair) in bonds


def test_arms_go_through_the_atoms_of_the_bridge(library):
    structure = library.load(0)
    found = measured(structure)
    middles = structure.numbers[found.atoms[:8, 1:3]].tolist()
    assert middles == [[6, 8], [8, 6], [6, 8], [8, 6]] * 2
    ends = found.atoms[[3, 4]]
    # both arms end at the central ring and share a carbon of it
    assert ends[0, 3] == ends[1, 0]


def test_degrees_are_those_of_the_atoms(anions):
    structure = anions.load(0)
    found = measured(structure)
    assert found.degrees.shape == (1, len(found.names))
    for atoms, value in zip(found.atoms, found.degrees[0], strict=True):
        assert dihedral(structure.positions[atoms]) == value


def test_each_biaryl_bond_is_listed(anions, library):
    n_biaryls = [sum(n.startswith('biaryl') for n in measured(s).names)
                 for s in (anions.load(0), library.load(0))]
    assert n_biaryls == [2, 6]


def test_the_hindered_axis_has_the_sign_of_its_chirality(anions):
    found = measured(anions.load(0))
    biaryls = [found.names.index(f'biaryl_{k}') for k in (1, 2)]
    assert (np.abs(np.abs(found.degrees[0, biaryls]) - 90) < 40).all()


@pytest.mark.parametrize('row', [0, 10])
def test_a_mirror_image_changes_signs_alone(anions, row):
    structure = anions.load(row)
    mirror = replace(structure, positions=structure.positions * [1, 1, -1])
    before, after = measured(structure), measured(mirror)
    assert before.names == after.names
    assert np.abs(before.degrees + after.degrees).max() < ROUNDING


@pytest.mark.parametrize('row', [0, 7, 10])
def test_numbering_changes_nothing(anions, rng, row):
    structure = anions.load(row)
    before = measured(structure)
    for _ in range(3):
        order = rng.permutation(len(structure.numbers))
        after = measured(renumbered(structure, order))
        assert before.names == after.names
        assert np.abs(before.degrees - after.degrees).max() < ROUNDING


@pytest.mark.parametrize('smiles', [
    'c1ccc2c(CCc3cccc4ccccc34)cccc2c1',
    'c1ccc2c(COCc3cccc4ccccc34)cccc2c1',
    'c1ccc2c(COc3cccc(OCc4cccc5ccccc45)c3)cccc2c1',
    'c1ccc2c(-c3ccccc3)cccc2c1',
    'c1ccc2c(-c3ccccc3)cc(-c3ccc(C)cc3)cc2c1',
    'c1ccc2c(CN3CCN(Cc4cccc5ccccc45)CC3)cccc2c1',
])
def test_numbering_of_symmetric_molecules_changes_nothing(embed, rng, smiles):
    structure = embed(smiles)
    before = measured(structure)
    assert before.names
    for _ in range(5):
        order = rng.permutation(len(structure.numbers))
        after = measured(renumbered(structure, order))
        assert before.names == after.names
        assert np.abs(before.degrees - after.degrees).max() < ROUNDING


def test_one_arm_is_called_left(embed):
    names = measured(embed('c1ccc2c(CCc3cccc4ccccc34)cccc2c1')).names
    assert names == ('bridge_L1', 'bridge_L2', 'bridge_L3')


def test_other_conformers_use_the_atoms_of_the_first(anions):
    first, second = anions.load(0), anions.load(1)
    both = measured(first, np.stack([first.positions, second.positions]))
    for atoms, value in zip(both.atoms, both.degrees[1], strict=True):
        assert dihedral(second.positions[atoms]) == value


def test_separate_molecules_have_no_bridge(embed):
    structure = embed('c1ccc2ccccc2c1.c1ccc2ccccc2c1')
    assert measured(structure).names == ()
    assert measured(structure).degrees.shape == (1, 0)
