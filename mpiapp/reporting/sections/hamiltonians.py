"""`hameval`: predicted Hamiltonians against DFT, metric by metric."""
from __future__ import annotations

import numpy as np

from mpiapp.records import Column
from mpiapp.reporting.blocks import (
    BLUE, Bars, Block, Field, Histogram, Series, Table
)
from mpiapp.reporting.sections.convergence import nice_edges
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Metrics'
PROGRAMS = ('hameval',)

#: the pair whose metrics are drawn, and how many
PAIR, MOST_FIGURES = 'pred-gt/', 10
#: columns of SCF runs begin so; the rest names the start
CYCLES = 'cycles_'


def blocks(subject: Subject) -> list[Block]:
    """Return all metrics in a table, those of the prediction as figures."""
    metrics = [c for c in subject.results.schema.fixed
               if '/' in c.name and c.name in subject.table.columns
               and np.isfinite(subject.values(c.name)).any()]
    found: list[Block] = []
    if metrics:
        found.append(metric_table(subject, metrics))
    cycles = scf_cycles(subject)
    if cycles is not None:
        found.append(cycles)
    for column in [c for c in metrics
                   if c.name.startswith(PAIR)][:MOST_FIGURES]:
        values = finite(subject, column.name)
        unit = '' if column.unit in ('', '1') else f', {column.unit}'
        found.append(Histogram(
            column.name.replace('/', '_'), column.name,
            f'{column.name.partition("/")[2]}{unit}',
            [Series('frames', values, BLUE)], nice_edges(values),
            f'{column.description}.'))
    return found


def finite(subject: Subject, name: str) -> np.ndarray:
    """Return the finite values of a column."""
    values = subject.values(name)
    return np.asarray(values[np.isfinite(values)])


def metric_table(subject: Subject, metrics: list[Column]) -> Table:
    """Return mean, median and spread of each metric over the frames."""
    every = [finite(subject, c.name) for c in metrics]
    return Table('metrics', 'Metrics over all frames', [
        Field('pair', 'pair', [c.name.partition('/')[0] for c in metrics]),
        Field('metric', 'metric',
              [c.name.partition('/')[2] for c in metrics]),
        Field('unit', 'unit', [c.unit for c in metrics]),
        Field('frames', 'frames', [len(v) for v in every], 0),
        Field('mean', 'mean', [v.mean() for v in every], -1),
        Field('median', 'median', [np.median(v) for v in every], -1),
        Field('p95', '95 %', [np.percentile(v, 95) for v in every], -1),
        Field('most', 'most', [v.max() for v in every], -1),
        Field('meaning', 'meaning', [c.description for c in metrics],
              brief=False)],
        'pred: the prediction; gt: the stored label; calc: DFT computed '
        'here; init: the usual guess.', terminal=20)


def scf_cycles(subject: Subject) -> Bars | None:
    """Return the mean SCF cycles from each start; None: no SCF was run."""
    starts, means, spreads = [], [], []
    for name in subject.table.columns:
        if name.startswith(CYCLES) and not name.startswith('cycles_saved'):
            values = finite(subject, name)
            values = values[values >= 0]
            if len(values):
                starts.append(name.removeprefix(CYCLES))
                means.append(values.mean())
                spreads.append(values.std())
    if not starts:
        return None
    return Bars('scf_cycles', 'SCF cycles to convergence', 'cycles', starts,
                [Series('mean', means, BLUE, spreads)],
                'By the density that the SCF starts from; errors: standard '
                'deviation over the frames.')
