"""Who is on the shortlist, and in which order."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.chemistry.shortlist import Candidates, candidates, score, shortlist

#: float64 arithmetic in another order
ROUNDING = 1e-12


def geometry(n: int, **changes: object) -> dict[str, np.ndarray]:
    columns = {'plane_angle': np.full(n, 9.0), 'vertical': np.full(n, 3.45),
               'overlap': np.full(n, 50.0)}
    return columns | {k: np.array(v) for k, v in changes.items()}


def chosen(columns: dict[str, np.ndarray], **changes: object) -> list[int]:
    n = len(columns['overlap'])
    given = {'classes': ['weak'] * n, 'weight': np.zeros(n),
             'rel_energy': np.zeros(n), **changes}
    return candidates(np.arange(10, 10 + n), columns,
                      **given).rows.tolist()  # type: ignore[arg-type]


def test_score_by_hand() -> None:
    columns = {'plane_angle': np.array([18.0]), 'vertical': np.array([3.95]),
               'overlap': np.array([40.0])}
    found = score(columns, ['strong'], np.array([0.2]), np.array([5.0]))
    assert found[0] == pytest.approx(
        2 + 0.8 - 0.8 * 0.5 - 0.1 + 0.3 - 0.1, abs=ROUNDING)


def test_the_limits_are_inclusive() -> None:
    assert chosen(geometry(2, plane_angle=[50.0, 50.1])) == [10]
    assert chosen(geometry(2, vertical=[4.6, 4.61])) == [10]
    assert chosen(geometry(2, overlap=[29.9, 30.0])) == [11]
    assert chosen(geometry(2, vertical=[np.nan, 3.4])) == [11]


def test_two_of_a_molecule_the_best_first_equal_ones_by_row() -> None:
    assert chosen(geometry(3)) == [10, 11]
    assert chosen(geometry(3), classes=['weak', 'monomer', 'strong']) == [
        12, 10]
    assert chosen(geometry(3), weight=np.array([0.1, 0.2, 0.7])) == [12, 11]
    assert chosen(geometry(3), rel_energy=np.array([9.0, 0, 3])) == [11, 12]


def test_energies_of_other_molecules_do_not_count() -> None:
    """The original's lowest energy was that of all molecules."""
    same = [candidates(rows, geometry(1), ['weak'], np.ones(1), np.zeros(1))
            for rows in (np.array([0]), np.array([1]))]
    best = shortlist(same)
    assert best.rows.tolist() == [0, 1]
    assert best.score[0] == best.score[1]


def test_the_list_is_no_longer_than_asked() -> None:
    lists = [Candidates(np.array([i]), np.array([float(i % 7)]))
             for i in range(200)]
    best = shortlist(lists)
    assert len(best.rows) == 96
    assert (np.diff(best.score) <= 0).all()
    assert shortlist(lists, 3).rows.tolist() == [6, 13, 20]
    assert len(shortlist([]).rows) == 0


def test_without_descriptors_there_is_no_candidate() -> None:
    found = candidates(np.arange(2), {}, ['', ''], np.ones(2), np.zeros(2))
    assert len(found.rows) == len(found.score) == 0
