"""Which stereoisomers stand for a SMILES that leaves some open."""
from __future__ import annotations

from typing import Any

import pytest

from mpiapp.chemistry.isomers import MOST_OPEN, isomers, open_stereo
from mpiapp.chemistry.stereo import carried_labels
from mpiapp.records import Rejection


def molecule(smiles: str) -> Any:
    from rdkit import Chem
    return Chem.MolFromSmiles(smiles)


def labels(smiles: str, policy: str) -> list[str]:
    found = map(carried_labels, isomers(molecule(smiles), policy))
    return [','.join(t for t in (s.cip, s.double_bonds) if t)
            for s in found]


@pytest.mark.parametrize('smiles, left_open', [
    ('CCO', ()), ('CC(O)CC', ('2',)), ('C[C@H](O)CC', ()),
    ('CC=CC(C)O', ('4', '2=3')), ('CC(C)=CC', ()), ('OP(=O)(O)CN', ()),
    # the hydrogen of an imine is no atom of a SMILES, and has no place
    ('CNC(N)=N', ()), ('CC(O)C=N', ('2',)), ('CC=NC', ('2=3',)),
])
def test_open_centres_and_double_bonds_are_named(
    smiles: str, left_open: tuple[str, ...],
) -> None:
    assert open_stereo(molecule(smiles)) == left_open


@pytest.mark.parametrize('smiles, label', [
    ('CC(O)C(F)Cl', '2R,4R'), ('CC=CC(C)O', '4R,2=3E'),
    # phenyl and thienyl trans, as a Knoevenagel condensation makes it
    ('N#CC(c1ccccc1)=Cc1cccs1', '3=10Z'),
    ('C1CCCC=CCC1', '5=6Z'), ('CCO', ''), ('CNC(N)=N', ''),
])
def test_one_isomer_is_chosen_by_rule(smiles: str, label: str) -> None:
    assert labels(smiles, 'one') == [label]


def test_what_the_smiles_states_is_kept() -> None:
    for smiles in ('C[C@@H](O)C(F)Cl', 'C[C@H](O)C(F)Cl'):
        stated = carried_labels(molecule(smiles)).cip
        assert labels(smiles, 'one') == [f'{stated},4R']


def test_all_isomers_come_in_the_order_of_their_labels() -> None:
    assert labels('CC(O)C(F)Cl', 'enumerate') == [
        '2R,4R', '2R,4S', '2S,4R', '2S,4S']
    assert labels('CC(O)C=N', 'enumerate') == ['2R', '2S']


def test_a_meso_form_is_one_isomer() -> None:
    assert len(labels('CC(O)C(C)O', 'enumerate')) == 3


def test_impossible_isomers_of_rings_are_left_out() -> None:
    # the bridge of norbornanol can only be cis: 2 of 8 patterns a face
    assert len(labels('C1CC2CC1C(O)C2', 'enumerate')) < 8
    assert len(labels('C1CC2CC1C(O)C2', 'one')) == 1


def test_refuse_names_what_is_open() -> None:
    with pytest.raises(Rejection, match='stereo: .* 2 4') as error:
        isomers(molecule('CC(O)C(F)Cl'), 'refuse')
    assert error.value.reason == 'stereo'
    assert len(isomers(molecule('CCO'), 'refuse')) == 1


def test_too_many_open_centres_are_refused() -> None:
    smiles = 'C' + 'C(O)' * (MOST_OPEN + 1) + 'F'
    with pytest.raises(Rejection, match='write some into the SMILES'):
        isomers(molecule(smiles), 'one')


def test_atoms_keep_their_numbers() -> None:
    flat = molecule('CC(O)C(F)Cl')
    for isomer in isomers(flat, 'enumerate'):
        assert [a.GetSymbol() for a in isomer.GetAtoms()] == [
            a.GetSymbol() for a in flat.GetAtoms()]
