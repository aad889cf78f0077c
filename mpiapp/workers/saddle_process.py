"""Searches in a helper process that can be killed: one helper a rank.

Native code may hang or crash, and then takes its process along; a rank that
dies ends the job.  So the calculators live in a helper without MPI, which is
killed when a sample has had its time or the job stops, and started again.

Stable: `Searcher`.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from mpiapp.records import InputError
from mpiapp.saddle.base import (
    Sample, SearchResult, SearchSettings, Stopped, Stopping, never
)
from mpiapp.workers.saddle_search import SurfaceChoice, Surfaces, search

#: seconds between two looks at the job's stop and the sample's time
TICK = 0.02
#: seconds that a helper may take to leave a search
GRACE = 1.0
#: seconds that loading and compiling a method may take; Sella needs 10
WARM_SECONDS = 600.0
#: what a rank sends to end a search that is under way
STOP = ('stop',)
#: variables by which an MPI library would take the helper for a rank
MPI_VARIABLES = ('OMPI_', 'PMIX_', 'PMI_', 'PRTE_', 'MPI_', 'HYDRA_')
#: ... and those that hold the threads of its libraries
THREADS = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')
#: signals that a user sends to the job; the rank answers them
ANSWERED_BY_RANK = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1,
                    signal.SIGUSR2, signal.SIGHUP, signal.SIGXCPU)
#: Linux: the signal a process gets when its parent has died
PR_SET_PDEATHSIG = 1


class Searcher:
    """Searches samples, in a helper process or (`helper` false) here.

    Without a helper a time limit holds between two evaluations alone.
    """

    def __init__(self, choice: SurfaceChoice, helper: bool = True) -> None:
        self._choice = choice
        self._surfaces = None if helper else Surfaces(choice)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._about: dict[str, str] = {}
        self._warm: set[str] = set()

    @property
    def about(self) -> dict[str, str]:
        """What the potential says of itself; starts the helper.

        Raises:
            InputError: the potential can't be built.
        """
        if self._surfaces is not None:
            return self._surfaces.about
        self._start()
        return self._about

    def search(
        self, sample: Sample, settings: SearchSettings,
        stopping: Stopping = never,
    ) -> SearchResult:
        """Search one sample; what goes wrong is in the result.

        Raises:
            Stopped: `stopping()` became true.
            InputError: the settings are wrong or there is no potential.
        """
        if self._surfaces is not None:
            return searched(self._surfaces, sample, settings, stopping)
        began = time.perf_counter()
        self._start()
        assert self._pipe is not None
        answer = None
        if settings.method not in self._warm:
            answer = self._ask(('warm', settings.method), WARM_SECONDS,
                               stopping)
        # else the helper is gone, or the method can't be had
        if answer is None:
            self._warm.add(settings.method)
            began = time.perf_counter()
            answer = self._ask(('search', sample, settings),
                               settings.timeout, stopping)
        if isinstance(answer, SearchResult):
            return answer
        if isinstance(answer, InputError):
            raise answer
        reason, message = answer
        return SearchResult(reason, message, positions=sample.start,
                            seconds=time.perf_counter() - began)

    def close(self) -> None:
        """End the helper."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._warm.clear()

    def _start(self) -> None:
        if self._process is not None:
            return
        mine, its = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, '-m', __name__, str(its[0]), str(mine[1])],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            pass_fds=(its[0], mine[1]),
            env=environment(self._choice.options.threads))
        os.close(its[0])
        os.close(mine[1])
        self._pipe = _Both(mine[0], its[1])  # type: ignore[assignment]
        answer = self._ask(('load', self._choice), None, never)
        if isinstance(answer, InputError):
            self.close()
            raise answer
        if isinstance(answer, tuple):
            raise InputError(f'the calculator could not be loaded: '
                             f'{answer[1]}')
        self._about = answer

    def _ask(self, question: Any, timeout: float | None,
             stopping: Stopping) -> Any:
        """Return the answer; (reason, message) where there is none."""
        pipe = self._pipe
        assert pipe is not None
        deadline = np.inf if timeout is None else \
            time.perf_counter() + timeout
        try:
            pipe.send(question)
            while not pipe.poll(TICK):
                if stopping():
                    self._give_up(pipe)
                    raise Stopped
                if time.perf_counter() > deadline:
                    self.close()
                    return 'timeout', f'more than {timeout:g} s'
            return pipe.recv()
        except (EOFError, OSError):
            process = self._process
            code = process.wait() if process is not None else 0
            self.close()
            died = f'by signal {-code}' if code < 0 else f'with code {code}'
            return 'calculator_error', f'the calculator crashed, {died}'

    def _give_up(self, pipe: Connection[Any, Any]) -> None:
        """Have the helper leave its search; kill it if it does not."""
        pipe.send(STOP)
        if pipe.poll(GRACE):
            pipe.recv()
        else:
            self.close()


class _Both:
    """Two one-way pipes as one connection."""

    def __init__(self, reader: int, writer: int) -> None:
        self._in = Connection(reader, writable=False)
        self._out = Connection(writer, readable=False)
        self.send, self.recv = self._out.send, self._in.recv
        self.poll = self._in.poll

    def close(self) -> None:
        """Close both."""
        self._in.close()
        self._out.close()


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a helper: no rank, so many threads."""
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith(MPI_VARIABLES)}
    return {**kept, **dict.fromkeys(THREADS, str(threads))}


def searched(surfaces: Surfaces, sample: Sample, settings: SearchSettings,
             stopping: Stopping) -> SearchResult:
    """Search a sample unless the potential can't compute it."""
    if not sample.fault[0]:
        fault = surfaces.fault(sample)
        if fault[0]:
            return SearchResult(*fault, positions=sample.start)
    return search(sample, surfaces.surface(sample), settings, stopping)


def warm_up(method: str) -> None:
    """Let a method load and compile what it needs, once a process."""
    if method != 'sella':
        return
    from mpiapp.saddle.toys import LennardJonesCluster
    numbers = np.array([6, 8, 1, 1], np.int32)
    start = np.array([[0, 0, 0], [0, 0, 1.2], [.94, 0, -.54], [-.94, .2, -.5]])
    search(Sample(0, 0, 'warm-up', numbers, start),
           LennardJonesCluster(numbers),
           SearchSettings('sella', max_steps=2))


def serve(reader: int, writer: int) -> None:
    """Answer the questions of a rank until it closes the pipe."""
    die_with_parent()
    pipe = _Both(reader, writer)
    surfaces: Surfaces | None = None
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        if question == STOP:
            # the search had ended when this was sent
            continue
        kind, rest = question[0], question[1:]
        try:
            if kind == 'load':
                surfaces = Surfaces(rest[0])
                answer: Any = surfaces.about
            elif kind == 'warm':
                warm_up(rest[0])
                answer = None
            else:
                assert surfaces is not None
                # whatever comes meanwhile is the word to stop
                answer = searched(surfaces, rest[0], rest[1], pipe.poll)
        except InputError as error:
            answer = error
        except Stopped:
            pipe.recv()
            answer = STOP
        except Exception as error:
            answer = ('calculator_error',
                      f'{type(error).__name__}: {error}'[:160])
        pipe.send(answer)


def die_with_parent() -> None:
    """Let the kernel end this process with its parent; ignore the rest."""
    from ctypes import CDLL
    for number in ANSWERED_BY_RANK:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == 'linux':
        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit(1)


if __name__ == '__main__':
    serve(int(sys.argv[1]), int(sys.argv[2]))
