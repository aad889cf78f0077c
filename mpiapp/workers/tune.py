"""What a rank does in a study: take samples, compute, hand results in.

Rank 0 does the same and, between two evaluations, is the manager: it reads
what came back, tells Optuna, offers new samples.  No rank is lost to that,
and no other rank waits for it as long as samples are on the board.
"""
from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from mpiapp.parallel.board import Board, Item
from mpiapp.parallel.stop import REASONS, StopWatch
from mpiapp.tuning.director import Cancel, Director, Post, Result
from mpiapp.tuning.outcome import N_VALUES, Outcome, Unfinished, pack, unpack
from mpiapp.tuning.space import Space

log = logging.getLogger('mpiapp')

#: seconds between two rounds of the manager, and of asking for work
ROUND_SECONDS = 0.002

Stopping = Callable[[], bool]


class Evaluator(Protocol):
    """Computes samples: one a rank."""

    #: the vocabulary of reasons, equal on all ranks
    reasons: Sequence[str]

    def evaluate(self, sample: int, params: dict[str, Any], attempt: int,
                 stopping: Stopping) -> Outcome:
        """Return the outcome; raises Unfinished when `stopping` is true."""

    def close(self) -> None:
        """End what was started."""


@dataclass
class Figures:
    """How a rank spent its time, seconds, and what it did."""

    work: float = 0.0
    dropped: float = 0.0
    managing: float = 0.0
    wall: float = 0.0
    samples: int = 0
    n_dropped: int = 0

    @property
    def busy(self) -> float:
        """Share of the time in which samples were computed."""
        return self.work / self.wall if self.wall > 0 else 0.0


@dataclass
class Manager:
    """Rank 0's part between two evaluations."""

    board: Board
    director: Director
    space: Space
    reasons: Sequence[str]
    told: Callable[[Director], None]
    seconds: float = 0.0
    _next: float = 0.0
    fault: BaseException | None = None

    def round(self) -> None:
        """Take results, make offers; at most every `ROUND_SECONDS`."""
        began = time.perf_counter()
        if began < self._next or self.board.stop_reason or self.board.closed:
            return
        try:
            results = [self.result(r) for r in self.board.results()]
            for action in self.director.step(results, self.board.waiting):
                self._act(action)
            if self.director.done:
                self.board.close()
            self.told(self.director)
        except Exception as error:
            # raised later: an evaluation that is under way must not see it
            self.fault = error
            self.board.close()
        ended = time.perf_counter()
        self.seconds += ended - began
        self._next = ended + ROUND_SECONDS

    def _act(self, action: Post | Cancel) -> None:
        study = self.director.study
        if isinstance(action, Cancel):
            self.board.cancel(study, action.ordinal, action.attempt)
            return
        trial = action.trial
        self.board.post(study, trial.ordinal, trial.attempt,
                        self.space.encode(trial.params), action.samples)

    def result(self, r: Item) -> Result:
        """Return what came back in the director's form."""
        return Result(r.study, r.trial, r.sample, r.attempt,
                      unpack(r.numbers, self.reasons))

    def end(self, last: Sequence[Item]) -> None:
        """Take what came in last; raise what went wrong."""
        if self.fault is not None:
            raise self.fault
        self.director.put_aside([self.result(r) for r in last])


@dataclass
class _Rank:
    """One rank at work."""

    board: Board
    evaluator: Evaluator
    space: Space
    watch: StopWatch
    manager: Manager | None
    figures: Figures = field(default_factory=Figures)

    def attend(self) -> None:
        """Pass signals on; on rank 0, manage."""
        reason = self.watch.check()
        if reason and not self.board.stop_reason:
            self.board.stop(reason)
            log.info('\nstopping (%s): results so far are kept; go on with '
                     '--resume', REASONS[reason])
        if self.manager is not None:
            self.manager.round()

    @property
    def over(self) -> bool:
        """Whether there will be nothing more to do."""
        return bool(self.board.stop_reason) or self.board.closed

    def run(self) -> None:
        """Work until the study has ended or all are to stop."""
        began = time.perf_counter()
        while True:
            self.attend()
            if self.over:
                break
            item = self.board.take()
            if item is None:
                time.sleep(ROUND_SECONDS / 2)
                continue
            self._work(item)
        self.figures.wall = time.perf_counter() - began
        if self.manager is not None:
            self.figures.managing = self.manager.seconds

    def _work(self, item: Item) -> None:
        def stopping() -> bool:
            self.attend()
            return self.over or not self.board.alive(item)

        managed = self.manager.seconds if self.manager is not None else 0.0
        began = time.perf_counter()
        try:
            outcome = self.evaluator.evaluate(
                item.sample, self.space.decode(item.numbers), item.attempt,
                stopping)
        except Unfinished:
            outcome = None
        spent = time.perf_counter() - began
        if self.manager is not None:
            spent -= self.manager.seconds - managed
        self.figures.work += spent
        if outcome is None or not self.board.alive(item):
            self.figures.dropped += spent
            self.figures.n_dropped += 1
        if outcome is not None:
            self.figures.samples += 1
            self.board.give(item, pack(outcome, self.evaluator.reasons))


def capacity_for(n_samples: int, keep_waiting: int) -> int:
    """Return how many items a board must hold."""
    return 2 * n_samples + keep_waiting + 16


@contextmanager
def closing(evaluator: Evaluator) -> Iterator[None]:
    """End what an evaluator started, whatever happens."""
    try:
        yield
    finally:
        evaluator.close()


def tune(
    comm: Any, watch: StopWatch, space: Space, evaluator: Evaluator,
    director: Director | None, capacity: int,
    told: Callable[[Director], None] = lambda director: None,
    node_comm: Any = None,
) -> tuple[int, list[Figures]]:
    """Collective: work through the trials of a director (on rank 0 only).

    Returns the reason of an early stop, 0 for none, and the figures of all
    ranks.
    """
    board = Board(comm, len(space.dimensions), N_VALUES, capacity, node_comm)
    manager = None
    if director is not None:
        manager = Manager(board, director, space, evaluator.reasons, told)
    rank = _Rank(board, evaluator, space, watch, manager)
    comm.Barrier()
    with closing(evaluator):
        rank.run()
    reason = board.stop_reason
    last = board.finish()
    if manager is not None:
        manager.end(last)
    return comm.bcast(reason), comm.allgather(rank.figures)
