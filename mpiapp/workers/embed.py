"""Embed conformers: a block of attempts on one molecule becomes a row.

A row is a molecule and a block: row = molecule * blocks a molecule + block.
Every block that is pulled leaves as exactly one row; what is wrong with its
molecule is a status and a reason in the row, never an exception.
"""
from __future__ import annotations

import io
import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mpiapp.chemistry.embedding import (
    OUTCOMES, Attempt, Recipe, Subject, attempt, prepare
)
from mpiapp.chemistry.molecules import TableRow
from mpiapp.records import (
    IDENTITY, RUN, Column, Finished, Item, Rejection, Row, Schema, Status,
    Stream, Suspended, taken
)

log = logging.getLogger('mpiapp')

#: attempts in a block: what a kill may cost, and what a rank pulls
BLOCK = 2
#: molecules whose preparation a rank remembers
MOST_PREPARED = 8


ATTEMPTS = Schema((
    Column('molecule', 'records', 'i4', '1', 'row of the table, from 0'),
    Column('block', 'records', 'i4', '1', 'block of attempts, from 0'),
    *taken(IDENTITY, 'name', 'n_atoms'),
    *taken(RUN, 'status', 'reason', 'message', 'retries', 'seconds', 'rank',
           'finished_at'),
    Column('attempt', 'attempts', 'i4', '1', 'number of the attempt, from 0',
           ragged='trial'),
    Column('isomer', 'attempts', 'i4', '1', 'stereoisomer, from 0',
           ragged='trial'),
    Column('outcome', 'attempts', 'i1', '1', ', '.join(
        f'{i} {word}' for i, word in enumerate(OUTCOMES)), ragged='trial'),
    Column('folded', 'attempts', 'i1', '1', '1: the start was a stack',
           ragged='trial'),
    Column('minimised', 'attempts', 'i1', '1', '1: the minimiser converged',
           ragged='trial'),
    Column('e_conformer', 'attempts', 'f8', 'kcal/mol',
           'force field energy; NaN where nothing was made',
           ragged='trial'),
    Column('x', 'geometry', 'f8', 'angstrom',
           'positions of the conformers that were made, one after the other',
           shape=(3,), ragged='atom'),
))


@dataclass(frozen=True)
class EmbedSettings:
    """What a rank needs to know; `blocks` is their number a molecule."""

    recipe: Recipe
    blocks: int
    record_timeout: float | None = None


class EmbedWorker:
    """The worker of `conformers`; call it with the stream of this rank."""

    def __init__(
        self, settings: EmbedSettings, rows: Sequence[TableRow],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings
        self.rows = rows
        self.clock = clock
        self.prepared: dict[int, Subject] = {}

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each block, `Suspended` at a stop."""
        while items := stream.take(1):
            yield self.work(items[0], stream)

    def work(self, item: Item, stream: Stream) -> Finished | Suspended:
        """Make the conformers of a block."""
        began = self.clock()
        molecule, block = divmod(item.row, self.settings.blocks)
        done = resumed(item)
        row: Row = {'molecule': molecule, 'block': block,
                    'name': self.rows[molecule].name}
        try:
            subject = self.subject(molecule)
            row['n_atoms'] = len(subject.structure.numbers)
            row.update(status=int(Status.CONVERGED))
            for number in range(block * BLOCK + len(done),
                                (block + 1) * BLOCK):
                if stream.stopping():
                    return Suspended(item.row, pack(done))
                if self.late(began):
                    row.update(too_slow(len(done)))
                    break
                done.append(attempt(subject, self.settings.recipe, number))
        except Rejection as error:
            row.update(status=int(Status.REJECTED), reason=error.reason,
                       message=error.message)
        except Exception as error:
            row.update(
                status=int(Status.FAILED), reason='internal_error',
                message=traceback.format_exception_only(error)[-1].strip())
        row.update(columns_of(done))
        seconds = self.clock() - began
        row.update(seconds=seconds)
        return Finished(item.row, row, 0, seconds)

    def late(self, began: float) -> bool:
        """Tell whether a block has had its time."""
        limit = self.settings.record_timeout
        return limit is not None and self.clock() - began > limit

    def subject(self, molecule: int) -> Subject:
        """Return a molecule ready to be embedded, made once.

        Raises:
            Rejection: no conformer can be made of it.
        """
        if molecule not in self.prepared:
            if len(self.prepared) >= MOST_PREPARED:
                del self.prepared[next(iter(self.prepared))]
            self.prepared[molecule] = prepare(
                self.rows[molecule], self.settings.recipe)
        return self.prepared[molecule]


def resumed(item: Item) -> list[Attempt]:
    """Return the attempts of a suspended block; none if they are damaged."""
    try:
        return list(unpack(item.state))
    except (BadZipFile, ValueError, KeyError, OSError) as error:
        log.warning('block %d is made anew: %s', item.row, error)
        return []


def too_slow(n_done: int) -> Row:
    """Return the values of a block that ran out of time."""
    return {'status': int(Status.UNCONVERGED), 'reason': 'time_limit',
            'message': f'{n_done} of {BLOCK} attempts in --record-timeout'}


def columns_of(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Return attempts as the ragged columns of their row."""
    made = [a.positions for a in attempts if a.positions is not None]
    return {
        'attempt': np.array([a.number for a in attempts], np.int32),
        'isomer': np.array([a.isomer for a in attempts], np.int32),
        'outcome': np.array([OUTCOMES.index(a.outcome) for a in attempts],
                            np.int8),
        'folded': np.array([a.folded for a in attempts], np.int8),
        'minimised': np.array([a.converged for a in attempts], np.int8),
        'e_conformer': np.array([a.energy for a in attempts], np.float64),
        'x': np.concatenate(made) if made else np.empty((0, 3)),
    }


def attempts_of(columns: dict[str, Any]) -> list[Attempt]:
    """Return the attempts that `columns_of` made columns of."""
    energies = columns['e_conformer']
    has_x = np.isfinite(energies)
    parts = iter(np.split(columns['x'], max(int(has_x.sum()), 1)))
    return [
        Attempt(int(number), int(isomer), OUTCOMES[outcome], bool(folded),
                bool(minimised), float(energy),
                next(parts) if there else None)
        for number, isomer, outcome, folded, minimised, energy, there in zip(
            columns['attempt'], columns['isomer'], columns['outcome'],
            columns['folded'], columns['minimised'], energies, has_x,
            strict=True)]


def pack(attempts: Sequence[Attempt]) -> bytes:
    """Return the attempts of a block that is put aside, as bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **columns_of(attempts))
    return buffer.getvalue()


def unpack(state: bytes) -> list[Attempt]:
    """Return the attempts that `pack` put aside; none for no state."""
    if not state:
        return []
    with np.load(io.BytesIO(state), allow_pickle=False) as columns:
        return attempts_of(dict(columns))
