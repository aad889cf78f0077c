"""Records of QH9 and of SPHNet: SQLite tables and LMDB folders.

They hold references; predictions come from elsewhere.  Pickled values are
read by an unpickler that knows NumPy arrays alone.
"""
from __future__ import annotations

import hashlib
import io
import pickle
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.errors import InputError
from mpiapp.hamiltonians.frame import Frame, frame_from
from mpiapp.hamiltonians.pairs import file_digest
from mpiapp.records import Rejection

#: what a pickle may name
ALLOWED = frozenset({
    ('numpy', 'ndarray'), ('numpy', 'dtype'),
    *((f'numpy.{core}.{module}', name) for core in ('core', '_core')
      for module, name in (('multiarray', '_reconstruct'),
                           ('multiarray', 'scalar'),
                           ('numeric', '_frombuffer'))),
    ('_codecs', 'encode'),
})
#: QH9 has its geometries in angstrom, its matrices in PySCF's order
QH9 = {'length_unit': 'angstrom', 'format': 'pyscf', 'remove_init': 0,
       'xc': 'b3lyp', 'basis': 'def2-svp'}


@dataclass(frozen=True)
class SqliteRecords:
    """A QH9 database: table data of id, N, atoms, positions, matrix."""

    path: Path
    keys: tuple[int, ...]
    n_atoms: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> SqliteRecords:
        """List the records; raises InputError for another database."""
        try:
            with closing(connect(path)) as base:
                rows = base.execute(
                    'select rowid, N from data order by rowid').fetchall()
            found = [(int(key), int(n)) for key, n in rows]
        except (sqlite3.Error, TypeError, ValueError,
                OverflowError) as error:
            raise InputError(f'{path} is no QH9 database: {error}'
                             ) from error
        if not found:
            raise InputError(f'{path} holds no record')
        return cls(path, tuple(key for key, _ in found),
                   tuple(n for _, n in found))

    @property
    def names(self) -> list[str]:
        """The records by number."""
        return [f'record_{key}' for key in self.keys]

    @property
    def sizes(self) -> list[float]:
        """What grows as the square of the number of orbitals."""
        return [float(n * n) for n in self.n_atoms]

    @property
    def about(self) -> dict[str, str]:
        """What all records share."""
        return {'xc': QH9['xc'], 'basis': QH9['basis']}  # type: ignore

    def load(self, i: int) -> Frame:
        """Read a record; raises Rejection."""
        try:
            with closing(connect(self.path)) as base:
                cursor = base.execute('select * from data where rowid = ?',
                                      (self.keys[i],))
                names = [d[0].lower() for d in cursor.description]
                row = dict(zip(names, cursor.fetchone(), strict=True))
            numbers = np.frombuffer(blob(row, 'z', 'atoms'), np.int32)
            values: dict[str, Any] = {
                **QH9, 'atoms': numbers,
                'pos': np.frombuffer(blob(row, 'r', 'pos')),
                'Ham': np.frombuffer(blob(row, 'ham', 'h'))}
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise Rejection('unreadable', f'{self.names[i]}: {error}'
                            ) from error
        return frame_from(self.names[i], values)

    def digest(self) -> str:
        """Return the sha256 of the file."""
        return file_digest(self.path)


def connect(path: Path) -> sqlite3.Connection:
    """Open a database for reading alone."""
    return sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro', uri=True)


def blob(row: Mapping[str, Any], *names: str) -> bytes:
    """Return a column of bytes under one of its names."""
    for name in names:
        if isinstance(row.get(name), bytes):
            return bytes(row[name])
    raise Rejection('missing_key', f'no column {" or ".join(names)}; there '
                    f'are {", ".join(row)}')


@dataclass(frozen=True)
class LmdbRecords:
    """An LMDB folder: 4-byte big-endian keys, a pickled dictionary each."""

    path: Path
    n: int
    n_bytes: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> LmdbRecords:
        """List the records; raises InputError for another folder."""
        with closing(environment(path)) as base, base.begin() as reader:
            length = reader.get(b'length')
            n = counted(length, base.stat()['entries'], path)
            sizes = [len(reader.get(key_of(i)) or b'') for i in range(n)]
        if not n:
            raise InputError(f'{path} holds no record')
        return cls(path, n, tuple(sizes))

    @property
    def names(self) -> list[str]:
        """The records by number."""
        return [f'record_{i}' for i in range(self.n)]

    @property
    def sizes(self) -> list[float]:
        """What grows as the square of the number of orbitals."""
        return [float(n) for n in self.n_bytes]

    @property
    def about(self) -> dict[str, str]:
        """What the folder as a whole says: nothing."""
        return {}

    def load(self, i: int) -> Frame:
        """Read a record; raises Rejection."""
        with closing(environment(self.path)) as base, \
                base.begin() as reader:
            value = reader.get(key_of(i))
        if value is None:
            raise Rejection('missing_key', f'no record {i}')
        try:
            values = unflattened(dict(plain(value)))
        except Exception as error:  # whatever a pickle may do wrong
            raise Rejection('unreadable', f'record {i}: '
                            f'{type(error).__name__}: {error}') from error
        return frame_from(self.names[i], values)

    def digest(self) -> str:
        """Return the sha256 of the data file."""
        whole = hashlib.sha256(file_digest(data_of(self.path)).encode())
        return whole.hexdigest()


def counted(length: bytes | None, entries: int, path: Path) -> int:
    """Return the number of records that an LMDB says it has.

    Raises:
        InputError: what it says is no number of its entries.
    """
    if not length:
        return entries
    try:
        n = int(plain(length))
    except Exception as error:  # whatever a pickle may do wrong
        raise InputError(f'{path}: key length cannot be read: {error}'
                         ) from error
    if not 0 <= n < entries:
        raise InputError(f'{path}: key length says {n} records, there are '
                         f'{entries - 1}')
    return n


def data_of(path: Path) -> Path:
    """Return the file that holds the data of an LMDB."""
    return path / 'data.mdb' if path.is_dir() else path


def key_of(i: int) -> bytes:
    """Return the key of record i."""
    return i.to_bytes(4, 'big')


def environment(path: Path) -> Any:
    """Open an LMDB for reading; raises InputError where that fails."""
    try:
        import lmdb
    except ImportError as error:
        raise InputError(f'{path} is an LMDB: install the package lmdb '
                         'to read it, or convert it elsewhere') from error
    try:
        return lmdb.open(str(path), subdir=path.is_dir(), readonly=True,
                         lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        raise InputError(f'{path} is no LMDB: {error}') from error


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that makes arrays and plain values, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class of the short list."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f'{module}.{name} is not allowed')
        return super().find_class(module, name)


def plain(data: bytes) -> Any:
    """Unpickle arrays, numbers, text and containers of them."""
    return _ArraysOnly(io.BytesIO(data)).load()


#: what LMDB records keep as raw bytes, and of which type
RAW = {'atoms': np.int32, 'pos': np.float64, 'Ham': np.float64,
       'Ham_init': np.float64, 'overlap': np.float64,
       'forces': np.float64}


def unflattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with arrays in place of raw bytes."""
    return {name: np.frombuffer(value, RAW[name])
            if isinstance(value, bytes) and name in RAW else value
            for name, value in values.items()}
