"""Who works on what: one ordered list, pulled by every rank as it runs dry.

Ranks of one node take the next items from a pool in shared memory, so that
pulling never waits for a process that is inside a native call, whether that
call frees the interpreter lock or not.  The node of rank 0 holds the whole
list; other nodes keep a range of it and a second range in reserve, fetched
by a thread of their first rank from a thread of rank 0 before it is needed.
Longest items come first, so the ranges shrink towards the end of the list;
there, and in short lists, nothing is held in reserve: a long item that waits
behind another may be what all wait for in the end.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.parallel import elastic
from mpiapp.parallel.nodeshare import NodeShare
from mpiapp.records import Floats, Ints

# words of the pool: two ranges of the list, the end, the stop reason
# and whether the list is short, and a rank of the node without an item
HEAD, TAIL, NEXT_HEAD, NEXT_TAIL, EXHAUSTED, STOP, SCARCE, HUNGRY = range(8)
N_WORDS = 8

# counters of one rank, in its row of the pool
COUNTERS = (
    'pending', 'converged', 'unconverged', 'failed', 'rejected', 'broken',
    'skipped', 'steps', 'atom_steps', 'work_us', 'pulls', 'rounds',
)
N_COUNTERS = 16
_PULLS = COUNTERS.index('pulls')

REQUEST, REPLY = 71, 72
POLL_SECONDS = 0.002
HEARTBEAT_SECONDS = 0.5
#: items a rank that are left when nodes get no more ahead of need
FEW = 8


@dataclass(frozen=True)
class _Grant:
    start: int
    stop: int
    exhausted: bool
    stop_reason: int
    scarce: bool = False


class WorkQueue:
    """The list `order` of row numbers, shared by the ranks of `comm`.

    Collective to make and to `close`.  `order` [n] must be equal on all
    ranks.  `node_comm` holds the ranks that share memory; by default the
    ranks of one node.  `costs` [n] are the predicted ones in that order.
    """

    def __init__(
        self, comm: Any, order: Ints, node_comm: Any = None,
        costs: Floats | None = None,
    ) -> None:
        self._comm = comm.Dup()
        self.order = order
        if comm.rank == 0:
            self._before = costs_before(costs, len(order))
        self._own_node_comm = node_comm is None
        self._node = node_comm or _node_comm(comm)
        self._share = self._map_share()
        self._words = self._share.words
        self._counters = self._words[N_WORDS:].reshape(-1, N_COUNTERS)
        self.counters = self._counters[self._node.rank]
        self._leaders = self._find_leaders()
        self._lay_out()
        self._remote: dict[int, Ints] = {}
        self._closing = threading.Event()
        self._thread = self._start_thread()
        self.waited = 0.0

    def _map_share(self) -> NodeShare:
        n_words = N_WORDS + N_COUNTERS * self._node.size
        try:
            return NodeShare(self._node, n_words)
        except OSError:
            # Private /tmp and /dev/shm per rank: each rank is its own node.
            self._node = self._node.Split(self._node.rank)
            return NodeShare(self._node, N_WORDS + N_COUNTERS)

    def _find_leaders(self) -> list[int]:
        leader = self._comm.rank if self._node.rank == 0 else -1
        return [r for r in self._comm.allgather(leader) if r >= 0]

    def _lay_out(self) -> None:
        self._home = self._node.bcast(self._comm.rank == 0)
        if self._node.rank == 0:
            self._words[:] = 0
            if self._home:
                self._words[TAIL] = len(self.order)
                self._words[EXHAUSTED] = 1
        # every rank of rank 0's node sees a full pool before it is cut
        self._comm.Barrier()
        self._scatter_first()

    def _scatter_first(self) -> None:
        """Give each other node its range and its reserve."""
        sizes = self._comm.gather(self._node.size)
        grants: list[list[_Grant]] = [[] for _ in range(self._comm.size)]
        if self._comm.rank == 0:
            for _ in range(2):
                for leader in self._leaders[1:]:
                    grants[leader].append(self._grant(sizes[leader], True))
        for grant in self._comm.scatter(grants if self._comm.rank == 0
                                        else None):
            self._receive(grant, wanted=True)
            if self._words[HEAD] == self._words[TAIL]:
                self._promote()
        self._comm.Barrier()

    def _start_thread(self) -> threading.Thread | None:
        if len(self._leaders) == 1 or self._comm.rank not in self._leaders:
            return None
        from mpi4py import MPI
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise RuntimeError(
                'several nodes need an MPI with MPI_THREAD_MULTIPLE')
        target = self._serve if self._comm.rank == 0 else self._fetch
        thread = threading.Thread(target=self._while_all_live,
                                  args=(target,), daemon=True)
        thread.start()
        return thread

    # pulling

    def pull(self, n: int, wait: bool = True) -> Ints:
        """Take up to n items; an empty result means the list has ended.

        With `wait` false an empty result may also mean that the node's
        reserve has not arrived yet.
        """
        started = time.perf_counter()
        self.counters[_PULLS] += 1
        while True:
            with self._share.lock():
                taken = self._take(n)
                if not len(taken):
                    self._words[HUNGRY] = 1
                ended = bool(self._words[EXHAUSTED] or self._words[STOP])
            if len(taken) or ended or not wait:
                self.waited += time.perf_counter() - started
                return taken
            time.sleep(POLL_SECONDS)

    def _take(self, n: int) -> Ints:
        w = self._words
        if w[STOP]:
            return self.order[:0]
        if w[HEAD] == w[TAIL] and w[NEXT_HEAD] < w[NEXT_TAIL]:
            self._promote()
        head = int(w[HEAD])
        stop = min(head + n, int(w[TAIL]))
        w[HEAD] = stop
        return self.order[head:stop]

    def _promote(self) -> None:
        """Make the reserve the current range."""
        w = self._words
        w[HEAD], w[TAIL] = w[NEXT_HEAD], w[NEXT_TAIL]
        w[NEXT_HEAD] = w[NEXT_TAIL]

    # stopping

    @property
    def stop_reason(self) -> int:
        """Return why all ranks are to stop; 0 while they are not."""
        return int(self._words[STOP])

    def stop(self, reason: int) -> None:
        """Tell all ranks of all nodes to take no more work."""
        if not self._words[STOP]:
            self._words[STOP] = reason

    # counting

    def totals(self) -> Ints:
        """Return the counters [N_COUNTERS] summed over the ranks so far.

        Rank 0 knows all nodes (others as of their last message); another
        rank knows its own node.
        """
        total = self._counters.sum(axis=0)
        for sums in list(self._remote.values()):
            total = total + sums
        return total

    # between nodes

    def _while_all_live(self, target: Callable[[], None]) -> None:
        """Run a thread's part; where a rank is gone no more work comes."""
        try:
            target()
        except Exception as error:
            if not elastic.is_loss(error, self._comm):
                raise
            self._abandon()

    def _abandon(self) -> None:
        """Let all ranks run dry and meet their error in `close`."""
        self._words[EXHAUSTED] = 1
        elastic.revoke(self._comm)

    def _serve(self) -> None:
        """Answer the first ranks of other nodes until all have gone."""
        from mpi4py import MPI
        status = MPI.Status()
        alive = len(self._leaders) - 1
        while alive:
            if not self._comm.Iprobe(MPI.ANY_SOURCE, REQUEST, status):
                time.sleep(POLL_SECONDS)
                continue
            node = status.Get_source()
            wanted, hungry, n_ranks, reason, sums, bye = self._comm.recv(
                source=node, tag=REQUEST)
            self._remote[node] = sums
            if reason:
                self.stop(reason)
            alive -= bye
            if not bye:
                grant = self._grant(n_ranks, not hungry) if wanted \
                    else _Grant(0, 0, False, self.stop_reason)
                self._comm.send(grant, dest=node, tag=REPLY)

    def _grant(self, n_ranks: int, ahead: bool) -> _Grant:
        """Cut the next range for a node, that needs it or asks ahead."""
        with self._share.lock():
            w = self._words
            start, tail = int(w[HEAD]), int(w[TAIL])
            scarce = is_scarce(tail - start, self._comm.size)
            stop = start if ahead and scarce else grant_stop(
                self._before, start, tail, n_ranks, self._comm.size)
            w[HEAD] = stop
            return _Grant(start, stop, start == tail, int(w[STOP]), scarce)

    def _fetch(self) -> None:
        """Keep this node's reserve filled, its counters known to rank 0."""
        last = -HEARTBEAT_SECONDS
        while not self._closing.is_set():
            w = self._words
            wanted = bool(w[NEXT_HEAD] == w[NEXT_TAIL]
                          and not w[EXHAUSTED] and not w[STOP]
                          and (w[HUNGRY] or not w[SCARCE]))
            if not wanted and time.monotonic() - last < HEARTBEAT_SECONDS:
                time.sleep(POLL_SECONDS)
                continue
            last = time.monotonic()
            self._send_request(wanted, bye=False)
            while not self._comm.Iprobe(0, REPLY):
                time.sleep(POLL_SECONDS)
            self._receive(self._comm.recv(source=0, tag=REPLY), wanted)
        self._send_request(False, bye=True)

    def _send_request(self, wanted: bool, bye: bool) -> None:
        sums = self._counters.sum(axis=0)
        hungry = bool(self._words[HUNGRY])
        self._comm.send((wanted, hungry, self._node.size, self.stop_reason,
                         sums, bye), dest=0, tag=REQUEST)

    def _receive(self, grant: _Grant, wanted: bool) -> None:
        with self._share.lock():
            if wanted:
                self._words[NEXT_HEAD] = grant.start
                self._words[NEXT_TAIL] = grant.stop
                self._words[EXHAUSTED] |= int(grant.exhausted)
                self._words[SCARCE] = int(grant.scarce)
                # who waits still says so again
                self._words[HUNGRY] = 0
            if grant.stop_reason:
                self._words[STOP] = grant.stop_reason

    def close(self) -> None:
        """Collective: end the threads, free the communicators."""
        try:
            # all ranks of this node have finished before its thread says bye
            idle_barrier(self._node)
            self._closing.set()
            if self._thread:
                self._thread.join()
            idle_barrier(self._comm)
        except Exception as error:
            if elastic.is_loss(error, self._comm):
                elastic.revoke(self._node)
                self._closing.set()
                self._abandon()
            raise
        if self._own_node_comm:
            self._node.Free()
        self._comm.Free()


def costs_before(costs: Floats | None, n: int) -> Floats:
    """Return the summed costs [n + 1] of the items before each, and all.

    Without costs every item counts the same.
    """
    each = np.ones(n) if costs is None else np.asarray(costs, np.float64)
    return np.concatenate([[0.0], np.cumsum(each)])


def grant_stop(
    before: Floats, head: int, tail: int, n_ranks: int, n_all: int,
) -> int:
    """Return where the next range of a node of `n_ranks` ends.

    It holds an eighth of the node's share of the cost that is left, so that
    ranges shrink to one item a rank.  Cost, not number: the head of the
    list holds the longest items, and a range of many of them would be more
    than the node's share of everything.  `before` is that of `costs_before`.
    """
    share = (before[tail] - before[head]) * n_ranks / (8 * n_all)
    stop = int(np.searchsorted(before, before[head] + share, 'right')) - 1
    return min(tail, max(head + n_ranks, stop))


def is_scarce(n_left: int, n_all: int) -> bool:
    """Tell whether a list is too short to keep items in reserve."""
    return n_left < FEW * n_all


def _node_comm(comm: Any) -> Any:
    from mpi4py import MPI
    return comm.Split_type(MPI.COMM_TYPE_SHARED)


def idle_barrier(comm: Any, poll_seconds: float = 0.01) -> None:
    """Collective: a barrier that leaves the core to others while it waits.

    MPI's own barrier spins; a rank that is done early would take a core
    from the ranks that are not when cores are shared.
    """
    request = comm.Ibarrier()
    pause = 1e-4
    while not request.Test():
        time.sleep(pause)
        pause = min(2 * pause, poll_seconds)


def counter(name: str) -> int:
    """Return the position of a counter in a row of the pool."""
    return COUNTERS.index(name)


def node_sizes(comm: Any) -> list[int]:
    """Collective: the number of ranks on each node, in order of leaders."""
    node = _node_comm(comm)
    size = node.size if node.rank == 0 else 0
    node.Free()
    return [int(n) for n in np.asarray(comm.allgather(size)) if n]
