"""The in-flight driver: all running molecules are evaluated together.

Ended ones leave after each round and waiting ones take their places.  What
happens to a molecule does not depend on which others run beside it, as far as
the potential's numbers do not.

With a rough potential there are two stages: it relaxes a molecule to a force
of its own, and the fine one goes on from there with the same optimiser state.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpiapp.optimize.base import Optimizer, step_all
from mpiapp.optimize.evaluation import Answer, Evaluate, evaluate_all
from mpiapp.optimize.running import (
    FINE, HANDED_OVER, ROUGH, Running, accept, begin, ended, pack, verdict
)
from mpiapp.optimize.tasks import NAN, Limits, Paused, Relaxed, Task

__all__ = ['Limits', 'Paused', 'Relaxed', 'Rough', 'Task', 'relax']

Clock = Callable[[], float]


@dataclass(frozen=True, eq=False)
class Rough:
    """A fast potential, good until the largest force is `fmax` [eV/A]."""

    evaluate: Evaluate
    fmax: float


def relax(
    take: Callable[[int], Sequence[Task]],
    evaluate: Evaluate,
    optimizer: Optimizer[Any],
    limits: Limits,
    slots: int,
    stopping: Callable[[], bool],
    clock: Clock = time.perf_counter,
    rough: Rough | None = None,
) -> Iterator[Relaxed | Paused]:
    """Relax what `take` gives, at most `slots` molecules at a time.

    `take(n)` returns up to n tasks and is asked in every round that has
    room; the end is when it returns none and nothing runs.  Once
    `stopping()` is true nothing more is taken or evaluated and every running
    molecule is yielded as `Paused`.  Both are called once a round, and the
    time between a yield and the next request counts for nothing.  With
    `rough` every molecule is relaxed by that first.
    """
    if slots < 1:
        raise ValueError(f'slots must be at least 1, found {slots}')
    running: list[Running] = []
    max_atoms: int | None = None
    while not stopping():
        if len(running) < slots:
            tasks = take(slots - len(running))
            stage = FINE if rough is None else ROUGH
            running += [begin(task, optimizer, stage) for task in tasks]
        if not running:
            return
        rest, running, max_atoms = rough_round(
            rough, running, limits, max_atoms, clock)
        ends, others, max_atoms = evaluate_round(
            evaluate, running, limits, max_atoms, clock)
        running = rest + others
        yield from ends
        ends, running = step_round(optimizer, running, clock)
        yield from ends
    for molecule in running:
        yield Paused(molecule.task.key, pack(molecule, optimizer))


def rough_round(
    rough: Rough | None, running: list[Running], limits: Limits,
    max_atoms: int | None, clock: Clock,
) -> tuple[list[Running], list[Running], int | None]:
    """Evaluate those in the rough stage; return those that stay in it.

    Returns also those for the fine potential, and `max_atoms`.  Whatever
    ends the rough stage, a failure too, the fine one has the last word.
    """
    if rough is None:  # a state may be of a run that had one
        return [], [replace(m, stage=FINE) for m in running], max_atoms
    first = [m for m in running if m.stage == ROUGH]
    fine = [m for m in running if m.stage != ROUGH]
    answered, max_atoms = evaluated(rough.evaluate, first, max_atoms, clock)
    limits = replace(limits, fmax=rough.fmax)
    stay = []
    for molecule, answer in answered:
        if verdict(molecule, answer, limits)[0]:
            fine.append(replace(molecule, stage=HANDED_OVER))
        else:
            stay.append(molecule)
    return stay, fine, max_atoms


def evaluate_round(
    evaluate: Evaluate, running: list[Running], limits: Limits,
    max_atoms: int | None, clock: Clock,
) -> tuple[list[Relaxed], list[Running], int | None]:
    """Evaluate all; return the ended, the others and the new `max_atoms`."""
    answered, max_atoms = evaluated(evaluate, running, max_atoms, clock)
    ends: list[Relaxed] = []
    others: list[Running] = []
    for molecule, answer in answered:
        outcome, message = verdict(molecule, answer, limits)
        if outcome:
            ends.append(ended(molecule, outcome, message))
        else:
            others.append(molecule)
    return ends, others, max_atoms


def evaluated(
    evaluate: Evaluate, running: list[Running], max_atoms: int | None,
    clock: Clock,
) -> tuple[list[tuple[Running, Answer]], int | None]:
    """Return each molecule with its answer, and the new `max_atoms`."""
    if not running:
        return [], max_atoms
    began = clock()
    answers, max_atoms = evaluate_all(
        evaluate,
        [(m.task.numbers, m.positions, m.task.charge, m.task.unpaired)
         for m in running],
        max_atoms,
    )
    accepted = charge(
        [accept(m, a) for m, a in zip(running, answers, strict=True)],
        clock() - began,
    )
    return list(zip(accepted, answers, strict=True)), max_atoms


def step_round(
    optimizer: Optimizer[Any], running: list[Running], clock: Clock,
) -> tuple[list[Relaxed], list[Running]]:
    """Step all; return those that stepped to nowhere, ended, and the rest."""
    began = clock()
    moves = step_all(
        optimizer,
        [m.state for m in running],
        [m.positions for m in running],
        [m.point.energy - m.offset for m in running],
        [m.point.forces for m in running],
    )
    stepped = charge(
        [replace(m, state=state, positions=positions, steps=m.steps + 1)
         for m, (state, positions) in zip(running, moves, strict=True)],
        clock() - began,
    )
    sound = [bool(np.isfinite(m.positions).all()) for m in stepped]
    ends = [ended(m, NAN, 'the optimiser step is not finite')
            for m, ok in zip(stepped, sound, strict=True) if not ok]
    return ends, [m for m, ok in zip(stepped, sound, strict=True) if ok]


def charge(molecules: list[Running], seconds: float) -> list[Running]:
    """Add to each molecule its share, by atoms, of the seconds."""
    n_atoms = sum(m.n_atoms for m in molecules)
    return [replace(m, seconds=m.seconds + seconds * m.n_atoms / n_atoms)
            for m in molecules]
