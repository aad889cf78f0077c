"""Ranks that die at a record: it is named, and left out the second time."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mpiapp.parallel.watchdog import allowance
from mpiapp.records import Status
from mpiapp.store.reader import load
from tests.faults.campaign import energy
from tests.jobs import Ended, environment, needs_mpirun

pytestmark = needs_mpirun

N_RECORDS = 30
LIMIT_SECONDS = 200


@dataclass(frozen=True)
class Campaign:
    """Jobs of tests.faults.campaign in one folder."""

    folder: Path

    def line(self, n: int, *words: object) -> list[str]:
        program = [sys.executable, '-m', 'tests.faults.campaign',
                   str(self.folder), '--records', str(N_RECORDS),
                   *map(str, words)]
        return ['mpirun', '-n', str(n), *program] if n else program

    def __call__(self, n: int, *words: object) -> Ended:
        done = subprocess.run(
            self.line(n, *words), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            timeout=LIMIT_SECONDS, env=environment())
        return Ended(done.returncode, done.stdout)

    def start(self, n: int, *words: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.line(n, *words), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=environment())

    def deaths(self) -> list[str]:
        """Return the names of what witnesses left."""
        return sorted(p.name for p in self.folder.glob('x.journal/died-*'))


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


def check_all_but(folder: Path, *rows: int) -> None:
    """Check that all records but these have their own right result."""
    table = load(folder / 'x.h5').table
    others = [row for row in range(N_RECORDS) if row not in rows]
    assert (table['status'][others] == Status.CONVERGED).all()
    assert np.array_equal(table['e_total'][others],
                          [energy(row) for row in others])


@pytest.mark.parametrize('n, kind, code, cause', [
    (2, 'kill', 137, r'killed \(SIGKILL: out of memory, or by hand\)'),
    (0, 'crash', -11, r'Segmentation fault in string_at \(__init__.py:\d+\)'),
    (0, 'raise', 1, r'RuntimeError: a defect'),
])
def test_a_record_that_ends_its_rank_twice_is_left_out_and_named(
    campaign: Campaign, n: int, kind: str, code: int, cause: str,
) -> None:
    words = ('--fault', f'{kind}:7', '--batch', 4)
    first = campaign(n, *words)
    assert first.code == code, first.output
    if kind != 'raise':
        assert re.search(r'mpiapp: rank \d of \d died at work',
                         first.output)
    assert len(campaign.deaths()) == 1
    second = campaign(n, *words, '--resume')
    assert second.code == code, second.output
    third = campaign(n, *words, '--resume')
    assert third.code == 3, third.output
    told = re.search(r'row 7 \(molecule_7\): left out: its rank died 2 '
                     rf'times at it \(run 1, 2\): {cause}', third.output)
    assert told, third.output
    check_all_but(campaign.folder, 7)
    row = load(campaign.folder / 'x.h5').table.loc[7]
    assert row['status'] == Status.FAILED
    assert row['reason'] == 'killed_rank'
    assert row['name'] == 'molecule_7'
    assert not campaign.deaths()
    mended = campaign(n, '--resume', '--retry-failed')
    assert mended.code == 0, mended.output
    check_all_but(campaign.folder)


def test_a_native_call_that_never_returns_is_bounded_and_left_out(
    campaign: Campaign,
) -> None:
    timeout = 0.2
    words = ('--fault', 'hang:7', '--record-timeout', timeout)
    began = time.perf_counter()
    first = campaign(2, *words)
    assert first.code == 1, first.output
    assert time.perf_counter() - began < 2 * allowance(timeout) + 10
    assert 'died at work: no sign of life for 0:00:10' in first.output
    # alone with its rank, and so known by one death
    second = campaign(1, *words, '--resume', '--max-failed', 1)
    assert second.code == 0, second.output
    row = load(campaign.folder / 'x.h5').table.loc[7]
    assert row['reason'] == 'time_limit'
    assert 'in fault (campaign.py:' in row['message']
    check_all_but(campaign.folder, 7)


def test_a_single_process_without_mpirun_has_a_witness_too(
    campaign: Campaign,
) -> None:
    for more in ((), ('--resume',)):
        died = campaign(0, '--fault', 'kill:3', '--batch', 5, *more)
        assert died.code == -signal.SIGKILL
    done = campaign(0, '--fault', 'kill:3', '--resume')
    assert done.code == 3, done.output
    check_all_but(campaign.folder, 3)


def wait_for_work(campaign: Campaign, job: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while job.poll() is None and time.monotonic() < deadline:
        sizes = [p.stat().st_size
                 for p in campaign.folder.glob('x.journal/*.jnl')]
        if sizes and max(sizes) > 20_000:
            return
        time.sleep(0.01)
    raise AssertionError(job.communicate()[0])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_who_is_killed_after_a_signal_blames_no_record(
    campaign: Campaign, number: int,
) -> None:
    # holds the interpreter lock, so that Python's handler never runs
    job = campaign.start(0, '--fault', 'hang:29', '--seconds', 0.001,
                         '--batch', 1)
    wait_for_work(campaign, job)
    time.sleep(1)
    os.kill(job.pid, number)
    time.sleep(0.2)
    job.kill()
    output, _ = job.communicate(timeout=LIMIT_SECONDS)
    assert 'died at work' not in output
    assert not campaign.deaths()


def test_who_ends_because_mpirun_was_killed_blames_no_record(
    campaign: Campaign,
) -> None:
    job = campaign.start(2, '--seconds', 0.2, '--records', 1000)
    wait_for_work(campaign, job)
    job.kill()
    # closed when the last rank and its witness have gone
    output, _ = job.communicate(timeout=LIMIT_SECONDS)
    assert 'died at work' not in output
    assert not campaign.deaths()


@pytest.mark.parametrize('kind', ['thread', 'mpi'])
def test_an_error_of_the_machinery_is_not_the_fault_of_a_record(
    campaign: Campaign, kind: str,
) -> None:
    ended = campaign(0, '--fault', f'{kind}:7')
    assert ended.code == 1, ended.output
    assert 'Traceback' in ended.output
    assert 'died at work' not in ended.output
    assert not campaign.deaths()
