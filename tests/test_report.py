"""report as its users start it: page, summary, comparison, live view."""
from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.engine import Plan
from mpiapp.partition import CostModel
from mpiapp.records import RELAX
from mpiapp.reporting import watching
from mpiapp.store.folder import folder_of, journal_name, open_campaign
from mpiapp.store.following import Follower
from mpiapp.store.journal import JournalWriter
from mpiapp.store.reader import load
from mpiapp.units import KCAL_PER_EV
from tests.jobs import Ended, run
from tests.reporting.pages import campaign, record


@pytest.fixture(scope='module')
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return campaign(tmp_path_factory.mktemp('report') / 'a.h5', 70)


def report(*words: object) -> Ended:
    """Run the program."""
    return run('report', *words)


def test_one_command_gives_a_page_and_a_summary(
    result: Path, tmp_path: Path,
) -> None:
    page = tmp_path / 'a.html'
    ended = report(result, '--html', page)
    assert ended.code == 0, ended.output
    assert page.read_text().startswith('<!DOCTYPE html>')
    for words in ('records', 'converged', '69', 'Boltzmann averages',
                  'charged', 'Pyr_H', f'wrote {page}'):
        assert words in ended.output


def test_mpi_is_not_started(result: Path) -> None:
    # a parallel build of HDF5 links MPI; the login node of a cluster may
    # not be able to start it
    script = ('import sys; from mpiapp.report import _run; '
              f'sys.argv[1:] = [{str(result)!r}, "--quiet"]; '
              'assert _run() == 0; '
              'MPI = sys.modules.get("mpi4py.MPI"); '
              'assert MPI is None or not MPI.Is_initialized()')
    done = subprocess.run([sys.executable, '-c', script], timeout=100,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_help_is_there_at_once() -> None:
    began = time.perf_counter()
    ended = report('--help')
    assert ended.code == 0 and '--compare' in ended.output
    assert time.perf_counter() - began < 20


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    'no file': ((), 'name one result file, or two after --compare'),
    'a missing file': (('no.h5',), 'no.h5: no such file'),
    'another kind of file': ((__file__,), 'not'),
    'watch and page': (('a.h5', '--watch', '--html', 'x.html'),
                       '--watch goes with none of'),
    'no campaign to watch': (('no.h5', '--watch'), 'no campaign to watch'),
    'a folder that is not there': (
        ('a.h5', '--html', 'none/x.html'), 'no such folder'),
    'a page over a result': (
        ('a.h5', '--html', 'b.h5'), 'ends in .html or .htm'),
    'a page over a table': (
        ('a.h5', '--html', 'b.csv'), 'ends in .html or .htm'),
    'an odd interval': (
        ('a.h5', '--watch', '--interval', '0'), 'greater than 0'),
    'an endless interval': (
        ('a.h5', '--watch', '--interval', 'inf'), 'at most 86400'),
    'too few structures': (
        ('a.h5', '--structures', '-1'), 'must not be negative'),
}


@pytest.mark.parametrize('words, message', BAD.values(), ids=BAD.keys())
def test_wrong_use_is_told_with_exit_code_2(
    words: tuple[str, ...], message: str, capsys: Any,
) -> None:
    from mpiapp.report import main
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_two_files_are_compared(result: Path, tmp_path: Path) -> None:
    # one conformer lies 1 eV higher, another one failed
    other = campaign(
        tmp_path / 'b.h5', 70,
        e_total=lambda row, e: e + (row == 3),
        status=lambda row, s: 3 if row == 5 else s)
    page = tmp_path / 'ab.html'
    ended = report('--compare', result, other, '--html', page,
                   '--export', tmp_path / 'ab')
    assert ended.code == 0, ended.output
    assert 'converged in both  68' in ended.output
    e = load(result).table.e_total
    before, after = np.array([e[3], e[67]]), np.array([e[3] + 1, e[67]])
    moved = np.abs((after - after.min()) - (before - before.min())).max()
    told = re.search(r'largest difference  ([0-9.]+) kcal/mol', ended.output)
    assert told and float(told[1]) == pytest.approx(
        moved * KCAL_PER_EV, abs=2e-4)
    assert 'All settings and versions are the same' in ended.output
    lines = (tmp_path / 'ab/states.csv').read_text().splitlines()
    assert lines[0] == ',converged,failed,rejected'
    assert lines[1] == 'converged,68,1,0'
    pairs = (tmp_path / 'ab/energy_ab.csv').read_text().splitlines()
    assert len(pairs) == 1 + 68


def test_files_without_a_record_in_common_are_told(
    result: Path, tmp_path: Path,
) -> None:
    from mpiapp.records import RUN, Schema
    from tests.reporting.pages import other_kind
    other = other_kind(tmp_path / 'c.h5', Schema(RUN), {0: {}}, 'x')
    ended = report('--compare', result, other)
    assert ended.code == 0
    assert 'no record in common' in ended.output


def test_trials_of_unlike_studies_have_nothing_in_common(
    tmp_path: Path,
) -> None:
    from mpiapp.records import Column, Schema
    from tests.reporting.pages import other_kind
    schema = Schema((Column('state', 'trials', 'S12', '', 'state'),
                     Column('param_dt', 'trials', 'f8', '1', 'step')))
    files = [other_kind(tmp_path / f'{k}.h5', schema, {
        i: {'state': 'complete', 'param_dt': 0.1 * i + k * (i == 1)}
        for i in range(3)}, 'hpo') for k in range(2)]
    ended = report('--compare', *files)
    assert ended.code == 0
    assert re.search(r'in both +2 ', ended.output)
    # a study keeps no times of ranks: there is no empty table of them
    assert 'Speed' not in ended.output


class Running:
    """A campaign whose journals are being written."""

    def __init__(
        self, result: Path, n: int, rng: Any, rows: Any = None,
    ) -> None:
        self.rng = rng
        self.campaign = open_campaign(
            result, {}, [{'path': 'a', 'sha256': '0', 'n_records': n}],
            RELAX, rows=rows)
        self.journal = JournalWriter(
            folder_of(result) / journal_name(1, 0), RELAX,
            {'digest': '', 'rank': 0, 'run': 1})

    def finish(self, *rows: int) -> None:
        for row in rows:
            self.journal.append_row(row, record(row, 30, self.rng, 1))

    def close(self) -> None:
        self.journal.close()
        self.campaign.close()


def test_a_follower_sees_what_is_appended(tmp_path: Path, rng: Any) -> None:
    job = Running(tmp_path / 'x.h5', 50, rng)
    follower = Follower(tmp_path / 'x.h5')
    assert follower.look().n_done == 0
    job.finish(0, 1, 40)
    job.journal.append_state(7, b'state')
    now = follower.look()
    assert (now.n_done, now.n_wanted, now.suspended) == (3, 50, 1)
    assert now.reasons[40] == 'charged' and now.statuses[1] == 1
    job.finish(7)
    now = follower.look()
    assert now.n_done == 4 and now.suspended == 0
    assert now.by_rank == {0: 4}
    assert now.worked_on is True and watching.ended(now) == ''
    job.close()


@pytest.mark.parametrize('wanted, done, seen', [
    # more records than inputs, as samples x draws of them
    ([[0, 25]], range(25), (25, 25)),
    # a window, with records of an earlier one
    ([[20, 25]], (*range(10), 20, 24), (2, 5)),
    ([[0, 2], [8, 10]], (1, 2, 7, 9, 10), (2, 4)),
    ([], (1, 2), (0, 0)),
])
def test_a_follower_counts_what_the_campaign_works_on(
    wanted: list[list[int]], done: Any, seen: tuple[int, int],
    tmp_path: Path, rng: Any,
) -> None:
    job = Running(tmp_path / 'x.h5', 10, rng,
                  {'n_records': 25, 'wanted': wanted})
    job.finish(*done)
    job.close()
    now = Follower(tmp_path / 'x.h5').look()
    assert (now.n_done, now.n_wanted) == seen
    assert len(now.statuses) == seen[0]


def test_a_plan_tells_which_rows_it_works_on(tmp_path: Path) -> None:
    plan = Plan(RELAX, tmp_path / 'x.h5', np.ones(6, np.int32), CostModel(),
                np.array([0, 1, 1, 0, 0, 1], bool), {}, [])
    assert plan.rows == {'n_records': 6, 'wanted': [[1, 3], [5, 6]]}
    assert replace(plan, wanted=np.ones(6, bool)).rows['wanted'] == [[0, 6]]
    assert replace(plan, wanted=np.zeros(6, bool)).rows['wanted'] == []


def test_no_time_that_is_left_is_negative(tmp_path: Path, rng: Any) -> None:
    # of a version that told the inputs alone
    job = Running(tmp_path / 'x.h5', 10, rng)
    job.finish(*range(10))
    now = replace(Follower(tmp_path / 'x.h5').look(), n_wanted=4)
    job.close()
    assert watching.line(now, 0.5).endswith(' 0s left')


def test_nothing_is_left_of_a_campaign_that_is_done(
    tmp_path: Path, rng: Any,
) -> None:
    job = Running(tmp_path / 'x.h5', 3, rng)
    job.finish(*range(3))
    now = Follower(tmp_path / 'x.h5').look()
    job.close()
    # seen once: no rate is known
    assert watching.line(now, 0.0).endswith(' 0s left')


def test_a_torn_entry_is_read_when_it_is_whole(
    tmp_path: Path, rng: Any,
) -> None:
    job = Running(tmp_path / 'x.h5', 9, rng)
    job.finish(0, 1)
    path = job.journal.path
    job.close()
    whole = path.read_bytes()
    follower = Follower(tmp_path / 'x.h5')
    for cut in (len(whole) - 900, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert follower.look().n_done == 1
    path.write_bytes(whole)
    assert follower.look().n_done == 2


def test_following_takes_no_lock_and_writes_nothing(
    tmp_path: Path, rng: Any,
) -> None:
    job = Running(tmp_path / 'x.h5', 9, rng)
    job.finish(0)
    job.close()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    Follower(tmp_path / 'x.h5').look()
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    again = open_campaign(
        tmp_path / 'x.h5', {}, [{'path': 'a', 'sha256': '0',
                                 'n_records': 9}], RELAX, resume=True)
    Follower(tmp_path / 'x.h5').look()
    again.close()


def test_a_concurrent_writer_is_followed_to_its_last_record(
    tmp_path: Path, rng: Any,
) -> None:
    job = Running(tmp_path / 'x.h5', 400, rng)
    writer = threading.Thread(target=job.finish, args=range(400))
    follower = Follower(tmp_path / 'x.h5')
    writer.start()
    seen = []
    while writer.is_alive():
        seen.append(follower.look().n_done)
    writer.join()
    assert follower.look().n_done == 400
    assert seen == sorted(seen)
    job.close()


def test_watch_ends_when_the_job_is_gone(tmp_path: Path, rng: Any) -> None:
    job = Running(tmp_path / 'x.h5', 9, rng)
    job.finish(0, 1, 2)
    job.close()
    lock = folder_of(tmp_path / 'x.h5') / 'lock'
    words = lock.read_text().split()
    # a process number that no process has
    lock.write_text(f'pid 4194305 on {words[3]}\n')
    ended = report('--watch', tmp_path / 'x.h5', '--interval', '0.1')
    assert ended.code == 0, ended.output
    assert '3/9 done (3 converged)' in ended.output
    assert 'stopped: no job works on it' in ended.output


def test_a_result_that_is_not_there_yet_is_explained(
    tmp_path: Path, rng: Any,
) -> None:
    job = Running(tmp_path / 'x.h5', 9, rng)
    ended = report(tmp_path / 'x.h5')
    job.close()
    assert ended.code == 2 and '--watch' in ended.output


def test_the_live_view_shows_counts_and_names(
    tmp_path: Path, rng: Any,
) -> None:
    from rich.console import Console
    job = Running(tmp_path / 'x.h5', 80, rng)
    job.finish(*range(41))
    now = Follower(tmp_path / 'x.h5').look()
    job.close()
    console = Console(width=100, record=True, file=open('/dev/null', 'w'))
    console.print(watching.drawn(now, 2.0))
    text = console.export_text()
    for words in ('41/80', '51.2 %', '2 records/s', '20s left', 'converged',
                  '1 charged', 'DCV_Th_MeO'):
        assert words in text
