"""Disks that are full, read-only or away while the job runs."""
from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpiapp.errors import StoreError
from mpiapp.records import RELAX
from mpiapp.store import journal as journals
from mpiapp.store.journal import JournalWriter, scan
from tests.faults.test_dying_ranks import Campaign, check_all_but
from tests.jobs import needs_mpirun

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason='mounting needs root')


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 128 kB: the heads of two journals and little
    more.  Skip where none can be mounted."""
    path = tmp_path / 'disk'
    path.mkdir()
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=128k', 'tmpfs',
                           str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'cannot mount: {done.stderr.strip()}')
    yield path
    subprocess.run(['umount', '-l', str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(['mount', '-o', f'remount,{options}', str(path)],
                   check=True)


@needs_root
@needs_mpirun
def test_a_full_disk_ends_the_job_and_loses_nothing(
    small_disk: Path,
) -> None:
    campaign = Campaign(small_disk)
    full = campaign(2)
    assert full.code == 1, full.output
    # met while writing, or seen before the tables are begun
    assert re.search('o space left|free some space', full.output)
    assert 'with --resume' in full.output
    assert 'Traceback' not in full.output
    assert not campaign.deaths()
    remount(small_disk, 'size=8m')
    done = campaign(2, '--resume')
    assert done.code == 0, done.output
    check_all_but(small_disk)


@needs_root
def test_a_read_only_folder_is_told_before_any_work(
    small_disk: Path,
) -> None:
    remount(small_disk, 'ro')
    done = Campaign(small_disk)(0)
    assert done.code == 2, done.output
    assert 'cannot write in' in done.output
    assert 'Read-only file system' in done.output


class Away:
    """os.write that fails for a time, in the middle of an entry too."""

    def __init__(self, n_times: int, number: int) -> None:
        self.left, self.number = n_times, number
        self.write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.left and len(data) > 10:
            self.left -= 1
            self.write(fd, data[:7])
            raise OSError(self.number, os.strerror(self.number))
        return self.write(fd, data)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    with JournalWriter(tmp_path / 'run001-rank0000.jnl', RELAX,
                       {'rank': 0, 'run': 1}) as one:
        yield one


def test_a_limit_on_the_size_of_files_is_told_and_keeps_the_rest(
    writer: JournalWriter,
) -> None:
    writer.append_row(1, {'status': 1})
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = writer.path.stat().st_size + 100
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        with pytest.raises(StoreError, match='File too large'):
            writer.append_row(2, {'status': 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    index = scan(writer.path, RELAX)
    assert index.rows.tolist() == [1] and index.n_ignored == 0


def test_a_file_system_that_comes_back_is_waited_for(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journals, 'RETRY_SECONDS', 0.01)
    writer.append_row(1, {'status': 1})
    away: Any = Away(30, errno.ESTALE)
    monkeypatch.setattr(os, 'write', away)
    writer.append_row(2, {'status': 1})
    assert away.left == 0
    index = scan(writer.path, RELAX)
    assert index.rows.tolist() == [1, 2] and index.n_ignored == 0


def test_nothing_is_written_behind_torn_bytes(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journals, 'RETRY_SECONDS', 0.01)
    truncate, left = os.ftruncate, [2]

    def away(fd: int, size: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, 'the server is away still')
        truncate(fd, size)
    monkeypatch.setattr(os, 'write', Away(1, errno.EIO))
    monkeypatch.setattr(os, 'ftruncate', away)
    writer.append_row(1, {'status': 1})
    writer.append_row(2, {'status': 1})
    assert left == [0]
    index = scan(writer.path, RELAX)
    assert index.rows.tolist() == [1, 2] and index.n_ignored == 0


@pytest.mark.parametrize('number, patience', [
    (errno.EIO, 0.05), (errno.ENOSPC, 60.0), (errno.EROFS, 60.0)])
def test_one_that_stays_away_or_is_full_ends_the_job_and_keeps_the_rest(
    writer: JournalWriter, monkeypatch: pytest.MonkeyPatch, number: int,
    patience: float,
) -> None:
    monkeypatch.setattr(journals, 'RETRY_SECONDS', 0.01)
    monkeypatch.setattr(journals, 'PATIENCE_SECONDS', patience)
    writer.append_row(1, {'status': 1})
    monkeypatch.setattr(os, 'write', Away(10**9, number))
    with pytest.raises(StoreError, match=os.strerror(number)[:10]):
        writer.append_row(2, {'status': 1})
    assert scan(writer.path, RELAX).rows.tolist() == [1]
