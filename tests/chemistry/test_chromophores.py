"""Which fused systems are chromophores, their names, halves and pairs."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpiapp.chemistry.aromatic import merged
from mpiapp.chemistry.chromophores import chromophores_of
from mpiapp.chemistry.descriptors import descriptor_graph
from mpiapp.chemistry.systems import SYSTEMS, Limits, System
from mpiapp.records import Structure
from mpiapp.structures import Collection

NAPHTHALENE = 'c1ccc2ccccc2c1'
PYRENE = 'c1cc2ccc3cccc4ccc(c1)c2c34'


def found_in(structure: Structure, systems=SYSTEMS):
    return chromophores_of(
        descriptor_graph(structure, structure.positions), systems)


def without_bonds(structure: Structure) -> Structure:
    """Return the structure as an xyz file would give it."""
    return replace(structure, bonds=np.empty((0, 2), np.int64),
                   orders=np.empty(0, np.int64),
                   formal_charges=np.empty(0, np.int32))


@pytest.mark.parametrize('with_bonds', [True, False])
@pytest.mark.parametrize('smiles, name, size', [
    (NAPHTHALENE, 'naphthalene', 10),
    ('c1ccc2cc3ccccc3cc2c1', 'anthracene', 14),
    ('c1ccc2c(c1)ccc1ccccc12', 'phenanthrene', 14),
    (PYRENE, 'pyrene', 16),
    ('c1ccc2c(c1)ccc1c2ccc2ccccc21', 'chrysene', 18),
    ('c1cc2cccc3c4cccc5cccc(c(c1)c23)c54', 'perylene', 20),
    ('c1ccc2cc3cc4ccccc4cc3cc2c1', 'fused18', 18),
    ('c1ccc2ncccc2c1', 'fused10', 10),
    ('c1ccc2c(c1)oc1ccccc12', 'fused13', 13),
])
def test_fused_systems_are_named_by_all_their_atoms(embed, smiles, name,
                                                    size, with_bonds):
    structure = embed(smiles)
    if not with_bonds:
        structure = without_bonds(structure)
    found = found_in(structure)
    assert [(s.name, len(s.atoms)) for s in found.systems] == [(name, size)]
    assert found.note == 'one chromophore only'


def test_the_carbons_of_a_system_leave_out_its_other_atoms(embed):
    system = found_in(embed('c1ccc2ncccc2c1')).systems[0]
    assert len(system.carbons) == 9 and set(system.carbons) < set(
        system.atoms)


def test_single_bonds_do_not_fuse(embed):
    found = found_in(embed('c1ccc2c(-c3cccc4ccccc34)cccc2c1'))
    assert [s.name for s in found.systems] == ['naphthalene'] * 2
    assert [pair.same_half for pair in found.pairs] == [True]
    assert found.note == 'all chromophores in one half'


@pytest.mark.parametrize('smiles, note', [
    ('CCCC', 'no aromatic ring'),
    ('O=C1C=CC(=O)C=C1', 'no aromatic ring'),
    ('c1ccccc1', 'no fused aromatic system of 10 atoms'),
    ('c1ccc2[nH]ccc2c1', 'no fused aromatic system of 10 atoms'),
    (NAPHTHALENE, 'one chromophore only'),
])
@pytest.mark.parametrize('with_bonds', [True, False])
def test_molecules_without_two_chromophores_say_so(embed, smiles, note,
                                                   with_bonds):
    structure = embed(smiles)
    if not with_bonds:
        structure = without_bonds(structure)
    assert found_in(structure).note == note


@pytest.mark.parametrize('link, n_halves', [
    ('CC', 2), ('C', 2), ('OCO', 2), ('', 1), ('C#C', 1), ('O', 1),
    ('C(=O)', 1),
])
def test_halves_are_cut_at_single_bonds_of_sp3_carbon(embed, link, n_halves):
    smiles = f'c1ccc2c({link}c3cccc4ccccc34)cccc2c1'
    found = found_in(embed(smiles))
    assert found.n_halves == n_halves
    assert [p.same_half for p in found.pairs] == [n_halves == 1]


def test_three_equal_chromophores_make_three_pairs(embed):
    naphthyl = 'c{0}cccc{1}ccccc{0}{1}'
    smiles = 'C({})({}){}'.format(*(
        naphthyl.format(i, i + 1) for i in (1, 3, 5)))
    found = found_in(embed(smiles))
    assert found.n_halves == 3 and found.note == ''
    assert [p.same_half for p in found.pairs] == [False] * 3


def test_two_molecules_in_a_record_are_two_halves(embed):
    structure = embed(f'{NAPHTHALENE}.{PYRENE}')
    found = found_in(structure)
    assert [s.name for s in found.systems] == ['naphthalene', 'pyrene']
    assert found.n_halves == 2
    assert found.pairs[0].limits == Limits(20, 3.3, 3.7, 50, 60, 4.5, 30)


def test_library_molecules_have_four_pairs_of_naphthyls(library):
    for row in range(len(library)):
        found = found_in(library.load(row))
        assert [s.name for s in found.systems] == ['naphthalene'] * 4
        assert sum(not p.same_half for p in found.pairs) == 4


def test_the_so_called_pyrene_dimers_are_of_chrysene(data_dir: Path, anions):
    made = Collection.open([data_dir / 'dimers/moe_chrysene_4.sdf'])
    structures = [made.load(i) for i in range(4)] + [anions.load(10)]
    for structure in structures:
        found = found_in(structure)
        assert [(s.name, len(s.atoms)) for s in found.systems] == [
            ('chrysene', 18)] * 2
        assert [p.same_half for p in found.pairs] == [False]


def test_bonds_by_distance_give_the_same_chromophores(library, anions):
    for structure in (library.load(1), anions.load(0), anions.load(11)):
        assert found_in(without_bonds(structure)) == found_in(structure)


def test_numbering_does_not_matter(anions, rng):
    structure = anions.load(0)
    order = rng.permutation(len(structure.numbers))
    place = np.argsort(order)
    other = replace(
        structure, numbers=structure.numbers[order],
        positions=structure.positions[order],
        formal_charges=structure.formal_charges[order],
        bonds=place[structure.bonds])
    before, after = found_in(structure), found_in(other)
    assert {frozenset(place[list(s.atoms)].tolist())
            for s in before.systems} == {
                frozenset(s.atoms) for s in after.systems}
    assert sum(p.same_half for p in before.pairs) == sum(
        p.same_half for p in after.pairs)


def test_a_system_of_a_user_goes_first(embed):
    own = System('mine', NAPHTHALENE, Limits(1, 2, 3, 4, 5, 6, 7))
    found = found_in(embed(NAPHTHALENE), (own, *SYSTEMS))
    assert found.systems[0].name == 'mine'


def test_sets_are_joined_in_chains():
    sets = [frozenset(s) for s in ((1, 2, 3), (7, 8), (3, 4), (4, 5, 8))]
    assert merged(sets, 1) == [frozenset((1, 2, 3, 4, 5, 7, 8))]
    assert merged(sets, 2) == sets
    assert merged([], 1) == []
