"""Evaluate molecules together so that none can take others down.

A batch that raises is repeated molecule by molecule, one that runs out of
memory in halves; what remains wrong is the failure of one molecule.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.tasks import CALCULATOR_ERROR, OUT_OF_MEMORY
from mpiapp.records import Batch, Evaluation, Floats

Evaluate = Callable[[Batch], Evaluation]
#: numbers [n_atoms], positions [n_atoms, 3] A, charge e, unpaired electrons
Molecule = tuple[NDArray[np.integer[Any]], Floats, int, int]


@dataclass(frozen=True, eq=False)
class Answer:
    """Energy [eV], forces [n_atoms, 3] eV/A of one molecule, or a reason."""

    energy: float
    forces: Floats
    e_model_minus_e0: float
    reason: str = ''
    message: str = ''


def evaluate_all(
    evaluate: Evaluate, molecules: Sequence[Molecule],
    max_atoms: int | None = None,
) -> tuple[list[Answer], int | None]:
    """Evaluate in batches of at most `max_atoms` atoms (None: one batch).

    Returns the answers in order, and `max_atoms` for the next call: smaller
    if a batch had to be divided to fit into memory.
    """
    answers: list[Answer] = []
    for chunk in chunks(molecules, max_atoms):
        part, fits = evaluate_some(evaluate, chunk)
        # where one molecule alone is too big, dividing the others was vain
        if not any(a.reason == OUT_OF_MEMORY for a in part):
            if fits < size(chunk):
                max_atoms = min(fits, max_atoms or fits)
        answers += part
    return answers, max_atoms


def chunks(
    molecules: Sequence[Molecule], max_atoms: int | None,
) -> Iterator[list[Molecule]]:
    """Cut into runs of at most max_atoms atoms, each of 1 molecule or more."""
    chunk: list[Molecule] = []
    for molecule in molecules:
        full = (max_atoms is not None
                and size(chunk) + len(molecule[0]) > max_atoms)
        if chunk and full:
            yield chunk
            chunk = []
        chunk.append(molecule)
    if chunk:
        yield chunk


def size(molecules: Sequence[Molecule]) -> int:
    """Return the number of atoms."""
    return sum(len(m[0]) for m in molecules)


def evaluate_some(
    evaluate: Evaluate, molecules: Sequence[Molecule],
) -> tuple[list[Answer], int]:
    """Return the answers and the atoms of the largest batch that fitted."""
    answers = attempt(evaluate, molecules)
    if answers is None:
        singly = [evaluate_some(evaluate, [m])[0][0] for m in molecules]
        return singly, size(molecules)
    short = [i for i, a in enumerate(answers) if a.reason == OUT_OF_MEMORY]
    if not short or len(molecules) == 1:
        return answers, size(molecules)
    if len(short) < len(molecules):
        groups = [short]
    else:
        groups = [short[:len(short) // 2], short[len(short) // 2:]]
    largest = 0
    for group in groups:
        part, fits = evaluate_some(evaluate, [molecules[i] for i in group])
        largest = max(largest, fits)
        for i, answer in zip(group, part, strict=True):
            answers[i] = answer
    return answers, largest


def attempt(
    evaluate: Evaluate, molecules: Sequence[Molecule],
) -> list[Answer] | None:
    """Evaluate one batch; None if it raised and may work one by one.

    Nothing is retried in here: the traceback of an exception keeps the
    memory of the failed evaluation until this function has returned.
    """
    batch = Batch.join(molecules)
    try:
        return unpack(batch, evaluate(batch))
    except Exception as error:
        reason = reason_of(error)
        if len(molecules) > 1 and reason != OUT_OF_MEMORY:
            return None
        message = f'{type(error).__name__}: {error}'
        return [failure(len(m[0]), reason, message) for m in molecules]


def reason_of(error: Exception) -> str:
    """Return the reason word of an exception out of a potential."""
    # torch's OutOfMemoryError is told by its name: torch is not loaded here
    short = (isinstance(error, MemoryError)
             or type(error).__name__ == 'OutOfMemoryError')
    return OUT_OF_MEMORY if short else CALCULATOR_ERROR


def unpack(batch: Batch, evaluation: Evaluation) -> list[Answer]:
    """Return the answer of each molecule of the batch."""
    if np.shape(evaluation.forces) != batch.positions.shape:
        raise ValueError(f'forces {np.shape(evaluation.forces)} for positions '
                         f'{batch.positions.shape}')
    return [answer_of(batch, evaluation, i) for i in range(len(batch))]


def answer_of(batch: Batch, evaluation: Evaluation, i: int) -> Answer:
    """Return the answer of molecule i."""
    part = batch.part(i)
    if i in evaluation.failures:
        return failure(part.stop - part.start, *evaluation.failures[i])
    return Answer(
        float(evaluation.energies[i]),
        np.array(evaluation.forces[part], np.float64),
        float(evaluation.e_model_minus_e0[i]),
    )


def failure(n_atoms: int, reason: str, message: str) -> Answer:
    """Return the answer of a molecule that has none."""
    return Answer(np.nan, np.full((n_atoms, 3), np.nan), np.nan,
                  reason, message)
