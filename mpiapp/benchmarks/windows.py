"""One MPI job of `bench scaling`: windows of evaluations on all ranks.

    mpirun -n P python -m mpiapp.benchmarks.windows FILE.json

The file says what to do; results go where it says.  Windows begin at a
barrier on all ranks, and the time of a window is the largest of all ranks.
"""
from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, Resources, World, launch
from mpiapp.records import Floats, Ints

STATIC, COST, DYNAMIC = SCHEDULES = ('static', 'cost', 'dynamic')
STRONG, WEAK = LAWS = ('strong', 'weak')


@dataclass(frozen=True)
class Task:
    """What a job does.

    `molecules` are names, one a record; with `law` strong they are shared
    among the ranks, with weak each rank has them all.  `repeats` are
    evaluations of each record, as many as an optimiser would ask for.
    """

    model: str
    molecules: tuple[str, ...]
    output: str
    way: str = 'poly'
    dtype: str = 'float64'
    device: str = 'cpu'
    threads: int = 1
    ranks_per_gpu: int = 1
    repeats: int = 1
    windows: int = 5
    schedules: tuple[str, ...] = SCHEDULES
    law: str = STRONG


def read_task(path: str) -> Task:
    """Return the task of a file."""
    found: dict[str, Any] = json.loads(Path(path).read_text())
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return Task(**values)


def shares_of(
    schedule: str, costs: Floats, n_ranks: int,
) -> list[Ints]:
    """Return the records of each rank for a schedule that is fixed ahead.

    static: blocks in input order, equal in number; cost: longest first,
    each to the rank with the least predicted work.
    """
    if schedule == STATIC:
        return [np.asarray(part, np.int64)
                for part in np.array_split(np.arange(len(costs)), n_ranks)]
    from mpiapp.partition import longest_first
    load = np.zeros(n_ranks)
    found: list[list[int]] = [[] for _ in range(n_ranks)]
    for i in longest_first(costs, np.arange(len(costs))):
        rank = int(np.argmin(load))
        load[rank] += costs[i]
        found[rank].append(int(i))
    return [np.array(f, np.int64) for f in found]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    task = read_task(words[0])
    return launch(lambda world: run(world, task), Resources(
        task.threads, task.device, task.ranks_per_gpu, log_level='warning'))


def run(world: World, task: Task) -> int:
    """Collective: measure all schedules; rank 0 writes the results."""
    from mpiapp.benchmarks.samples_file import write_samples
    from mpiapp.parallel.agree import agree
    warnings.filterwarnings('ignore')
    comm = world.comm
    evaluate: Callable[[int], float] | None = None
    with agree(comm, 'building the potential'):
        evaluate, costs, wrong = prepare(task)
    assert evaluate is not None
    refused = next(filter(None, comm.allgather(wrong)), '')
    if refused:
        with agree(comm, 'writing the results'):
            if comm.rank == 0:
                Path(task.output).write_text(json.dumps(
                    {**about(task), 'ranks': comm.size, 'refused': refused}))
        return DONE
    # by turns, so that what disturbs the machine disturbs all schedules
    results: dict[str, list[dict[str, Any]]] = {s: [] for s in task.schedules}
    for _ in range(task.windows):
        for schedule in task.schedules:
            results[schedule].append(
                window(comm, schedule, task.law, costs, evaluate))
    mine = np.array([[(w['busy'], w['communicating'], w['waiting'])
                      for w in results[s]] for s in task.schedules])
    output = Path(task.output)
    write_samples(comm, output.with_suffix('.h5'), 'seconds', mine, {
        'task': asdict(task), 'axes': ['rank', 'schedule', 'window',
                                       'busy, communicating, waiting']})
    by_rank = comm.gather(results)
    with agree(comm, 'writing the results'):
        if comm.rank == 0:
            output.write_text(json.dumps(
                joined(task, by_rank, comm.size), indent=1))
    return DONE


def prepare(task: Task) -> tuple[Callable[[int], float], Floats, str]:
    """Return what evaluates a record, predicted costs, and what is wrong.

    Every molecule is held against the reference, so that all is warm, and
    no time is taken of a way that disagrees on this rank (R2).

    Raises:
        InputError: the way or a molecule can't be had.
    """
    from mpiapp.benchmarks.harness.cells import FORCES, Cell
    from mpiapp.benchmarks.harness.clock import copies, moved
    from mpiapp.benchmarks.harness.gate import arithmetic, proved
    from mpiapp.benchmarks.harness.molecules import Unphysical, molecule
    from mpiapp.benchmarks.harness.variants import make
    try:
        found = [molecule(name) for name in task.molecules]
    except Unphysical as error:
        raise InputError(f'unphysical molecule: {error}') from error
    way = make(Cell(task.model, '', task.device, FORCES, 1, task.threads,
                    task.dtype, task.way, 'tree'), task.model)
    batches = [copies(m, 1) for m in found]
    # all elements at once: native makes its tables for those it has met
    different = dict(zip(task.molecules, batches)).values()
    wrong = proved(way, task.model, list(different),
                   arithmetic(task.way, task.dtype))

    def evaluate(i: int) -> float:
        rng = np.random.default_rng(i)
        total = 0.0
        for _ in range(task.repeats):
            total += float(way.evaluate(
                moved(batches[i], rng), True).energies[0])
        return total
    return evaluate, np.array([len(m.numbers) for m in found], float), wrong


def window(
    comm: Any, schedule: str, law: str, costs: Floats,
    evaluate: Callable[[int], float],
) -> dict[str, Any]:
    """Collective: do all records once; returns this rank's seconds.

    `waiting` is from the end of its work to the end of the last rank.
    """
    ranks = comm.size if law == STRONG else 1
    queue = _queue(comm, costs) if schedule == DYNAMIC and law == STRONG \
        else None
    if queue is None:
        shares = shares_of(schedule, costs, ranks)
        todo = shares[comm.rank if law == STRONG else 0]
    comm.Barrier()
    began = time.perf_counter()
    energies: dict[int, float] = {}
    communicating = 0.0
    if queue is None:
        for i in todo:
            energies[int(i)] = evaluate(int(i))
    else:
        while len(rows := queue.pull(1, True)):
            energies[int(rows[0])] = evaluate(int(rows[0]))
        communicating = queue.waited
    done = time.perf_counter() - began
    before = time.perf_counter()
    last = max(comm.allgather(done))
    communicating += max(
        0.0, time.perf_counter() - before - (last - done))
    if queue is not None:
        queue.close()
    return {'seconds': done, 'busy': done, 'waiting': last - done,
            'communicating': communicating, 'energies': energies}


def _queue(comm: Any, costs: Floats) -> Any:
    from mpiapp.parallel.workqueue import WorkQueue
    from mpiapp.partition import longest_first
    return WorkQueue(comm, longest_first(costs, np.arange(len(costs))))


def joined(
    task: Task, by_rank: Sequence[Mapping[str, Any]], n_ranks: int,
) -> dict[str, Any]:
    """Return the results of all ranks: a window takes what its last took."""
    found: dict[str, Any] = {}
    for schedule in task.schedules:
        busy = np.array([[w['busy'] for w in rank[schedule]]
                         for rank in by_rank])
        talk = np.array([[w['communicating'] for w in rank[schedule]]
                         for rank in by_rank])
        energies: dict[str, float] = {}
        for rank in by_rank:
            energies |= {str(k): v for k, v
                         in rank[schedule][-1]['energies'].items()}
        longest = busy.max(axis=0)
        found[schedule] = {
            'samples': longest.tolist(),
            'imbalance': float(np.median(longest / busy.mean(axis=0))),
            'communication_share': float(talk.sum() / (
                longest.sum() * n_ranks)),
            'stragglers': np.bincount(
                busy.argmax(axis=0), minlength=n_ranks).tolist(),
            'records': [len(rank[schedule][-1]['energies'])
                        for rank in by_rank],
            'energies': energies}
    return {**about(task), 'ranks': n_ranks, 'schedules': found}


def about(task: Task) -> dict[str, Any]:
    """Return the task, and what identifies its model and molecules."""
    from mpiapp.benchmarks.harness.molecules import molecule, set_sha256
    from mpiapp.potentials.base import file_sha256
    return {'task': asdict(task), 'model_sha256': file_sha256(task.model),
            'inputs_sha256': set_sha256([
                molecule(name) for name in task.molecules])}


if __name__ == '__main__':
    sys.exit(main())
