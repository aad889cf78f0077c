"""Where a run begins: what is done, what is left, who is to blame."""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.parallel.agree import agree
from mpiapp.partition import initial_shares, longest_first
from mpiapp.records import DONE, Floats, Ints, Row, Schema, Status
from mpiapp.store import blame
from mpiapp.store.journal import JournalWriter
from mpiapp.store.sources import survey_together
from mpiapp.store.survey import Survey

log = logging.getLogger('mpiapp')


class Planned(Protocol):
    """What is looked at of an `engine.Plan`."""

    @property
    def schema(self) -> Schema:
        """The columns of the campaign."""

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Which records are in the window."""

    @property
    def costs(self) -> Floats:
        """Predicted seconds of each record."""

    @property
    def n_records(self) -> int:
        """Number of records, those outside the window included."""

    @property
    def resume(self) -> bool:
        """Whether an earlier run is to be continued."""

    @property
    def retry_failed(self) -> bool:
        """Whether failed records are tried again."""

    @property
    def slots(self) -> int:
        """Records that a rank works on together."""

    @property
    def blank(self) -> Callable[[int], Row] | None:
        """What is known of a record without a result."""


#: suspects that one rank does while the others are done: several at a time
#: could not be told apart where a launcher kills all ranks at once.  More of
#: them come of a kill from outside
MOST_SUSPECTS = 32


def _none() -> Ints:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Start:
    """Where this run begins, equal on all ranks.

    `shares` are the first rows of each rank, `order` the others as they are
    pulled.  `states` says where the state of suspended work is; `blames`
    are new and come of `deaths`, `left_out` the rows of the quarantine with
    all their blames, `suspects` are done last and alone; those in `last`
    by one rank, one after the other.
    """

    folder: Path
    run: int
    digest: str
    shares: Sequence[Ints]
    order: Ints
    retries: NDArray[np.int32]
    states: Mapping[int, tuple[Path, int]]
    blames: Sequence[blame.Blame] = ()
    left_out: Mapping[int, Sequence[blame.Blame]] = field(
        default_factory=dict)
    suspects: frozenset[int] = frozenset()
    deaths: Sequence[blame.Death] = ()
    last: Ints = field(default_factory=_none)

    @property
    def todo(self) -> Ints:
        """All rows that are left to do."""
        return np.concatenate([*self.shares, self.order, self.last])


def start(
    comm: Any, plan: Planned, folder: Path, run: int, digest: str,
) -> Start:
    """Collective: survey the journals, decide what is left to do."""
    found = survey_together(comm, folder, plan.schema, digest)
    mine = None
    with agree(comm, 'reading the journals'):
        if found is not None:
            warn_of_damage(found)
            mine = plan_start(plan, comm.size, found, folder, run, digest,
                              blame.deaths(folder))
    result: Start = comm.bcast(mine)
    return result


def warn_of_damage(found: Survey) -> None:
    """Name the journals that are not sound to their end."""
    for name, n_bytes in found.ignored.items():
        log.warning('journal %s: its last %d bytes are torn or damaged and '
                    'are ignored', name, n_bytes)


def announce(plan: Planned, begun: Start) -> None:
    """Say what a resumed campaign has to do."""
    if not plan.resume:
        return
    n_left, n_all = len(begun.todo), int(plan.wanted.sum())
    if begun.run > 1:
        log.info('resuming: %d of %d records are done, %d are left',
                 n_all - n_left, n_all, n_left)
    else:
        log.info('nothing to resume in %s: starting anew', begun.folder)


def plan_start(
    plan: Planned, n_ranks: int, found: Survey, folder: Path, run: int,
    digest: str, left: Sequence[blame.Death],
) -> Start:
    """Return where a run begins that found this in the journals."""
    progress = found.progress(plan.n_records)
    finished = np.isin(progress.status, [int(s) for s in DONE])
    if not plan.retry_failed:
        finished |= progress.status == Status.FAILED
    old = blame.old_blames(folder, found)
    new = blame.new_blames(found, left, {b.row for b in old})
    blames = old + new
    points = blame.points_of(blames)
    left_out = {
        row: [b for b in blames if b.row == row] for row in
        sorted({b.row for b in new if not finished[b.row]
                and points[b.row] >= blame.LIMIT})}
    finished[list(left_out)] = True
    todo = np.flatnonzero(plan.wanted & ~finished).astype(np.int64)
    costs = plan.costs[todo]
    order = longest_first(costs, todo)
    suspect = np.isin(todo[order], list(points))
    order, suspects = order[~suspect], order[suspect]
    if len(suspects) > MOST_SUSPECTS:
        order, suspects = np.concatenate([order, suspects]), suspects[:0]
    shares = initial_shares(order, costs, n_ranks, plan.slots)
    states = {
        int(s['row']): (folder / found.names[s['journal']],
                        int(s['offset']))
        for s in found.live_states()}
    return Start(folder, run, digest, [todo[s] for s in shares],
                 todo[order[sum(map(len, shares)):]], progress.retries,
                 states, new, left_out, frozenset(points), left,
                 todo[suspects])


def lay_blame(plan: Planned, begun: Start, journal: JournalWriter) -> None:
    """Write down who died of what, and the rows of those left out."""
    for one in begun.blames:
        journal.append_blame(one.row, blame.as_json(one))
    for row, blames in begun.left_out.items():
        known = {} if plan.blank is None else plan.blank(row)
        values = blame.quarantine_row(known, blames)
        log.warning('row %d (%s): %s', row, known.get('name', 'no name'),
                    values['message'])
        journal.append_row(row, values)
    journal.sync()
    blame.forget_deaths(begun.folder, begun.deaths)
