"""Who gets further attempts, and who fills up for whom."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from mpiapp.chemistry.embedding import Recipe
from mpiapp.chemistry.pruning import Limits
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.workers.choosing import Ensemble
from mpiapp.workers.conformer_input import Paths, look
from mpiapp.workers.conformer_rounds import (
    Prepared, Progress, Wish, extend, molecules_made
)
from mpiapp.workers.pools import Sorting

SMILES = ['CCO', 'C', 'C.C', 'CCCO']


def prepared(
    per_molecule: int | None, total: int | None, most: int = 100,
) -> Prepared:
    table = table_of(SMILES)
    recipe = Recipe()
    known, refused = look(table, recipe)
    assert list(refused) == [2] and refused[2][0] == 'fragments'
    return Prepared(
        Paths(Path('x')), None, table, recipe,
        Wish(per_molecule, total, 1.0),
        Sorting(most // 2, Limits(), 50.0, most), known, refused)


def ensemble(n: int, n_attempts: int, spent: bool = False) -> Ensemble:
    none = np.zeros(n, np.int64)
    return Ensemble(none, np.zeros(n), none, none, none, n_attempts,
                    n_attempts, n_attempts, 0, 0, 0, spent)


def test_refused_molecules_are_asked_for_nothing() -> None:
    assert prepared(4, None).asked({}) == [4, 4, 0, 4]
    assert prepared(None, 10).asked({}) == [4, 3, 0, 3]
    assert prepared(None, 10).asked({1: 1}) == [5, 1, 0, 4]


def test_only_what_lacks_conformers_gets_more_attempts() -> None:
    progress = Progress([4, 4, 0, 4], {
        0: ensemble(4, 4), 1: ensemble(1, 4, spent=True),
        3: ensemble(2, 4)})
    assert extend(prepared(4, None), progress) == [3]
    # two lack at a yield of a half
    assert progress.attempts == [4, 4, 0, 8]


def test_others_fill_up_for_a_molecule_that_is_spent() -> None:
    progress = Progress([4, 4, 0, 4], {
        0: ensemble(4, 4), 1: ensemble(1, 4, spent=True),
        3: ensemble(4, 4)})
    asked = prepared(None, 11)
    assert extend(asked, progress) == [0, 3]
    assert progress.attempts == [6, 4, 0, 6]
    made = molecules_made(asked, progress)
    assert [m.n_asked for m in made] == [4, 4, 0, 3]
    assert [m.n_wanted for m in made] == [5, 1, 0, 5]


def test_attempts_end_at_their_limit() -> None:
    progress = Progress([4, 4, 0, 4], {
        i: ensemble(1, 4) for i in (0, 1, 3)})
    extend(prepared(50, None, most=6), progress)
    assert progress.attempts == [6, 6, 0, 6]


def test_all_is_done_when_there_is_enough() -> None:
    progress = Progress([4, 4, 0, 4], {
        i: ensemble(4, 4) for i in (0, 1, 3)})
    assert extend(prepared(4, None), progress) == []
