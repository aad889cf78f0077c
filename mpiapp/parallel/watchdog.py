"""Ends a rank that shows no sign of life, even from a native call.

Workers keep the time limit of a record between two evaluations.  Where one
evaluation never returns, no Python code of this process runs any more; the
watchdog of `faulthandler` is a thread in C that needs no interpreter.  It
writes the stack of every thread and ends the process, which ends the job;
the record is known (journal) and is left out when the job goes on.
"""
from __future__ import annotations

import faulthandler
import time
from typing import IO

#: silence that is allowed: twice the limit of a record and ten seconds
FACTOR, EXTRA_SECONDS = 2.0, 10.0


def allowance(record_timeout: float) -> float:
    """Return the seconds [s] without a sign of life that end a rank."""
    return FACTOR * record_timeout + EXTRA_SECONDS


class Watchdog:
    """Ends this process after `allowance(record_timeout)` s of silence.

    Without a limit it never bites.  `report` receives the stacks; None is
    stderr.
    """

    def __init__(
        self, record_timeout: float | None, report: IO[bytes] | None = None,
    ) -> None:
        self._limit = record_timeout and allowance(record_timeout)
        self._report = report
        self._armed_at = 0.0

    def alive(self) -> None:
        """Take note of a sign of life; cheap, call it often."""
        if self._limit is None:
            return
        now = time.monotonic()
        # a new thread each time: not for every evaluation
        if self._armed_at and now - self._armed_at < 0.05 * self._limit:
            return
        self._armed_at = now
        if self._report is None:
            faulthandler.dump_traceback_later(self._limit, exit=True)
        else:
            faulthandler.dump_traceback_later(
                self._limit, exit=True, file=self._report)

    def rest(self) -> None:
        """Stand down: this rank waits for others or for the disk."""
        if self._armed_at:
            faulthandler.cancel_dump_traceback_later()
            self._armed_at = 0.0
