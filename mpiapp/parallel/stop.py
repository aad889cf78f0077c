"""When to stop early: signals, a time limit, the end of the Slurm job."""
from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from typing import Any

from mpiapp.errors import InputError
from mpiapp.parallel.outlets import leave_terminal

REASONS = {1: 'SIGTERM', 2: 'SIGUSR1', 3: 'time limit', 4: 'SIGINT',
           5: 'end of the Slurm job', 6: 'SIGHUP', 7: 'SIGUSR2',
           8: 'SIGXCPU'}
#: what users and queues send: SIGHUP when a terminal goes, SIGUSR2 (LSF, Grid
#: Engine) and SIGXCPU (a limit of CPU time) before they kill
_BY_SIGNAL = {signal.SIGTERM: 1, signal.SIGUSR1: 2, signal.SIGINT: 4,
              signal.SIGHUP: 6, signal.SIGUSR2: 7, signal.SIGXCPU: 8}

#: how long before the end of a Slurm job the work stops, at most
DRAIN_SECONDS = 60.0
#: ... and as a share of the time that the job has left at the start
DRAIN_SHARE = 0.2


def parse_duration(text: str) -> float:
    """Return the seconds of '90', '45s', '30m', '2h', '1-12:00:00', '1:30'.

    With colons the Slurm reading holds: minutes:seconds,
    hours:minutes:seconds, days-hours:minutes:seconds.

    Raises:
        InputError: for anything else, or a duration that is not positive.
    """
    plain = re.fullmatch(r'(\d+(?:\.\d*)?)([smhd]?)', text.strip())
    slurm = re.fullmatch(r'(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)', text.strip())
    if plain:
        unit = {'': 1, 's': 1, 'm': 60, 'h': 3600, 'd': 86400}[plain[2]]
        seconds = float(plain[1]) * unit
    elif slurm:
        days, hours, minutes, secs = (int(g or 0) for g in slurm.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60.0 + secs
    else:
        raise InputError(f'not a duration: {text!r}; give seconds, 30m, 2h '
                         'or [days-]hours:minutes:seconds')
    if seconds <= 0:
        raise InputError(f'a duration must be positive: {text!r}')
    return seconds


def slurm_seconds(env: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to work until the Slurm job's end, None outside.

    A margin is kept for the running steps and the writing.
    """
    end = env.get('SLURM_JOB_END_TIME', '')
    if not end.isdigit():
        return None
    left = int(end) - now
    return max(0.0, left - min(DRAIN_SECONDS, DRAIN_SHARE * left))


class StopWatch:
    """Notice a reason to stop on this rank; a context manager.

    Inside it SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP and SIGXCPU set
    `reason` instead of killing; a second SIGINT interrupts.  Under `nohup`
    SIGHUP stays ignored.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self.reason = 0
        now = time.monotonic()
        self._ends: list[tuple[float, int]] = []
        if time_limit is not None:
            self._ends.append((now + time_limit, 3))
        left = slurm_seconds(os.environ, time.time())
        if left is not None:
            self._ends.append((now + left, 5))
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopWatch:
        for number in _BY_SIGNAL:
            if number == signal.SIGHUP \
                    and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self.reason == 4:
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            leave_terminal()
        self.reason = self.reason or _BY_SIGNAL[signal.Signals(number)]

    def check(self) -> int:
        """Return the reason to stop, 0 for none."""
        if not self.reason:
            now = time.monotonic()
            for end, reason in self._ends:
                if now >= end:
                    self.reason = reason
        return self.reason
