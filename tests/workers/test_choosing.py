"""How many conformers of each molecule, and which."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.chemistry.embedding import bare_structure
from mpiapp.chemistry.pruning import Limits, Matcher
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.workers.choosing import (
    PATIENCE, UNLIMITED, Ensemble, Pool, choose, first_attempts, more_attempts,
    shares, sort_out
)

MANY = 10**6


def test_the_library_stand_in_is_52_each_and_one_more_for_19() -> None:
    dealt = shares(3347, [MANY] * 64)
    assert dealt == [53] * 19 + [52] * 45


@pytest.mark.parametrize('total, capacities, wanted', [
    (10, [MANY, 2, MANY], [4, 2, 4]), (9, [MANY, 2, MANY], [4, 2, 3]),
    (10, [1, 2, 3], [1, 2, 3]), (2, [0, MANY, MANY, MANY], [0, 1, 1, 0]),
    (7, [UNLIMITED // 4] * 3, [3, 2, 2]), (0, [5, 5], [0, 0]), (3, [], []),
])
def test_what_a_molecule_lacks_others_fill_up(
    total: int, capacities: list[int], wanted: list[int],
) -> None:
    assert shares(total, capacities) == wanted


def test_attempts_are_whole_blocks() -> None:
    assert first_attempts(52, 1.1, 2) == 58
    assert first_attempts(2, 1.1, 2) == 2
    assert first_attempts(0, 1.1, 2) == 0
    assert more_attempts(3, 50, 25, 4) == 8
    # no more than as many again, however poor the yield
    assert more_attempts(40, 20, 1, 2) == 20


def pool(energies: list[float], shapes: list[int]) -> Pool:
    """Return attempts on butane; equal shapes are the same conformer.

    NaN is an attempt that was not embedded.
    """
    n = len(energies)
    made = np.isfinite(energies)
    rng = np.random.default_rng(3)
    forms = 3.0 * rng.normal(size=(max(shapes) + 1, 14, 3))
    return Pool(
        np.arange(n), np.zeros(n, np.int64), np.where(made, 0, 1),
        np.zeros(n), np.ones(n), np.array(energies),
        forms[[s for s, there in zip(shapes, made) if there]])


def sorted_out(
    energies: list[float], shapes: list[int], window: float = 50.0,
    most: int = MANY,
) -> Ensemble:
    matcher = Matcher(bare_structure(table_of(['CCCC']).rows[0]))
    return sort_out(pool(energies, shapes), matcher, Limits(), window, most,
                    len(energies))


def test_distinct_conformers_come_by_rising_energy() -> None:
    found = sorted_out([3.0, np.nan, 1.0, 1.1, 2.0], [0, 0, 1, 1, 2])
    assert found.energy.tolist() == [1.0, 2.0, 3.0]
    assert found.attempt.tolist() == [2, 4, 0]
    # places among those that were made
    assert found.made.tolist() == [1, 3, 0]
    assert (found.n_attempts, found.n_embedded) == (5, 4)
    assert not found.spent


def test_the_window_counts_what_it_leaves_out() -> None:
    found = sorted_out([0.0, 5.0, 60.0], [0, 1, 2], window=50.0)
    assert found.energy.tolist() == [0.0, 5.0]
    assert found.n_outside == 1


def test_a_molecule_is_spent_after_attempts_without_news() -> None:
    energies = [0.0] * (PATIENCE + 1)
    assert sorted_out(energies, [0] * len(energies)).spent
    assert not sorted_out(energies[:-1], [0] * PATIENCE).spent
    late = [0] * PATIENCE + [1]
    assert not sorted_out(energies, late).spent
    assert sorted_out(energies, late, most=len(late)).spent


def test_a_molecule_that_never_embeds_is_spent() -> None:
    found = sorted_out([np.nan] * (PATIENCE + 1), [0] * (PATIENCE + 1))
    assert found.spent and not len(found)
    assert found.n_embedded == 0


def test_isomers_are_chosen_evenly_and_the_lowest_of_each() -> None:
    isomers = np.array([0, 0, 0, 0, 1, 1])
    ensemble = Ensemble(
        np.arange(6), np.arange(6.0), isomers, np.arange(6), np.zeros(6),
        6, 6, 6, 0, 0, 0, False)
    assert choose(ensemble, 4).tolist() == [0, 1, 4, 5]
    assert choose(ensemble, 3).tolist() == [0, 1, 4]
    assert choose(ensemble, 99).tolist() == list(range(6))
    assert choose(ensemble, 0).tolist() == []
