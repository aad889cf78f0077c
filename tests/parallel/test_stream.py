"""The records of one rank: what comes last, and alone."""
from __future__ import annotations

from typing import Any

import numpy as np

from mpiapp.parallel.stop import StopWatch
from mpiapp.parallel.stream import RankStream
from mpiapp.parallel.workqueue import N_COUNTERS, counter
from mpiapp.records import Ints


class Queue:
    """A queue of one rank, without MPI."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows
        self.counters = np.zeros(N_COUNTERS, np.int64)
        self.stop_reason = 0

    def pull(self, n: int, wait: bool = True) -> Ints:
        taken, self.rows = self.rows[:n], self.rows[n:]
        return np.array(taken, np.int64)


def stream(queue: Any, last: list[int]) -> RankStream:
    return RankStream(queue, StopWatch(), np.array([1, 2]), lambda row: b'',
                      suspects=last, last=np.array(last))


def taken(one: RankStream, n: int) -> list[int]:
    """Take n records with nothing under way, and be done with them."""
    rows = [item.row for item in one.take(n)]
    for row in rows:
        one.done(row)
    return rows


def test_suspects_come_one_by_one_when_the_queue_is_dry() -> None:
    one = stream(Queue([3, 4, 5]), [8, 9])
    steps = [taken(one, 2) for _ in range(6)]
    assert steps == [[1, 2], [3, 4], [5], [8], [9], []]
    assert one.dry


def test_nothing_is_beside_a_suspect() -> None:
    one = stream(Queue([]), [8, 9])
    taken(one, 2)
    assert [item.row for item in one.take(2)] == [8]
    assert one.take(2, wait=False) == []
    assert not one.dry


def test_suspects_are_not_begun_after_a_stop() -> None:
    queue = Queue([])
    one = stream(queue, [8, 9])
    taken(one, 2)
    queue.stop_reason = 1
    assert taken(one, 2) == []


def test_what_is_counted_are_evaluations_alone() -> None:
    queue = Queue([3])
    one = stream(queue, [])
    taken(one, 2)
    for _ in range(5):
        assert not one.stopping()
    taken(one, 1)
    queue.stop_reason = 1
    assert one.stopping()
    assert queue.counters[counter('rounds')] == 5
