"""The columns of a record: complete, invariant, and never an exception."""
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mpiapp import measures
from mpiapp.chemistry.chromophores import chromophores_of
from mpiapp.chemistry.compat import CompatMeasures
from mpiapp.chemistry.descriptors import (
    best_pairs, connectivity, descriptor_columns, descriptor_graph,
    measure_pairs, pair_classes, stored_structure
)
from mpiapp.chemistry.planes import PairMeasures, pair_measures
from mpiapp.records import DESCRIPTORS, RELAX, Schema, Structure

#: A, degrees and per cent, after another order of sums
ROUNDING = 1e-6
NAMES = [name for name, _, _ in measures.PAIR]
#: columns that name atoms or places in lists
NUMBERED = {'best_pair', 'best_pair_start', 'best_names', 'best_names_start',
            'd12', 'd21', 'd12_start', 'd21_start'}


def scalars(row):
    """Return the numbers of a row that do not depend on numbering."""
    fixed = {c.name for c in DESCRIPTORS if not c.ragged} - NUMBERED
    return {name: value for name, value in row.items()
            if name in fixed and isinstance(value, float | int | np.floating)
            and not name.startswith('compat_')}


def same(a, b, but=()):
    """Whether two rows agree in their scalars."""
    first, second = scalars(a), scalars(b)
    assert first.keys() == second.keys()
    for name in first.keys() - set(but):
        assert first[name] == pytest.approx(
            second[name], abs=ROUNDING, nan_ok=True), name
    for end in ('', '_start'):
        assert a[f'classification{end}'] == b[f'classification{end}']
    return True


@pytest.fixture
def dimer(embed):
    """The function that lays two naphthalenes over each other, shifted."""
    one = embed('c1ccc2ccccc2c1')
    x = one.positions - one.positions.mean(axis=0)
    x = x @ np.linalg.svd(x)[2].T
    x[:, 2] = 0
    n = len(x)

    def made(height=3.5, shift=1.0) -> Structure:
        return Structure(
            0, 0, 0, np.concatenate([one.numbers, one.numbers]),
            np.concatenate([x, x + [shift, 0, height]]),
            bonds=np.concatenate([one.bonds, one.bonds + n]),
            orders=np.concatenate([one.orders, one.orders]))
    return made


def columns(structure, final=None):
    x = structure.positions
    return descriptor_columns(structure, x, x if final is None else final)


def test_columns_are_those_of_the_schema(library):
    row = columns(library.load(0))
    schema = Schema(DESCRIPTORS)
    assert set(row) == {c.name for c in schema.columns}
    axes = {c.ragged: len(row[c.name]) for c in schema.ragged}
    assert all(len(row[c.name]) == axes[c.ragged] for c in schema.ragged)
    assert axes == {'chromophore': 4, 'pair': 6, 'dihedral': 14}


def test_names_of_measures_are_those_of_the_functions():
    assert NAMES == [f.name for f in fields(PairMeasures)]
    assert [name for name, _, _ in measures.COMPAT] == [
        f.name for f in fields(CompatMeasures)]


def test_the_best_pair_has_its_own_columns_and_its_place_among_all(anions):
    row = columns(anions.load(2))
    best = row['best_pair']
    assert row['pair_class'][best] == max(row['pair_class'])
    for name in NAMES:
        assert row[f'pair_{name}'][best] == pytest.approx(
            row[name], nan_ok=True)
    a, b = row['pair_a'][best], row['pair_b'][best]
    assert row['best_names'] == 'naphthalene-naphthalene'
    assert row['chromophore_half'][a] != row['chromophore_half'][b]


def test_a_stack_is_what_it_was_made(dimer):
    row = columns(dimer(3.5, 1.0))
    assert row['classification'] == 'strong' and row['dark'] == 0
    assert row['vertical'] == pytest.approx(3.5, abs=ROUNDING)
    assert row['slip_long'] == pytest.approx(1.0, abs=ROUNDING)
    assert row['best_names'] == 'naphthalene-naphthalene'
    assert row['n_halves'] == 2 and row['descriptor_note'] == ''


@pytest.mark.parametrize('height, shift, word, dark', [
    (3.5, 0.0, 'strong', 1), (3.5, 0.6, 'strong', 0), (4.2, 0.0, 'weak', 1),
    (2.9, 0.0, 'weak', 1), (2.7, 0.0, 'monomer', 0),
    (4.6, 0.0, 'monomer', 0), (3.5, 5.5, 'monomer', 0)])
def test_classes_of_stacks(dimer, height, shift, word, dark):
    row = columns(dimer(height, shift))
    assert (row['classification'], row['dark']) == (word, dark)


def test_an_eclipsed_stack_scores_half(dimer):
    assert columns(dimer(3.5, 0))['excimer_score'] == pytest.approx(
        0.5, abs=ROUNDING)


def test_a_twisted_stack_of_parallel_planes_is_not_eclipsed(dimer):
    structure = dimer(3.5, 0)
    turned = structure.positions.copy()
    half = len(turned) // 2
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    turned[half:, :2] = turned[half:, :2] @ [[c, s], [-s, c]]
    row = columns(structure, turned)
    assert row['plane_angle'] == pytest.approx(0, abs=ROUNDING)
    assert row['twist'] == pytest.approx(30, abs=ROUNDING)
    assert row['dark'] == 0 and row['dark_start'] == 1
    assert row['excimer_score'] == pytest.approx(
        0.4 + 0.6 * row['overlap'] / 100, abs=ROUNDING)


def test_before_and_after_are_told_apart(dimer):
    structure = dimer(3.5, 1.0)
    final = structure.positions.copy()
    final[len(final) // 2:, 2] += 3
    row = columns(structure, final)
    assert (row['classification_start'], row['classification']) == (
        'strong', 'monomer')
    assert row['vertical'] - row['vertical_start'] == pytest.approx(3.0)


def test_pairs_of_many_geometries_are_those_of_each(anions):
    structure = anions.load(0)
    found = chromophores_of(descriptor_graph(structure, structure.positions))
    x = np.stack([anions.load(i).positions for i in range(4)])
    together = measure_pairs(found, x)
    for i in range(4):
        for k, pair in enumerate(found.pairs):
            a, b = (x[i][list(found.systems[j].atoms)]
                    for j in (pair.a, pair.b))
            alone = pair_measures(a, b)
            for name in NAMES:
                assert getattr(together, name)[i, k] == pytest.approx(
                    float(getattr(alone, name)), abs=1e-9, nan_ok=True)


def test_pairs_within_a_half_are_listed_but_not_classified(anions):
    row = columns(anions.load(2))
    half = np.array(row['chromophore_half'])
    inside = half[row['pair_a']] == half[row['pair_b']]
    assert inside.sum() == 2
    assert (row['pair_class'][inside] == -1).all()
    assert (row['pair_class'][~inside] >= 0).all()
    assert np.isfinite(row['pair_contact'][inside]).all()


def test_the_order_of_pairs_is_class_overlap_contact_number():
    def measured(overlap, contact):
        shape = np.shape(contact)
        values = {name: np.zeros(shape) for name in NAMES}
        return PairMeasures(**{**values, 'overlap_gated': np.array(overlap),
                               'contact': np.array(contact)})

    rows = measured(
        [[10, 90, 50], [10, 90, 90], [0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[3, 4, 4], [3, 4, 3.5], [5, 4, 4.1], [4, 4, 4], [3, 4, 5]])
    codes = np.array([[2, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0],
                      [-1, -1, -1]])
    assert best_pairs(rows, codes).tolist() == [0, 2, 1, 0, -1]


@pytest.mark.parametrize('kind', ['library', 'anions'])
def test_moving_the_molecule_changes_nothing(library, anions, rng, kind):
    structure = {'library': library, 'anions': anions}[kind].load(1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = replace(structure,
                    positions=structure.positions @ turn + [30, -20, 10])
    before, after = columns(structure), columns(moved)
    assert same(before, after)
    for name in ('compat_plane_angle', 'compat_distance', 'compat_overlap',
                 'compat_slip', 'compat_bridge_r'):
        assert before[name] == pytest.approx(
            after[name], abs=ROUNDING, nan_ok=True)


@pytest.mark.parametrize('row', [0, 3, 11])
def test_a_mirror_image_changes_signs_of_dihedrals_alone(anions, row):
    structure = anions.load(row)
    mirror = replace(structure, positions=structure.positions * [1, -1, 1])
    before, after = columns(structure), columns(mirror)
    signed = {'bridge_dihedral', 'bridge_dihedral_start'}
    assert same(before, after, signed)
    assert before['bridge_dihedral'] == pytest.approx(
        -after['bridge_dihedral'], abs=ROUNDING)


@pytest.mark.parametrize('row', [0, 2, 5, 12])
def test_renumbering_and_swapping_the_halves_change_nothing(anions, rng,
                                                            row):
    structure = anions.load(row)
    n = len(structure.numbers)
    for order in (rng.permutation(n), np.arange(n)[::-1]):
        place = np.argsort(order)
        other = replace(
            structure, numbers=structure.numbers[order],
            positions=structure.positions[order],
            formal_charges=structure.formal_charges[order],
            bonds=place[structure.bonds])
        before, after = columns(structure), columns(other)
        assert same(before, after)
        assert sorted((before['d12'], before['d21'])) == pytest.approx(
            sorted((after['d12'], after['d21'])), abs=ROUNDING)


@settings(max_examples=40, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.integers(0, 2**32 - 1))
def test_any_two_rings_in_any_order_and_place_are_the_same(
    dimer, shift, seed,
):
    rng = np.random.default_rng(seed)
    structure = dimer(3.5, 0.5)
    n = len(structure.numbers) // 2
    first, second = np.split(structure.positions, 2)
    spin = np.linalg.qr(np.eye(3) + 0.3 * rng.normal(size=(3, 3)))[0]
    second = (second - second.mean(axis=0)) @ spin + [0, 0, 4] + shift
    structure = replace(structure, positions=np.concatenate([first, second]))
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(2 * n)
    other = replace(
        structure, numbers=structure.numbers[order],
        positions=(structure.positions @ frame + 7)[order],
        bonds=np.argsort(order)[structure.bonds])
    before = columns(structure)
    # perpendicular axes have two means, between which rounding decides
    assume(before['plane_angle'] < 89.9 and not before['twist'] > 89.9)
    assert same(before, columns(other))


@pytest.mark.parametrize('smiles, note', [
    ('CCO', 'no aromatic ring'),
    ('c1ccccc1CCc1ccccc1', 'no fused aromatic system of 10 atoms'),
    ('c1ccc2ccccc2c1', 'one chromophore only'),
    ('c1ccc2c(-c3cccc4ccccc34)cccc2c1', 'all chromophores in one half'),
])
def test_what_can_not_be_classified_says_why(embed, smiles, note):
    row = RELAX.complete(columns(embed(smiles)))
    for end in ('', '_start'):
        assert row[f'classification{end}'] == 'none'
        assert row[f'descriptor_note{end}'] == note
        assert np.isnan(row[f'vertical{end}'])
        assert row[f'best_pair{end}'] == row[f'dark{end}'] == -1


def test_three_equal_chromophores_are_remarked_upon(embed):
    smiles = ('C(c1cccc2ccccc12)(c1cccc2ccccc12)c1cccc2ccccc12')
    row = columns(embed(smiles))
    assert row['descriptor_note'] == '3 halves: the best of 3 pairs'
    assert row['classification'] in ('monomer', 'weak', 'strong')


def test_a_bent_chromophore_is_remarked_upon(dimer):
    structure = dimer(3.5, 1.0)
    bent = structure.positions.copy()
    bent[:, 2] += 0.3 * np.abs(bent[:, 0])
    row = columns(structure, bent)
    assert row['descriptor_note_start'] == ''
    assert row['descriptor_note'].startswith('chromophore not flat: 0.')
    assert row['planarity_rms'] > 0.2


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_positions_that_are_not_finite_are_a_note(dimer, bad):
    structure = dimer()
    spoilt = structure.positions.copy()
    spoilt[0] = bad
    row = columns(structure, spoilt)
    assert row['classification_start'] == 'strong'
    row = RELAX.complete(row)
    assert row['classification'] == 'none'
    assert row['descriptor_note'] == 'positions are not finite'
    assert np.isnan([row[name] for name in NAMES]).all()


@pytest.mark.parametrize('squash', [[1, 0, 0], [0, 0, 0]])
def test_rings_without_a_plane_are_a_note(dimer, squash):
    structure = dimer()
    row = RELAX.complete(columns(structure, structure.positions * squash))
    assert row['classification'] == 'none'
    assert row['descriptor_note'] == 'a chromophore has no plane'


def test_without_a_valid_final_geometry_the_start_remains(dimer):
    structure = dimer()
    row = RELAX.complete(
        descriptor_columns(structure, structure.positions, None))
    assert row['classification_start'] == 'strong'
    assert row['classification'] == 'none' and np.isnan(row['vertical'])
    assert row['descriptor_note'] == 'no valid final geometry'
    assert np.isnan(row['pair_vertical']).all()
    assert len(row['pair_vertical']) == len(row['pair_vertical_start']) == 1


def test_a_fault_in_the_program_is_a_note(dimer, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError('a defect')

    monkeypatch.setattr('mpiapp.chemistry.descriptors.chromophores_of', fail)
    row = columns(dimer())
    assert row == {f'descriptor_note{end}':
                   'failed: ZeroDivisionError: a defect'
                   for end in ('', '_start')}


@pytest.mark.parametrize('kind', ['sdf', 'xyz'])
def test_a_stored_row_gives_the_same_descriptors(anions, kind):
    structure = anions.load(0)
    if kind == 'xyz':
        structure = replace(structure, bonds=np.empty((0, 2), np.int64),
                            orders=np.empty(0, np.int64),
                            formal_charges=np.empty(0, np.int32))
    first = columns(structure)
    row = RELAX.complete({
        'numbers': structure.numbers, 'x_start': structure.positions,
        'x_final': structure.positions, 'charge': structure.charge,
        **connectivity(structure)})
    again = columns(stored_structure(row))
    assert first.keys() == again.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    assert (row['bond_orders'] == 0).all() == (kind == 'xyz')


def test_classes_do_not_need_a_final_geometry_to_be_near(anions):
    structure = anions.load(0)
    found = chromophores_of(descriptor_graph(structure, structure.positions))
    codes = pair_classes(found, measure_pairs(
        found, structure.positions[None]))
    assert codes.shape == (1, 6)
    assert sorted(set(codes[0].tolist())) == [-1, 0]
