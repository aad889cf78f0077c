"""Clusters of equal conformers, and how few pairs they cost."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiapp.chemistry.duplicates import (
    Clusters, Limits, find_duplicates, fingerprints, is_own_mirror_image
)
from mpiapp.chemistry.matching import match
from mpiapp.units import KCAL_PER_EV
from tests.chemistry.ensemble_molecules import (
    SYMMETRIC, Molecule, embedded, mirrored, moved, renumbered
)

LIMITS = Limits(0.05 / KCAL_PER_EV)
#: eV; inside and outside the energy limit
NEAR, FAR = 0.04 / KCAL_PER_EV, 0.06 / KCAL_PER_EV
#: relative rounding of the bounds
ROUNDING = 1e-9


def cluster(
    molecules: list[Molecule], energies: list[float],
    limits: Limits = LIMITS,
) -> Clusters:
    return find_duplicates(
        np.array(energies), [m.skeleton for m in molecules],
        [m.heavy for m in molecules], limits)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SYMMETRIC[:5]))
def test_order_rotation_and_numbering_do_not_matter(
    seed: int, smiles: str,
) -> None:
    rng = np.random.default_rng(seed)
    three = embedded(smiles, 3)
    copies = [three[i] for i in (0, 1, 2, 0, 1, 0)]
    energies = [-5000.0 + 0.1 * i for i in (0, 1, 2, 0, 1, 0)]
    order = rng.permutation(6)
    mixed = [renumbered(moved(copies[i], rng), rng.permutation(
        len(copies[i].numbers))) for i in order]
    found = cluster(mixed, [energies[i] for i in order])
    kinds = np.array([0, 1, 2, 0, 1, 0])[order]
    first = [int(np.flatnonzero(kinds == kind)[0]) for kind in kinds]
    assert found.representative.tolist() == first
    assert len(found.unique) == 3


def test_energy_and_rmsd_must_both_agree(rng: np.random.Generator) -> None:
    one, other = embedded('CCCCO', 2)
    assert len(cluster([one, moved(one, rng)], [0.0, NEAR]).unique) == 1
    assert len(cluster([one, moved(one, rng)], [0.0, FAR]).unique) == 2
    assert len(cluster([one, other], [0.0, 0.0]).unique) == 2


def test_the_representative_is_the_lowest_then_the_first(
    rng: np.random.Generator,
) -> None:
    one = embedded('CCCCO')[0]
    same = [moved(one, rng) for _ in range(3)]
    assert cluster(same, [NEAR, 0.0, 0.0]).representative.tolist() == [
        1, 1, 1]
    assert cluster(same, [0.0, 0.0, 0.0]).representative.tolist() == [
        0, 0, 0]


def test_clusters_do_not_grow_along_a_chain(
    rng: np.random.Generator,
) -> None:
    one = embedded('CCCCO')[0]
    chain = [moved(one, rng) for _ in range(4)]
    energies = [0.0, NEAR, 2 * NEAR, 3 * NEAR]
    assert cluster(chain, energies).representative.tolist() == [0, 0, 2, 2]


def test_permuted_groups_are_duplicates(rng: np.random.Generator) -> None:
    for smiles in SYMMETRIC:
        one = embedded(smiles)[0]
        labels = np.array(one.skeleton.labels)
        order = np.arange(len(one.numbers))
        rare = [i for i in range(len(labels)) if (labels == labels[i]).sum()
                == 3]
        if not rare:
            continue
        # two methyls or fluorines of one t-butyl or CF3 change places
        centre = next(iter(one.skeleton.neighbours[rare[0]]))
        arms = [i for i in sorted(one.skeleton.neighbours[centre])
                if labels[i] == labels[rare[0]]]
        order[arms[:2]] = arms[1::-1]
        swapped = Molecule(one.numbers, one.bonds, one.positions[order])
        assert len(cluster([one, moved(swapped, rng)], [0, 0]).unique) == 1


def test_mirror_images_follow_the_option() -> None:
    one = embedded('CC(F)CC(Cl)O')[0]
    both = [one, mirrored(one)]
    assert len(cluster(both, [0.0, 0.0]).unique) == 2
    same = Limits(LIMITS.energy, mirror=True)
    assert len(cluster(both, [0.0, 0.0], same).unique) == 1
    assert not is_own_mirror_image(one.skeleton, one.heavy, LIMITS.rmsd)
    flat = embedded('c1ccccc1')[0]
    assert is_own_mirror_image(flat.skeleton, flat.heavy, LIMITS.rmsd)


def test_a_hydroxyl_tells_mirror_images_apart() -> None:
    """Heavy atoms of 1-propanol with a straight chain lie in a plane."""
    from rdkit import Chem
    from rdkit.Chem import rdMolTransforms as transforms
    straight = Chem.AddHs(Chem.MolFromSmiles('CCCO'))
    made = embedded('CCCO')[0]
    conformer = Chem.Conformer(len(made.numbers))
    conformer.SetPositions(made.positions)
    conformer = straight.GetConformer(straight.AddConformer(conformer))
    hydrogen = next(n.GetIdx() for n in straight.GetAtomWithIdx(3)
                    .GetNeighbors() if n.GetAtomicNum() == 1)
    transforms.SetDihedralDeg(conformer, 0, 1, 2, 3, 180.0)
    for degrees, own_image in ((60.0, False), (180.0, True)):
        transforms.SetDihedralDeg(conformer, 1, 2, 3, hydrogen, degrees)
        one = Molecule(made.numbers, made.bonds, conformer.GetPositions())
        assert is_own_mirror_image(
            one.skeleton, one.heavy, LIMITS.rmsd) == own_image
        pair = cluster([one, mirrored(one)], [0.0, 0.0])
        assert len(pair.unique) == (1 if own_image else 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SYMMETRIC[:5]),
       st.floats(0.01, 1.0))
def test_the_bounds_are_never_above_the_rmsd(
    seed: int, smiles: str, noise: float,
) -> None:
    rng = np.random.default_rng(seed)
    one = embedded(smiles)[0]
    other = renumbered(moved(one, rng, noise),
                       rng.permutation(len(one.numbers)))
    skeletons, heavy = zip(*((m.skeleton, m.heavy) for m in (one, other)))
    a, b = fingerprints(skeletons, heavy)
    least = match(skeletons[0], heavy[0], skeletons[1], heavy[1], 3.0,
                  mirror=True).rmsd
    assert (np.linalg.norm(a - b, axis=1) <= least * (1 + ROUNDING)).all()


def test_energies_and_bounds_spare_superpositions(
    rng: np.random.Generator,
) -> None:
    kinds = embedded('CCCCCCCCO', 12)
    copies = [moved(kinds[i % 12], rng, 1e-3) for i in range(60)]
    apart = cluster(copies, [FAR * (i % 12) for i in range(60)])
    assert len(apart.unique) == 12
    # a duplicate is searched for once, against the one of its energy
    assert (apart.n_close, apart.n_searched) == (48, 48)
    equal = cluster(copies, [0.0] * 60)
    assert len(equal.unique) == 12
    # of the 636 or so pairs of equal energy the bounds leave the duplicates
    assert equal.n_close > 300 and equal.n_searched < 60
    none = cluster(copies, [FAR * i for i in range(60)])
    assert (len(none.unique), none.n_close, none.n_searched) == (60, 0, 0)


def test_one_conformer_and_none() -> None:
    one = embedded('CCO')[0]
    assert cluster([one], [0.0]).unique.tolist() == [0]
    assert cluster([], []).unique.tolist() == []


@pytest.mark.parametrize('max_nodes, n_unique', [(3, 2), (10_000, 1)])
def test_what_is_not_decided_is_counted_as_different(
    rng: np.random.Generator, max_nodes: int, n_unique: int,
) -> None:
    one = embedded(SYMMETRIC[3])[0]
    both = [one, moved(one, rng)]
    found = find_duplicates(
        np.zeros(2), [m.skeleton for m in both], [m.heavy for m in both],
        LIMITS, max_nodes)
    assert len(found.unique) == n_unique
    assert found.n_undecided == n_unique - 1
