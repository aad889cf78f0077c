"""The progress line: rank 0 shows it, the others hold a silent stand-in."""
from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mpiapp.parallel.binding import seat_from

#: seconds between lines on a terminal and in a batch log
TERMINAL_SECONDS = 1.0
LOG_SECONDS = 30.0
#: processes that pass the output of their ranks on
LAUNCHERS = frozenset({'mpirun', 'mpiexec', 'orterun', 'prterun',
                       'mpirun.openmpi', 'mpiexec.openmpi', 'hydra_pmi_proxy',
                       'mpiexec.hydra', 'mpirun.hydra'})


@dataclass(frozen=True)
class State:
    """What a progress line tells.

    `work_done` is a share of the predicted cost, `rounds` counts what the
    ranks did within records (evaluations of batches).
    """

    done: int
    total: int
    failed: int
    work_done: float
    rounds: int = 0


def clock(seconds: float) -> str:
    """Write a duration: 48s, 12m05s, 3h07m, 2d04h."""
    if seconds != seconds or seconds > 1e7:
        return '?'
    s = int(seconds + 0.5)
    if s < 60:
        return f'{s}s'
    if s < 3600:
        return f'{s // 60}m{s % 60:02d}s'
    if s < 86400:
        return f'{s // 3600}h{s % 3600 // 60:02d}m'
    return f'{s // 86400}d{s % 86400 // 3600:02d}h'


def line(state: State, seconds: float, before: int = 0) -> str:
    """Write one progress line; `before` were done by an earlier run."""
    here = state.done - before
    rate = here / seconds if seconds > 0 else 0.0
    left = float('nan')
    if state.done == state.total:
        left = 0.0
    elif state.work_done > 0:
        left = seconds * (1 - state.work_done) / state.work_done
    return (f'{state.done}/{state.total} done, {rate:.3g} structures/s, '
            f'{clock(left)} left, {state.failed} failed or rejected, '
            f'{state.rounds} evaluations')


def seen_live(stream: TextIO) -> bool:
    """Tell whether a person sees the stream on a terminal.

    Under mpirun stdout and stderr are pipes, or terminals of its own (Open
    MPI 4), in any case: what counts is where the launcher, our parent,
    writes them.
    """
    if seat_from(os.environ).launcher in ('none', 'srun'):
        return stream.isatty()
    number = 1 if stream is sys.stdout else 2
    if stream not in (sys.stdout, sys.stderr):
        return False
    try:
        target = os.readlink(f'/proc/{os.getppid()}/fd/{number}')
        launcher = Path(f'/proc/{os.getppid()}/comm').read_text().strip()
    except OSError:
        return False
    return target.startswith(('/dev/pts/', '/dev/tty')) \
        and launcher in LAUNCHERS


class Progress:
    """Print a line now and then from a thread, until closed."""

    def __init__(
        self, state: Callable[[], State], before: int = 0,
        stream: TextIO | None = None, every: float | None = None,
    ) -> None:
        self._state = state
        self._before = before
        self._stream = stream or sys.stderr
        self._live = seen_live(self._stream)
        self._every = every or (TERMINAL_SECONDS if self._live
                                else LOG_SECONDS)
        self._started = time.monotonic()
        self._closing = threading.Event()
        self._width = 0
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._closing.wait(self._every):
            self._print()

    def _print(self, end: bool = False) -> None:
        text = line(self._state(), time.monotonic() - self._started,
                    self._before)
        if self._live:
            pad = ' ' * max(0, self._width - len(text))
            self._width = len(text)
            self._stream.write(f'\r{text}{pad}' + ('\n' if end else ''))
        else:
            self._stream.write(text + '\n')
        self._stream.flush()

    def close(self) -> None:
        """Print the last line and end the thread."""
        self._closing.set()
        self._thread.join()
        self._print(end=True)


class NullProgress:
    """Stand-in for the ranks that print nothing."""

    def close(self) -> None:
        """Do nothing."""
