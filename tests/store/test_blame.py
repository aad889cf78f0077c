"""Blame for dead ranks: who counts, and what makes a quarantine."""
from __future__ import annotations

from pathlib import Path

import pytest

from mpiapp.records import RELAX
from mpiapp.store import blame
from mpiapp.store.blame import Death
from mpiapp.store.folder import journal_name
from mpiapp.store.journal import JournalWriter
from mpiapp.store.survey import Survey, survey

SEGV = '''Fatal Python error: Segmentation fault

Thread 0x1 (most recent call first):
  File "/x/syncer.py", line 59 in _run

Current thread 0x2 (most recent call first):
  File "/x/calculator.py", line 12 in scf
  File "/x/worker.py", line 13 in worker
'''
SILENT = '''Timeout (0:01:10)!
Thread 0x1 (most recent call first):
  File "/x/syncer.py", line 59 in _run

Thread 0x2 (most recent call first):
  File "/x/native.py", line 7 in diagonalise
'''


def journal(folder: Path, run: int, rank: int) -> JournalWriter:
    return JournalWriter(folder / journal_name(run, rank), RELAX,
                         {'run': run, 'rank': rank})


@pytest.fixture
def found(tmp_path: Path) -> Survey:
    """Rank 0 was at rows 1 and 2, rank 1 at 3; 0, 4 and 5 are no more."""
    with journal(tmp_path, 1, 0) as mine, journal(tmp_path, 1, 1) as other:
        for row in (0, 1, 2):
            mine.append_begun(row)
        mine.append_row(0, {'status': 1})
        for row in (3, 4, 5):
            other.append_begun(row)
        other.append_state(4, b'half')
        other.append_row(5, {'status': 3})
    return survey(tmp_path, RELAX)


def test_records_without_an_end_are_open(found: Survey) -> None:
    assert sorted(found.open['row'].tolist()) == [1, 2, 3]
    assert found.progress(6).status.tolist() == [1, 0, 0, 0, 0, 3]


def test_the_first_death_counts_and_those_that_follow_do_not(
    found: Survey,
) -> None:
    left = [Death(1, 1, 10.0, ''), Death(1, 0, 11.0, '')]
    assert [(b.row, b.points) for b in blame.new_blames(found, left)] == [
        (3, blame.ALONE)]


def test_ranks_that_die_together_make_suspects_and_no_more(
    found: Survey,
) -> None:
    left = [Death(1, 1, 10.0, ''), Death(1, 0, 10.05, '')]
    blames = blame.new_blames(found, left)
    assert {b.row: b.points for b in blames} == dict.fromkeys((1, 2, 3), 0)
    assert set(blame.points_of(blames * 99)) == {1, 2, 3}
    assert max(blame.points_of(blames * 99).values()) < blame.LIMIT


def test_the_only_suspect_among_those_that_die_together_did_it(
    found: Survey,
) -> None:
    left = [Death(1, 0, 10.0, ''), Death(1, 1, 10.05, '')]
    blames = blame.new_blames(found, left, {3, 5})
    assert [(b.row, b.points) for b in blames] == [(3, blame.ALONE)]
    both = blame.new_blames(found, left, {1, 3})
    assert {b.points for b in both} == {blame.TOGETHER}


def test_a_crash_report_is_a_proof_whenever_it_came(found: Survey) -> None:
    left = [Death(1, 1, 10.0, ''), Death(1, 0, 11.0, SEGV)]
    blames = blame.new_blames(found, left)
    assert {b.row for b in blames} == {1, 2}
    assert blames[0].cause == 'Segmentation fault in scf (calculator.py:12)'


def test_silence_is_a_verdict_only_on_a_record_that_was_alone(
    found: Survey,
) -> None:
    several = blame.new_blames(found, [Death(1, 0, 1.0, SILENT)])
    assert {b.points for b in several} == {blame.ALONE}
    alone = blame.new_blames(found, [Death(1, 1, 1.0, SILENT)])
    assert [b.points for b in alone] == [blame.LIMIT]
    assert alone[0].cause == (
        'no sign of life for 0:01:10 in diagonalise (native.py:7)')


def test_blame_is_kept_and_a_death_counts_once(
    found: Survey, tmp_path: Path,
) -> None:
    one = blame.new_blames(found, [Death(1, 1, 1.0, '')])
    with journal(tmp_path, 2, 0) as writer:
        for _ in range(2):
            writer.append_blame(one[0].row, blame.as_json(one[0]))
    kept = blame.old_blames(tmp_path, survey(tmp_path, RELAX))
    assert kept == one * 2
    assert blame.points_of(kept) == {3: blame.ALONE}


def test_what_witnesses_left_is_read_in_order_and_deleted(
    tmp_path: Path,
) -> None:
    import os
    for rank, when in ((0, 30.0), (1, 20.0)):
        path = tmp_path / blame.death_name(2, rank)
        path.write_text('')
        os.utime(path, (when, when))
    (tmp_path / 'died-of-boredom').touch()
    known = blame.deaths(tmp_path)
    assert [d.rank for d in known] == [1, 0]
    late = tmp_path / blame.death_name(2, 7)
    late.write_text('')
    blame.forget_deaths(tmp_path, known)
    assert [d.rank for d in blame.deaths(tmp_path)] == [7]


def test_a_row_left_out_keeps_what_is_known(found: Survey) -> None:
    blames = blame.new_blames(found, [Death(1, 1, 1.0, SEGV)])
    row = blame.quarantine_row({'name': 'x', 'status': 0}, blames)
    assert row['name'] == 'x' and row['status'] == 3
    assert row['reason'] == 'killed_rank'
    assert len(row['message']) <= 160
