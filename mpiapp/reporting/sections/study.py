"""`hpo`: the trials of a study, the best so far, what each setting did."""
from __future__ import annotations

import numpy as np

from mpiapp.reporting.blocks import (
    BLUE, GREY, Block, Fact, Facts, Field, Lines, Scatter, Series, Table
)
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Trials'
PROGRAMS = ('hpo',)

PREFIX = 'param_'
#: settings that are drawn
MOST_FIGURES = 16


def blocks(subject: Subject) -> list[Block]:
    """Return best, course, table and settings of the trials."""
    if not subject.has('value'):
        return []
    values = subject.values('value')
    values = np.where(subject.converged, values, np.nan)
    maximise = 'maxim' in subject.results.schema['value'].description
    found: list[Block] = [Facts(facts(subject, values, maximise))]
    if np.isfinite(values).any():
        found.append(course(values, maximise))
    found.append(trial_table(subject, values, maximise))
    return [*found, *settings(subject, values)]


def facts(
    subject: Subject, values: np.ndarray, maximise: bool,
) -> list[Fact]:
    """Count trials and tell the best one."""
    words = subject.words('state')
    items = [Fact('trials', f'{len(values):,}'), *(
        Fact(word, f'{words.count(word):,}')
        for word in ('complete', 'pruned', 'failed', 'pending')
        if word in words)]
    if np.isfinite(values).any():
        best = int(np.nanargmax(values) if maximise
                   else np.nanargmin(values))
        items.append(Fact('best value', f'{values[best]:.5g}',
                          f'trial {best}'))
    return items


def course(values: np.ndarray, maximise: bool) -> Lines:
    """Return the value of each trial and the best so far."""
    rows = np.flatnonzero(np.isfinite(values))
    shown = values[rows]
    best = (np.maximum if maximise else np.minimum).accumulate(shown)
    return Lines('course', 'Course of the study', 'trial', 'value',
                 rows.astype(float), [Series('trial', shown, GREY),
                                      Series('best so far', best, BLUE)])


def trial_table(
    subject: Subject, values: np.ndarray, maximise: bool,
) -> Table:
    """List the trials, the best first."""
    key = -values if maximise else values
    order = np.argsort(np.where(np.isfinite(key), key, np.inf),
                       kind='stable')
    fields = [Field('trial', 'trial', order.tolist(), 0),
              Field('value', 'value', values[order], -1, brief=2)]
    for name in ('state', 'source', 'note'):
        words = subject.words(name)
        if any(words):
            fields.append(Field(name, name, [words[i] for i in order],
                                brief=name == 'state'))
    for column in subject.results.schema.fixed:
        name = column.name
        if not name.startswith(PREFIX) or name not in subject.table.columns:
            continue
        label = name.removeprefix(PREFIX)
        if np.dtype(column.dtype).kind == 'S':
            words = subject.words(name)
            fields.append(Field(name, label, [words[i] for i in order]))
        else:
            fields.append(Field(name, label, subject.values(name)[order],
                                -1))
    return Table('trials', 'Trials', fields, terminal=10)


def settings(subject: Subject, values: np.ndarray) -> list[Block]:
    """Return the value over each numeric setting."""
    found: list[Block] = []
    for column in subject.results.schema.fixed:
        if not column.name.startswith(PREFIX) or np.dtype(
                column.dtype).kind == 'S' or len(found) == MOST_FIGURES:
            continue
        x = subject.values(column.name)
        rows = np.flatnonzero(np.isfinite(x) & np.isfinite(values))
        if len(rows) and np.ptp(x[rows]) > 0:
            label = column.name.removeprefix(PREFIX)
            found.append(Scatter(
                column.name, label, f'{label} {column.unit}'.removesuffix(
                    ' 1'), 'value', x[rows], values[rows], [0] * len(rows),
                [('trial', BLUE)], caption=f'{column.description}.'))
    return found
