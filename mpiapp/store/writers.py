"""The two ways to put rows into the bare file; same calls, same content."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.parallel.agree import AgreedExit, agree
from mpiapp.records import Ints, Schema
from mpiapp.store.hdf5 import load_h5py, open_serial
from mpiapp.store.layout import column_path, offsets_name, ragged_groups
from mpiapp.store.packing import Block
from mpiapp.store.rounds import Parcel, pieces

#: (dataset, first entry, entries [n, ...]) of one write
Part = tuple[str, int, NDArray[Any]]


class Writer(Protocol):
    """What writes blocks of rows; all methods are collective."""

    def exchange(self, outgoing: Sequence[Parcel]) -> list[Parcel]:
        """Collective: hand on parcels, return those for this rank."""

    def piece(self, cuts: Ints) -> tuple[int, int]:
        """Return the first and last + 1 row that this rank writes."""

    def write(self, block: Block, cuts: Ints) -> None:
        """Collective: write this rank's piece of a round."""


def put(
    dataset: Any, start: int, data: NDArray[Any], mode: Any = None,
) -> None:
    """Write entries; collective with such a `mode`, also where empty.

    The high-level interface leaves out empty writes, and the other ranks
    wait forever (h5py #965).  The type is the file's own: with a conversion
    HDF5 would not write collectively, and for UTF-8 it knows none.
    """
    h5s = load_h5py().h5s
    in_memory = h5s.create_simple((max(1, len(data)), *data.shape[1:]))
    in_file = dataset.get_space()
    if len(data):
        in_file.select_hyperslab(
            (start,) + (0,) * (data.ndim - 1), data.shape)
    else:
        in_memory.select_none()
        in_file.select_none()
        data = np.zeros((1, *data.shape[1:]), data.dtype)
    dataset.write(in_memory, in_file, np.ascontiguousarray(data),
                  mtype=dataset.get_type(), dxpl=mode)


class _Base:
    """Where the next entries of each ragged axis go."""

    def __init__(
        self, comm: Any, path: Path, schema: Schema,
        totals: Mapping[str, int], limit: int,
    ) -> None:
        self.comm = comm
        self.schema = schema
        self.limit = limit
        self._used = dict.fromkeys(totals, 0)
        self._file: Any = None
        self._open(path)

    def _open(self, path: Path) -> None:
        raise NotImplementedError

    def _parts(self, block: Block, first: int, used: Mapping[str, int],
               ) -> Iterator[Part]:
        """Yield what the block adds to each dataset, in a fixed order."""
        for column in self.schema.columns:
            if column.ragged:
                yield (column_path(column), used[column.ragged],
                       block.ragged[column.name])
            else:
                yield (column_path(column), first,
                       np.ascontiguousarray(block.fixed[column.name]))
        for group, axis in ragged_groups(self.schema):
            ends = used[axis] + np.cumsum(block.lengths[axis])
            yield offsets_name(group, axis), first + 1, ends.astype('<i8')


class GatherWriter(_Base):
    """Rank 0 gathers everything and writes; the others only send."""

    def _open(self, path: Path) -> None:
        with agree(self.comm, f'opening {path}'):
            if self.comm.rank == 0:
                self._file = open_serial(path, 'r+')

    def __enter__(self) -> GatherWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            if self._file is not None:
                self._file.close()
            return
        with agree(self.comm, 'closing the result file'):
            if self._file is not None:
                self._file.close()

    def exchange(self, outgoing: Sequence[Parcel]) -> list[Parcel]:
        """Collective: return all parcels on rank 0, none elsewhere."""
        return self.comm.gather(outgoing[0]) or []

    def piece(self, cuts: Ints) -> tuple[int, int]:
        """Return all rows of the round on rank 0, none elsewhere."""
        root = self.comm.rank == 0
        return int(cuts[0]), int(cuts[-1] if root else cuts[0])

    def write(self, block: Block, cuts: Ints) -> None:
        """Collective: write the round."""
        with agree(self.comm, 'writing the result file'):
            if self._file is None:
                return
            for name, start, data in self._parts(
                    block, int(cuts[0]), self._used):
                if len(data):
                    put(self._file[name].id, start, data)
            for axis, lengths in block.lengths.items():
                self._used[axis] += int(lengths.sum())


class CollectiveWriter(_Base):
    """Every rank writes its piece of each round with MPI-IO."""

    def _open(self, path: Path) -> None:
        h5py = load_h5py()
        # opening is collective: it fails on all ranks or on none
        self._file = h5py.File(path, 'r+', driver='mpio', comm=self.comm)
        self._mode = h5py.h5p.create(h5py.h5p.DATASET_XFER)
        self._mode.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)

    def __enter__(self) -> CollectiveWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # closing is collective: after an error of one rank the others would
        # not come, and this rank's error would never be shown
        if kind is None or issubclass(kind, AgreedExit):
            self._file.close()

    def exchange(self, outgoing: Sequence[Parcel]) -> list[Parcel]:
        """Collective: send each rank the rows of its piece."""
        return self.comm.alltoall(outgoing)

    def piece(self, cuts: Ints) -> tuple[int, int]:
        """Return the rows of this rank."""
        return int(cuts[self.comm.rank]), int(cuts[self.comm.rank + 1])

    def write(self, block: Block, cuts: Ints) -> None:
        """Collective: write the pieces of all ranks."""
        axes = list(self._used)
        mine = [int(block.lengths[axis].sum()) for axis in axes]
        by_rank = np.array(self.comm.allgather(mine), np.int64)
        by_rank = by_rank.reshape(self.comm.size, len(axes))
        before = by_rank[:self.comm.rank].sum(axis=0)
        used = {axis: self._used[axis] + int(before[i])
                for i, axis in enumerate(axes)}
        most = {axis: int(by_rank[:, i].max()) for i, axis in enumerate(axes)}
        most[''] = int(np.diff(cuts).max())
        # an error must not keep a rank from the writes the others wait in:
        # it is kept, and agreed upon when all datasets are through
        errors: list[Exception] = []
        ragged = {column_path(c): c.ragged for c in self.schema.ragged}
        for name, start, data in self._parts(
                block, self._first(cuts), used):
            width = data.dtype.itemsize * int(np.prod(data.shape[1:]))
            n_pieces = -(-most[ragged.get(name, '')] * width // self.limit)
            self._write_all(name, start, data, n_pieces, errors)
        with agree(self.comm, 'writing the result file'):
            if errors:
                raise errors[0]
        for i, axis in enumerate(axes):
            self._used[axis] += int(by_rank[:, i].sum())

    def _first(self, cuts: Ints) -> int:
        return int(cuts[self.comm.rank])

    def _write_all(
        self, name: str, start: int, data: NDArray[Any], n_pieces: int,
        errors: list[Exception],
    ) -> None:
        """Collective: write one dataset; pieces, as MPI-IO stops at 2 GB."""
        dataset = self._file[name].id
        for piece in pieces(len(data), n_pieces):
            try:
                put(dataset, start + piece.start, data[piece], self._mode)
            except (OSError, ValueError, RuntimeError) as error:
                errors.append(error)
