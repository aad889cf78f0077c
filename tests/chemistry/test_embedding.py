"""Single conformers: the same whoever makes them, sound, folded if asked."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpiapp.chemistry.embedding import (
    MADE, Recipe, attempt, facts, fold_number, prepare, seed_of
)
from mpiapp.chemistry.folding import (
    aromatic_systems, fold_pairs, folded_bounds, folds
)
from mpiapp.chemistry.molecules import MoleculeTable, TableRow
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.chemistry.stereo import stereo_labels
from mpiapp.records import Rejection

RECIPE = Recipe()
#: two naphthalenes on a chain of three carbons
DIMER = 'c1ccc2cc(OCCCOc3ccc4ccccc4c3)ccc2c1'
#: A; centroids of a stack are closer, those of a stretched dimer are not
STACKED = 6.0


def row_of(smiles: str) -> TableRow:
    return table_of([smiles]).rows[0]


def test_an_attempt_does_not_depend_on_those_before_it() -> None:
    subject = prepare(row_of('CCCCO'), RECIPE)
    alone = attempt(prepare(row_of('CCCCO'), RECIPE), RECIPE, 3)
    after = [attempt(subject, RECIPE, i) for i in range(4)][3]
    assert alone.energy == after.energy
    assert np.array_equal(alone.positions, after.positions)


def test_seeds_come_from_molecule_attempt_and_seed() -> None:
    seeds = {seed_of(s, n, k) for s in ('C', 'CC') for n in range(3)
             for k in range(2)}
    assert len(seeds) == 12
    assert all(0 <= s < 2**31 for s in seeds)
    # pinned: another rule would make other files of the same command
    assert seed_of('C', 0) == 1521970098


def test_conformers_carry_the_labels_of_their_isomer() -> None:
    recipe = replace(RECIPE, stereo='enumerate')
    subject = prepare(row_of('CC(O)C(F)Cl'), recipe)
    for number in range(8):
        made = attempt(subject, recipe, number)
        assert made.outcome == MADE and made.converged
        assert made.isomer == number % 4
        found = stereo_labels(subject.structure, made.positions)
        assert found.cip == subject.wanted[made.isomer].cip


def test_a_conformer_of_another_isomer_is_given_up() -> None:
    subject = prepare(row_of('CC(O)C(F)Cl'), RECIPE)
    other = prepare(row_of('C[C@@H](O)[C@@H](F)Cl'), RECIPE).wanted
    assert other != subject.wanted
    made = attempt(replace(subject, wanted=other), RECIPE, 0)
    assert made.outcome == 'stereo_changed'
    assert made.positions is None


def test_what_has_no_geometry_is_reported() -> None:
    # a bridge from one face of the ring to the other
    made = attempt(prepare(row_of('O[C@@H]1C[C@@H]2CC[C@@H]1C2'), RECIPE),
                   RECIPE, 0)
    assert made.outcome == 'not_embedded'
    assert made.positions is None and np.isnan(made.energy)


@pytest.mark.parametrize('share, wanted', [
    (0.0, [-1] * 6), (1.0, [0, 1, 2, 3, 4, 5]),
    (0.5, [-1, 0, -1, 1, -1, 2]), (0.3, [-1, -1, -1, 0, -1, -1]),
])
def test_folded_turns_are_spread_evenly(
    share: float, wanted: list[int],
) -> None:
    assert [fold_number(i, share) for i in range(6)] == wanted
    n = sum(fold_number(i, share) >= 0 for i in range(1000))
    assert n == round(1000 * share)


@pytest.mark.parametrize('smiles, reason', [
    ('CC.O', 'fragments'), ('C[N+](C)(C)C', 'charged'), ('C*', 'element'),
    ('[He]', 'one_atom'), ('[Og]C', 'force_field'),
    ('N->[Cu]', 'bond'),
])
def test_what_can_not_be_embedded_is_rejected(
    smiles: str, reason: str,
) -> None:
    with pytest.raises(Rejection) as error:
        facts(row_of(smiles), RECIPE)
    assert error.value.reason == reason


def test_charged_molecules_can_be_allowed() -> None:
    found = facts(row_of('C[N+](C)(C)C'), replace(RECIPE,
                                                  allow_charged=True))
    assert found.charge == 1


def test_uff_stands_in_where_mmff_has_no_parameters() -> None:
    row = row_of('CB(C)C')
    assert facts(row, RECIPE).force_field == 'UFF'
    assert facts(row_of('CCO'), RECIPE).force_field == 'MMFF94s'
    made = attempt(prepare(row, RECIPE), RECIPE, 0)
    assert made.outcome == MADE and np.isfinite(made.energy)


def test_aromatic_systems_are_rings_that_share_bonds() -> None:
    from rdkit import Chem
    molecule = Chem.MolFromSmiles(DIMER)
    assert list(map(len, aromatic_systems(molecule))) == [10, 10]
    assert len(fold_pairs(molecule)) == 1
    # biphenyl-like neighbours can not be stacked, single rings are not
    for smiles in ('c1ccc2c(c1)cccc2-c1cccc2ccccc12', 'c1ccccc1CCc1ccccc1'):
        assert not fold_pairs(Chem.MolFromSmiles(smiles))


def test_systems_of_one_shape_are_laid_together_in_all_ways() -> None:
    from rdkit import Chem
    found = folds(Chem.MolFromSmiles(DIMER))
    # the four symmetry operations of naphthalene's skeleton
    assert len(set(found)) == 4
    assert {tuple(sorted(b)) for _, b in found} == {tuple(sorted(
        found[0][1]))}
    # naphthalene on anthracene: one fold, by the middles alone
    unequal = Chem.MolFromSmiles(
        'c1ccc2cc(OCCCOc3ccc4cc5ccccc5cc4c3)ccc2c1')
    assert len(folds(unequal)) == 1
    assert folds(Chem.MolFromSmiles('CCO')) == []


def test_library_molecules_have_pairs_to_fold(
    data_dir: object,
) -> None:
    from rdkit import Chem
    table = MoleculeTable.read(
        f'{data_dir}/dimers/binaph_dimer_smiles.csv')
    for row in table.rows[::16]:
        whole = Chem.AddHs(Chem.MolFromSmiles(row.smiles))
        pairs = fold_pairs(whole)
        assert len(pairs) == 4, row.name
        assert folded_bounds(whole, pairs[0]) is not None


def test_folded_starts_bring_the_systems_together() -> None:
    subject = prepare(row_of(DIMER), RECIPE)
    a, b = aromatic_systems(subject.isomers[0])
    distances: dict[bool, list[float]] = {True: [], False: []}
    for number in range(12):
        made = attempt(subject, RECIPE, number)
        x = made.positions
        assert x is not None
        distances[made.folded].append(float(np.linalg.norm(
            x[list(a)].mean(axis=0) - x[list(b)].mean(axis=0))))
    close = {folded: np.mean(np.array(d) < STACKED)
             for folded, d in distances.items()}
    assert len(distances[True]) == len(distances[False]) == 6
    assert close[True] > 0.5 > close[False]
