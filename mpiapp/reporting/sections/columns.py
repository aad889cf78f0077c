"""Every column of any kind of campaign: distributions and counts."""
from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from mpiapp.records import Column
from mpiapp.reporting.blocks import (
    BLUE, Block, Field, Histogram, Series, Table
)
from mpiapp.reporting.sections.convergence import nice_edges
from mpiapp.reporting.subject import Subject

ORDER = 80
TITLE = 'All columns'
PROGRAMS: tuple[str, ...] = ()

#: programs whose columns have sections of their own: table alone
DRAWN = frozenset({'reopt', 'validate', 'hameval', 'tssearch', 'hpo',
                   'bench inference'})
#: figures of one page
MOST_FIGURES = 24
#: programs' shared columns, drawn elsewhere or without meaning as a curve
ELSEWHERE = frozenset({
    'status', 'retries', 'rank', 'steps', 'fmax_final', 'seconds',
    'finished_at', 'evaluations_float32', 'file_number', 'record', 'mseq',
    'rmsd_start_final', 'n_atoms', 'evaluations'})


def blocks(subject: Subject) -> list[Block]:
    """Return a table of all columns, and histograms where none are."""
    columns = [c for c in subject.results.schema.fixed
               if not c.shape and c.name in subject.table.columns]
    found: list[Block] = [overview(subject, columns)]
    if subject.program in DRAWN:
        return found
    for column in columns:
        if len(found) > MOST_FIGURES:
            break
        block = histogram(subject, column)
        if block is not None:
            found.append(block)
    return found


def numbers(subject: Subject, column: Column) -> Any:
    """Return the finite values; integers that mean none are left out."""
    values = subject.values(column.name)
    if np.dtype(column.dtype).kind == 'i':
        values = values[values != column.fill] if column.fill == -1 \
            else values
    return values[np.isfinite(values)]


def is_text(column: Column) -> bool:
    """Tell whether a column holds text."""
    return np.dtype(column.dtype).kind == 'S'


def overview(subject: Subject, columns: list[Column]) -> Table:
    """Describe every column: unit, how many values, spread, meaning."""
    lines = [describe(subject, c) for c in columns]
    names = ('least', '10 %', 'median', '90 %', 'most')
    return Table(
        'columns', 'What is in the file', [
            Field('column', 'column',
                  [f'{c.group}/{c.name}' for c in columns]),
            Field('unit', 'unit', [c.unit for c in columns]),
            Field('values', 'values', [line[0] for line in lines], 0),
            *(Field(name.replace(' %', ''), name,
                    [line[1][i] for line in lines], -1)
              for i, name in enumerate(names)),
            Field('common', 'most common', [line[2] for line in lines]),
            Field('meaning', 'meaning', [c.description for c in columns])],
        lines=12)


def describe(
    subject: Subject, column: Column,
) -> tuple[int, list[float], str]:
    """Return count of values, five percentiles, the most common words."""
    nothing = [float('nan')] * 5
    if is_text(column):
        words = [w for w in subject.words(column.name) if w]
        top = Counter(words).most_common(3)
        return len(words), nothing, ', '.join(f'{w} ({n})' for w, n in top)
    values = numbers(subject, column)
    if not len(values):
        return 0, nothing, ''
    return len(values), np.percentile(
        values, [0, 10, 50, 90, 100]).tolist(), ''


def histogram(subject: Subject, column: Column) -> Histogram | None:
    """Return a column's values as a histogram; None: nothing to see."""
    if is_text(column) or column.name in ELSEWHERE:
        return None
    values = numbers(subject, column)
    if len(values) < 2 or values.min() == values.max():
        return None
    unit = f', {column.unit}' if column.unit not in ('', '1') else ''
    return Histogram(
        f'column_{column.name}', column.name, f'{column.name}{unit}',
        [Series(column.name, values, BLUE)], nice_edges(values),
        f'{column.description}.')
