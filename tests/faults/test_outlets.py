"""Terminals that go away, pipes that are closed, logs on full disks."""
from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mpiapp.store.reader import load
from tests.jobs import bytes_of_results, environment

LIMIT_SECONDS = 60


def start(folder: Path, *words: str, **where: Any) -> Any:
    """Start a campaign without mpirun."""
    return subprocess.Popen(
        [sys.executable, '-m', 'tests.faults.campaign', str(folder), *words],
        env=environment(), stdin=subprocess.DEVNULL, **where)


def wait(job: Any) -> int:
    """Return the exit code of a job, which is killed where it hangs."""
    try:
        code: int = job.wait(LIMIT_SECONDS)
    finally:
        job.kill()
    return code


def test_a_terminal_that_goes_away_leaves_the_partial_result(
    tmp_path: Path,
) -> None:
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        # not as under nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.setsid()
        os.close(os.open(os.ttyname(theirs), os.O_RDWR))
    job = start(tmp_path, '--records', '5000', stdout=theirs, stderr=theirs,
                preexec_fn=take_terminal)
    os.close(theirs)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not bytes_of_results(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.close(ours)
    assert wait(job) == 4
    assert not load(tmp_path / 'x.h5').complete


@pytest.mark.parametrize('lost', ['stdout', 'stderr'])
def test_a_log_on_a_full_disk_does_not_end_the_campaign(
    tmp_path: Path, lost: str,
) -> None:
    other = 'stderr' if lost == 'stdout' else 'stdout'
    with open('/dev/full', 'w') as full, \
            open(tmp_path / 'said', 'w') as said:
        job = start(tmp_path, **{lost: full, other: said})
        assert wait(job) == 0
    assert load(tmp_path / 'x.h5').complete
    text = (tmp_path / 'said').read_text()
    assert 'Traceback' not in text
    assert ('exit code 0: done' if lost == 'stderr' else
            '<stdout> cannot be written (No space left') in text


def test_a_pipe_that_is_closed_does_not_end_the_campaign(
    tmp_path: Path,
) -> None:
    reading, writing = os.pipe()
    job = start(tmp_path, stdout=writing, stderr=writing)
    os.close(reading)
    os.close(writing)
    assert wait(job) == 0
    assert load(tmp_path / 'x.h5').complete
