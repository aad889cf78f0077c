"""The campaign file, written by all ranks together or gathered to one.

Rank 0 lays down the bare file under a temporary name; rows are brought into
the order of the input in rounds and written, by every rank its part with
MPI-IO, or by rank 0; then the file gets its name.  The content does not
depend on the way or the number of ranks.
"""
from __future__ import annotations

import operator
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.errors import InputError
from mpiapp.parallel.agree import agree
from mpiapp.parallel.serial import SerialComm
from mpiapp.records import Ints, Row, Schema, Status
from mpiapp.store.files import StoreError, explain, part_name, publish, reserve
from mpiapp.store.hdf5 import is_parallel, open_serial
from mpiapp.store.layout import data_paths, lay_down
from mpiapp.store.packing import Block, RowPacker
from mpiapp.store.rounds import (
    assemble, bin_width, bytes_by_bin, parcels, plan_rounds
)
from mpiapp.store.seal import seal
from mpiapp.store.sources import RowSource
from mpiapp.store.writers import CollectiveWriter, GatherWriter, Writer

#: bytes of rows a rank holds in a round
ROUND_BYTES = 64 * 2**20
#: free space asked for beyond the rows: structure, attributes, settings
MARGIN = 2**20


def write_campaign(
    comm: Any, path: Path, schema: Schema, n_records: int,
    source: RowSource, meta: Mapping[str, Any], timeline: Mapping[str, Any],
    parallel: bool | None = None,
    blank: Callable[[int], Mapping[str, Any]] | None = None,
    round_bytes: int = ROUND_BYTES,
    extend: Callable[[Path], None] | None = None,
) -> None:
    """Collective: write the campaign file, complete or not at all.

    Each rank supplies the rows of its `source`; a row that nobody supplies
    is `blank(row)` (default: the fill values, status pending).  `meta` is
    what all runs of the campaign share, `timeline` what differs between
    runs (ranks, times, hosts).  `parallel`: MPI-IO (True), gather to rank 0
    (False), or whichever this h5py can (None).  Attribute `complete` tells
    that no row is pending.  `extend` (collective) gets the path of the
    file when its rows are in and may add groups to it, before it is sealed.

    Raises:
        AgreedExit: on all ranks, where writing failed on any; no file is
            left, an older one of that name is untouched.
    """
    path = Path(path)
    packer = RowPacker(schema)
    together = _choose(comm, parallel)
    with agree(comm, f'collecting the rows of {path}'):
        _check_source(source, n_records)
        sizes = bytes_by_bin(packer, source.rows, source.lengths, n_records)
    plan = _plan(comm, sizes, packer, source, n_records,
                 comm.size if together else 1, round_bytes)
    totals = _totals(comm, packer, source)
    part = part_name(path)
    with _removed_on_error(comm, part):
        with agree(comm, f'creating {path}'):
            if comm.rank == 0:
                _check_space(path, packer, n_records, totals)
                with _explained(path):
                    lay_down(part, schema, n_records, totals, meta, timeline)
                    reserve(part)
        kind = CollectiveWriter if together else GatherWriter
        with kind(comm, part, schema, totals, round_bytes) as writer:
            n_pending = _write_rounds(
                comm, writer, plan, packer, source, blank or _nothing)
        if extend is not None:
            extend(part)
        with agree(comm, f'finishing {path}'):
            if comm.rank == 0:
                with _explained(path):
                    _finish(part, path, schema, n_pending == 0)


def _nothing(row: int) -> Row:
    return {}


def _choose(comm: Any, parallel: bool | None) -> bool:
    """Collective: decide on MPI-IO, the same on all ranks."""
    possible = not isinstance(comm, SerialComm) and all(
        comm.allgather(is_parallel()))
    with agree(comm, 'choosing the writer'):
        if parallel and not possible:
            raise InputError(
                'MPI-IO was asked for, but h5py is built without MPI or the '
                'program runs without it: use the gather writer')
    return possible and (comm.size > 1 if parallel is None else parallel)


def _check_source(source: RowSource, n_records: int) -> None:
    rows = source.rows
    if len(rows) and (rows[0] < 0 or rows[-1] >= n_records
                      or (np.diff(rows) <= 0).any()):
        raise ValueError('rows of a source must ascend within the records')


def _plan(
    comm: Any, sizes: Any, packer: RowPacker, source: RowSource,
    n_records: int, n_writers: int, limit: int,
) -> list[Ints]:
    """Collective: return the rounds, the same on all ranks."""
    width = bin_width(n_records)
    counts = np.bincount(source.rows // width, minlength=len(sizes))
    total, n_there = comm.allreduce((sizes, counts), _add_pairs)
    largest = comm.allreduce(sizes, np.maximum)
    in_bin = np.full(len(sizes), width)
    if len(sizes):
        in_bin[-1] = n_records - width * (len(sizes) - 1)
    total = total + (in_bin - np.minimum(n_there, in_bin)) * packer.head
    return plan_rounds(total, largest, n_records, width, n_writers, limit)


def _add_pairs(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
    return a[0] + b[0], a[1] + b[1]


def _totals(comm: Any, packer: RowPacker, source: RowSource) -> dict[str, int]:
    """Collective: return the entries of all rows for each ragged axis."""
    total = comm.allreduce(source.lengths.sum(axis=0), operator.add)
    return dict(zip(packer.axes, map(int, total), strict=True))


def _check_space(
    path: Path, packer: RowPacker, n_records: int, totals: Mapping[str, int],
) -> None:
    need = n_records * packer.head + MARGIN + sum(
        n * size for n, size in zip(totals.values(), packer.bytes_by_axis,
                                    strict=True))
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise StoreError(
            f'cannot write {path}: it needs {need / 1e6:.1f} MB and '
            f'{free / 1e6:.1f} MB are free; free some space and continue '
            'with --resume')


def _write_rounds(
    comm: Any, writer: Writer, plan: list[Ints], packer: RowPacker,
    source: RowSource, blank: Callable[[int], Mapping[str, Any]],
) -> int:
    """Collective: move and write all rows; return how many are pending."""
    n_pending = 0
    for cuts in plan:
        with agree(comm, 'reading finished rows'):
            outgoing = parcels(source.rows, source.fetch, cuts)
        received = writer.exchange(outgoing)
        del outgoing
        with agree(comm, 'ordering finished rows'):
            first, last = writer.piece(cuts)
            block = assemble(packer, received, first, last, blank)
        writer.write(block, cuts)
        n_pending += _pending(block)
    return int(comm.allreduce(n_pending, operator.add))


def _pending(block: Block) -> int:
    names = block.fixed.dtype.names or ()
    if 'status' not in names:
        return 0
    return int((block.fixed['status'] == Status.PENDING).sum())


def _finish(part: Path, path: Path, schema: Schema, complete: bool) -> None:
    with open_serial(part, 'r+') as file:
        file.attrs['complete'] = complete
    seal(part, data_paths(schema))
    publish(part, path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what h5py and the system say into a StoreError."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise explain(error, path, 'write') from error


@contextmanager
def _removed_on_error(comm: Any, part: Path) -> Iterator[None]:
    """Let rank 0 remove the unfinished file where writing failed."""
    try:
        yield
    except BaseException:
        if comm.rank == 0:
            part.unlink(missing_ok=True)
        raise
