"""The loop that joins the steps: pull, work, journal, agreed stop, write.

A program makes a `Plan` on rank 0 and a worker on every rank; `run` does the
rest and returns what came of it.  A worker is a function of a `Stream`: it
takes records while it has room and yields finished rows.
"""
from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp import starting
from mpiapp.locks import check_free
from mpiapp.parallel import elastic, launch
from mpiapp.parallel.agree import agree
from mpiapp.parallel.binding import ranges
from mpiapp.parallel.launch import World
from mpiapp.parallel.progress import NullProgress, Progress, State
from mpiapp.parallel.stop import REASONS
from mpiapp.parallel.stream import RankStream
from mpiapp.parallel.watchdog import Watchdog
from mpiapp.parallel.workqueue import WorkQueue, counter
from mpiapp.partition import CostModel
from mpiapp.records import (
    FAILURES, Finished, Floats, Row, Schema, Status, Stream, Suspended
)
from mpiapp.starting import Start
from mpiapp.store import blame, folder
from mpiapp.store.campaign import write_campaign
from mpiapp.store.journal import JournalWriter, read_payloads
from mpiapp.store.sources import share_results, survey_together

log = logging.getLogger('mpiapp')
#: what goes to the log files of the ranks alone
file_log = logging.getLogger('mpiapp.file')

_STEPS = counter('steps')
_ATOM_STEPS = counter('atom_steps')
_WORK = counter('work_us')
_ROUNDS = counter('rounds')


@dataclass(frozen=True)
class Plan:
    """What is to be done; equal on all ranks.

    `n_atoms` [n_records] are what the files claim, 0 where unknown;
    `cost_model` predicts seconds from them; `wanted` [n_records] marks the
    records of the window.  `settings` (JSON data) decide the results and
    must not change on resume; `inputs` are mappings with path, sha256 and
    n_records.  `meta` is stored with the results, `run_meta` with what may
    differ from run to run.  `blank(row)` gives the
    known values of a record that has no result.  `extend` (collective) may
    add groups to the result file when its rows are in.  A result that is
    not `whole` is not called complete: something is to be added yet.
    `seconds` [n_records], if given, are the predicted ones where the atoms
    alone do not tell.  A rank that gives no sign of life for somewhat
    longer than `record_timeout` [s] is ended (`parallel.watchdog`).
    """

    schema: Schema
    result: Path
    n_atoms: NDArray[np.int32]
    cost_model: CostModel
    wanted: NDArray[np.bool_]
    settings: Mapping[str, Any]
    inputs: Sequence[Mapping[str, Any]]
    meta: Mapping[str, Any] = field(default_factory=dict)
    run_meta: Mapping[str, Any] = field(default_factory=dict)
    blank: Callable[[int], Row] | None = None
    extend: Callable[[Any, Path], None] | None = None
    resume: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    slots: int = 1
    save_every: int = 25
    writer: str = 'auto'
    whole: bool = True
    seconds: Floats | None = None
    record_timeout: float | None = None

    @property
    def n_records(self) -> int:
        """Number of records, those outside the window included."""
        return len(self.n_atoms)

    @property
    def rows(self) -> Mapping[str, Any]:
        """How many records there are; the wanted ones as [first, end)."""
        edges = np.flatnonzero(np.diff(
            self.wanted.astype(np.int8), prepend=0, append=0))
        return {'n_records': self.n_records,
                'wanted': edges.reshape(-1, 2).tolist()}

    @cached_property
    def costs(self) -> Floats:
        """Predicted seconds [n_records] of each record."""
        if self.seconds is not None:
            return self.seconds
        return self.cost_model.predict(self.n_atoms)


@dataclass(frozen=True)
class Outcome:
    """What a run came to; equal on all ranks.

    `statuses` [n_records] are those of the result file, `stopped` names the
    reason of an early end or is empty.  `ranks` are the per-rank figures:
    seconds in work, pulling, storage and idle at the end, records, steps
    and atom-steps; `wall` seconds from the first pull to the last result.
    """

    statuses: NDArray[np.int8]
    stopped: str
    wall: float
    ranks: tuple[Mapping[str, float], ...]
    write_seconds: float = 0.0

    def exit_code(self, max_failed: int, strict: bool) -> int:
        """Return the exit code that all programs share."""
        if self.stopped:
            return launch.RESUMABLE
        if self.unfinished:
            return launch.STOPPED
        n_failed = self.n_failed(strict)
        return launch.FAILED if n_failed > max_failed else launch.DONE

    @property
    def unfinished(self) -> bool:
        """Tell whether records are left: stopped, or results were lost."""
        return bool(self.stopped) or self.n_pending > 0

    @property
    def n_pending(self) -> int:
        """Count the wanted records without a result."""
        return int((self.statuses == Status.PENDING).sum())

    def n_failed(self, strict: bool) -> int:
        """Count what failed; with `strict` unconverged records too."""
        bad = FAILURES | ({Status.UNCONVERGED} if strict else set())
        return int(np.isin(self.statuses, [int(s) for s in bad]).sum())

    def verdict(self, max_failed: int, strict: bool) -> str:
        """Tell the exit code and why it is what it is."""
        return (f'exit code {self.exit_code(max_failed, strict)}: '
                + self.reason(max_failed, strict))

    def reason(self, max_failed: int, strict: bool) -> str:
        """Say why the exit code is what it is."""
        n_failed = self.n_failed(strict)
        return {
            launch.DONE: 'done',
            launch.STOPPED: f'{self.n_pending} record(s) that were worked on '
            'have no readable result, go on with --resume',
            launch.FAILED: f'finished, but {n_failed} record(s) failed, were '
            f'rejected or broke, and --max-failed allows {max_failed}',
            launch.RESUMABLE: f'stopped early ({self.stopped}), go on with '
            '--resume',
        }[self.exit_code(max_failed, strict)]


Worker = Callable[[Stream], Iterator[Finished | Suspended]]


def run(world: World, plan: Plan, worker: Worker) -> Outcome:
    """Collective: do the work of a plan and write its result file.

    Where ranks may die alone (`parallel.elastic`) the others do what these
    left; `world.comm` then holds the survivors.

    Raises:
        AgreedExit: the campaign can't be started or continued (code 2).
    """
    comm, me = world.comm, world.comm.rank
    opened = None
    with agree(comm, 'opening the campaign'):
        if me == 0:
            opened = folder.open_campaign(
                plan.result, plan.settings, plan.inputs, plan.schema,
                plan.resume, plan.overwrite, plan.rows)
    path, number, digest = comm.bcast(
        opened and (opened.path, opened.run, opened.digest))
    start = starting.start(comm, plan, path, number, digest)
    if me == 0:
        starting.announce(plan, start)
    journal = None
    with agree(comm, 'opening the journals'):
        journal = JournalWriter(
            path / folder.journal_name(number, me), plan.schema,
            {'digest': digest, 'rank': me, 'run': number}, plan.save_every)
    assert journal is not None
    stopped, wall, ranks = _work_on(world, plan, worker, start, journal)
    journal.close()
    statuses, seconds = write(world, plan, path, ranks, wall)
    if opened is not None:
        opened.close()
    outcome = Outcome(statuses, '', wall, ranks, seconds)
    if outcome.n_pending:
        return replace(outcome, stopped=REASONS.get(stopped, ''))
    return outcome


def _work_on(
    world: World, plan: Plan, worker: Worker, start: Start,
    journal: JournalWriter,
) -> tuple[int, float, tuple[Mapping[str, float], ...]]:
    """Work until all is done by those ranks that live."""
    watched = start.folder / blame.death_name(start.run, world.comm.rank)
    while True:
        with agree(world.comm, 'writing the blame for dead ranks'):
            if world.comm.rank == 0:
                starting.lay_blame(plan, start, journal)
        try:
            stopped, wall, figures = _work(
                world, plan, worker, start, journal, watched)
            return stopped, wall, tuple(world.comm.allgather(figures))
        except Exception as error:
            if not elastic.is_loss(error, world.comm):
                raise
        gone = world.heal()
        # the witnesses of the dead write a moment after them
        time.sleep(elastic.MOURNING_SECONDS)
        if world.comm.rank == 0:
            log.warning('\nrank(s) %s died: the %d others do what was left',
                        ', '.join(map(str, gone)), world.comm.size)
        start = starting.start(
            world.comm, plan, start.folder, start.run, start.digest)


def _work(
    world: World, plan: Plan, worker: Worker, start: Start,
    journal: JournalWriter, watched: Path,
) -> tuple[int, float, dict[str, float]]:
    """Pull and work until the list has ended or all ranks stop."""
    comm = world.comm
    first = comm.scatter(start.shares if comm.rank == 0 else None)
    queue = WorkQueue(comm, start.order, costs=plan.costs[start.order])

    def state_of(row: int) -> bytes:
        if row not in start.states:
            return b''
        path, offset = start.states[row]
        return read_payloads(path, [offset])[0]

    dog = Watchdog(plan.record_timeout, world.witness.report)
    stream = RankStream(queue, world.watch, first, state_of,
                        journal.append_begun, start.suspects, dog,
                        world.witness,
                        # not rank 0, which survivors cannot do without
                        start.last if comm.rank == comm.size - 1 else None)
    progress = _progress(comm, plan, start, queue)
    comm.Barrier()
    world.witness.watch(watched)
    began = time.perf_counter()
    stored = 0.0
    for item in worker(stream):
        dog.rest()
        before = time.perf_counter()
        _commit(item, plan, start, journal, queue, comm.rank)
        stream.done(item.row)
        stored += time.perf_counter() - before
        dog.alive()
    dog.rest()
    world.witness.farewell()
    ended = time.perf_counter()
    try:
        queue.close()
        last = comm.allreduce(ended - began, op=_maximum())
    finally:
        progress.close()
    stopped = queue.stop_reason
    counts = queue.counters
    busy = ended - began - stored - queue.waited
    dry = (stream.dry_at or ended) - began
    return stopped, last, {
        'work': busy, 'pull': queue.waited, 'storage': stored,
        'idle': last - (ended - began), 'until_dry': dry,
        'records': float(counts[:7].sum()), 'steps': float(counts[_STEPS]),
        'atom_steps': float(counts[_ATOM_STEPS]),
    }


def _maximum() -> Any:
    from mpi4py import MPI
    return MPI.MAX


def _commit(
    item: Finished | Suspended, plan: Plan, start: Start,
    journal: JournalWriter, queue: WorkQueue, rank: int,
) -> None:
    """Make a result or a state safe, then count it."""
    if isinstance(item, Suspended):
        journal.append_state(item.row, item.state)
        return
    # a row from elsewhere (an analysis) brings its own retries
    retries = int(start.retries[item.row] + item.values.get('retries', 0))
    values = dict(item.values, rank=rank, retries=retries)
    if 'finished_at' in plan.schema:
        # an analysis keeps the time of the relaxation
        values.setdefault('finished_at', time.time())
    journal.append_row(item.row, values)
    file_log.info('row %d: %s %s, %d steps, %.2f s', item.row,
                  Status(values['status']).name.lower(),
                  values.get('reason', ''), values.get('steps', 0),
                  item.seconds)
    counts = queue.counters
    counts[int(values['status'])] += 1
    counts[_STEPS] += int(values.get('steps', 0))
    counts[_ATOM_STEPS] += item.atom_steps
    counts[_WORK] += round(plan.costs[item.row] * 1e6)


def _progress(
    comm: Any, plan: Plan, start: Start, queue: WorkQueue,
) -> Progress | NullProgress:
    """Return the progress line on rank 0, a silent one elsewhere.

    Silent too where the log is to tell warnings alone.
    """
    told = all(h.level <= logging.INFO for h in log.handlers[:1])
    if comm.rank or not told:
        return NullProgress()
    todo = start.todo
    n_before = int(plan.wanted.sum()) - len(todo)
    predicted = max(float(plan.costs[todo].sum()), 1e-9)
    bad = [int(s) for s in FAILURES]

    def state() -> State:
        totals = queue.totals()
        done = int(totals[:7].sum())
        return State(done + n_before, n_before + len(todo),
                     int(totals[bad].sum()),
                     min(1.0, float(totals[_WORK]) * 1e-6 / predicted),
                     int(totals[_ROUNDS]))
    return Progress(state, n_before)


def write(
    world: World, plan: Plan, path: Path,
    ranks: Sequence[Mapping[str, float]], wall: float,
) -> tuple[NDArray[np.int8], float]:
    """Collective: write the result file from the journals in `path`.

    Returns the status of every record and the seconds it took.
    """
    comm = world.comm
    began = time.perf_counter()
    found = survey_together(comm, path, plan.schema)
    source = share_results(comm, path, found, plan.schema)
    statuses = None
    if found is not None:
        statuses = found.progress(plan.n_records).status
        if (plan.wanted & (statuses == Status.PENDING)).any():
            starting.warn_of_damage(found)
        statuses[~plan.wanted & (statuses == 0)] = Status.SKIPPED
    statuses = comm.bcast(statuses)
    timeline = {
        'n_ranks': comm.size, 'wall_seconds': wall,
        'host': [p.host for p in world.placements],
        'device': [p.device for p in world.placements],
        'cpus': [ranges(p.cpus) for p in world.placements],
        'threads': [p.threads for p in world.placements],
        **{name: [r[name] for r in ranks] for name in ranks[0]},
        'options': plan.run_meta,
    }
    extend = plan.extend
    write_campaign(
        comm, plan.result, plan.schema, plan.n_records, source,
        plan.meta, timeline,
        parallel={'auto': None, 'mpio': True, 'gather': False}[plan.writer],
        blank=plan.blank,
        extend=None if extend is None else lambda part: extend(comm, part),
        whole=plan.whole)
    return statuses, time.perf_counter() - began


#: axes with about an entry an atom, and a safe share for the others
ENTRY_PER_ATOM = frozenset({'atom', 'bond'})
FEW_PER_ATOM = 0.2


def size_of_results(schema: Schema, n_atoms: NDArray[np.int32]) -> int:
    """Predict the bytes of journals and result file together."""
    fixed = sum(np.dtype(c.dtype).itemsize for c in schema.fixed)
    per_atom = sum(
        np.dtype(c.dtype).itemsize * int(np.prod(c.shape))
        * (1.0 if c.ragged in ENTRY_PER_ATOM else FEW_PER_ATOM)
        for c in schema.ragged)
    return 2 * (fixed * len(n_atoms) + int(per_atom * np.sum(n_atoms)))


def check_start(plan: Plan) -> None:
    """Raise InputError where `run` would refuse to start; changes nothing."""
    path = folder.folder_of(plan.result)
    check_free(path / folder.LOCK, path)
    folder.check_campaign(
        plan.result,
        folder.describe(plan.settings, plan.inputs, plan.schema),
        plan.resume, plan.overwrite)
