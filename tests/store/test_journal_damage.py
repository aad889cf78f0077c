"""Damaged journals: everything before the damage, nothing wrong after."""
from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiapp.errors import InputError
from mpiapp.records import RELAX, Column, Schema
from mpiapp.store.files import StoreError
from mpiapp.store.journal import (
    BODY, JournalWriter, read_payloads, read_rows, scan
)

SMALL = Schema((
    Column('status', 'results', 'i4', '1', ''),
    Column('x', 'geometry', 'f8', 'angstrom', '', shape=(3,),
           ragged='atom'),
))
#: bytes a scan of a small damaged file may take: buffers, not contents
MEMORY_LIMIT = 8 * 2**20


def small_journal() -> bytes:
    """Return the bytes of a journal of three entries."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'a.jnl'
        with JournalWriter(path, SMALL, {'run': 1, 'rank': 0}) as journal:
            journal.append_row(0, {'status': 1, 'x': [[1., 2., 3.]]})
            journal.append_state(1, b'abc')
            journal.append_row(2, {'status': 2})
        return path.read_bytes()


WHOLE = small_journal()


@pytest.fixture(scope='module')
def ends(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Return where the entries end, the head first."""
    path = tmp_path_factory.mktemp('whole') / 'a.jnl'
    path.write_bytes(WHOLE)
    return [*scan(path).offsets.tolist(), len(WHOLE)]


def test_a_cut_at_any_byte_keeps_all_entries_before_it(
    tmp_path: Path, ends: list[int],
) -> None:
    path = tmp_path / 'a.jnl'
    for size in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:size])
        if size < ends[0]:
            with pytest.raises(StoreError):
                scan(path, SMALL)
            continue
        index = scan(path, SMALL)
        whole = sum(end <= size for end in ends[1:])
        assert len(index.rows) == whole
        assert index.n_ignored == size - ends[whole]


def test_a_flipped_bit_anywhere_is_noticed(
    tmp_path: Path, ends: list[int],
) -> None:
    path = tmp_path / 'a.jnl'
    for i in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[i] ^= 1 << i % 8
        path.write_bytes(damaged)
        if i < ends[0]:
            with pytest.raises(StoreError):
                scan(path, SMALL)
            continue
        index = scan(path, SMALL)
        before = sum(end <= i for end in ends[1:])
        assert len(index.rows) == before
        assert index.n_ignored == len(WHOLE) - ends[before]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE)), st.binary(max_size=200),
       st.integers(0, 60))
def test_fuzzed_bytes_give_a_clear_error_or_a_prefix(
    at: int, junk: bytes, dropped: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'a.jnl'
        path.write_bytes(WHOLE[:at] + junk + WHOLE[at + dropped:])
        try:
            index = scan(path, SMALL)
            read_rows(path, index.offsets[index.kinds == 1])
        except (StoreError, InputError):
            return
        assert set(index.rows.tolist()) <= {0, 1, 2}


def test_a_huge_length_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / 'a.jnl'
    path.write_bytes(WHOLE + b'\0' * 4 + BODY.pack(2**60, 1, 5) + b'x')
    tracemalloc.start()
    index = scan(path, SMALL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(index.rows) == 3 and index.n_ignored > 0
    assert peak < MEMORY_LIMIT


def test_zeros_after_a_power_cut_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / 'a.jnl'
    path.write_bytes(WHOLE + b'\0' * 5000)
    index = scan(path, SMALL)
    assert len(index.rows) == 3 and index.n_ignored == 5000


def test_reading_at_a_wrong_offset_is_an_error(write_journal: Any) -> None:
    path = write_journal()
    offset = int(scan(path, RELAX).offsets[1])
    with pytest.raises(StoreError, match=f'byte {offset + 1}'):
        read_payloads(path, [offset + 1])
