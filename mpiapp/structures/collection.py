"""Several files in a row: one row number for each record of them all."""
from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import InputError, Structure
from mpiapp.structures.index import FileIndex, index_file, load


@dataclass(frozen=True, eq=False)
class Collection:
    """The input of a campaign: files in the given order.

    Row = position in the concatenation, broken records included.  Holds the
    indices only (16 bytes a record) and is cheap to pickle and broadcast.
    """

    files: tuple[FileIndex, ...]

    @classmethod
    def open(cls, paths: Iterable[str | os.PathLike[str]],
             spool_dir: Path | None = None) -> Collection:
        """Index every file; raises InputError at the first bad one."""
        files = tuple(index_file(path, spool_dir) for path in paths)
        if not files:
            raise InputError('no input file was given')
        return cls(files)

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def locate(self, row: int) -> tuple[int, int]:
        """Return (file number, record number) of a row, all from 0."""
        if not 0 <= row < len(self):
            raise IndexError(f'no row {row} of {len(self)}')
        file_number = int(np.searchsorted(self._offsets, row, 'right')) - 1
        return file_number, row - int(self._offsets[file_number])

    def load(self, row: int) -> Structure:
        """Read the record of a row; raises Rejection if that fails."""
        file_number, record = self.locate(row)
        return load(self.files[file_number], record, row, file_number)

    @property
    def n_atoms(self) -> NDArray[np.int32]:
        """Claimed atom counts [n_rows], 0 where unknown."""
        return np.concatenate(
            [np.empty(0, np.int32), *(f.n_atoms for f in self.files)])

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(len(f) for f in self.files)])
