"""Work that is decided while it goes on: offers, results, cancellations.

Where `workqueue` deals a list known from the start, here rank 0 posts items
(study, trial, sample, attempt) as it goes, with the numbers each trial needs,
and gets numbers back.  Ranks of a node take items from a board in the memory
they share and leave results there: nobody waits for a process that is inside
a native call, and rank 0 reads the results when it comes by.  The board of
another node is kept filled by a thread of its first rank, which talks to a
thread of rank 0: one item in reserve for each rank while there are many,
none once they run short.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpiapp.parallel.nodeshare import NodeShare
from mpiapp.parallel.workqueue import idle_barrier
from mpiapp.records import Floats, Ints

# words of the head: ring ends (counted up without end), flags
HEAD, TAIL, R_HEAD, R_TAIL, CLOSED, STOP = range(6)
N_WORDS = 8
#: trials that may be posted at a time
N_SLOTS = 64
#: results that a board holds until they are read
N_RESULTS = 4096
# words of an item, of a slot's head and of a result's head
ITEM, SLOT_HEAD, RESULT_HEAD = 5, 4, 4

REQUEST, REPLY = 73, 74
POLL_SECONDS = 0.002
HEARTBEAT_SECONDS = 0.2


@dataclass(frozen=True)
class Item:
    """One sample of one attempt on a trial.

    `numbers` are the trial's on the way out, its results on the way back.
    """

    study: int
    trial: int
    sample: int
    attempt: int
    numbers: tuple[float, ...]


@dataclass(frozen=True)
class _Request:
    results: Sequence[Item]
    idle: int
    room: int
    stop_reason: int
    bye: bool


@dataclass(frozen=True)
class _Grant:
    items: Sequence[Item] = ()
    alive: Sequence[tuple[int, int, int]] = ()
    closed: bool = False
    stop_reason: int = 0


@dataclass
class _Layout:
    """Where things lie in the shared words."""

    capacity: int
    n_numbers: int
    n_values: int
    n_ranks: int
    starts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {'head': N_WORDS, 'waiting': self.n_ranks,
                 'slots': N_SLOTS * self.slot,
                 'items': self.capacity * ITEM,
                 'results': N_RESULTS * self.result}
        at = 0
        for name, size in sizes.items():
            self.starts[name] = at
            at += size
        self.n_words = at

    @property
    def slot(self) -> int:
        return SLOT_HEAD + self.n_numbers

    @property
    def result(self) -> int:
        return RESULT_HEAD + self.n_values

    def part(self, words: Ints, name: str, width: int, n: int) -> Ints:
        start = self.starts[name]
        return words[start:start + n * width].reshape(n, width)


class Board:
    """The board of a node, seen by one rank.

    Collective to make and to `finish`.  `n_numbers` go with each trial,
    `n_values` come back with each result, `capacity` items may wait.
    `node_comm` holds the ranks that share memory.
    """

    def __init__(
        self, comm: Any, n_numbers: int, n_values: int, capacity: int,
        node_comm: Any = None,
    ) -> None:
        self._comm = comm.Dup()
        self._own_node_comm = node_comm is None
        self._node = node_comm or _shared(comm)
        self._share, layout = self._map(n_numbers, n_values, capacity)
        words = self._share.words
        self.capacity = capacity
        self._head = words[:N_WORDS]
        self._waiting = layout.part(words, 'waiting', 1, self._node.size)
        self._slots = layout.part(words, 'slots', layout.slot, N_SLOTS)
        self._items = layout.part(words, 'items', ITEM, capacity)
        self._results = layout.part(
            words, 'results', layout.result, N_RESULTS)
        leader = self._comm.rank if self._node.rank == 0 else -1
        self._leaders = [r for r in self._comm.allgather(leader) if r >= 0]
        self._closing = threading.Event()
        self._comm.Barrier()
        self._thread = self._start_thread()
        self.waited = 0.0

    def _map(
        self, n_numbers: int, n_values: int, capacity: int,
    ) -> tuple[NodeShare, _Layout]:
        layout = _Layout(capacity, n_numbers, n_values, self._node.size)
        try:
            return NodeShare(self._node, layout.n_words), layout
        except OSError:
            # private /tmp and /dev/shm per rank: each rank is its own node
            self._node = self._node.Split(self._node.rank)
            layout = _Layout(capacity, n_numbers, n_values, 1)
            return NodeShare(self._node, layout.n_words), layout

    def _start_thread(self) -> threading.Thread | None:
        if len(self._leaders) == 1 or self._comm.rank not in self._leaders:
            return None
        from mpi4py import MPI
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise RuntimeError(
                'several nodes need an MPI with MPI_THREAD_MULTIPLE')
        target = self._serve if self._comm.rank == 0 else self._fetch
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        return thread

    # rank 0: offers and cancellations

    def post(
        self, study: int, trial: int, attempt: int,
        numbers: Sequence[float], samples: Iterable[int],
    ) -> None:
        """Offer samples of a trial, in this order.

        Raises:
            RuntimeError: more items or trials than the board holds.
        """
        with self._share.lock():
            self._post(study, trial, attempt, numbers, samples)

    def _post(
        self, study: int, trial: int, attempt: int,
        numbers: Sequence[float], samples: Iterable[int],
    ) -> None:
        slot = self._slot_of(study, trial, attempt, numbers)
        for sample in samples:
            tail = int(self._head[TAIL])
            if tail - int(self._head[HEAD]) >= self.capacity:
                raise RuntimeError('the board is full')
            self._items[tail % self.capacity] = (
                slot, study, trial, sample, attempt)
            self._head[TAIL] = tail + 1

    def _slot_of(
        self, study: int, trial: int, attempt: int,
        numbers: Sequence[float],
    ) -> int:
        """Return the slot of a trial, a new one where it has none."""
        heads = self._slots[:, :SLOT_HEAD]
        same = np.flatnonzero(
            (heads == (1, study, trial, attempt)).all(axis=1))
        if len(same):
            return int(same[0])
        free = np.flatnonzero(heads[:, 0] == 0)
        if not len(free):
            raise RuntimeError('too many trials on the board')
        slot = int(free[0])
        self._slots[slot, SLOT_HEAD:] = np.asarray(
            numbers, np.float64).view(np.int64)
        self._slots[slot, :SLOT_HEAD] = (1, study, trial, attempt)
        return slot

    def cancel(self, study: int, trial: int, attempt: int) -> None:
        """Have the samples of a trial that wait or run given up."""
        with self._share.lock():
            heads = self._slots[:, :SLOT_HEAD]
            same = (heads == (1, study, trial, attempt)).all(axis=1)
            self._slots[same, 0] = 0

    def results(self) -> list[Item]:
        """Return what came back since the last call."""
        with self._share.lock():
            head, tail = int(self._head[R_HEAD]), int(self._head[R_TAIL])
            at = np.arange(head, tail) % N_RESULTS
            rows = self._results[at]
            self._head[R_HEAD] = tail
        return [Item(int(row[0]), int(row[1]), int(row[2]), int(row[3]),
                     _floats(row[RESULT_HEAD:])) for row in rows]

    @property
    def waiting(self) -> int:
        """Items of this node that no rank has taken, cancelled ones too."""
        return int(self._head[TAIL] - self._head[HEAD])

    def close(self) -> None:
        """Tell all ranks that no item will come any more."""
        self._head[CLOSED] = 1

    # any rank

    @property
    def closed(self) -> bool:
        """Whether no item will come any more."""
        return bool(self._head[CLOSED])

    @property
    def stop_reason(self) -> int:
        """Why all ranks are to stop; 0 while they are not."""
        return int(self._head[STOP])

    def stop(self, reason: int) -> None:
        """Tell all ranks of all nodes to take no more work."""
        if not self._head[STOP]:
            self._head[STOP] = reason

    def take(self) -> Item | None:
        """Return the next item that is not cancelled, None if none waits."""
        with self._share.lock():
            found = None if self._head[STOP] else self._next()
        self._waiting[self._node.rank, 0] = found is None
        return found

    def _next(self) -> Item | None:
        while self._head[HEAD] < self._head[TAIL]:
            at = int(self._head[HEAD]) % self.capacity
            self._head[HEAD] += 1
            slot, study, trial, sample, attempt = map(int, self._items[at])
            if self._holds(slot, study, trial, attempt):
                numbers = _floats(self._slots[slot, SLOT_HEAD:])
                return Item(study, trial, sample, attempt, numbers)
        return None

    def _holds(self, slot: int, study: int, trial: int,
               attempt: int) -> bool:
        return tuple(map(int, self._slots[slot, :SLOT_HEAD])) == (
            1, study, trial, attempt)

    def alive(self, item: Item) -> bool:
        """Tell whether the result of an item is still wanted."""
        heads = self._slots[:, :SLOT_HEAD]
        wanted = (1, item.study, item.trial, item.attempt)
        return bool((heads == wanted).all(axis=1).any())

    def give(self, item: Item, numbers: Sequence[float]) -> None:
        """Hand a result in; waits while the board is full of them."""
        entry = np.empty(self._results.shape[1], np.int64)
        entry[:RESULT_HEAD] = (item.study, item.trial, item.sample,
                               item.attempt)
        entry[RESULT_HEAD:] = np.asarray(numbers, np.float64).view(np.int64)
        while True:
            with self._share.lock():
                tail = int(self._head[R_TAIL])
                if tail - int(self._head[R_HEAD]) < N_RESULTS:
                    self._results[tail % N_RESULTS] = entry
                    self._head[R_TAIL] = tail + 1
                    return
            time.sleep(POLL_SECONDS)

    # between nodes

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
            request = self._comm.recv(source=node, tag=REQUEST)
            for result in request.results:
                self.give(result, result.numbers)
            if request.stop_reason:
                self.stop(request.stop_reason)
            alive -= request.bye
            if not request.bye:
                self._comm.send(self._grant(request), dest=node, tag=REPLY)

    def _grant(self, request: _Request) -> _Grant:
        """Cut items off for a node: for idle ranks, then for its reserve."""
        with self._share.lock():
            wanted = request.idle
            if self.waiting > self._comm.size:
                wanted = request.room
            items: list[Item] = []
            while len(items) < wanted and not self._head[STOP]:
                item = self._next()
                if item is None:
                    break
                items.append(item)
            heads = self._slots[self._slots[:, 0] == 1, 1:SLOT_HEAD]
            alive = [(int(a), int(b), int(c)) for a, b, c in heads]
            return _Grant(items, alive, self.closed, self.stop_reason)

    def _fetch(self) -> None:
        """Keep this node's board filled, pass its results on."""
        last = -HEARTBEAT_SECONDS
        while not self._closing.is_set():
            request = self._request()
            busy = request.results or request.idle or request.room
            if not busy and time.monotonic() - last < HEARTBEAT_SECONDS:
                time.sleep(POLL_SECONDS)
                continue
            last = time.monotonic()
            self._comm.send(request, dest=0, tag=REQUEST)
            while not self._comm.Iprobe(0, REPLY):
                time.sleep(POLL_SECONDS)
            self._receive(self._comm.recv(source=0, tag=REPLY))
            if not request.results:
                time.sleep(POLL_SECONDS)
        self._comm.send(self._request(bye=True), dest=0, tag=REQUEST)

    def _request(self, bye: bool = False) -> _Request:
        results = self.results()
        n_idle = int(self._waiting[:, 0].sum())
        there = self.waiting
        room = 0 if self.closed else max(0, self._node.size + n_idle - there)
        return _Request(results, min(room, max(0, n_idle - there)), room,
                        self.stop_reason, bye)

    def _receive(self, grant: _Grant) -> None:
        with self._share.lock():
            alive = set(grant.alive)
            for slot in range(N_SLOTS):
                head = tuple(map(int, self._slots[slot, :SLOT_HEAD]))
                if head[0] and head[1:] not in alive:
                    self._slots[slot, 0] = 0
            for item in grant.items:
                self._post(item.study, item.trial, item.attempt,
                           item.numbers, [item.sample])
            if grant.closed:
                self._head[CLOSED] = 1
            if grant.stop_reason:
                self._head[STOP] = grant.stop_reason

    def finish(self) -> list[Item]:
        """Collective: end the threads; rank 0 gets the last results."""
        # all ranks of this node have handed in before its thread says bye
        idle_barrier(self._node)
        self._closing.set()
        if self._thread:
            self._thread.join()
        idle_barrier(self._comm)
        last = self.results() if self._comm.rank == 0 else []
        if self._own_node_comm:
            self._node.Free()
        self._comm.Free()
        return last


def _shared(comm: Any) -> Any:
    from mpi4py import MPI
    return comm.Split_type(MPI.COMM_TYPE_SHARED)


def _floats(words: Ints) -> tuple[float, ...]:
    numbers: Floats = np.ascontiguousarray(words).view(np.float64)
    return tuple(numbers.tolist())
