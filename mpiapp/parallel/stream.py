"""The records of one rank, as its worker sees them."""
from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from mpiapp.parallel.stop import REASONS, StopWatch
from mpiapp.parallel.watchdog import Watchdog
from mpiapp.parallel.witness import NoWitness, Witness
from mpiapp.parallel.workqueue import WorkQueue, counter
from mpiapp.records import Ints, Item

log = logging.getLogger('mpiapp')

_ROUNDS = counter('rounds')


class RankStream:
    """Hands records out and remembers which are under way (`begun`).

    `states(row)` is the state of suspended work, `note(row)` is called
    before a record is handed out.  `suspects` are records that were under
    way when a rank died: each is worked on with nothing beside it, so that
    a second death is known to be its own.  Rows in `last` are this rank's
    when the queue has run dry.
    """

    def __init__(
        self, queue: WorkQueue, watch: StopWatch, first: Ints,
        states: Callable[[int], bytes],
        note: Callable[[int], None] = lambda row: None,
        suspects: Collection[int] = (), dog: Watchdog | None = None,
        witness: Witness | NoWitness | None = None, last: Ints | None = None,
    ) -> None:
        self._queue = queue
        self._watch = watch
        self._first = first
        self._last = first[:0] if last is None else last
        self._states = states
        self._note = note
        self._suspects = frozenset(suspects)
        self._dog = dog or Watchdog(None)
        self._witness = witness or NoWitness()
        self.begun: set[int] = set()
        self.dry = False
        self.dry_at = 0.0
        self._told = False

    def take(self, n: int, wait: bool = True) -> list[Item]:
        """Return up to n records; none: the list has ended, or (without
        `wait`) nothing is there at this moment."""
        if self._ended() or self._is_alone() and not wait:
            return []
        self._dog.rest()
        rows = self._suited(self._next(n, wait), wait)
        for row in rows:
            self._note(row)
        self.begun.update(rows)
        self._dog.alive()
        return [Item(row, self._states(row)) for row in rows]

    def done(self, row: int) -> None:
        """Take note that a record is not under way any more."""
        self.begun.discard(row)

    def _next(self, n: int, wait: bool) -> list[int]:
        rows, self._first = self._first[:n], self._first[n:]
        if len(rows) < n and not (len(rows) or self.dry):
            rows = self._queue.pull(n, wait)
            if not len(rows) and wait and len(self._last) \
                    and not self._queue.stop_reason:
                self._first, self._last = self._last, self._last[:0]
                return self._next(n, wait)
            if not len(rows) and wait:
                self.dry, self.dry_at = True, time.perf_counter()
        return [int(row) for row in rows]

    def _is_alone(self) -> bool:
        return not self._suspects.isdisjoint(self.begun)

    def _suited(self, rows: list[int], wait: bool) -> list[int]:
        """Keep a suspect and what comes after it for later.

        Who waits has nothing under way that computes.
        """
        at = next((i for i, row in enumerate(rows)
                   if row in self._suspects), len(rows))
        keep = 1 if at == 0 and (wait or not self.begun) else at
        if keep < len(rows):
            self._first = _joined(rows[keep:], self._first)
        return rows[:keep]

    def stopping(self) -> bool:
        """Tell whether all ranks are to stop; also passes signals on.

        Called before each evaluation, which is counted.
        """
        stop = self._ended()
        if not stop:
            self._queue.counters[_ROUNDS] += 1
        return stop

    def _ended(self) -> bool:
        self._dog.alive()
        reason = self._watch.check()
        if reason:
            self._queue.stop(reason)
        stop = self._queue.stop_reason
        if stop and not self._told:
            self._told = True
            # who is killed while it puts work aside died of no record
            self._witness.farewell()
            log.info('\nstopping (%s): running work is put aside, results '
                     'are written; go on with --resume', REASONS[stop])
        return bool(stop)


def _joined(rows: list[int], others: Ints) -> Ints:
    import numpy as np
    return np.concatenate([np.array(rows, np.int64), others])
