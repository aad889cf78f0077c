"""`validate`: methods against the references of aromatic dimers."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mpiapp.chemistry.dimer_forms import Row, distance_error
from mpiapp.chemistry.dimer_gate import Gate, judge, overall
from mpiapp.chemistry.dimer_names import ORIGINAL, SINGLE_POINT
from mpiapp.reporting.blocks import CYCLE, Block, Field, Heat, Scatter, Table
from mpiapp.reporting.stacking import (
    binding_errors, by_method, interaction_errors, mean_size, n_failed,
    n_items, slip_errors, vertical_errors
)
from mpiapp.reporting.stacking_plot import EDGE
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Methods against references'
PROGRAMS = ('validate',)


def blocks(subject: Subject) -> list[Block]:
    """Return errors by method, by dimer, energies, and the gate."""
    rows = [{str(k): v for k, v in line.items()}
            for line in subject.table.to_dict('records')]
    methods = by_method(rows)
    found: list[Block] = [method_table(methods)]
    for block in (distance_map(subject, methods), energies(methods)):
        if block is not None:
            found.append(block)
    return [*found, gate_table(methods)]


def method_table(methods: dict[str, list[Row]]) -> Table:
    """Return mean absolute errors and the verdict of each method."""
    every = list(methods.values())

    def mean(errors: Any) -> list[float]:
        return [mean_size(errors(rows)) for rows in every]

    return Table('methods', 'Mean absolute errors', [
        Field('method', 'method', [str(r[0]['method']) for r in every]),
        Field('items', 'items', [n_items(r) for r in every], 0),
        Field('failed', 'failed', [n_failed(r, False) for r in every], 0),
        Field('vertical', 'vertical', mean(
            lambda rows: [e for e, _ in vertical_errors(rows)]), 3, 'Å'),
        Field('slip', 'slip', mean(slip_errors), 3, 'Å'),
        Field('binding', 'binding', mean(binding_errors), 3, 'kcal/mol'),
        *(Field(name or 'stacks', name.upper() or 'stacks', mean(
            lambda rows, n=name: interaction_errors(rows, n)), 3,
            'kcal/mol') for name in ('', 's22', 's66', 'nbc10')),
        Field('verdict', 'verdict',
              [overall(judge(r, Gate())) for r in every], brief=2)],
        'Verdicts by the default gate; vertical, slip and binding where the '
        'structure is that of the reference.', terminal=20)


def distance_map(
    subject: Subject, methods: dict[str, list[Row]],
) -> Heat | None:
    """Return the largest distance error of each method and dimer."""
    cells: dict[tuple[str, str], float] = {}
    for potential, rows in methods.items():
        name = subject.methods[potential]
        for row in rows:
            error = distance_error(row) if row['start'] not in (
                ORIGINAL, SINGLE_POINT) else math.nan
            key = str(row['benchmark']), name
            if math.isfinite(error) and abs(error) >= cells.get(key, -1.0):
                cells[key] = abs(error)
    if not cells:
        return None
    dimers = list(dict.fromkeys(d for d, _ in cells))
    used = list(dict.fromkeys(m for _, m in cells))
    return Heat(
        'distance_errors', 'Largest error of the distance', dimers, used,
        [[cells.get((d, m), math.nan) for m in used] for d in dimers],
        'Å', EDGE, 2, caption='Over all starts that end in a structure of '
        'the reference\'s kind; empty: none does.')


def energies(methods: dict[str, list[Row]]) -> Scatter | None:
    """Return computed interaction energies over the references."""
    x: list[float] = []
    y: list[float] = []
    kinds: list[int] = []
    groups: list[str] = []
    legend: Sequence[tuple[str, str]] = [
        (str(rows[0]['method']), CYCLE[i % len(CYCLE)])
        for i, rows in enumerate(methods.values())]
    for kind, rows in enumerate(methods.values()):
        for row in rows:
            if row['start'] == SINGLE_POINT \
                    and math.isfinite(row['ref_energy_kcal']) \
                    and math.isfinite(row['interaction_kcal']):
                x.append(row['ref_energy_kcal'])
                y.append(row['interaction_kcal'])
                kinds.append(kind)
                groups.append(str(row['data_set']) or 'named dimers')
    if not x:
        return None
    return Scatter(
        'interaction', 'Interaction energies at fixed geometries',
        'CCSD(T)/CBS, kcal/mol', 'method, kcal/mol', x, y, kinds, legend,
        groups, diagonal=True)


def gate_table(methods: dict[str, list[Row]]) -> Table:
    """Return every criterion of the gate."""
    lines = [(str(rows[0]['method']), j) for rows in methods.values()
             for j in judge(rows, Gate())]
    return Table('gate', 'Gate', [
        Field('method', 'method', [m for m, _ in lines]),
        Field('verdict', 'verdict', [j.verdict for _, j in lines]),
        Field('criterion', 'criterion', [j.criterion for _, j in lines]),
        Field('text', 'found', [j.text for _, j in lines])])
