"""Follows a running campaign by its journals; reads only, takes no lock.

Every look reads what has been appended since the last one.  An entry that
is only half there yet is read again at the next look.
"""
from __future__ import annotations

import os
import socket
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.records import DONE, Status
from mpiapp.store.files import StoreError
from mpiapp.store.folder import (
    DESCRIPTION, LOCK, folder_of, journal_names, stages_of
)
from mpiapp.store.journal import ENTRY, ROW, STATE, read_entry, read_head
from mpiapp.store.packing import RowPacker


@dataclass(frozen=True)
class Look:
    """How far a campaign is at one moment.

    `n_wanted` counts the records that it works on, and what else is told is
    of these alone (a window of them may have been done by an earlier run).
    `statuses` map a row to its last status, `reasons` to the reason of it;
    `by_rank` counts what each rank finished in the last run, `latest` are
    the rows that were finished last, oldest first.  `worked_on`: True or
    False where the job that holds the campaign is known to be alive or dead,
    else None.
    """

    n_wanted: int
    runs: int
    statuses: dict[int, int]
    reasons: dict[int, str]
    suspended: int
    by_rank: dict[int, int]
    latest: list[tuple[int, str, int, str]]
    atom_steps: int
    worked_on: bool | None
    has_result: bool

    @property
    def n_done(self) -> int:
        """Count the records that need no more work."""
        return sum(s in DONE or s == Status.FAILED
                   for s in self.statuses.values())


@dataclass
class _Place:
    """Where the reading of a journal stopped."""

    offset: int
    packer: RowPacker
    run: int
    rank: int


@dataclass
class _Tally:
    """What has been read so far."""

    order: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    states: set[int] = field(default_factory=set)
    by_rank: Counter[tuple[int, int]] = field(default_factory=Counter)
    latest: list[tuple[int, str, int, str]] = field(default_factory=list)
    atom_steps: int = 0


class Follower:
    """Looks at the campaign whose result file is `result`, again and again.

    Raises:
        InputError: there is no such campaign, or its description can't be
            read.
    """

    #: rows that are remembered as the latest
    LATEST = 8

    def __init__(self, result: Path) -> None:
        self.result = Path(result)
        self.folder = folder_of(self.result)
        self._places: dict[str, _Place] = {}
        self._tally = _Tally()
        self._described = self._describe()

    def _describe(self) -> dict[str, Any]:
        path = self.folder / DESCRIPTION
        try:
            found = parsed(path.read_text('utf-8'))
            # of an earlier version: what the inputs have
            n = sum(int(i['n_records']) for i in found['inputs'])
            wanted = found.get('rows', {}).get('wanted', [[0, n]])
            return {'wanted': [(int(a), int(b)) for a, b in wanted],
                    'runs': int(found['runs'])}
        except FileNotFoundError as error:
            hint = f'; {self.result} is there: look at it without --watch' \
                if self.result.exists() else ''
            raise InputError(f'no campaign to watch at {self.folder}'
                             f'{hint}') from error
        except (OSError, ValueError, KeyError, TypeError,
                AttributeError) as error:
            raise InputError(f'cannot read {path}: {error}') from error

    def look(self) -> Look:
        """Read what is new and return where the campaign stands."""
        self._described = self._describe()
        for name in journal_names(self.folder):
            self._read(name)
        tally, runs = self._tally, self._described['runs']
        wanted = self._described['wanted']
        statuses = within(wanted, tally.statuses)
        return Look(
            sum(end - first for first, end in wanted), runs, statuses,
            dict(tally.reasons), len(tally.states),
            {rank: n for (run, rank), n in sorted(tally.by_rank.items())
             if run == runs},
            list(tally.latest), tally.atom_steps, self._worked_on(),
            self._has_result())

    def _read(self, name: str) -> None:
        """Read the new entries of a journal."""
        path = self.folder / name
        try:
            with open(path, 'rb') as file:
                if name not in self._places:
                    header, schema = read_head(file, path)
                    self._places[name] = _Place(
                        file.tell(), RowPacker(schema),
                        int(header.get('run', 0)), int(header.get('rank', 0)))
                place = self._places[name]
                size = os.fstat(file.fileno()).st_size
                file.seek(place.offset)
                while (entry := read_entry(file, size - place.offset)):
                    self._note(place, *entry)
                    place.offset += ENTRY.size + len(entry[2])
        except FileNotFoundError:
            # cleared by a new start with --overwrite
            self._places.pop(name, None)
        except (OSError, StoreError) as error:
            raise InputError(f'cannot follow {path}: {error}') from error

    def _note(
        self, place: _Place, kind: int, row: int, payload: bytes,
    ) -> None:
        """Count one entry; of several of a record the last one holds."""
        tally = self._tally
        order = (place.run, place.rank, place.offset)
        if kind == STATE:
            tally.states.add(row)
        if kind != ROW:
            return
        values = place.packer.unpack(payload)
        tally.by_rank[place.run, place.rank] += 1
        tally.atom_steps += int(values.get('steps', 0)) \
            * int(values.get('n_atoms', 0))
        tally.states.discard(row)
        if order < tally.order.get(row, (-1, -1, -1)):
            return
        status = int(values['status'])
        tally.order[row] = order
        tally.statuses[row] = status
        tally.reasons[row] = str(values.get('reason', ''))
        name = str(values.get('name') or values.get('benchmark') or '')
        tally.latest = [*tally.latest, (
            row, name, status, tally.reasons[row])][-self.LATEST:]

    def _has_result(self) -> bool:
        """Tell whether the result file is newer than all journals."""
        try:
            written = self.result.stat().st_mtime
            journals = [(self.folder / n).stat().st_mtime
                        for n in journal_names(self.folder)]
        except FileNotFoundError:
            return False
        begun = stages_of(self.result)
        return written >= max(journals, default=0.0) and not (
            begun.exists() and begun.stat().st_mtime > written)

    def _worked_on(self) -> bool | None:
        """Tell whether the process that holds the lock is alive.

        The lock itself is left alone: to try it could turn away a job.
        """
        try:
            words = (self.folder / LOCK).read_text('utf-8').split()
        except OSError:
            return None
        if len(words) != 4 or words[3] != socket.gethostname():
            return None
        return Path(f'/proc/{words[1]}').exists() \
            if Path('/proc/self').exists() else None


def within(
    ranges: Sequence[tuple[int, int]], by_row: Mapping[int, int],
) -> dict[int, int]:
    """Return the entries whose row is in sorted ranges [first, end)."""
    firsts = [first for first, _ in ranges]
    ends = [0, *(end for _, end in ranges)]
    return {row: value for row, value in by_row.items()
            if row < ends[bisect_right(firsts, row)]}
