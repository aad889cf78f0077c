"""The least RMSD over rotations and equal atoms."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiapp.chemistry.matching import match
from mpiapp.chemistry.skeleton import skeleton_of
from tests.chemistry.ensemble_molecules import (
    SYMMETRIC, Molecule, embedded, mirrored, moved, renumbered
)

#: A; the sum of squares of 100 atoms within 10 A is known to 1e-12 of 1e4
ROUNDING = 1e-6
#: A; the limit of duplicates
LIMIT = 0.125
#: assignments for molecules with up to 80,000 automorphisms
FEW_NODES = 500
HEXAFLUOROPHOSPHATE = Molecule(
    np.array([15, 9, 9, 9, 9, 9, 9]),
    np.array([[0, i] for i in range(1, 7)]),
    1.6 * np.vstack([np.zeros(3), np.eye(3), -np.eye(3)]))


def compare(a: Molecule, b: Molecule, limit: float = LIMIT,
            mirror: bool = False):
    return match(a.skeleton, a.heavy, b.skeleton, b.heavy, limit, mirror)


@pytest.mark.parametrize('smiles', SYMMETRIC)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_turned_and_renumbered_molecules_are_equal(
    smiles: str, seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    one = embedded(smiles)[0]
    order = rng.permutation(len(one.numbers))
    found = compare(one, renumbered(moved(one, rng), order))
    assert found.decided and found.rmsd < ROUNDING
    assert found.nodes < FEW_NODES


@pytest.mark.parametrize('smiles', SYMMETRIC[:5])
def test_the_least_rmsd_is_that_of_rdkit(
    smiles: str, rng: np.random.Generator,
) -> None:
    """RDKit tries all automorphisms; feasible for these."""
    from rdkit import Chem
    from rdkit.Chem import rdMolAlign
    molecule = Chem.MolFromSmiles(smiles)
    others = [a.GetIdx() for a in molecule.GetAtoms()
              if a.GetAtomicNum() != 6]
    # an empty list would mean all atoms
    if others:
        molecule = Chem.AddHs(molecule, onlyOnAtoms=others)
    one = embedded(smiles)[0]
    other = moved(one, rng, noise=0.05)
    copies = []
    for each in (one, other):
        copy = Chem.Mol(molecule)
        conformer = Chem.Conformer(copy.GetNumAtoms())
        conformer.SetPositions(each.heavy)
        copy.AddConformer(conformer)
        copies.append(copy)
    expected = rdMolAlign.GetBestRMS(*copies, maxMatches=10**6)
    assert compare(one, other, 1.0).rmsd == pytest.approx(
        expected, abs=ROUNDING)


def test_a_far_conformer_is_not_superposed(
    rng: np.random.Generator,
) -> None:
    one, other = embedded('CCCCCCc1ccccc1', 2)
    assert np.isinf(compare(one, other).rmsd)
    limit = compare(one, other, 10.0).rmsd
    assert LIMIT < limit < 10.0
    assert np.isinf(compare(one, other, limit - ROUNDING).rmsd)
    assert compare(one, other, limit + ROUNDING).rmsd == pytest.approx(
        limit, abs=ROUNDING)


def test_a_flipped_phenyl_is_the_same_phenyl() -> None:
    one = embedded('c1ccccc1CCO')[0]
    order = np.arange(len(one.numbers))
    # atom 5 bears the chain: ortho and meta atoms change places
    ring = [0, 1, 2, 3, 4, 5]
    flipped = [4, 3, 2, 1, 0, 5]
    order[ring] = flipped
    labels = one.skeleton.labels
    assert [labels[i] for i in ring] == [labels[i] for i in flipped]
    swapped = Molecule(one.numbers, one.bonds, one.positions[order])
    assert compare(one, swapped).rmsd < ROUNDING


def test_six_fluorines_do_not_explode(rng: np.random.Generator) -> None:
    other = moved(HEXAFLUOROPHOSPHATE, rng, 0.02)
    found = compare(HEXAFLUOROPHOSPHATE, renumbered(
        other, rng.permutation(7)))
    assert found.decided and 0 < found.rmsd < 0.1
    assert found.nodes < FEW_NODES


def test_mirror_images_are_equal_on_request() -> None:
    chiral = embedded('C[C@H](O)CC(F)Cl')[0]
    image = mirrored(chiral)
    assert np.isinf(compare(chiral, image).rmsd)
    assert compare(chiral, image, mirror=True).rmsd < ROUNDING


def test_other_graphs_never_match() -> None:
    decalin = embedded('C1CCC2CCCCC2C1')[0]
    bicyclopentyl = embedded('C1CCCC1C1CCCC1')[0]
    assert decalin.skeleton.key != bicyclopentyl.skeleton.key
    assert np.isinf(compare(decalin, bicyclopentyl, 100.0).rmsd)
    tautomers = [embedded(s)[0] for s in ('CC(=O)C', 'CC(O)=C')]
    assert tautomers[0].skeleton.key != tautomers[1].skeleton.key


def test_too_many_assignments_are_given_up() -> None:
    one = embedded(SYMMETRIC[3])[0]
    found = match(one.skeleton, one.heavy, one.skeleton, one.heavy,
                  LIMIT, max_nodes=5)
    assert not found.decided and np.isinf(found.rmsd)


def test_two_molecules_in_one_record_may_change_places(
    rng: np.random.Generator,
) -> None:
    pair = embedded('c1ccccc1.c1ccccc1')[0]
    order = np.concatenate([np.arange(6, 12), np.arange(6)])
    order = np.concatenate([order, np.arange(12, 24)])
    swapped = Molecule(pair.numbers, pair.bonds, pair.positions[order])
    assert compare(pair, moved(swapped, rng)).rmsd < ROUNDING


def test_molecules_of_few_heavy_atoms_count_their_hydrogens() -> None:
    water = skeleton_of(np.array([8, 1, 1]), np.array([[0, 1], [0, 2]]))
    assert len(water) == 3 and len(set(water.labels)) == 2
    assert len(skeleton_of(np.array([6] * 4 + [1]),
                           np.empty((0, 2)))) == 4
