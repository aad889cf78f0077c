"""One append-only file per rank and run: what is finished is safe.

Head: magic, version, length of JSON text, crc32, the text (columns, digest
of the settings, rank, run).  Then entries: crc32 of all that follows, length
of the payload, kind, row number, payload.  An entry goes out in a single
write to a file opened for appending, so that a killed process loses nothing
it has appended and leaves at most one torn entry, at the end.
"""
from __future__ import annotations

import errno
import json
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.records import Ints, Row, Schema
from mpiapp.store.files import StoreError, explain, part_name, sync_folder
from mpiapp.store.packing import (
    RowPacker, layout, schema_from_json, schema_json
)
from mpiapp.store.syncer import Syncer

log = logging.getLogger('mpiapp')

MAGIC = b'mpiappJ\n'
VERSION = 1
HEAD = struct.Struct('<8sIII')
ENTRY = struct.Struct('<IQBq')
BODY = struct.Struct('<QBq')
#: errors of a file system that may come back: waited for so long
AWAY = frozenset({errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT,
                  errno.EHOSTDOWN, errno.EREMOTEIO})
PATIENCE_SECONDS, RETRY_SECONDS = 60.0, 1.0
ROW, STATE, NOTE, BEGUN, BLAME = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class JournalIndex:
    """What a journal holds, entry by entry, without the payloads.

    `rows`, `offsets` int64 [n], `kinds`, `statuses` int8 [n] (status 0 of all
    that is no result), `lengths` int64 [n, n_axes].  `n_ignored`
    counts bytes behind the last sound entry.
    """

    path: Path
    header: Mapping[str, Any]
    schema: Schema
    rows: Ints
    kinds: NDArray[np.int8]
    statuses: NDArray[np.int8]
    lengths: Ints
    offsets: Ints
    n_ignored: int


class JournalWriter:
    """Appends to a new journal; every error is a StoreError.

    `header` must be JSON data (digest, rank, run).  Appended entries are
    safe from the death of the process at once, and from loss of power when
    forced to disk: asked for after `save_every` entries, and by a daemon
    thread at most `sync_seconds` after the first unforced one.
    """

    def __init__(
        self, path: Path, schema: Schema, header: Mapping[str, Any],
        save_every: int = 25, sync_seconds: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self.packer = RowPacker(schema)
        self.save_every = save_every
        self.n_entries = 0
        head = _head(schema, header)
        self._fd = _create(self.path, head)
        self._end = len(head)
        # whether there may be a part of an entry behind `_end`
        self._torn = False
        self._unforced = 0
        self._syncer = Syncer(self._fd, self.path, sync_seconds)

    def append_row(self, row: int, values: Mapping[str, Any]) -> None:
        """Append the result of a record."""
        self._append(ROW, row, self.packer.pack(values))

    def append_state(self, row: int, state: bytes) -> None:
        """Append the state of suspended work."""
        self._append(STATE, row, state)

    def append_begun(self, row: int) -> None:
        """Append that a record is taken up: what a dead rank was at."""
        self._append(BEGUN, row, b'')

    def append_blame(self, row: int, blame: Mapping[str, Any]) -> None:
        """Append that a rank died at a record (JSON data)."""
        self._append(BLAME, row, json.dumps(blame, sort_keys=True).encode())

    def append_note(self, text: str, row: int = -1) -> None:
        """Append a remark for people; nothing reads it back."""
        self._append(NOTE, row, text.encode('utf-8', 'replace'))

    def sync(self) -> None:
        """Return when everything appended is on disk."""
        self._unforced = 0
        self._syncer.sync()

    def close(self) -> None:
        """Force everything to disk and close; a second call does nothing."""
        if self._fd < 0:
            return
        try:
            self._syncer.stop()
        finally:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, kind: int, row: int, payload: bytes) -> None:
        self._syncer.check()
        body = BODY.pack(len(payload), kind, row)
        crc = zlib.crc32(payload, zlib.crc32(body))
        entry = b''.join((struct.pack('<I', crc), body, payload))
        self._write(entry)
        self._end += len(entry)
        self.n_entries += 1
        self._unforced += 1
        urgent = self._unforced >= self.save_every
        self._unforced = 0 if urgent else self._unforced
        self._syncer.touched(urgent)

    def _write(self, entry: bytes) -> None:
        """Write an entry whole, or leave the file as it was.

        A network file system that is away for a moment is waited for.
        """
        if self._fd < 0:
            raise StoreError(f'journal {self.path} is closed')
        gives_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._write_once(entry)
            except OSError as error:
                lost = error.errno in AWAY
                if not lost or time.monotonic() > gives_up:
                    raise explain(error, self.path, 'write') from error
                log.warning('journal %s: %s; trying again for up to %.0f s',
                            self.path, error.strerror,
                            gives_up - time.monotonic())
            time.sleep(RETRY_SECONDS)

    def _write_once(self, entry: bytes) -> None:
        if self._torn:
            os.ftruncate(self._fd, self._end)
        self._torn = True
        try:
            n = os.write(self._fd, entry)
            while n < len(entry):
                n += os.write(self._fd, entry[n:])
            self._torn = False
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
                self._torn = False
            raise


def _head(schema: Schema, header: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        {**header, 'schema': schema_json(schema)}, sort_keys=True).encode()
    crc = zlib.crc32(text)
    return HEAD.pack(MAGIC, VERSION, len(text), crc) + text


def _create(path: Path, head: bytes) -> int:
    """Make a journal with its head, durably; return it open for appending.

    It gets its name when the head is on disk, so that a journal without a
    readable head is damage, not the trace of a kill.
    """
    if path.exists():
        raise StoreError(f'journal {path} exists already')
    part = part_name(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    fd = -1
    try:
        fd = os.open(part, flags, 0o666)
        if os.write(fd, head) < len(head):
            raise StoreError(f'cannot write {path}: no space left')
        os.fsync(fd)
        os.rename(part, path)
        sync_folder(path.parent)
        return fd
    except OSError as error:
        if fd >= 0:
            os.close(fd)
            part.unlink(missing_ok=True)
        raise explain(error, path, 'create') from error


def read_head(file: BinaryIO, path: Path) -> tuple[dict[str, Any], Schema]:
    """Return the header and the columns of a journal.

    Raises:
        StoreError: no journal, another version, or damaged.
    """
    raw = file.read(HEAD.size)
    if len(raw) < HEAD.size or raw[:8] != MAGIC:
        raise StoreError(f'{path} is not a journal of mpiapp')
    _, version, length, crc = HEAD.unpack(raw)
    if version != VERSION:
        raise StoreError(f'journal {path} has version {version}; this '
                         f'program reads version {VERSION}')
    if length > os.fstat(file.fileno()).st_size:
        raise StoreError(f'journal {path}: head is damaged')
    text = file.read(length)
    if zlib.crc32(text) != crc:
        raise StoreError(f'journal {path}: head is damaged')
    try:
        header = parsed(text)
        return header, schema_from_json(header['schema'])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f'journal {path}: head is damaged') from error


def _entries(
    file: BinaryIO, size: int,
) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (offset, kind, row, payload) up to the first unsound entry."""
    position = file.tell()
    while True:
        entry = read_entry(file, size - position)
        if entry is None:
            return
        yield position, *entry
        position += ENTRY.size + len(entry[2])


def read_entry(
    file: BinaryIO, available: int,
) -> tuple[int, int, bytes] | None:
    """Return (kind, row, payload) of the entry at the file's position.

    None where it is torn or damaged.  `available` bytes bound what a wrong
    length can make us read.
    """
    head = file.read(ENTRY.size)
    if len(head) < ENTRY.size:
        return None
    crc, length, kind, row = ENTRY.unpack(head)
    if length > available - ENTRY.size:
        return None
    payload = file.read(length)
    if len(payload) < length \
            or zlib.crc32(payload, zlib.crc32(head[4:])) != crc:
        return None
    return kind, row, payload


def scan(path: Path, schema: Schema | None = None) -> JournalIndex:
    """Read a journal through, checking every entry; stop at damage.

    Raises:
        StoreError: unreadable, no journal, another version, damaged head.
        InputError: columns other than those of `schema`.
    """
    path = Path(path)
    with _opened(path) as file:
        header, stored = read_head(file, path)
        if schema is not None:
            _same_columns(path, stored, schema)
        packer = RowPacker(stored)
        size = os.fstat(file.fileno()).st_size
        end = file.tell()
        found = []
        none = (0,) * len(packer.axes)
        for offset, kind, row, payload in _entries(file, size):
            status, lengths = 0, none
            if kind == ROW:
                try:
                    lengths = packer.sizes(payload)
                except ValueError:
                    break
                status = packer.status_of(payload)
            found.append((row, kind, status, offset, *lengths))
            end = offset + ENTRY.size + len(payload)
    table = np.array(found, np.int64).reshape(len(found), 4 + len(none))
    return JournalIndex(
        path, header, stored, table[:, 0], table[:, 1].astype(np.int8),
        table[:, 2].astype(np.int8), table[:, 4:], table[:, 3], size - end)


def read_payloads(path: Path, offsets: Iterable[int]) -> list[bytes]:
    """Return the payloads of the entries at these offsets.

    Raises:
        StoreError: there is no sound entry at an offset.
    """
    result = []
    with _opened(Path(path)) as file:
        size = os.fstat(file.fileno()).st_size
        for offset in offsets:
            file.seek(int(offset))
            entry = read_entry(file, size - int(offset))
            if entry is None:
                raise StoreError(f'journal {path} is damaged at byte '
                                 f'{offset}')
            result.append(entry[2])
    return result


def read_rows(path: Path, offsets: Iterable[int]) -> list[Row]:
    """Return the rows at these offsets, complete."""
    path = Path(path)
    with _opened(path) as file:
        packer = RowPacker(read_head(file, path)[1])
    return [packer.unpack(p) for p in read_payloads(path, offsets)]


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, 'rb', buffering=1 << 18)
    except OSError as error:
        raise explain(error, path, 'read') from error


def _same_columns(path: Path, stored: Schema, schema: Schema) -> None:
    old, new = layout(stored), layout(schema)
    if old == new:
        return
    odd = {c[0] for c in old} ^ {c[0] for c in new} \
        or {a[0] for a, b in zip(old, new, strict=False) if a != b}
    raise InputError(f'journal {path} was written with other columns '
                     f'({", ".join(sorted(odd))}): use the version of mpiapp '
                     'that wrote it, or --overwrite')
