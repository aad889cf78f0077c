"""What a journal has acknowledged is found again, whatever happens."""
from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.errors import InputError
from mpiapp.records import RELAX, Column, Schema
from mpiapp.store import journal as module
from mpiapp.store.files import StoreError
from mpiapp.store.journal import (
    NOTE, ROW, STATE, JournalWriter, read_payloads, read_rows, scan
)

HEADER = {'run': 1, 'rank': 0, 'digest': 'd'}
#: seconds to wait for what takes milliseconds
PATIENCE = 10.0
#: median seconds of an append of 117 atoms; measured 2.6e-5, the limit
#: leaves room for a busy machine
APPEND_LIMIT = 4e-4


def test_entries_come_back_in_order_with_kind_and_status(
    tmp_path: Path, values: Any,
) -> None:
    path = tmp_path / 'a.jnl'
    with JournalWriter(path, RELAX, HEADER) as journal:
        journal.append_row(7, {**values(7), 'status': 3})
        journal.append_state(5, b'\x00state')
        journal.append_note('node n1 – ok')
        journal.append_row(2**40, values(8, n_atoms=0))
    index = scan(path, RELAX)
    assert index.rows.tolist() == [7, 5, -1, 2**40]
    assert index.kinds.tolist() == [ROW, STATE, NOTE, ROW]
    assert index.statuses.tolist() == [3, 0, 0, 1]
    assert index.lengths[:, 0].tolist() == [len(values(7)['numbers']),
                                            0, 0, 0]
    assert index.n_ignored == 0
    assert {k: index.header[k] for k in HEADER} == HEADER
    assert read_payloads(path, index.offsets[1:2]) == [b'\x00state']
    last, first = read_rows(path, index.offsets[[3, 0]])
    assert last['record'] == 8 and first['status'] == 3
    np.testing.assert_array_equal(first['x_final'], values(7)['x_final'])


def test_an_existing_journal_is_never_overwritten(
    write_journal: Any, tmp_path: Path,
) -> None:
    path = write_journal()
    before = path.read_bytes()
    with pytest.raises(StoreError, match='exists already'):
        JournalWriter(path, RELAX, HEADER)
    assert path.read_bytes() == before


def test_a_journal_of_other_columns_is_refused_by_name(
    write_journal: Any,
) -> None:
    more = Schema((*RELAX.columns, Column('dipole', 'x', 'f8', 'D', '')))
    with pytest.raises(InputError, match='dipole'):
        scan(write_journal(), more)


def test_another_version_is_named(write_journal: Any) -> None:
    path = write_journal()
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    with pytest.raises(StoreError, match='version 9'):
        scan(path)


@pytest.mark.parametrize('content', [
    b'', b'mpiappJ', b'#!/bin/sh\necho this is no journal\n',
])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a.jnl'
    path.write_bytes(content)
    with pytest.raises(StoreError, match='not a journal'):
        scan(path)


def test_a_missing_file_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match='cannot read'):
        scan(tmp_path / 'a.jnl')


KILLED = '''
import sys
from pathlib import Path
from mpiapp.records import RELAX
from mpiapp.store.journal import JournalWriter
journal = JournalWriter(Path(sys.argv[1]), RELAX, {'run': 1, 'rank': 0})
row = {'status': 1, 'numbers': range(50), 'x_start': [[0., 0., 0.]] * 50,
       'x_final': [[1., 2., 3.]] * 50}
n = 0
while True:
    journal.append_row(n, row)
    n += 1
    sys.stdout.write(f'{n}\\n')
    sys.stdout.flush()
'''


@pytest.mark.parametrize('after', [1, 40, 333])
def test_sigkill_loses_no_acknowledged_entry(
    tmp_path: Path, after: int,
) -> None:
    path = tmp_path / 'a.jnl'
    root = Path(module.__file__).parents[2]
    with subprocess.Popen(
            [sys.executable, '-c', KILLED, str(path)],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'PYTHONPATH': str(root)}) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().split('\n')
    acknowledged = max([after, *(int(n) for n in said[:-1] if n)])
    index = scan(path, RELAX)
    assert len(index.rows) in (acknowledged, acknowledged + 1)
    assert index.rows.tolist() == list(range(len(index.rows)))


def test_a_full_disk_leaves_a_sound_journal(
    tmp_path: Path, values: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / 'a.jnl'
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return real(fd, data[:-50])
    with JournalWriter(path, RELAX, HEADER) as journal:
        journal.append_row(0, values(0))
        size = path.stat().st_size
        with monkeypatch.context() as patch:
            patch.setattr(os, 'write', full)
            with pytest.raises(StoreError, match='disk is full.*--resume'):
                journal.append_row(1, values(1))
        assert path.stat().st_size == size
        journal.append_row(2, values(2))
    index = scan(path)
    assert index.rows.tolist() == [0, 2] and index.n_ignored == 0


def test_a_short_write_is_completed(
    tmp_path: Path, values: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = os.write
    with JournalWriter(tmp_path / 'a.jnl', RELAX, HEADER) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, 'write', lambda fd, d: real(fd, d[:100]))
            journal.append_row(0, values(0))
    index = scan(tmp_path / 'a.jnl')
    assert len(index.rows) == 1 and index.n_ignored == 0


def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match='cannot create'):
        JournalWriter(tmp_path / 'none' / 'a.jnl', RELAX, HEADER)


class Recorder:
    """Stands in for os.fsync and tells when it was called."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = threading.Event()

    def __call__(self, fd: int) -> None:
        """Count a call."""
        self.calls += 1
        self.called.set()


@pytest.mark.parametrize('save_every, seconds', [(1, 1e6), (1000, 0.01)])
def test_an_append_is_forced_to_disk_by_count_and_by_time(
    tmp_path: Path, values: Any, monkeypatch: pytest.MonkeyPatch,
    save_every: int, seconds: float,
) -> None:
    journal = JournalWriter(tmp_path / 'a.jnl', RELAX, HEADER, save_every,
                            seconds)
    fsync = Recorder()
    monkeypatch.setattr(os, 'fsync', fsync)
    journal.append_row(0, values(0))
    assert fsync.called.wait(PATIENCE)
    journal.close()


def test_nothing_is_forced_before_its_time(
    tmp_path: Path, values: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal = JournalWriter(tmp_path / 'a.jnl', RELAX, HEADER, 3, 1e6)
    fsync = Recorder()
    monkeypatch.setattr(os, 'fsync', fsync)
    journal.append_row(0, values(0))
    journal.append_row(1, values(1))
    assert not fsync.called.wait(0.05)
    journal.append_row(2, values(2))
    assert fsync.called.wait(PATIENCE)
    journal.close()


def test_a_failed_fsync_is_raised_by_the_next_append(
    tmp_path: Path, values: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = threading.Event()

    def broken(fd: int) -> None:
        failed.set()
        raise OSError(errno.EIO, 'Input/output error')
    journal = JournalWriter(tmp_path / 'a.jnl', RELAX, HEADER)
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', broken)
        with pytest.raises(StoreError, match='--resume'):
            journal.append_row(0, values(0))
            journal.sync()
    with pytest.raises(StoreError, match='--resume'):
        journal.append_row(1, values(1))
    with pytest.raises(StoreError):
        journal.close()


def test_a_closed_journal_takes_nothing(
    tmp_path: Path, values: Any,
) -> None:
    journal = JournalWriter(tmp_path / 'a.jnl', RELAX, HEADER)
    journal.close()
    journal.close()
    with pytest.raises(StoreError, match='closed'):
        journal.append_row(0, values(0))


def test_an_append_is_cheap(tmp_path: Path, values: Any) -> None:
    row = values(1, n_atoms=117)
    times = []
    with JournalWriter(tmp_path / 'a.jnl', RELAX, HEADER) as journal:
        for i in range(1000):
            start = time.perf_counter()
            journal.append_row(i, row)
            times.append(time.perf_counter() - start)
    assert float(np.median(times)) < APPEND_LIMIT
