"""What a run would do and how long it would take; computes one point."""
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.checks import symbols
from mpiapp.parallel.progress import clock
from mpiapp.partition import CostModel, longest_first, makespan
from mpiapp.records import (
    Batch, InputError, Ints, Rejection, Row, Status, Structure
)
from mpiapp.store.molecules import groups_of, members_of
from mpiapp.workers.relax import RelaxWorker

#: columns that tell molecules apart
IDENTIFYING = ('name', 'file_number', 'record', 'mseq', 'charge', 'n_atoms',
               'cip', 'status')
#: what a record lacks that was refused early
BARE: Row = {'cip': '', 'n_atoms': 0, 'status': Status.CONVERGED,
             'bonds': np.empty((0, 2), np.int64)}
#: records that are read for the preview, spread over the window
MOST_READ = 500
#: input files that are listed
MOST_FILES = 8
#: timed evaluations; the first ones load code and are not counted
PROBES = 3


class Plan(Protocol):
    """What the preview looks at of an `engine.Plan`."""

    @property
    def result(self) -> Path:
        """Path of the result file."""

    @property
    def n_atoms(self) -> NDArray[np.int32]:
        """Atoms [n_records], 0 where unknown."""

    @property
    def cost_model(self) -> CostModel:
        """The model that predicts the seconds of a record."""

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Which records are in the window."""

    @property
    def inputs(self) -> Sequence[Mapping[str, Any]]:
        """The input files: path, sha256, n_records."""


@dataclass
class Seen:
    """What the records that were read hold."""

    n_read: int = 0
    structures: list[Structure] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    charges: Counter[int] = field(default_factory=Counter)
    rows: list[Row] = field(default_factory=list)


def look(plan: Plan, worker: RelaxWorker) -> Seen:
    """Read and check records of the window, evenly spread."""
    rows = np.flatnonzero(plan.wanted)
    if len(rows) > MOST_READ:
        at = np.linspace(0, len(rows) - 1, MOST_READ).astype(int)
        rows = rows[at]
    seen = Seen(len(rows))
    for number in rows.tolist():
        row: Row = {}
        try:
            job = worker.prepare(number, row, 0.0)
        except Rejection as error:
            seen.refused[error.reason] += 1
            seen.messages.setdefault(
                error.reason, f'row {number}: {error.message}')
        else:
            seen.structures.append(job.structure)
        if 'input_charge' in row:
            seen.charges[row['input_charge']] += 1
            seen.rows.append({**BARE, **row})
    return seen


def molecules(
    rows: Sequence[Row], inputs: Sequence[Mapping[str, Any]], group_by: str,
) -> list[tuple[str, int]]:
    """Return name and number of records of each molecule, largest first."""
    import pandas
    table = pandas.DataFrame(
        [{name: row[name] for name in IDENTIFYING} for row in rows])

    def read(name: str, of: Ints) -> list[NDArray[Any]]:
        return [rows[i][name] for i in of.tolist()]
    found = [(str(rows[one.rows[0]]['name']), len(one.rows))
             for group in groups_of(table, inputs, group_by)
             for one in members_of(table, group, read)]
    return sorted(found, key=lambda item: -item[1])


def evaluation_seconds(worker: RelaxWorker, structure: Structure) -> float:
    """Time one evaluation of a structure; the median after a first one."""
    batch = Batch.join([(structure.numbers, structure.positions,
                         structure.charge, structure.unpaired)])
    times = []
    for _ in range(PROBES + 1):
        began = time.perf_counter()
        worker.potential.evaluate(batch)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def predict(
    plan: Plan, worker: RelaxWorker, seen: Seen, n_ranks: int,
) -> tuple[str, str]:
    """Return the line of the timed evaluation and that of the whole run."""
    by_size = sorted(seen.structures, key=lambda s: len(s.numbers))
    middle = by_size[len(by_size) // 2]
    seconds = evaluation_seconds(worker, middle)
    n = len(middle.numbers)
    max_steps = worker.settings.max_steps
    model = plan.cost_model
    scaled = model.refit(np.array([n]), np.array(
        [seconds * (1 + min(model.steps * n**model.steps_power,
                            max_steps))]))
    rows = np.flatnonzero(plan.wanted)
    costs = scaled.predict(plan.n_atoms[rows])
    share = len(seen.structures) / seen.n_read
    wall = makespan(costs, n_ranks, longest_first(costs, rows)) * share
    return (f'{1e3 * seconds:.3g} ms for {n} atoms',
            f'{clock(wall)} on {n_ranks} rank(s) (evaluations timed, number '
            'of steps estimated)')


def counted(counts: Sequence[tuple[str | int, int]], most: int = 6) -> str:
    """Write counts as '3 x a, 1 x b'."""
    parts = [f'{n} x {key}' for key, n in counts[:most]]
    rest = len(counts) - most
    return ', '.join(parts) + (f', {rest} more' if rest > 0 else '')


def refusals(seen: Seen) -> list[str]:
    """Return the first message of each reason to refuse a record."""
    return [f'  {reason:20s} {seen.refused[reason]} x, {message}'
            for reason, message in seen.messages.items()]


def elements(structures: list[Structure]) -> str:
    """List the elements that occur, by atomic number."""
    found = {int(z) for s in structures for z in np.unique(s.numbers)}
    return symbols(found) or 'none'


def preview(
    plan: Plan, worker: RelaxWorker, n_ranks: int,
    stages: Sequence[str] = (), group_by: str = 'name',
) -> str:
    """Return the plan of a run as text, one fact a line.

    `stages` are those of the refinement, which are not predicted; `group_by`
    says what is one molecule.

    Raises:
        InputError: none of the records that were read can be relaxed.
    """
    seen = look(plan, worker)
    if not seen.structures:
        raise InputError(
            f'none of {seen.n_read} records can be relaxed\n' + '\n'.join(
                refusals(seen)))
    found = molecules(seen.rows, plan.inputs, group_by)
    probe, wall = predict(plan, worker, seen, n_ranks)
    sizes = plan.n_atoms[plan.wanted & (plan.n_atoms > 0)]
    span = f'{sizes.min()}-{sizes.max()} atoms' if len(sizes) else 'empty'
    lines = [
        f'input        {i["path"]}: {i["n_records"]} records, sha256 '
        f'{i["sha256"][:12]}' for i in plan.inputs[:MOST_FILES]]
    if len(plan.inputs) > MOST_FILES:
        lines.append(f'             and {len(plan.inputs) - MOST_FILES} '
                     'files more')
    lines += [
        f'window       {int(plan.wanted.sum())} of {len(plan.wanted)} records,'
        f' {span}',
        f'read         {seen.n_read} records: {len(seen.structures)} can be '
        'relaxed' + (f', refused: {counted(seen.refused.most_common())}'
                     if seen.refused else ''),
        *refusals(seen),
        f'molecules    {len(found)}: {counted(found)}',
        f'charges      {counted(seen.charges.most_common())}',
        f'elements     {elements(seen.structures)}',
        f'CIP patterns {len({row["cip"] for row in seen.rows})}',
        f'potential    {worker.potential.name}, {worker.potential.dtype}, '
        f'back end {worker.potential.describe()["backend"]}',
        f'evaluation   {probe}',
        f'predicted    {wall}',
        *(f'stage        {stage}' for stage in stages),
        f'result       {plan.result}',
        'dry run: nothing was computed or written',
    ]
    return '\n'.join(lines)
