"""The queue on thousands of ranks, simulated event by event.

The order, the first shares and the size of every grant come from the code
that real runs use; what is simulated is time: that of
records, of a pull within a node and of a message to rank 0, which are
measured here first.  Compared with static halves, modulo, and a manager that
hands out one record at a time in the order of the input, as mpi4py.futures.

    python -m mpiapp.bench queue --simulate ranks=16384 records=1e7
"""
from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from heapq import heapify, heappop, heappush, heapreplace
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.benchmarks.context import machine, versions
from mpiapp.errors import InputError
from mpiapp.parallel.workqueue import (
    HEARTBEAT_SECONDS, POLL_SECONDS, costs_before, grant_stop, is_scarce
)
from mpiapp.partition import initial_shares, longest_first
from mpiapp.records import Floats

#: spread of sizes and of what is wrong with the predictions (log-normal)
SIGMA, NOISE = 1.0, 0.3
#: seconds of a mean record and of one that is tried for the saturation
SWEEP = (10.0, 1.0, 0.1, 0.01)


@dataclass(frozen=True)
class Case:
    """What is simulated; seconds [s] of a mean record, a pull, a message."""

    ranks: int = 16384
    records: int = 10_000_000
    per_node: int = 64
    mean: float = 2.0
    pull: float = 1e-5
    message: float = 5e-5
    latency: float = 5e-6
    seed: int = 1

    @property
    def nodes(self) -> int:
        """Number of nodes, the last of which may have fewer ranks."""
        return -(-self.ranks // self.per_node)


@dataclass(frozen=True)
class Made:
    """What a way of sharing came to."""

    way: str
    makespan: float
    over_bound: float
    messages: int
    messages_a_second: float
    server_busy: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        '--simulate', nargs='+', default=[], metavar='NAME=VALUE',
        help='ranks, records, per_node, mean (seconds of a mean record), '
        'pull, message, latency (seconds), seed')
    parser.add_argument(
        '--costs', metavar='FILE',
        help='result file whose records\' seconds are drawn from, instead of '
        'a log-normal distribution of sigma 1')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')


def run(options: argparse.Namespace) -> int:
    """Simulate, print and write.

    Raises:
        InputError: unknown names, values out of range.
    """
    case = case_of(options.simulate)
    began = time.perf_counter()
    predicted, actual = costs(case, options.costs)
    bound = max(float(actual.sum()) / case.ranks, float(actual.max()))
    print(f'{case.ranks} ranks on {case.nodes} nodes, {case.records} records '
          f'of {actual.mean():.3g} s, longest {actual.max():.3g} s; a pull '
          f'takes {1e6 * case.pull:.1f} us, a message {1e6 * case.message:.0f}'
          f' us\nbound: max(mean load, longest) = {bound:.1f} s', flush=True)
    rows = []
    for way in (queue, manager, modulo, halves):
        rows.append(way(case, predicted, actual, bound))
        print(line(rows[-1]), flush=True)
    result = {
        'case': asdict(case), 'bound': bound,
        'ways': [asdict(row) for row in rows],
        'saturation': saturation(case), 'memory': memory(case),
        'files': files(case), 'seconds': time.perf_counter() - began,
        'machine': machine(), 'versions': versions(),
        'command': 'python -m mpiapp.bench ' + ' '.join(options.words)}
    print(told(result))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))
    return 0


def line(made: Made) -> str:
    """Return a way as a line."""
    return (f'{made.way:28s} {made.makespan:10.1f} s  {made.over_bound:6.3f} '
            f'x bound  {made.messages:9d} messages, '
            f'{made.messages_a_second:7.0f}/s, server busy '
            f'{100 * made.server_busy:5.1f} %')


def case_of(words: Sequence[str]) -> Case:
    """Return the case of NAME=VALUE words, with measured times.

    Raises:
        InputError: unknown names, values that are no positive numbers.
    """
    kinds = {name: type(value) for name, value in asdict(Case()).items()}
    given: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition('=')
        if name not in kinds:
            raise InputError(f'--simulate {word}: allowed are '
                             f'{", ".join(kinds)}')
        try:
            given[name] = kinds[name](float(text))
        except (ValueError, OverflowError) as error:
            raise InputError(f'--simulate {word}: {text!r} is no '
                             'number') from error
        if not 0 < given[name] < float('inf'):
            raise InputError(f'--simulate {word}: must be greater than 0, '
                             'and finite')
    if given.get('records', 0) > 1e8 or given.get('ranks', 0) > 1e6:
        raise InputError('--simulate: at most 1e6 ranks and 1e8 records')
    for name, measure in (('pull', pull_seconds),
                          ('message', message_seconds)):
        if name not in given:
            given[name] = measure()
    return Case(**given)


def pull_seconds(n: int = 20_000) -> float:
    """Measure a pull of one record from the shared pool of a node."""
    from mpi4py import MPI

    from mpiapp.parallel.workqueue import WorkQueue
    queue_ = WorkQueue(MPI.COMM_SELF, np.arange(n))
    began = time.perf_counter()
    while len(queue_.pull(1)):
        pass
    seconds = (time.perf_counter() - began) / n
    queue_.close()
    return seconds


def message_seconds(n: int = 2000) -> float:
    """Measure what rank 0 does for a request: look, receive, answer."""
    from mpi4py import MPI

    from mpiapp.parallel.workqueue import N_COUNTERS
    comm = MPI.COMM_SELF.Dup()
    sums = np.zeros(N_COUNTERS, np.int64)
    spent = 0.0
    for _ in range(n):
        sent = comm.isend((True, 64, 0, sums, False), dest=0, tag=1)
        began = time.perf_counter()
        comm.Iprobe(MPI.ANY_SOURCE, 1)
        comm.recv(source=0, tag=1)
        answer = comm.isend((0, 0, False, 0), dest=0, tag=2)
        spent += time.perf_counter() - began
        comm.recv(source=0, tag=2)
        sent.wait()
        answer.wait()
    comm.Free()
    return spent / n


def costs(case: Case, path: str | None) -> tuple[Floats, Floats]:
    """Return the predicted and the real seconds of each record."""
    rng = np.random.default_rng(case.seed)
    if path is None:
        predicted = rng.lognormal(0.0, SIGMA, case.records)
        actual = predicted * rng.lognormal(0.0, NOISE, case.records)
    else:
        predicted, actual = drawn(case, path, rng)
    scale = case.mean / actual.mean()
    return predicted * scale, actual * scale


def drawn(
    case: Case, path: str, rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Draw records from a result; InputError without any seconds."""
    from mpiapp.partition import CostModel
    from mpiapp.store.reader import load
    table = load(Path(path)).table
    done = table[(table['seconds'] > 0) & (table['n_atoms'] > 0)]
    if not len(done):
        raise InputError(f'--costs {path}: no record has seconds')
    rows = rng.integers(len(done), size=case.records)
    predicted = CostModel().predict(done['n_atoms'].to_numpy(np.float64))
    return predicted[rows], done['seconds'].to_numpy(np.float64)[rows]


def made(
    way: str, makespan: float, bound: float, messages: int = 0,
    busy: float = 0.0,
) -> Made:
    """Return a row of the comparison; `busy` s of the server."""
    return Made(way, makespan, makespan / bound, messages,
                messages / makespan, busy / makespan)


def queue(
    case: Case, predicted: Floats, actual: Floats, bound: float,
) -> Made:
    """Simulate the queue of mpiapp: shares, node pools, ranges, reserves.

    A node's next event is when its range runs out: it goes on with the
    reserve, if that has come, and asks rank 0 for the next.  Without one it
    asks when a rank of it is free.  Rank 0's own node takes single records
    from the list.
    """
    order = longest_first(predicted, np.arange(case.records))
    shares = initial_shares(order, predicted, case.ranks, 1)
    dealt = sum(map(len, shares))
    rest = order[dealt:]
    seconds = actual[rest] + case.pull
    pools = [_heap([float(actual[s].sum()) for s in
                    shares[n * case.per_node:(n + 1) * case.per_node]])
             for n in range(case.nodes)]
    server = _Server(case, costs_before(predicted[rest], len(rest)))
    # what is scattered before the work begins: a range and a reserve each
    first = [[server.grant(len(pool), True) for pool in pools[1:]]
             for _ in range(2)]
    events = [(pools[0][0], 0)]
    reserve: dict[int, tuple[int, int, float]] = {}
    for node, pool in enumerate(pools[1:], 1):
        reserve[node] = (*first[1][node - 1], 0.0)
        events.append((_work(pool, seconds, *first[0][node - 1], 0.0), node))
    heapify(events)
    while events:
        now, node = heappop(events)
        pool = pools[node]
        if node == 0:
            if server.head < server.tail:
                heapreplace(pool, now + float(seconds[server.head]))
                server.head += 1
                heappush(events, (pool[0], 0))
            continue
        start, stop, came = reserve[node]
        if start < stop:
            reserve[node] = server.answer(now, len(pool), True)
        elif server.head == server.tail:
            continue
        elif pool[0] > now:
            heappush(events, (pool[0], node))
            continue
        else:
            start, stop, came = server.answer(now, len(pool), False)
        heappush(events, (_work(pool, seconds, start, stop, came), node))
    end = max(map(max, pools))
    beats = int(case.nodes * end / HEARTBEAT_SECONDS)
    return made('mpiapp, two levels', end, bound, server.messages + beats,
                (server.messages + beats) * case.message)


class _Server:
    """Rank 0: cuts ranges by the rule of real runs, one after the other."""

    def __init__(self, case: Case, before: Floats) -> None:
        self.case, self.before = case, before
        self.head, self.tail = 0, len(before) - 1
        self.free_at, self.messages = 0.0, 0

    def grant(self, n_ranks: int, ahead: bool) -> tuple[int, int]:
        """Return the next range for a node, that needs it or asks ahead."""
        start = self.head
        if ahead and is_scarce(self.tail - start, self.case.ranks):
            return start, start
        self.head = grant_stop(self.before, start, self.tail, n_ranks,
                               self.case.ranks)
        return start, self.head

    def answer(
        self, now: float, n_ranks: int, ahead: bool,
    ) -> tuple[int, int, float]:
        """Return a range and when it reaches the node that asks now."""
        begins = max(now + POLL_SECONDS + self.case.latency, self.free_at)
        self.free_at = begins + self.case.message
        self.messages += 1
        return (*self.grant(n_ranks, ahead), self.free_at + POLL_SECONDS
                + self.case.latency)


def _heap(times: list[float]) -> list[float]:
    heapify(times)
    return times


def _work(
    pool: list[float], seconds: Floats, start: int, stop: int, came: float,
) -> float:
    """Let the ranks of a node take a range; returns when it runs out."""
    last = max(pool[0], came)
    for cost in seconds[start:stop].tolist():
        last = pool[0] if pool[0] > came else came
        heapreplace(pool, last + cost)
    return last


def manager(
    case: Case, predicted: Floats, actual: Floats, bound: float,
) -> Made:
    """Simulate a manager: one record at a time, in the order of the input.

    Each result and the next record are one message; rank 0 does no work.
    """
    free = _heap([0.0] * (case.ranks - 1 or 1))
    busy_until = 0.0
    for cost in actual.tolist():
        asked = free[0] + case.latency
        begins = asked if asked > busy_until else busy_until
        busy_until = begins + case.message
        heapreplace(free, busy_until + case.latency + cost)
    return made('manager, one at a time', max(free), bound, case.records,
                case.records * case.message)


def modulo(
    case: Case, predicted: Floats, actual: Floats, bound: float,
) -> Made:
    """Record i to rank i modulo n."""
    loads = np.bincount(np.arange(case.records) % case.ranks, actual)
    return made('modulo', float(loads.max()), bound)


def halves(
    case: Case, predicted: Floats, actual: Floats, bound: float,
) -> Made:
    """Equal blocks of the input, sorted by size as files often are."""
    by_size = actual[np.argsort(predicted, kind='stable')]
    edges = np.linspace(0, case.records, case.ranks + 1).astype(np.int64)
    sums = np.add.reduceat(by_size, np.minimum(
        edges[:-1], case.records - 1))
    return made('static blocks', float(sums.max()), bound)


def saturation(case: Case) -> list[dict[str, float]]:
    """Return messages a second at rank 0 for shorter and shorter records.

    One level asks once a record, two levels once a range: about eight
    times the logarithm of records a rank in all, and the heartbeats.
    """
    rows = []
    for mean in SWEEP:
        wall = case.records * mean / case.ranks
        ranges = case.nodes * (8.0 * np.log(max(
            case.records / case.ranks, 2.0)))
        rows.append({
            'mean_seconds': mean, 'limit': 1.0 / case.message,
            'one_level': case.ranks / mean,
            'two_levels': ranges / wall + case.nodes / HEARTBEAT_SECONDS})
    return rows


def memory(case: Case) -> dict[str, float]:
    """Return bytes by what holds them, from the types that are in use."""
    n = case.records
    index = np.dtype(np.int64).itemsize + 2 * np.dtype(np.int32).itemsize
    each = {'order': 8, 'costs': 8, 'n_atoms': 4, 'retries': 4, 'wanted': 1}
    return {'index_of_rank_0': float(index * n),
            **{f'{name}_of_a_rank': float(size * n)
               for name, size in each.items()},
            'of_a_rank': float(sum(each.values()) * n),
            'of_a_node': float(sum(each.values()) * n * case.per_node)}


def files(case: Case, n_atoms: int = 150) -> dict[str, float]:
    """Return number and bytes of the files of a campaign of `reopt`."""
    from mpiapp.records import RELAX
    from mpiapp.store.packing import schema_json
    result = float(sum(
        np.dtype(c.dtype).itemsize * int(np.prod(c.shape))
        * (n_atoms if c.ragged in ('atom', 'bond') else not c.ragged)
        for c in RELAX.columns))
    return {'journals': float(case.ranks),
            'bytes_of_heads': float(case.ranks * len(schema_json(RELAX))),
            'bytes_of_journals': result * case.records,
            'bytes_of_result': result * case.records,
            'atoms_of_a_record': float(n_atoms)}


def told(result: Mapping[str, Any]) -> str:
    """Return what is not in the table of ways."""
    lines = [f'at rank 0, limit {1 / result["case"]["message"]:.0f} '
             'messages/s:']
    for row in result['saturation']:
        lines.append(
            f'  records of {row["mean_seconds"]:g} s: one level '
            f'{row["one_level"]:.0f}/s, two levels {row["two_levels"]:.0f}/s')
    m, f = result['memory'], result['files']
    lines += [
        f'memory: index {m["index_of_rank_0"] / 1e6:.0f} MB on rank 0; '
        f'{m["of_a_rank"] / 1e6:.0f} MB a rank, {m["of_a_node"] / 1e9:.1f} '
        'GB a node for order, costs and the like',
        f'files: {f["journals"]:.0f} journals a run, their heads '
        f'{f["bytes_of_heads"] / 1e6:.0f} MB; {f["bytes_of_result"] / 1e9:.0f}'
        f' GB of results ({f["atoms_of_a_record"]:.0f} atoms a record) in '
        'journals and again in the result']
    return '\n'.join(lines)
