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

from mpiapp.chemistry.charge import apply_policy
from mpiapp.chemistry.checks import check_elements, check_structure
from mpiapp.chemistry.geometry import centred, superposed_rmsd
from mpiapp.chemistry.molecules import MoleculeTable, default_name, mseq_of
from mpiapp.chemistry.topology import (
    Stereo, bonds_changed, stereo_changed, stereo_labels
)
from mpiapp.optimize.driver import Limits, Paused, Relaxed, Rough, Task, relax
from mpiapp.optimize.registry import optimizer as make_optimizer
from mpiapp.optimize.running import begin as resume
from mpiapp.potentials.base import Potential
from mpiapp.records import (
    Batch, Finished, Floats, Item, Rejection, Row, Status, Stream, Structure,
    Suspended
)
from mpiapp.structures import Collection

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

    `rough_fmax` [eV/A] ends the first stage where there are two.
    """

    optimizer: str = 'internal'
    fmax: float = 0.005
    max_steps: int = 500
    record_timeout: float | None = None
    charge_policy: str = 'refuse'
    allow_mismatch: bool = False
    slots: int = 1
    rough_fmax: float = 0.02


@dataclass
class Job:
    """One record under way: the structure to relax and its row so far."""

    structure: Structure
    row: Row
    stereo: Stereo | None
    began: float


class RelaxWorker:
    """The worker of `reopt`; call it with the stream of this rank.

    `collection` holds the input, `table` names molecules where one was
    given, `stems` [n_files] are the file names that stand in elsewhere.
    With a `rough` potential relaxations have two stages, of which it is the
    first.
    """

    def __init__(
        self, settings: RelaxSettings, collection: Collection,
        potential: Potential, table: MoleculeTable | None,
        stems: Sequence[str], rough: Potential | None = None,
    ) -> None:
        self.settings = settings
        self.collection = collection
        self.potential = potential
        self.table = table
        self.stems = stems
        self.rough = rough
        self.optimizer = make_optimizer(settings.optimizer)
        self.jobs: dict[int, Job] = {}
        self.ready: list[Finished] = []

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each record, `Suspended` at a stop."""
        s = self.settings
        limits = Limits(s.fmax, s.max_steps, s.record_timeout)
        rough = None if self.rough is None else Rough(
            self.rough.evaluate, s.rough_fmax)
        while True:
            ends = relax(
                lambda n: self.take(stream, n), self.potential.evaluate,
                self.optimizer, limits, s.slots, stream.stopping,
                rough=rough)
            for end in ends:
                yield from self.hand_over()
                yield self.close(end)
            yield from self.hand_over()
            if stream.dry or stream.stopping():
                return

    def hand_over(self) -> Iterator[Finished]:
        """Yield the rows that needed no relaxation."""
        while self.ready:
            yield self.ready.pop(0)

    def take(self, stream: Stream, n: int) -> list[Task]:
        """Return up to n tasks; records that can't be relaxed are ready."""
        tasks: list[Task] = []
        nothing_runs = n == self.settings.slots
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
        s = self.settings
        file_number, record = self.collection.locate(number)
        row.update(file_number=file_number, record=record,
                   name=f'{self.stems[file_number]}_{record}')
        structure = self.collection.load(number)
        row.update(read_tags(structure))
        row.update(input_charge=structure.charge, charge=structure.charge,
                   name=default_name(structure, self.stems[file_number]))
        row.update(start_geometry(structure))
        if self.table is not None:
            match = self.table.match(structure, s.allow_mismatch)
            row.update(name=match.name, r_group=match.r_group,
                       screen_group=match.screen_group, match=match.match)
        check_structure(structure)
        prepared = apply_policy(structure, s.charge_policy,
                                self.potential.accepts_charge)
        structure = prepared.structure
        check_elements(structure, self.potential.elements,
                       self.potential.name)
        structure = replace(structure,
                            positions=centred(structure.positions))
        row.update(start_geometry(structure))
        row.update(charge=structure.charge,
                   charge_ignored=int(prepared.charge_ignored),
                   n_added_hydrogens=prepared.n_added_hydrogens)
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
            steps=end.steps, fmax_final=end.fmax, seconds=end.seconds,
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


def start_geometry(structure: Structure) -> Row:
    """Return the geometry columns of a structure before relaxation."""
    positions = structure.positions
    return {
        'n_atoms': len(structure.numbers),
        'numbers': np.asarray(structure.numbers, np.int32),
        'x_start': positions,
        'x_final': np.full_like(positions, np.nan),
    }


def read_tags(structure: Structure) -> Row:
    """Return what the file's tags say: mseq and the energy in kcal/mol."""
    try:
        energy = float(structure.tags.get('E', 'nan'))
    except ValueError:
        energy = np.nan
    return {'mseq': mseq_of(structure), 'moe_energy_kcal': energy}
