"""Measure groups of cells: what a rank does with its records."""
from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness import clock, gate, molecules, variants
from mpiapp.benchmarks.harness.cells import (
    ENERGY, FAILED, OK, REFUSED, SKIPPED, Cell, Timing, undecided
)
from mpiapp.benchmarks.harness.counting import count
from mpiapp.benchmarks.harness.spread import summary
from mpiapp.errors import InputError
from mpiapp.potentials.mace.graph import pairs
from mpiapp.records import (
    Batch, Finished, Row, Status, Stream, Structure, Suspended
)

#: the small molecule of the checks that hold for all
SMALL = 'ethanol'
#: calls from which the parts of a call are told
PHASE_CALLS = 3

Maker = Callable[[Cell, str], clock.Way]


@dataclass(frozen=True)
class Model:
    """A model's file, what identifies its weights, and its cut-off [A]."""

    path: str
    sha256: str
    r_max: float


@dataclass(frozen=True)
class Job:
    """What all ranks know: groups, models, molecules, how to time.

    A molecule that is refused is the reason, as text.  `memory`: measure
    what a call of each way takes; `limit` [s] is that of a group, after
    which its further cells fail.
    """

    groups: Sequence[Sequence[Cell]]
    models: Mapping[str, Model]
    molecules: Mapping[str, Structure | str]
    timing: Timing
    ranks: int = 1
    counts: bool = True
    memory: bool = False
    limit: float | None = None


@dataclass
class Trial:
    """A cell on its way to a state; decided once."""

    cell: Cell
    row: dict[str, Any] = field(default_factory=dict)
    way: clock.Way | None = None

    def decide(self, state: str, reason: str = '', trace: str = '') -> None:
        """Set the state of the cell."""
        self.row.update(state=state, reason=reason, traceback=trace)
        if state != OK:
            self.way = None
            # what is not ok prints no time (R2)
            for name in ('first_s', 'samples', 'steady', 'phases'):
                self.row.pop(name, None)

    def fail(self, error: Exception) -> None:
        """Set the state of a cell whose way raises; from a handler."""
        self.decide(FAILED, f'{type(error).__name__}: {error}'[:300],
                    traceback.format_exc())


class GroupWorker:
    """A worker of the engine; call it with the stream of this rank."""

    def __init__(self, job: Job, make: Maker = variants.make) -> None:
        self.job, self.make = job, make
        self._oracles: dict[str, gate.Oracle] = {}
        self._proven: dict[Any, list[gate.Check]] = {}

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each group."""
        while items := stream.take(1):
            for item in items:
                began = time.perf_counter()
                rows = self.measure(self.job.groups[item.row])
                seconds = time.perf_counter() - began
                yield Finished(item.row, row_of(rows) | {
                    'seconds': seconds}, 0, seconds)

    def measure(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        """Return a row for every cell of a group, none left out (R3)."""
        trials = [Trial(c, self._blank(c)) for c in cells]
        try:
            self._measure(trials)
        except Exception as error:  # beside the cells: of the oracle, say
            for t in trials:
                t.decide(FAILED, 'outside the cell: '
                         f'{type(error).__name__}: {error}',
                         traceback.format_exc())
        rows = [t.row for t in trials]
        lost = undecided(cells, rows)
        if lost:
            raise RuntimeError(f'cells without a state: {lost}')
        return rows

    def _blank(self, cell: Cell) -> dict[str, Any]:
        molecule = self.job.molecules[cell.molecule]
        known = [molecule] if isinstance(molecule, Structure) else []
        model = self.job.models[cell.model]
        return cell.as_row() | {
            'state': '', 'ranks': self.job.ranks,
            'model_sha256': model.sha256,
            'n_atoms': sum(len(m.numbers) for m in known),
            'inputs_sha256': molecules.set_sha256(known) if known else ''}

    def _measure(self, trials: Sequence[Trial]) -> None:
        first = trials[0].cell
        molecule = self.job.molecules[first.molecule]
        if isinstance(molecule, str):
            for t in trials:
                t.decide(REFUSED, f'unphysical molecule: {molecule}')
            return
        model = self.job.models[first.model]
        oracle = self._oracle(model.path)
        batch = clock.copies(molecule, first.batch)
        forces = first.quantity != ENERGY
        n_edges = sum(pairs(batch.positions[batch.part(i)],
                            model.r_max).shape[1] for i in range(len(batch)))
        began, limit = time.perf_counter(), self.job.limit
        for t in trials:
            t.row['n_edges'] = n_edges
            if limit and time.perf_counter() - began > limit:
                t.decide(FAILED, f'the cells before took the {limit:g} s of '
                         '--record-timeout')
                continue
            self._build(t, model.path)
            if t.way is not None:
                self._begin(t, batch, forces)
            if t.way is not None:
                self._prove(t, oracle, batch, model, forces)
        self._time([t for t in trials if t.way is not None], oracle, batch,
                   forces)

    def _oracle(self, path: str) -> gate.Oracle:
        if path not in self._oracles:
            from mpiapp.potentials import PotentialOptions
            from mpiapp.potentials.mace import load_backend
            self._oracles[path] = gate.Oracle(load_backend(
                'reference', PotentialOptions(model_path=path,
                                              device='cpu')))
        return self._oracles[path]

    def _build(self, trial: Trial, path: str) -> None:
        """Build a way; one that can't run here is skipped, with why."""
        began = time.perf_counter()
        try:
            check_cores(trial.cell)
            trial.way = self.make(trial.cell, path)
            trial.way.synchronise()
        except InputError as error:
            trial.decide(SKIPPED, str(error))
        except Exception as error:  # of a way on trial
            trial.fail(error)
        trial.row['build_s'] = time.perf_counter() - began

    def _begin(self, trial: Trial, batch: Batch, forces: bool) -> None:
        """Time the first call, while the way is still cold (R5).

        Proving it later compiles, scripts or fills tables no more.
        """
        assert trial.way is not None
        moving = clock.moved(batch, np.random.default_rng(10))
        try:
            trial.row['first_s'] = clock.timed_call(
                trial.way, moving, forces)[0]
        except Exception as error:  # of a way on trial
            trial.fail(error)

    def _prove(
        self, trial: Trial, oracle: gate.Oracle, batch: Batch,
        model: Model, forces: bool,
    ) -> None:
        """Refuse a way that disagrees, before any timing (R2)."""
        cell, way = trial.cell, trial.way
        assert way is not None
        allowed = gate.ALLOWED[gate.arithmetic(cell.way, cell.dtype)]
        try:
            checks = self._general(cell, way, oracle, model, forces)
            checks = [*checks, *gate.own(way, oracle, batch, allowed,
                                         forces)]
        except Exception as error:  # of a way on trial
            trial.fail(error)
            return
        trial.row['checks'] = [c.as_row() for c in checks]
        reason = gate.verdict(checks)
        if reason:
            trial.decide(REFUSED, reason)

    def _general(
        self, cell: Cell, way: clock.Way, oracle: gate.Oracle,
        model: Model, forces: bool,
    ) -> list[gate.Check]:
        """Return the checks that hold for all molecules, made once."""
        key = (cell.model, cell.device, cell.threads, cell.dtype, cell.way,
               cell.neighbours, forces)
        if key not in self._proven:
            allowed = gate.ALLOWED[gate.arithmetic(cell.way, cell.dtype)]
            small = molecules.molecule(SMALL)
            self._proven[key] = gate.battery(
                way, oracle, small, allowed, forces, model.r_max)
        return self._proven[key]

    def _time(
        self, trials: Sequence[Trial], oracle: gate.Oracle, batch: Batch,
        forces: bool,
    ) -> None:
        timing = self.job.timing
        ways = {t.cell.label: t.way for t in trials if t.way}
        found, last = clock.in_turns(
            ways, batch, forces, timing.rounds, timing.warm_up, seed=11)
        expected = oracle.evaluate(last) if trials else None
        for t in trials:
            times = found[t.cell.label]
            if times.error:
                t.decide(FAILED, times.error.splitlines()[-1][:300],
                         times.error)
                continue
            self._describe(t, times, last, expected, batch, forces)

    def _describe(
        self, trial: Trial, times: clock.Times, last: Batch, expected: Any,
        batch: Batch, forces: bool,
    ) -> None:
        """Fill in the row, unless the last timed answer was wrong (R1)."""
        cell, way, row = trial.cell, trial.way, trial.row
        assert way is not None
        row.update({
            'warm_s': times.warm_s, 'warm_calls': times.warm_calls,
            'stable': times.stable,
            'samples': times.samples, 'steady': summary(times.samples)})
        trial.decide(OK)
        if times.last is not None:
            allowed = gate.ALLOWED[gate.arithmetic(cell.way, cell.dtype)]
            check = gate.compare('last timed call', times.last, expected,
                                 last.offsets, allowed, forces)
            row['checks'].append(check.as_row())
            row['errors'] = gate.errors(times.last, expected, last.offsets,
                                        forces)
            if not check.passed:
                trial.decide(REFUSED, gate.verdict([check]))
                return
            row['phases'] = clock.phases(way, batch, forces, PHASE_CALLS)
            row |= rates(row)
        if self.job.memory:
            from mpiapp.benchmarks.profiling.memory import of_way
            row['peak_bytes'] = of_way(way, batch, forces)
        if self.job.counts and cell.way in variants.TORCH:
            counts = count(lambda: way.evaluate(batch, forces))
            row |= {'operations': counts.operations, 'flops': counts.flops,
                    'bytes': counts.bytes}


def check_cores(cell: Cell) -> None:
    """Check that a cell's threads have a core each.

    Raises:
        InputError: the rank is bound to fewer.
    """
    if not hasattr(os, 'sched_getaffinity'):
        return
    cores = len(os.sched_getaffinity(0))
    if cell.threads > cores:
        raise InputError(f'{cell.threads} threads, and {cores} core(s) for '
                         'this rank')


def rates(row: Mapping[str, Any]) -> dict[str, float]:
    """Return us per atom-step and structures/s of a timed row."""
    seconds = row['steady']['median']
    return {
        'us_per_atom_step': 1e6 * seconds / (row['n_atoms'] * row['batch']),
        'structures_per_s': row['batch'] / seconds}


def row_of(rows: Sequence[Mapping[str, Any]]) -> Row:
    """Return the columns of a group from the rows of its cells."""
    first = rows[0]
    bad = [r for r in rows if r['state'] in (FAILED, REFUSED)]
    samples = [list(r.get('samples', [])) for r in rows]
    text = json.dumps([dict(r) for r in rows]).encode()
    names = ('model', 'molecule', 'device', 'quantity', 'batch', 'threads',
             'n_atoms')

    def texts(name: str) -> Any:
        return np.array([r[name].encode() for r in rows])

    def numbers(name: str) -> Any:
        return np.array([r.get(name, np.nan) for r in rows], np.float64)

    return {
        **{name: first[name] for name in names},
        'status': int(Status.FAILED if bad else Status.CONVERGED),
        'reason': bad[0]['state'] if bad else '',
        'message': f'{bad[0]["way"]}: {bad[0]["reason"]}'[:150]
        if bad else '',
        **{name: texts(name) for name in (
            'way', 'dtype', 'neighbours', 'state')},
        **{name: numbers(name) for name in ('build_s', 'first_s', 'warm_s')},
        'n_samples': np.array([len(s) for s in samples], np.int32),
        'sample_s': np.array([x for s in samples for x in s], np.float64),
        'rows_json': np.frombuffer(text, np.uint8).copy(),
    }


def rows_from(blob: Any) -> list[dict[str, Any]]:
    """Return the rows of a group from its column of JSON."""
    if not len(blob):
        return []
    rows: list[dict[str, Any]] = json.loads(np.asarray(
        blob, np.uint8).tobytes())
    return rows


def pending_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return rows of cells that were not reached."""
    return [{**asdict(c), 'state': 'pending', 'reason': 'not reached'}
            for c in cells]
