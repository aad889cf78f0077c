"""Spans of all ranks on one clock, as a trace for Chrome or Perfetto."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: messages to and fro from which clocks are set; the quickest counts
PINGS = 20
TAG = 73


class Spans:
    """What a rank did when: names, starts and lengths [s]."""

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = clock
        self.found: list[tuple[str, str, float, float]] = []

    @contextmanager
    def span(self, name: str, kind: str = 'work') -> Iterator[None]:
        """Record a block."""
        began = self.clock()
        try:
            yield
        finally:
            self.found.append((name, kind, began, self.clock() - began))

    def seconds(self, kind: str) -> float:
        """Return the sum of the spans of a kind."""
        return sum(s for _, k, _, s in self.found if k == kind)


class SpannedComm:
    """A communicator whose calls are recorded as spans of kind mpi."""

    def __init__(self, comm: Any, spans: Spans) -> None:
        self._comm, self._spans = comm, spans

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._comm, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._spans.span(f'MPI {name}', 'mpi'):
                return value(*args, **kwargs)
        return call


def offset_to_root(
    comm: Any, clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Collective: return what to add to this rank's clock.

    From messages between rank 0 and each other rank: the clock of rank 0 is
    read midway through the quickest exchange.
    """
    found = 0.0
    for other in range(1, comm.size):
        if comm.rank == 0:
            for _ in range(PINGS):
                comm.recv(source=other, tag=TAG)
                comm.send(clock(), dest=other, tag=TAG)
        elif comm.rank == other:
            quickest = float('inf')
            for _ in range(PINGS):
                began = clock()
                comm.send(None, dest=0, tag=TAG)
                theirs = comm.recv(source=0, tag=TAG)
                ended = clock()
                if ended - began < quickest:
                    quickest = ended - began
                    found = theirs - (began + ended) / 2
        comm.barrier()
    return found


def gathered(comm: Any, spans: Spans, offset: float) -> list[Any] | None:
    """Collective: return the spans of all ranks on rank 0's clock."""
    mine = [(n, k, start + offset, s) for n, k, start, s in spans.found]
    found: list[Any] | None = comm.gather(mine)
    return found


def trace_events(
    by_rank: Sequence[Sequence[tuple[str, str, float, float]]],
) -> dict[str, Any]:
    """Return the content of a trace file; a process is a rank."""
    zero = min((start for spans in by_rank for _, _, start, _ in spans),
               default=0.0)
    events: list[Mapping[str, Any]] = []
    for rank, spans in enumerate(by_rank):
        events.append({'ph': 'M', 'pid': rank, 'name': 'process_name',
                       'args': {'name': f'rank {rank}'}})
        events += [{'ph': 'X', 'pid': rank, 'tid': 0, 'name': name,
                    'cat': kind, 'ts': 1e6 * (start - zero),
                    'dur': 1e6 * seconds}
                   for name, kind, start, seconds in spans]
    return {'traceEvents': events, 'displayTimeUnit': 'ms'}


def write_trace(path: Path, content: Mapping[str, Any]) -> None:
    """Write a trace file, whole or not at all."""
    from mpiapp.store.files import replacing
    with replacing(path) as part:
        part.write_text(json.dumps(content))


def shares(
    by_rank: Sequence[Sequence[tuple[str, str, float, float]]],
) -> list[dict[str, float]]:
    """Return seconds by kind of each rank: the joint profile."""
    found = []
    for spans in by_rank:
        kinds: dict[str, float] = {}
        for _, kind, _, seconds in spans:
            kinds[kind] = kinds.get(kind, 0.0) + seconds
        found.append(kinds)
    return found
