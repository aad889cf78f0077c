"""What the journals of all runs say together, record by record."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.errors import InputError
from mpiapp.records import Schema, Status
from mpiapp.store.files import StoreError
from mpiapp.store.folder import journal_names
from mpiapp.store.journal import BEGUN, BLAME, ROW, STATE, JournalIndex, scan

#: fields that order entries of one record in time
ORDER = ('row', 'run', 'rank', 'offset')


@dataclass(frozen=True)
class Progress:
    """Where every record stands; arrays over all records [n_records].

    `status` is that of the last result (0: none), `has_state` tells that
    suspended work is newer than it, `retries` counts the failed results.
    """

    status: NDArray[np.int8]
    has_state: NDArray[np.bool_]
    retries: NDArray[np.int32]


@dataclass(frozen=True)
class Survey:
    """The last results and suspended states found in some journals.

    `results` and `states` are structured arrays, one entry a record, sorted
    by row; `journal` in them is an index into `names`, `lengths` are those
    of the ragged axes, `failures` counts failed results.  `open` are the
    records that a rank took up in a run and left neither finished nor
    suspended, `blames` what earlier runs made of such.  `ignored` maps a
    damaged journal to the bytes behind its last sound entry.
    """

    names: tuple[str, ...]
    results: NDArray[Any]
    states: NDArray[Any]
    open: NDArray[Any]
    blames: NDArray[Any]
    ignored: dict[str, int] = field(default_factory=dict)

    def progress(self, n_records: int) -> Progress:
        """Return the state of all records.

        Raises:
            StoreError: a journal names a record that isn't there.
        """
        for table in (self.results, self.states, _sorted(self.open),
                      _sorted(self.blames)):
            if len(table) and not (0 <= table['row'][0]
                                   and table['row'][-1] < n_records):
                raise StoreError('the journals hold records beyond the '
                                 f'{n_records} of the input: damaged, or of '
                                 'other input')
        status = np.zeros(n_records, np.int8)
        retries = np.zeros(n_records, np.int32)
        has_state = np.zeros(n_records, np.bool_)
        status[self.results['row']] = self.results['status']
        retries[self.results['row']] = self.results['failures']
        has_state[self.live_states()['row']] = True
        return Progress(status, has_state, retries)

    def live_states(self) -> NDArray[Any]:
        """Return the states that are newer than the last result.

        Within a run a result wins over the state of another rank, which
        must have handed the record on.
        """
        at = np.searchsorted(self.results['row'], self.states['row'])
        at = np.minimum(at, max(len(self.results) - 1, 0))
        if not len(self.results):
            return self.states
        result, state = self.results[at], self.states
        newer = (state['run'] > result['run']) | (
            (state['run'] == result['run'])
            & (state['rank'] == result['rank'])
            & (state['offset'] > result['offset']))
        return state[newer | (result['row'] != state['row'])]


def result_dtype(n_axes: int) -> np.dtype[Any]:
    """Return the dtype of one entry of `Survey.results`."""
    return np.dtype([
        ('row', 'i8'), ('run', 'i4'), ('rank', 'i4'), ('journal', 'i4'),
        ('offset', 'i8'), ('status', 'i1'), ('failures', 'i4'),
        ('lengths', 'i8', (n_axes,))])


def survey(
    folder: Path, schema: Schema, names: Sequence[str] | None = None,
    part: int = 0, parts: int = 1, digest: str | None = None,
) -> Survey:
    """Read the journals names[part::parts]; all of the folder by default.

    Raises:
        StoreError: a journal is unreadable or its head is damaged.
        InputError: a journal with other columns or another settings digest.
    """
    known = tuple(journal_names(folder) if names is None else names)
    pieces = [_empty(known, len(schema.axes))]
    for i in range(part, len(known), parts):
        index = scan(Path(folder) / known[i], schema)
        if digest is not None and index.header.get('digest') != digest:
            raise InputError(f'journal {index.path} was written with other '
                             'settings: it does not belong here')
        pieces.append(_of_journal(index, known, i))
    return merge_surveys(pieces)


def merge_surveys(parts: Iterable[Survey]) -> Survey:
    """Join surveys of different journals of one folder; any order."""
    surveys = list(parts)
    ignored: dict[str, int] = {}
    for one in surveys:
        ignored.update(one.ignored)
    return Survey(
        surveys[0].names,
        _last_results(np.concatenate([s.results for s in surveys])),
        _last(np.concatenate([s.states for s in surveys])),
        np.concatenate([s.open for s in surveys]),
        np.concatenate([s.blames for s in surveys]),
        dict(sorted(ignored.items())))


def _empty(names: tuple[str, ...], n_axes: int) -> Survey:
    none = np.empty(0, result_dtype(n_axes))
    return Survey(names, none, none, none, none)


def _of_journal(
    index: JournalIndex, names: tuple[str, ...], number: int,
) -> Survey:
    table = np.empty(len(index.rows), result_dtype(index.lengths.shape[1]))
    table['row'], table['offset'] = index.rows, index.offsets
    table['status'], table['lengths'] = index.statuses, index.lengths
    table['run'] = int(index.header.get('run', 0))
    table['rank'] = int(index.header.get('rank', 0))
    table['journal'] = number
    table['failures'] = index.statuses == Status.FAILED
    ignored = {names[number]: index.n_ignored} if index.n_ignored else {}
    return Survey(names, _last_results(table[index.kinds == ROW]),
                  _last(table[index.kinds == STATE]), _open(table, index),
                  table[index.kinds == BLAME], ignored)


def _open(table: NDArray[Any], index: JournalIndex) -> NDArray[Any]:
    """Return the records whose last entry in a journal is their beginning."""
    told = np.isin(index.kinds, (ROW, STATE, BEGUN))
    begun = index.kinds[told] == BEGUN
    order = np.lexsort((table['offset'][told], table['row'][told]))
    entries = table[told][order]
    return entries[_ends(entries) & begun[order]]


def _sorted(table: NDArray[Any]) -> NDArray[Any]:
    return table[np.lexsort([table[name] for name in reversed(ORDER)])]


def _ends(table: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the last entry of each row of a sorted table."""
    ends = np.ones(len(table), np.bool_)
    ends[:-1] = table['row'][1:] != table['row'][:-1]
    return ends


def _last(table: NDArray[Any]) -> NDArray[Any]:
    table = _sorted(table)
    return table[_ends(table)]


def _last_results(table: NDArray[Any]) -> NDArray[Any]:
    """Keep the last result of each row, with all its failures counted."""
    table = _sorted(table)
    ends = np.flatnonzero(_ends(table))
    last = table[ends]
    if len(last):
        starts = np.concatenate([[0], ends[:-1] + 1])
        last['failures'] = np.add.reduceat(table['failures'], starts)
    return last
