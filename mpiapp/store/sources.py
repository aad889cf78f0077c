"""Where the rows of the campaign file come from: journals, memory."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.parallel.agree import agree
from mpiapp.records import Ints, Schema
from mpiapp.store.folder import journal_names
from mpiapp.store.journal import read_payloads
from mpiapp.store.packing import RowPacker
from mpiapp.store.survey import Survey, merge_surveys, result_dtype, survey


class RowSource(Protocol):
    """The rows that one rank can supply.

    `rows` int64 [n] are ascending row numbers, `lengths` int64 [n, n_axes]
    the lengths of their ragged axes.
    """

    rows: Ints
    lengths: Ints

    def fetch(self, rows: Ints) -> list[bytes]:
        """Return these rows, packed, in the given order."""


class MemorySource:
    """Rows that are at hand as mappings from column to value."""

    def __init__(
        self, schema: Schema, values: Mapping[int, Mapping[str, Any]],
    ) -> None:
        packer = RowPacker(schema)
        self._packed = {row: packer.pack(values[row])
                        for row in sorted(values)}
        self.rows = np.array(list(self._packed), np.int64)
        self.lengths = np.array(
            [packer.sizes(p) for p in self._packed.values()], np.int64,
        ).reshape(len(self.rows), len(packer.axes))

    def fetch(self, rows: Ints) -> list[bytes]:
        """Return these rows, packed, in the given order."""
        return [self._packed[int(row)] for row in rows]


class JournalSource:
    """The last results of some records, read from journals when asked for.

    `results` is a part of `Survey.results`.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], results: NDArray[Any],
    ) -> None:
        self._folder = Path(folder)
        self._names = names
        self._results = results[np.argsort(results['row'])]
        self.rows = self._results['row'].astype(np.int64)
        self.lengths = self._results['lengths'].astype(np.int64)

    def fetch(self, rows: Ints) -> list[bytes]:
        """Return these rows, packed, in the given order."""
        wanted = self._results[np.searchsorted(self.rows, rows)]
        return _fetch(self._folder, self._names, wanted)


def fetch_states(
    folder: Path, found: Survey, rows: Ints,
) -> dict[int, bytes]:
    """Return the states of suspended work for those rows that have any."""
    live = found.live_states()
    wanted = live[np.isin(live['row'], rows)]
    states = _fetch(folder, found.names, wanted)
    return dict(zip(wanted['row'].tolist(), states, strict=True))


def _fetch(
    folder: Path, names: Sequence[str], wanted: NDArray[Any],
) -> list[bytes]:
    """Return payloads in order, each journal opened once, read forwards."""
    payloads: list[bytes] = [b''] * len(wanted)
    for journal in np.unique(wanted['journal']):
        at = np.flatnonzero(wanted['journal'] == journal)
        at = at[np.argsort(wanted['offset'][at])]
        path = Path(folder) / names[journal]
        read = read_payloads(path, wanted['offset'][at].tolist())
        for i, payload in zip(at, read, strict=True):
            payloads[i] = payload
    return payloads


def survey_together(
    comm: Any, folder: Path, schema: Schema, digest: str | None = None,
) -> Survey | None:
    """Collective: read all journals, each rank its part; rank 0 gets all.

    Every rank must see the folder.
    """
    names: tuple[str, ...] = ()
    # all that any rank has written before it came here is to be seen
    comm.barrier()
    with agree(comm, 'listing the journals'):
        if comm.rank == 0:
            names = tuple(journal_names(folder))
    names = comm.bcast(names)
    with agree(comm, 'reading the journals'):
        part = survey(folder, schema, names, comm.rank, comm.size, digest)
    parts = comm.gather(part)
    return merge_surveys(parts) if comm.rank == 0 else None


def share_results(
    comm: Any, folder: Path, found: Survey | None, schema: Schema,
) -> JournalSource:
    """Collective: deal the results of rank 0's survey to all ranks.

    Whole journals are dealt out, so that each is opened by one rank.
    """
    deal = None
    names: tuple[str, ...] = ()
    if found is not None:
        names = found.names
        owner = found.results['journal'] % comm.size
        deal = [found.results[owner == rank] for rank in range(comm.size)]
    names = comm.bcast(names)
    results = comm.scatter(deal)
    if results is None:
        results = np.empty(0, result_dtype(len(schema.axes)))
    return JournalSource(folder, names, results)


class JoinedSource:
    """Several sources with different rows as one."""

    def __init__(self, sources: Sequence[RowSource]) -> None:
        self._sources = sources
        rows = np.concatenate([s.rows for s in sources])
        lengths = np.concatenate([s.lengths for s in sources])
        owners = np.repeat(np.arange(len(sources)),
                           [len(s.rows) for s in sources])
        order = np.argsort(rows, kind='stable')
        self.rows, self.lengths = rows[order], lengths[order]
        self._owners = owners[order]

    def fetch(self, rows: Ints) -> list[bytes]:
        """Return these rows, packed, in the given order."""
        payloads: list[bytes] = [b''] * len(rows)
        owners = self._owners[np.searchsorted(self.rows, rows)]
        for i, source in enumerate(self._sources):
            at = np.flatnonzero(owners == i)
            for j, payload in zip(at, source.fetch(rows[at]), strict=True):
                payloads[j] = payload
        return payloads
