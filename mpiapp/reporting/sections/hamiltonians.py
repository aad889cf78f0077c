"""`hameval`: predicted Hamiltonians against DFT, metric by metric."""
from __future__ import annotations

from typing import Any

import numpy as np

from mpiapp.records import Column, Status
from mpiapp.reporting.blocks import (
    BLUE, Bars, Block, Field, Histogram, Series, Table
)
from mpiapp.reporting.hamiltonians import PAIRS, SHOWN
from mpiapp.reporting.sections.convergence import nice_edges
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Metrics'
PROGRAMS = ('hameval',)

#: columns of SCF runs begin so; the rest names the start
CYCLES = 'cycles_'


def blocks(subject: Subject) -> list[Block]:
    """Return all metrics in a table, those of the prediction as figures."""
    metrics = [c for c in subject.results.schema.fixed
               if '/' in c.name and c.name in subject.table.columns
               and np.isfinite(subject.values(c.name)).any()]
    # files of hameval have it; it is no part of what all results offer
    summary = getattr(subject.results, 'summary', {})
    found: list[Block] = [
        summary_table(name, title, summary[name], metrics)
        for name, title in (('overall', 'Metrics over all frames'),
                            ('molecules', 'Metrics by molecule'))
        if len(summary.get(name, ()))]
    cycles = scf_cycles(subject)
    if cycles is not None:
        found.append(cycles)
    return found + figures(subject, metrics)


def figures(subject: Subject, metrics: list[Column]) -> list[Histogram]:
    """Return the main metrics of the prediction, in units of the table.

    Against the stored label; where there is none, against fresh DFT.
    """
    known = {c.name: c for c in metrics}
    pair = next((p for p in PAIRS if any(n.startswith(f'{p}/')
                                         for n in known)), '')
    found = []
    for metric, factor, unit in SHOWN:
        column = known.get(f'{pair}/{metric}')
        if column is None:
            continue
        values = factor * finite(subject, column.name)
        found.append(Histogram(
            f'{pair}_{metric}', column.name,
            f'{metric}, {unit}' if unit else metric,
            [Series('frames', values, BLUE)], nice_edges(values),
            f'{column.description}.'))
    return found


def finite(subject: Subject, name: str) -> np.ndarray:
    """Return the finite values of a column."""
    values = subject.values(name)
    return np.asarray(values[np.isfinite(values)])


def summary_table(
    name: str, title: str, summary: Any, metrics: list[Column],
) -> Table:
    """Return a table of the summary: mean absolute values, intervals."""
    lines = summary[summary['pair'] != 'scf']
    several = name == 'molecules'

    def text(key: str) -> Field:
        return Field(key, key, lines[key].tolist())

    def figure(label: str, key: str, brief: int = 0) -> Field:
        return Field(key, label, lines[key].tolist(), -1, brief=brief)
    fields = [
        *([text('molecule')] if several else []),
        text('pair'), text('metric'), text('unit'),
        Field('frames', 'frames', lines['n'].tolist(), 0),
        figure('mean absolute', 'mean_abs', 2),
        figure('95 % interval from', 'abs_ci_low', 1),
        figure('to', 'abs_ci_high', 1),
        figure('mean with sign', 'mean'),
        figure('median with sign', 'median'),
        figure('95 % of frames', 'p95'), figure('most', 'max')]
    if not several:
        meaning = {c.name: c.description for c in metrics}
        names = zip(lines['pair'], lines['metric'], strict=True)
        fields.append(Field(
            'meaning', 'meaning', [meaning.get(f'{pair}/{metric}', '')
                                   for pair, metric in names], brief=False))
    return Table(
        f'metrics_{name}', title, fields,
        'pred: the prediction; gt: the stored label; calc: DFT computed '
        'here; init: the usual guess. Intervals: bootstrap over frames, of '
        'the mean absolute value.', terminal=0 if several else 20)


def scf_cycles(subject: Subject) -> Bars | None:
    """Return the mean SCF cycles from each start; None: no SCF was run."""
    starts, means, spreads = [], [], []
    for name in subject.table.columns:
        if name.startswith(CYCLES) and not name.startswith('cycles_saved'):
            values = cycles_of(subject, name)
            if len(values):
                starts.append(name.removeprefix(CYCLES))
                means.append(values.mean())
                spreads.append(values.std())
    if not starts:
        return None
    return Bars('scf_cycles', 'SCF cycles to convergence', 'cycles', starts,
                [Series('mean', means, BLUE, spreads)],
                'By the density that the SCF starts from; errors: standard '
                'deviation over the frames. Runs that did not converge are '
                'left out.')


def cycles_of(subject: Subject, name: str) -> np.ndarray:
    """Return the cycles of converged runs of converged frames."""
    values = subject.values(name)
    kept = np.isfinite(values) & (values >= 0)
    for other, wanted in (('status', int(Status.CONVERGED)), (
            name.replace(CYCLES, 'converged_'), 1)):
        if other in subject.table.columns:
            kept &= subject.values(other) == wanted
    return np.asarray(values[kept])
