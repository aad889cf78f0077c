"""The last result of every record is found over runs and ranks."""
from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.errors import InputError
from mpiapp.records import RELAX
from mpiapp.store.files import StoreError
from mpiapp.store.folder import journal_name
from mpiapp.store.journal import JournalWriter
from mpiapp.store.packing import RowPacker
from mpiapp.store.sources import JournalSource, fetch_states
from mpiapp.store.survey import merge_surveys, survey

N_RECORDS = 8


@pytest.fixture
def folder(tmp_path: Path, values: Any) -> Path:
    """Return a folder with two runs on two ranks.

    Row 0: failed twice, then converged.  1: suspended, then done.  2: done,
    3: failed in run 1 and suspended in run 2.  4: suspended.  5: failed.
    6: suspended on one rank, then finished by another in the same run.
    """
    story: dict[tuple[int, int], list[tuple[int, int | None]]] = {
        (1, 0): [(0, 3), (1, None), (2, 1), (6, None)],
        (1, 1): [(3, 3), (0, 3), (6, 1)],
        (2, 0): [(4, None), (3, None), (5, 3)],
        (2, 1): [(0, 1), (1, 2)],
    }
    for (run, rank), entries in story.items():
        header = {'run': run, 'rank': rank, 'digest': 'd'}
        name = journal_name(run, rank)
        with JournalWriter(tmp_path / name, RELAX, header) as journal:
            for row, status in entries:
                if status is None:
                    journal.append_state(row, f'{run}:{row}'.encode())
                else:
                    journal.append_row(row, {
                        **values(row), 'status': status, 'steps': run})
    return tmp_path


def test_progress_tells_status_states_and_failures(folder: Path) -> None:
    progress = survey(folder, RELAX).progress(N_RECORDS)
    assert progress.status.tolist() == [1, 2, 1, 3, 0, 3, 1, 0]
    assert np.flatnonzero(progress.has_state).tolist() == [3, 4]
    assert progress.retries.tolist() == [2, 0, 0, 1, 0, 1, 0, 0]


@pytest.mark.parametrize('parts', [1, 2, 3, 7])
def test_parts_join_to_the_same_in_any_order(
    folder: Path, parts: int,
) -> None:
    whole = survey(folder, RELAX)
    pieces = [survey(folder, RELAX, None, part, parts)
              for part in range(parts)]
    for order in itertools.islice(itertools.permutations(pieces), 6):
        merged = merge_surveys(order)
        np.testing.assert_array_equal(merged.results, whole.results)
        np.testing.assert_array_equal(merged.states, whole.states)


def test_states_and_rows_are_fetched_from_their_journals(
    folder: Path,
) -> None:
    found = survey(folder, RELAX)
    states = fetch_states(folder, found, np.arange(N_RECORDS))
    assert states == {3: b'2:3', 4: b'2:4'}
    source = JournalSource(folder, found.names, found.results)
    assert source.rows.tolist() == [0, 1, 2, 3, 5, 6]
    rows = [RowPacker(RELAX).unpack(p)
            for p in source.fetch(np.array([6, 0, 5]))]
    assert [(r['record'], r['steps']) for r in rows] == [
        (6, 1), (0, 2), (5, 2)]


def test_an_empty_folder_has_everything_to_do(tmp_path: Path) -> None:
    progress = survey(tmp_path, RELAX).progress(N_RECORDS)
    assert not progress.status.any() and not progress.has_state.any()


def test_a_torn_entry_is_reported(folder: Path) -> None:
    name = journal_name(2, 1)
    with open(folder / name, 'ab') as file:
        file.write(b'torn')
    found = survey(folder, RELAX)
    assert found.ignored == {name: 4}
    assert found.progress(N_RECORDS).status[0] == 1


def test_a_journal_of_other_settings_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match='other settings'):
        survey(folder, RELAX, digest='e')
    survey(folder, RELAX, digest='d')


def test_records_beyond_the_input_are_an_error(folder: Path) -> None:
    with pytest.raises(StoreError, match='beyond'):
        survey(folder, RELAX).progress(4)
