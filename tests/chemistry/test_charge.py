"""The charge policy: what is computed for a charged record."""
from dataclasses import replace

import numpy as np
import pytest

from mpiapp.chemistry.charge import OH_LENGTH, XOH_DEGREES, apply_policy
from mpiapp.chemistry.checks import check_structure
from mpiapp.records import Rejection, Structure

#: rounding of a construction in double precision
ROUNDING = 1e-9
#: the new hydrogen keeps clear of all but its own oxygen
MIN_DISTANCE = 1.3  # A


def _bare(structure: Structure) -> Structure:
    return replace(structure, bonds=np.empty((0, 2), np.int64),
                   orders=np.empty(0, np.int64),
                   formal_charges=np.empty(0, np.int32))


def _hydrogen_geometry(structure: Structure) -> tuple[float, float, float]:
    """Return O-H, angle X-O-H and the next distance of the last atom."""
    arms = structure.positions[:-1] - structure.positions[-1]
    distances = np.linalg.norm(arms, axis=1)
    order = np.argsort(distances)
    oxygen = order[0]
    assert structure.numbers[oxygen] == 8
    to_all = np.linalg.norm(
        structure.positions[:-1] - structure.positions[oxygen], axis=1)
    centre = np.argsort(to_all)[1]
    a = structure.positions[centre] - structure.positions[oxygen]
    b = structure.positions[-1] - structure.positions[oxygen]
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return (distances[oxygen], float(np.degrees(np.arccos(cosine))),
            distances[order[1]])


def test_charged_records_are_refused_by_default(anions):
    with pytest.raises(Rejection) as error:
        apply_policy(anions.load(0), 'refuse', accepts_charge=False)
    assert error.value.reason == 'charged'
    assert '-1' in error.value.message


@pytest.mark.parametrize('policy', ['refuse', 'allow'])
def test_models_with_charge_get_the_true_one(anions, policy):
    before = anions.load(0)
    prepared = apply_policy(before, policy, accepts_charge=True)
    assert prepared.structure is before
    assert prepared.input_charge == -1
    assert not prepared.charge_ignored


def test_allow_marks_the_ignored_charge(anions):
    prepared = apply_policy(anions.load(0), 'allow', accepts_charge=False)
    assert prepared.charge_ignored
    assert prepared.n_added_hydrogens == 0


@pytest.mark.parametrize('policy', ['refuse', 'neutralise', 'allow'])
def test_neutral_records_are_left_alone(library, policy):
    before = library.load(0)
    prepared = apply_policy(before, policy, accepts_charge=False)
    assert prepared.structure is before
    assert not prepared.charge_ignored


@pytest.mark.parametrize('accepts_charge', [True, False])
@pytest.mark.parametrize('bare', [True, False])
def test_neutralise_adds_one_good_hydrogen(anions, accepts_charge, bare):
    for row in range(len(anions)):
        before = anions.load(row)
        before = _bare(before) if bare else before
        prepared = apply_policy(before, 'neutralise', accepts_charge)
        after = prepared.structure
        assert (prepared.n_added_hydrogens, prepared.input_charge) == (1, -1)
        assert after.charge == 0
        assert after.numbers[-1] == 1
        assert np.array_equal(after.numbers[:-1], before.numbers)
        assert np.array_equal(after.positions[:-1], before.positions)
        length, angle, clearance = _hydrogen_geometry(after)
        assert abs(length - OH_LENGTH) < ROUNDING
        assert abs(angle - XOH_DEGREES) < 1e-4
        assert clearance > MIN_DISTANCE
        check_structure(after)


def test_bonds_and_charges_follow_the_hydrogen(anions):
    before = anions.load(0)
    after = apply_policy(before, 'neutralise', False).structure
    oxygen = int(np.flatnonzero(before.formal_charges)[0])
    assert after.bonds[-1].tolist() == [oxygen, len(before.numbers)]
    assert after.orders[-1] == 2
    assert not after.formal_charges.any()
    assert len(after.formal_charges) == len(after.numbers)
    assert before.formal_charges[oxygen] == -1


def test_the_place_turns_with_the_molecule(anions):
    before = anions.load(3)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    turned = replace(before, positions=before.positions @ turn + 5.0)
    a = apply_policy(before, 'neutralise', False).structure.positions[-1]
    b = apply_policy(turned, 'neutralise', False).structure.positions[-1]
    assert np.allclose(a @ turn + 5.0, b, rtol=0, atol=1e-8)


@pytest.mark.parametrize('smiles, added', [
    ('CC(=O)[O-]', 1),
    ('[O-]C(=O)CC(=O)[O-]', 2),
    ('CP(=O)([O-])[O-]', 2),
    ('CS(=O)(=O)[O-]', 1),
    ('[O-]c1ccccc1', 1),
    ('CC[O-]', 1),
    ('[NH3+]CC(=O)[O-]', 0),
    ('C[N+](=O)[O-]', 0),
    ('[NH3+]CC([O-])=O', 0),
    ('[NH3+]C(CC(=O)[O-])C(=O)[O-]', 1),
])
def test_oxyanions_become_neutral(embed, smiles, added):
    for before in (embed(smiles), _bare(embed(smiles))):
        prepared = apply_policy(before, 'neutralise', False)
        assert prepared.n_added_hydrogens == added
        assert prepared.structure.charge == 0
        check_structure(prepared.structure)


@pytest.mark.parametrize('smiles', [
    'C[NH3+]', 'C[N+](C)(C)C', 'C[S-]', '[Cl-].CC', 'CC[NH-]'])
def test_what_has_no_oxyanion_can_not_be_neutralised(embed, smiles):
    for structure in (embed(smiles), _bare(embed(smiles))):
        with pytest.raises(Rejection) as error:
            apply_policy(structure, 'neutralise', False)
        assert error.value.reason == 'charged'


def test_without_bond_orders_no_oxygen_is_guessed(embed):
    ambiguous = _bare(embed('CC(=O)CC(=O)C'))
    with pytest.raises(Rejection, match='can not be told'):
        apply_policy(replace(ambiguous, charge=-1), 'neutralise', False)


def test_unknown_policies_are_an_error(library):
    with pytest.raises(ValueError, match='guess'):
        apply_policy(library.load(0), 'guess', False)


@pytest.mark.parametrize('policy', ['refuse', 'neutralise'])
def test_a_radical_needs_a_model_of_open_shells(policy: str) -> None:
    methyl = Structure(0, 0, 0, np.array([6, 1, 1, 1], np.int32),
                       np.eye(4, 3), unpaired=1)
    with pytest.raises(Rejection) as caught:
        apply_policy(methyl, policy, accepts_charge=False)
    assert caught.value.reason == 'radical'
    assert not apply_policy(methyl, policy, True).charge_ignored
    assert apply_policy(methyl, 'allow', False).charge_ignored
