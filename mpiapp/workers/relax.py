"""Relax records: read, check, name, relax, judge, and return a row each.

Every record that is pulled leaves as exactly one row; what is wrong with it
is a status and a reason in the row, never an exception.
"""
from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpiapp.chemistry.descriptors import DescriptorSettings, descriptor_columns
from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.chemistry.topology import (
    Stereo, bonds_changed, stereo_changed, stereo_labels
)
from mpiapp.optimize.device.program import relax_on_device
from mpiapp.optimize.driver import Limits, Paused, Relaxed, Rough, Task, relax
from mpiapp.optimize.evaluation import Evaluate
from mpiapp.optimize.internal import Internal
from mpiapp.optimize.registry import optimizer as make_optimizer
from mpiapp.optimize.running import begin as resume
from mpiapp.potentials.base import Potential
from mpiapp.records import (
    Batch, Evaluation, Finished, Floats, Item, Rejection, Row, Status, Stream,
    Structure, Suspended
)
from mpiapp.workers import device
from mpiapp.workers.reading import Records

log = logging.getLogger('mpiapp')

#: how a driver's outcome is written down
STATUS_OF = {
    'converged': Status.CONVERGED,
    'step_limit': Status.UNCONVERGED,
    'time_limit': Status.UNCONVERGED,
    'calculator_error': Status.FAILED,
    'out_of_memory': Status.FAILED,
    'nan': Status.FAILED,
    'exploded': Status.BROKEN,
}
#: rejected records that are handed on together at the most
MOST_AT_ONCE = 64


@dataclass(frozen=True)
class RelaxSettings:
    """What decides the result of a relaxation besides the potential.

    `rough_fmax` [eV/A] ends the first stage where there are two; a
    `single_point` is a relaxation that ends where it starts.  `slots` are
    the molecules relaxed together by the host; `on_device` they are
    `molecules` or, None, what the memory holds of a device that `sharing`
    ranks share.
    """

    optimizer: str = 'internal'
    fmax: float = 0.005
    max_steps: int = 500
    record_timeout: float | None = None
    slots: int = 1
    rough_fmax: float = 0.02
    single_point: bool = False
    on_device: bool = False
    molecules: int | None = None
    sharing: int = 1
    descriptors: DescriptorSettings = DescriptorSettings()


@dataclass
class Job:
    """One record under way: the structure to relax and its row so far."""

    structure: Structure
    row: Row
    stereo: Stereo | None
    began: float


class RelaxWorker:
    """The worker of `reopt`; call it with the stream of this rank.

    With a `rough` potential relaxations have two stages, of which it is the
    first.  A device program is proved on the structures of `sample`.
    """

    def __init__(
        self, settings: RelaxSettings, records: Records,
        potential: Potential, rough: Potential | None = None,
        sample: Sequence[Structure] = (),
    ) -> None:
        self.settings = settings
        self.records = records
        self.potential = potential
        self.evaluate = energies_alone(potential) \
            if settings.single_point else potential.evaluate
        self.rough = rough
        self.optimizer = make_optimizer(settings.optimizer)
        self.program = device.program_for(
            potential, sample, settings.molecules, settings.sharing
        ) if settings.on_device else None
        self.jobs: dict[int, Job] = {}
        self.ready: list[Finished] = []

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each record, `Suspended` at a stop."""
        while True:
            for end in self.relaxations(stream):
                yield from self.hand_over()
                yield self.close(end)
            yield from self.hand_over()
            if stream.dry or stream.stopping():
                return

    def relaxations(self, stream: Stream) -> Iterator[Relaxed | Paused]:
        """Relax by the host or by the device program."""
        s = self.settings
        limits = Limits(s.fmax, s.max_steps, s.record_timeout)
        if self.program is not None:
            assert isinstance(self.optimizer, Internal)
            return relax_on_device(
                lambda n, nothing_runs: self.take(stream, n, nothing_runs),
                self.program.craft(limits, self.optimizer), stream.stopping)
        rough = None if self.rough is None else Rough(
            self.rough.evaluate, s.rough_fmax)
        return relax(
            lambda n: self.take(stream, n, n == s.slots), self.evaluate,
            self.optimizer, limits, s.slots, stream.stopping, rough=rough)

    def device_program(self) -> dict[str, str]:
        """Return what is stored about the device program."""
        return {} if self.program is None else self.program.notes

    def hand_over(self) -> Iterator[Finished]:
        """Yield the rows that needed no relaxation."""
        while self.ready:
            yield self.ready.pop(0)

    def take(
        self, stream: Stream, n: int, nothing_runs: bool,
    ) -> list[Task]:
        """Return up to n tasks; records that can't be relaxed are ready."""
        tasks: list[Task] = []
        while len(tasks) < n and len(self.ready) < MOST_AT_ONCE:
            items = stream.take(n - len(tasks), nothing_runs and not tasks)
            if not items:
                break
            for item in items:
                tasks += self.begin(item)
        return tasks

    def begin(self, item: Item) -> list[Task]:
        """Prepare a record; a list of one task, or none with a row ready."""
        began = time.perf_counter()
        row: Row = {}
        try:
            job = self.prepare(item.row, row, began)
        except Rejection as error:
            self.give_up(item.row, row, began, Status.REJECTED,
                         error.reason, error.message)
            return []
        except Exception as error:
            text = traceback.format_exception_only(error)[-1].strip()
            self.give_up(item.row, row, began, Status.FAILED,
                         'internal_error', text)
            return []
        self.jobs[item.row] = job
        task = Task(item.row, job.structure.numbers, job.structure.positions,
                    job.structure.charge, job.structure.unpaired, item.state)
        return [self.fit_to_go_on(task)]

    def fit_to_go_on(self, task: Task) -> Task:
        """Return the task, without its state if that is of no use."""
        if task.state:
            try:
                resume(task, self.optimizer)
            except ValueError as error:
                log.warning('row %d is relaxed anew: %s', task.key, error)
                return replace(task, state=b'')
        return task

    def give_up(
        self, number: int, row: Row, began: float, status: Status,
        reason: str, message: str,
    ) -> None:
        """Make the row of a record that was not relaxed."""
        seconds = time.perf_counter() - began
        row.update(status=int(status), reason=reason, message=message,
                   seconds=seconds)
        self.ready.append(Finished(number, row, 0, seconds))

    def prepare(self, number: int, row: Row, began: float) -> Job:
        """Read and check a record; `row` is filled as far as it comes.

        Raises:
            Rejection: the record is not to be relaxed.
        """
        structure = self.records.read(number, row, self.potential)
        stereo = None
        if self.potential.topology_guards:
            stereo = stereo_labels(structure, structure.positions)
            row.update(cip=stereo.cip)
        return Job(structure, row, stereo, began)

    def close(self, end: Relaxed | Paused) -> Finished | Suspended:
        """Turn an ended or stopped relaxation into what the engine takes."""
        job = self.jobs.pop(end.key)
        if isinstance(end, Paused):
            return Suspended(end.key, end.state)
        row = job.row
        row.update(
            status=int(STATUS_OF[end.outcome]), message=end.message,
            reason='' if end.outcome == 'converged' else end.outcome,
            steps=end.steps, seconds=end.seconds,
            fmax_final=np.nan if self.settings.single_point else end.fmax,
            e_start=end.e_start, e_total=end.e_final,
            e_model_minus_e0=end.e_model_minus_e0,
            evaluations_float32=end.rough_evaluations,
            float32_energy_error=end.rough_energy_error,
            float32_force_error=end.rough_force_error)
        if STATUS_OF[end.outcome] != Status.FAILED:
            try:
                self.judge(job, end)
            except Exception as error:
                row.update(
                    status=int(Status.FAILED), reason='internal_error',
                    message=traceback.format_exception_only(
                        error)[-1].strip())
        row.update(self.describe(job, end.positions))
        return Finished(end.key, row, end.atom_steps, end.seconds)

    def judge(self, job: Job, end: Relaxed) -> None:
        """Add the final geometry, float64 energies and the last guards."""
        start = job.structure.positions
        job.row.update(
            x_final=end.positions,
            rmsd_start_final=superposed_rmsd(start, end.positions))
        if self.potential.finisher is not None:
            job.row.update(self.finish(job.structure, end.positions))
        elif end.rough_evaluations:
            job.row.update(self.start_energy(job.structure))
        if job.row['status'] == Status.FAILED:
            return
        if job.stereo is None or end.outcome == 'exploded':
            return
        fault = bonds_changed(job.structure.numbers, start, end.positions)
        reason = 'bonds_changed'
        if not fault:
            now = stereo_labels(job.structure, end.positions)
            fault = stereo_changed(job.stereo, now)
            reason = 'stereo_changed'
        if fault:
            job.row.update(status=int(Status.BROKEN), reason=reason,
                           message=fault)

    def describe(self, job: Job, positions: Floats) -> Row:
        """Return the descriptors; those of an invalid result stay empty."""
        invalid = job.row['status'] in (Status.FAILED, Status.BROKEN)
        return descriptor_columns(
            job.structure, job.structure.positions,
            None if invalid else positions, self.settings.descriptors)

    def start_energy(self, structure: Structure) -> Row:
        """Evaluate the start, which only the rough potential has seen."""
        found = self.potential.evaluate(single(
            structure, structure.positions))
        return {'e_start': float(found.energies[0])}

    def finish(self, structure: Structure, positions: Floats) -> Row:
        """Evaluate start and final geometry with the float64 model.

        What it cannot evaluate makes the record a failed one.
        """
        assert self.potential.finisher is not None
        energies = [
            self.potential.finisher.evaluate(single(structure, x))
            for x in (structure.positions, positions)]
        for result in energies:
            if result.failures:
                reason, message = result.failures[0]
                return {'status': int(Status.FAILED), 'reason': reason,
                        'message': f'closing float64 energy: {message}'}
        return {
            'e_start': float(energies[0].energies[0]),
            'e_total': float(energies[1].energies[0]),
            'e_model_minus_e0': float(energies[1].e_model_minus_e0[0]),
        }


def single(structure: Structure, positions: Floats) -> Batch:
    """Return a structure at positions [n_atoms, 3] A as a batch of one."""
    return Batch.join([(structure.numbers, positions, structure.charge,
                        structure.unpaired)])


def energies_alone(potential: Potential) -> Evaluate:
    """Return an evaluation whose forces are zero: nothing is to move.

    A potential for which forces are a large part of the cost has a method
    `energies` that leaves them out.
    """
    energies = getattr(potential, 'energies', potential.evaluate)

    def evaluate(batch: Batch) -> Evaluation:
        found = energies(batch)
        return replace(found, forces=np.zeros_like(batch.positions))
    return evaluate
