"""Duplicates: the RMSD, its bound, symmetry, and what is not superposed."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mpiapp.chemistry.embedding import (
    Recipe, Subject, attempt, bare_structure, prepare
)
from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.chemistry.molecules import TableRow
from mpiapp.chemistry.pruning import Limits, Matcher, clusters, rmsds
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.records import Floats

#: two ways to the same number differ by rounding
ROUNDING = 1e-6
LIMITS = Limits()


def row_of(smiles: str) -> TableRow:
    return table_of([smiles]).rows[0]


def conformers(
    smiles: str, n: int,
) -> tuple[Subject, Floats, Floats]:
    """Return energies and positions of n attempts."""
    recipe = Recipe()
    subject = prepare(row_of(smiles), recipe)
    made = [attempt(subject, recipe, i) for i in range(n)]
    assert all(a.positions is not None for a in made)
    return (subject, np.array([a.energy for a in made]),
            np.array([a.positions for a in made]))


def moved(positions: Floats, rng: np.random.Generator) -> Floats:
    """Return positions turned and shifted."""
    turn = Rotation.random(random_state=rng).as_matrix()
    return np.asarray(positions @ turn.T + rng.normal(size=3))


def test_rmsds_are_those_of_single_superpositions(
    rng: np.random.Generator,
) -> None:
    a, b = rng.normal(size=(2, 7, 3))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    found = rmsds(a, np.stack([b, -b, a]))
    wanted = [superposed_rmsd(a, x) for x in (b, -b, a)]
    assert np.abs(found - wanted).max() < ROUNDING


def test_the_bound_is_never_above_the_symmetric_rmsd() -> None:
    subject, _, x = conformers('c1ccccc1CC(C)(C)O', 6)
    matcher = Matcher(subject.structure)
    x = x[:, matcher.atoms]
    x = x - x.mean(axis=1, keepdims=True)
    radii = matcher.radii(x)
    for i in range(len(x)):
        for j in range(i):
            bound = np.sqrt(((radii[i] - radii[j])**2).mean())
            least = rmsds(x[i], x[j][matcher.mappings]).min()
            assert bound < least + ROUNDING


def test_a_moved_and_flipped_conformer_is_a_duplicate(
    rng: np.random.Generator,
) -> None:
    subject, energies, x = conformers('CCOc1ccccc1', 1)
    flipped = x[0].copy()
    # C3 is the first atom of the ring, its neighbours 4 and 8 swap
    ring = [4, 5, 6, 7, 8]
    flipped[ring] = x[0][ring[::-1]]
    both = np.stack([x[0], moved(flipped, rng)])
    found = clusters(Matcher(subject.structure), np.array([1.0, 1.0]), both,
                     LIMITS)
    assert found.kept.tolist() == [0]
    assert rmsds(both[0][:9] - both[0][:9].mean(axis=0), (
        both[1][:9] - both[1][:9].mean(axis=0))[None])[0] > LIMITS.rmsd


def test_the_lowest_of_a_kind_is_kept_and_the_earliest_known() -> None:
    structure = bare_structure(row_of('CCCC'))
    _, _, x = conformers('CCCC', 1)
    found = clusters(Matcher(structure), np.array([0.5, 0.2, 0.3]),
                     np.repeat(x, 3, axis=0), LIMITS)
    assert found.kept.tolist() == [1]
    assert found.first.tolist() == [0]


def test_equal_shapes_of_other_energy_stay() -> None:
    # as where a hydrogen that is not compared points elsewhere
    _, _, x = conformers('CCCO', 1)
    matcher = Matcher(bare_structure(row_of('CCCO')))
    energies = np.array([0.0, LIMITS.energy * 1.01])
    found = clusters(matcher, energies, np.repeat(x, 2, axis=0), LIMITS)
    assert len(found.kept) == 2


def test_a_mirror_image_is_another_conformer() -> None:
    subject, energies, x = conformers('CCCC', 20)
    found = clusters(Matcher(subject.structure), energies, x, LIMITS)
    # anti, gauche+ and gauche-
    assert len(found.kept) == 3
    lowest, *gauche = energies[found.kept]
    assert np.ptp(gauche) < 1e-3 < gauche[0] - lowest


@pytest.mark.parametrize('smiles, n_compared, n_mappings', [
    ('FC(F)(F)c1ccccc1', 7, 2), ('CC(C)(C)C', 1, 1), ('C', 1, 1),
    ('c1ccccc1Cc1ccccc1', 13, 8), ('[H][H]', 2, 2),
])
def test_symmetric_tops_are_not_permuted(
    smiles: str, n_compared: int, n_mappings: int,
) -> None:
    matcher = Matcher(bare_structure(row_of(smiles)))
    assert len(matcher.atoms) == n_compared
    assert matcher.mappings.shape == (n_mappings, n_compared)
    assert matcher.mappings[0].tolist() == list(range(n_compared))


def test_most_pairs_need_no_superposition() -> None:
    subject, energies, x = conformers('CC(O)CCOCc1ccccc1', 24)
    n_kept = len(clusters(Matcher(subject.structure), energies, x,
                          LIMITS).kept)
    found = clusters(Matcher(subject.structure), energies, x,
                     replace(LIMITS, energy=np.inf))
    n_pairs = len(energies) * (len(energies) - 1) / 2
    assert n_kept > 14
    # 0.06 were measured; any energy counts here, only shapes decide
    assert found.n_superposed < 0.2 * n_pairs
