"""A molecule in the middle of its relaxation, and its state as bytes."""
from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mpiapp.optimize.base import Arrays, Optimizer
from mpiapp.optimize.convergence import (
    converged, fault, largest_force, radius_of_gyration
)
from mpiapp.optimize.evaluation import Answer
from mpiapp.optimize.tasks import (
    CALCULATOR_ERROR, CONVERGED, OUTCOMES, STEP_LIMIT, TIME_LIMIT, Limits,
    Relaxed, Task
)
from mpiapp.records import Floats

#: which potential evaluates next: the rough one, the fine one to measure the
#: rough one where it ended, the fine one
ROUGH, HANDED_OVER, FINE = 2, 1, 0
#: version of the bytes of `pack`
FORMAT = 3


@dataclass(frozen=True, eq=False)
class Point:
    """A geometry [n_atoms, 3] A with energy [eV] and forces [eV/A]."""

    positions: Floats
    energy: float
    e_model_minus_e0: float
    forces: Floats


@dataclass(frozen=True, eq=False)
class Running:
    """A molecule between two evaluations.

    `positions` [n_atoms, 3] A are to be evaluated next; `point` is the last
    geometry whose energy and forces were finite, NaN before there is one,
    `best` the one of lowest energy (since the stage changed).  `offset` [eV]
    is the fine energy less the rough one where the stage changed: the
    optimiser sees no step there.
    """

    task: Task
    positions: Floats
    state: Any
    point: Point
    best: Point
    start_radius: float
    e_start: float = np.nan
    steps: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    stage: int = FINE
    rough_evaluations: int = 0
    offset: float = 0.0
    force_error: float = np.nan

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.positions)


def begin(
    task: Task, optimizer: Optimizer[Any], stage: int = FINE,
) -> Running:
    """Return a new or resumed molecule; ValueError for a foreign state.

    A new one begins with `stage`.
    """
    if task.state:
        return unpack(task, optimizer)
    positions = np.array(task.positions, np.float64).reshape(-1, 3)
    nothing = Point(positions, np.nan, np.nan, np.full_like(positions, np.nan))
    state = optimizer.init(positions, task.numbers)
    return Running(task, positions, state, nothing, nothing,
                   radius_of_gyration(positions), stage=stage)


def accept(molecule: Running, answer: Answer) -> Running:
    """Return the molecule with the evaluation of its positions."""
    first = molecule.evaluations == 0
    rough = int(molecule.stage == ROUGH)
    molecule = replace(
        molecule, evaluations=molecule.evaluations + 1,
        rough_evaluations=molecule.rough_evaluations + rough)
    if molecule.stage == HANDED_OVER:
        molecule = compared(molecule, answer)
    if not (np.isfinite(answer.energy) and np.isfinite(answer.forces).all()):
        return molecule
    point = Point(molecule.positions, answer.energy,
                  answer.e_model_minus_e0, answer.forces)
    e_start = answer.energy if first else molecule.e_start
    # NaN, before the first, is not below anything
    higher = point.energy > molecule.best.energy
    return replace(molecule, point=point, e_start=e_start,
                   best=molecule.best if higher else point)


def compared(molecule: Running, answer: Answer) -> Running:
    """Return the molecule with the error of the rough potential."""
    rough, best = molecule.point, replace(molecule.best, energy=np.nan)
    molecule = replace(molecule, stage=FINE, best=best)
    # where the rough potential failed there is nothing to compare
    if rough.positions is not molecule.positions:
        return molecule
    if not np.isfinite(rough.energy + answer.energy):
        return molecule
    return replace(molecule, offset=answer.energy - rough.energy,
                   force_error=largest_force(rough.forces - answer.forces))


def verdict(
    molecule: Running, answer: Answer, limits: Limits,
) -> tuple[str, str]:
    """Return (outcome, message) of an accepted evaluation; ''s: go on."""
    if answer.reason in OUTCOMES:
        return answer.reason, answer.message
    if answer.reason:
        return CALCULATOR_ERROR, f'{answer.reason}: {answer.message}'
    word, message = fault(molecule.positions, answer.energy, answer.forces,
                          molecule.start_radius)
    if word:
        return word, message
    if converged(answer.forces, limits.fmax):
        return CONVERGED, ''
    if molecule.steps >= limits.max_steps:
        return STEP_LIMIT, f'not converged after {molecule.steps} steps'
    timeout = limits.record_timeout
    if timeout is not None and molecule.seconds >= timeout:
        return TIME_LIMIT, f'not converged after {molecule.seconds:.1f} s'
    return '', ''


def ended(molecule: Running, outcome: str, message: str) -> Relaxed:
    """Return the result of a molecule that goes on no more.

    A limit may fall on a trial step uphill, which would have been taken
    back: what counts then is the lowest geometry.
    """
    limited = outcome in (STEP_LIMIT, TIME_LIMIT)
    point = molecule.best if limited else molecule.point
    remark = getattr(molecule.state, 'remark', '')
    measured = bool(np.isfinite(molecule.force_error))
    return Relaxed(
        key=molecule.task.key,
        outcome=outcome,
        message='; '.join(filter(None, [message, remark])),
        e_start=molecule.e_start,
        e_final=point.energy,
        e_model_minus_e0=point.e_model_minus_e0,
        positions=point.positions,
        fmax=largest_force(point.forces),
        steps=molecule.steps,
        evaluations=molecule.evaluations,
        seconds=molecule.seconds,
        atom_steps=molecule.n_atoms * molecule.evaluations,
        rough_evaluations=molecule.rough_evaluations,
        rough_energy_error=-molecule.offset if measured else np.nan,
        rough_force_error=molecule.force_error,
    )


def pack(molecule: Running, optimizer: Optimizer[Any]) -> bytes:
    """Return all but the task, exact to the bit, as an npz file."""
    arrays: dict[str, Any] = {
        'format': np.array(FORMAT),
        'optimizer': np.array(optimizer.name),
        'positions': molecule.positions,
        'counts': np.array([molecule.steps, molecule.evaluations,
                            molecule.stage, molecule.rough_evaluations]),
        'values': np.array([molecule.start_radius, molecule.e_start,
                            molecule.seconds, molecule.offset,
                            molecule.force_error]),
        'point_positions': molecule.point.positions,
        'point_forces': molecule.point.forces,
        'point_values': np.array([molecule.point.energy,
                                  molecule.point.e_model_minus_e0]),
        'best_positions': molecule.best.positions,
        'best_forces': molecule.best.forces,
        'best_values': np.array([molecule.best.energy,
                                 molecule.best.e_model_minus_e0]),
    }
    state = optimizer.dump(molecule.state)
    arrays.update({f'state_{key}': value for key, value in state.items()})
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(task: Task, optimizer: Optimizer[Any]) -> Running:
    """Return the molecule that `pack` made `task.state` from."""
    arrays = read(task)
    check(task, arrays, optimizer)
    start_radius, e_start, seconds, *errors = arrays['values'].tolist()
    steps, evaluations, *stage = arrays['counts'].tolist()
    state = optimizer.load({
        key.removeprefix('state_'): value for key, value in arrays.items()
        if key.startswith('state_')
    })
    return Running(task, arrays['positions'], state,
                   point_of(arrays, 'point'), point_of(arrays, 'best'),
                   start_radius, e_start, steps, evaluations, seconds,
                   *stage, *errors)


def point_of(arrays: Arrays, name: str) -> Point:
    """Return the packed geometry of that name."""
    energy, e_model_minus_e0 = arrays[f'{name}_values'].tolist()
    return Point(arrays[f'{name}_positions'], energy, e_model_minus_e0,
                 arrays[f'{name}_forces'])


def read(task: Task) -> Arrays:
    """Return the arrays of `task.state`; ValueError if it is damaged."""
    try:
        with np.load(BytesIO(task.state), allow_pickle=False) as file:
            return dict(file.items())
    except (BadZipFile, ValueError, OSError) as error:
        raise ValueError(
            f'state of molecule {task.key} is damaged: {error}') from error


def check(task: Task, arrays: Arrays, optimizer: Optimizer[Any]) -> None:
    """Raise ValueError if the state is of something else."""
    found = (int(arrays['format']), str(arrays['optimizer']),
             len(arrays['positions']))
    wanted = (FORMAT, optimizer.name, len(task.numbers))
    if found != wanted:
        raise ValueError(
            f'state of molecule {task.key}: (format, optimiser, atoms) is '
            f'{found}, should be {wanted}')
