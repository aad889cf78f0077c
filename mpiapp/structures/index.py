"""The index of one file: who has which bytes, without any of the text."""
from __future__ import annotations

import gzip
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import InputError, Rejection, Structure

CHUNK_BYTES = 4 * 2**20
#: names of decompressed files, and of those that are not complete
_UNPACKED = re.compile(r'.+-[0-9a-f]{12}\.[a-z]+|.+\.[0-9]+\.partial')


@dataclass(frozen=True, eq=False)
class FileIndex:
    """Where the records of one file are.

    `starts` [n], `sizes` [n] are bytes of `data_path`, which differs from
    `path` only for a compressed file; `n_atoms` [n] is what the record's
    header claims, 0 where unknown; `sha256` and `n_bytes` are those of the
    file as given.
    """

    bytes_per_record = 16

    path: str
    data_path: str
    format: str
    sha256: str
    n_bytes: int
    starts: NDArray[np.uint64]
    sizes: NDArray[np.uint32]
    n_atoms: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.starts)


def index_file(path: str | os.PathLike[str],
               spool_dir: Path | None = None) -> FileIndex:
    """Index a structure file in one pass; its text is not kept.

    A `.gz` file is decompressed once into `spool_dir`, which every rank that
    loads from it must see.  Raises InputError if there is nothing to read.
    """
    path = Path(path)
    name, compressed = _format_of(path)
    _check_readable(path)
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as source:
            if compressed:
                data_path, spans = _scan_compressed(
                    path, source, digest, name, spool_dir)
            else:
                data_path = path
                spans = _format(name).scan(_chunks(_Hashing(source, digest)))
            n_bytes = source.tell()
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error}') from error
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    if not spans.recognised:
        raise InputError(_nothing_found(path, name, len(spans), n_bytes))
    return FileIndex(str(path), str(data_path), name, digest.hexdigest(),
                     n_bytes, *spans.arrays())


def unpacked_in(folder: Path) -> set[Path]:
    """Return what `index_file` has decompressed into a folder."""
    there = os.path.isdir(folder) and os.access(folder, os.R_OK)
    names = os.listdir(folder) if there else []
    return {folder / name for name in names if _UNPACKED.fullmatch(name)}


def raw_record(index: FileIndex, record: int) -> bytes:
    """Return the bytes of a record (from 0) as they are in the file."""
    if not 0 <= record < len(index):
        raise IndexError(f'{index.path} has {len(index)} records, '
                         f'no record {record}')
    with open(index.data_path, 'rb') as source:
        source.seek(int(index.starts[record]))
        return source.read(int(index.sizes[record]))


def load(index: FileIndex, record: int, row: int = 0,
         file_number: int = 0) -> Structure:
    """Read and parse one record; raises Rejection if that can't be done."""
    data = raw_record(index, record)
    if len(data) != index.sizes[record]:
        raise Rejection('unparsable', f'{index.path} became shorter '
                                      'after it was indexed')
    structure: Structure = _format(index.format).parse(
        data, row=row, file_number=file_number, record=record)
    return structure


@cache
def suffixes() -> dict[str, str]:
    """Return the format of each file suffix; compressed ones not listed."""
    folder = Path(__file__).parent
    found = {}
    for module in iter_modules([str(folder)]):
        for suffix in getattr(_format(module.name), 'SUFFIXES', ()):
            found[suffix] = module.name
    return found


def _format(name: str) -> ModuleType:
    return import_module(f'mpiapp.structures.{name}')


def _format_of(path: Path) -> tuple[str, bool]:
    """Return the format's name and whether the file is compressed."""
    parts = [s.lower() for s in path.suffixes]
    compressed = parts[-1:] == ['.gz']
    suffix = ''.join(parts[-2:-1] if compressed else parts[-1:])
    known = suffixes()
    if suffix not in known:
        raise InputError(
            f'{path}: unknown kind of file; the name must end in one of '
            f'{" ".join(sorted(known))}, or one of these and .gz')
    return known[suffix], compressed


def _check_readable(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f'{path}: no such file') from None
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error}') from error
    if stat.S_ISDIR(mode):
        raise InputError(f'{path}: is a directory, not a file')
    # Opening a pipe would wait for ever for its writer.
    if not stat.S_ISREG(mode):
        raise InputError(f'{path}: is not a regular file')


class _Hashing:
    """A binary file that adds what is read from it to a digest."""

    def __init__(self, source: IO[bytes], digest: Any) -> None:
        self._source = source
        self._digest = digest

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        return data


def _chunks(source: Any) -> Iterator[bytes]:
    while data := source.read(CHUNK_BYTES):
        yield data


def _scan_compressed(path: Path, source: IO[bytes], digest: Any, name: str,
                     spool_dir: Path | None) -> tuple[Path, Any]:
    """Decompress into `spool_dir` while scanning; return path and spans."""
    if spool_dir is None:
        raise InputError('is compressed, and there is no folder to '
                         'decompress it into')
    spool_dir = Path(spool_dir)
    spool_dir.mkdir(parents=True, exist_ok=True)
    partial = spool_dir / f'{path.stem}.{os.getpid()}.partial'
    hashing: Any = _Hashing(source, digest)
    try:
        with gzip.GzipFile(fileobj=hashing) as plain, \
                open(partial, 'wb') as spool:
            spans = _format(name).scan(_copied(_chunks(plain), spool))
        for _ in _chunks(hashing):
            pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        partial.unlink(missing_ok=True)
        raise InputError(f'damaged gzip file: {error}') from error
    # The content names the file: two inputs of one name don't collide.
    stem = Path(path.stem)
    final = spool_dir / (
        f'{stem.stem}-{digest.hexdigest()[:12]}{stem.suffix}')
    os.replace(partial, final)
    return final.absolute(), spans


def _copied(chunks: Iterator[bytes], spool: IO[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        spool.write(chunk)
        yield chunk


def _nothing_found(path: Path, name: str, n_records: int,
                   n_bytes: int) -> str:
    if n_bytes == 0:
        return f'{path}: the file is empty'
    if n_records == 0:
        return f'{path}: the file holds white space only, no record'
    with open(path, 'rb') as source:
        start = source.read(40)
    return (f'{path}: not an {name} file: none of its {n_records} records '
            f'has a line with atom counts (it begins with {start!r})')
