"""A checksum of a result file's structure, behind the HDF5 content.

HDF5 itself may crash on a file whose structure is damaged (measured with
1.10.8: a segmentation fault after a few random changes of bytes).  So the
structure, which is all but the values of the columns, is checked before HDF5
sees the file.  Other readers ignore what stands behind the HDF5 content.
"""
from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.store.hdf5 import open_serial

MAGIC = b'mpiappS\n'
FOOT = struct.Struct('<II8s')
#: bytes that are read at a time
PIECE = 2**20

Range = tuple[int, int]


def seal(path: Path, datasets: Iterable[str]) -> None:
    """Append the checksum to a closed file; an old one is replaced.

    The values of `datasets` are left out of it.
    """
    with open_serial(path, 'r') as file:
        found = [file[name].id for name in datasets]
        ranges = sorted((d.get_offset(), d.get_storage_size())
                        for d in found if d.get_offset() is not None)
    with open(path, 'r+b') as raw:
        if _foot(raw) is not None:
            raw.truncate(_foot(raw))
        size = raw.seek(0, os.SEEK_END)
        crc = _checksum(raw, size, ranges)
        text = json.dumps(
            {'size': size, 'crc32': crc, 'data': ranges}).encode()
        raw.seek(size)
        raw.write(text + FOOT.pack(len(text), zlib.crc32(text), MAGIC))


def check_seal(path: Path) -> None:
    """Refuse a file that isn't as it was written.

    Raises:
        InputError: no checksum, or not the right one.
    """
    try:
        with open(path, 'rb') as raw:
            start = _foot(raw)
            sound = start is not None and _is_sound(raw, start)
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file') from error
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}'
                         ) from error
    if start is None:
        raise InputError(
            f'{path} is not a campaign file of mpiapp, or it was cut short '
            'or changed by another program')
    if not sound:
        raise InputError(f'{path}: damaged result file')


def _foot(raw: BinaryIO) -> int | None:
    """Return where the seal begins; None where there is none."""
    size = raw.seek(0, os.SEEK_END)
    if size < FOOT.size:
        return None
    raw.seek(size - FOOT.size)
    length, _, magic = FOOT.unpack(raw.read(FOOT.size))
    start = size - FOOT.size - int(length)
    return start if magic == MAGIC and start >= 0 else None


def _is_sound(raw: BinaryIO, start: int) -> bool:
    size = raw.seek(0, os.SEEK_END)
    raw.seek(start)
    text = raw.read(size - start - FOOT.size)
    _, crc, _ = FOOT.unpack(raw.read(FOOT.size))
    if zlib.crc32(text) != crc:
        return False
    try:
        said = parsed(text)
        ranges = [(int(a), int(n)) for a, n in said['data']]
        return said['size'] == start \
            and said['crc32'] == _checksum(raw, start, ranges)
    except (ValueError, KeyError, TypeError):
        return False


def _checksum(raw: BinaryIO, size: int, ranges: list[Range]) -> int:
    crc = 0
    for start, stop in _gaps(size, ranges):
        raw.seek(start)
        for at in range(start, stop, PIECE):
            crc = zlib.crc32(raw.read(min(PIECE, stop - at)), crc)
    return crc


def _gaps(size: int, ranges: list[Range]) -> Iterator[Range]:
    """Yield (start, stop) of what the sorted ranges leave of the file."""
    position = 0
    for start, length in [*ranges, (size, 0)]:
        if start > position:
            yield position, start
        position = max(position, start + length)
