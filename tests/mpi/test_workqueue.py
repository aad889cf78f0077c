"""The work queue: each item once, no stalls, agreed stop, fast."""
from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np
import pytest

from mpiapp.parallel.workqueue import WorkQueue, counter, idle_barrier

pytestmark = pytest.mark.mpi

#: rank 0 is held this long in one native call
HELD_SECONDS = 5.0
#: no other rank may wait longer than this for an item meanwhile
LONGEST_PULL = 0.5
#: items a second through pull, both ranks together, asked for at least
ITEMS_PER_SECOND = 10_000


def drain(queue: WorkQueue, n: int = 1) -> list[int]:
    """Pull until the list ends."""
    mine: list[int] = []
    while len(got := queue.pull(n)):
        mine += got.tolist()
    return mine


@pytest.mark.parametrize('n_items', [0, 1, 3, 1000])
@pytest.mark.parametrize('at_once', [1, 7])
def test_each_item_is_pulled_exactly_once(
    comm: Any, node_comm: Any, n_items: int, at_once: int,
) -> None:
    order = np.random.default_rng(1).permutation(n_items).astype(np.int64)
    queue = WorkQueue(comm, order, node_comm)
    everyone = comm.allgather(drain(queue, at_once))
    queue.close()
    pulled = [i for mine in everyone for i in mine]
    assert sorted(pulled) == list(range(n_items))


def test_no_item_of_a_short_list_waits_behind_another(comm: Any) -> None:
    alone = comm.Split(comm.rank)
    n = 3 * comm.size
    queue = WorkQueue(comm, np.arange(n, dtype=np.int64), alone)
    mine: list[int] = []
    if comm.rank:
        mine = queue.pull(1).tolist()
    comm.Barrier()
    # the others are at work on one item each, rank 0 does all else
    if comm.rank == 0:
        mine = drain(queue)
    comm.Barrier()
    mine += drain(queue)
    assert comm.allgather(len(mine)) == [n - comm.size + 1] + [1] * (
        comm.size - 1)
    queue.close()
    alone.Free()


def test_items_leave_in_the_given_order(comm: Any) -> None:
    order = np.arange(200, dtype=np.int64)[::-1].copy()
    queue = WorkQueue(comm, order)
    mine = drain(queue)
    queue.close()
    assert mine == sorted(mine, reverse=True)


def native_sleep(holds_the_lock: bool) -> None:
    """Sit in one C call; PyDLL keeps the interpreter lock, CDLL frees it."""
    library = ctypes.PyDLL(None) if holds_the_lock else ctypes.CDLL(None)
    library.usleep(int(HELD_SECONDS * 1e6))


@pytest.mark.parametrize('holds_the_lock', [False, True])
def test_pulling_never_waits_for_rank_0_in_a_native_call(
    comm: Any, node_comm: Any, holds_the_lock: bool,
) -> None:
    if comm.size == 1:
        pytest.skip('needs a rank besides rank 0')
    queue = WorkQueue(comm, np.arange(10_000, dtype=np.int64), node_comm)
    longest, n_pulled = 0.0, 0
    comm.Barrier()
    started = time.perf_counter()
    if comm.rank == 0:
        queue.pull(1)
        native_sleep(holds_the_lock)
    else:
        # one item each 10 ms: more than one reserve during the call
        while time.perf_counter() - started < HELD_SECONDS - 0.5:
            before = time.perf_counter()
            n_pulled += len(queue.pull(1))
            longest = max(longest, time.perf_counter() - before)
            time.sleep(0.01)
    queue.stop(1)
    queue.close()
    if comm.rank:
        assert n_pulled > 200
        assert longest < LONGEST_PULL


def test_a_stop_reaches_all_ranks(comm: Any, node_comm: Any) -> None:
    queue = WorkQueue(comm, np.arange(100_000, dtype=np.int64), node_comm)
    comm.Barrier()
    if comm.rank == comm.size - 1:
        queue.stop(3)
    deadline = time.perf_counter() + 20
    while not queue.stop_reason and time.perf_counter() < deadline:
        queue.pull(1)
        time.sleep(0.001)
    assert queue.stop_reason == 3
    assert len(queue.pull(5)) == 0
    queue.close()


def test_rank_0_knows_the_counts_of_all_ranks(
    comm: Any, node_comm: Any,
) -> None:
    queue = WorkQueue(comm, np.arange(100, dtype=np.int64), node_comm)
    queue.counters[counter('converged')] += len(drain(queue))
    idle_barrier(comm)
    deadline = time.perf_counter() + 20
    total = 0
    while comm.rank == 0 and total < 100 and time.perf_counter() < deadline:
        total = int(queue.totals()[counter('converged')])
        time.sleep(0.01)
    queue.close()
    assert comm.rank or total == 100


def test_the_queue_serves_ten_thousand_items_a_second(comm: Any) -> None:
    if comm.size != 2:
        pytest.skip('stated for two ranks')
    rates = []
    for _ in range(3):
        queue = WorkQueue(comm, np.arange(20_000, dtype=np.int64))
        comm.Barrier()
        started = time.perf_counter()
        drain(queue)
        comm.Barrier()
        rates.append(20_000 / (time.perf_counter() - started))
        queue.close()
    assert np.median(rates) > ITEMS_PER_SECOND


def test_a_dead_rank_does_not_keep_the_lock(comm: Any) -> None:
    import os
    queue = WorkQueue(comm, np.arange(10, dtype=np.int64))
    if comm.rank == 0:
        child = os.fork()
        if child == 0:
            # the child opens the shared file anew: flock belongs to a file
            # description, a forked one would be the same
            fd = os.open(f'/proc/self/fd/{queue._share._fd}', os.O_RDWR)
            import fcntl
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
    comm.Barrier()
    mine = drain(queue)
    assert sum(comm.allgather(len(mine))) == 10
    queue.close()
