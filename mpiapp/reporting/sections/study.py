"""`hpo`: the trials of a study, the best so far, what each setting did."""
from __future__ import annotations

import numpy as np

from mpiapp.reporting.blocks import (
    BLUE, GREY, RED, Block, Fact, Facts, Field, Lines, Scatter, Series, Table
)
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Trials'
PROGRAMS = ('hpo',)

PREFIX = 'param_'
#: the second of two objectives
SECOND = 'value1'
#: what a trial came to besides its value: column, label, decimals
CAME_TO = ((SECOND, 'second value', -1), ('n_success', 'found', 0),
           ('n_samples', 'of samples', 0), ('cost', 'cost', -1))
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
    if subject.has(SECOND):
        found.append(front(subject, values))
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
        label = 'best first value' if subject.has(SECOND) else 'best value'
        items.append(Fact(label, f'{values[best]:.5g}', f'trial {best}'))
    return items


def course(values: np.ndarray, maximise: bool) -> Lines:
    """Return the value of each trial and the best so far."""
    rows = np.flatnonzero(np.isfinite(values))
    shown = values[rows]
    best = (np.maximum if maximise else np.minimum).accumulate(shown)
    return Lines('course', 'Course of the study', 'trial', 'value',
                 rows.astype(float), [Series('trial', shown, GREY),
                                      Series('best so far', best, BLUE)])


def front(subject: Subject, values: np.ndarray) -> Scatter:
    """Return the second objective over the first, the front marked."""
    schema = subject.results.schema
    second = np.where(np.isfinite(values), subject.values(SECOND), np.nan)
    rows = np.flatnonzero(np.isfinite(second))
    x, y = values[rows], second[rows]
    # both so that more is better
    u, v = (array * (1 if maximised else -1) for array, maximised in (
        (x, 'maxim' in schema['value'].description),
        (y, 'maxim' in schema[SECOND].description)))
    beaten = [bool(((u >= a) & (v >= b) & ((u > a) | (v > b))).any())
              for a, b in zip(u, v, strict=True)]
    return Scatter(
        'front', 'Both objectives',
        f'value, {schema["value"].description}',
        f'second value, {schema[SECOND].description}', x, y,
        [int(b) for b in beaten], [('Pareto front', RED), ('other', GREY)],
        caption=f'{beaten.count(False)} of {len(rows)} trials are on the '
        'front: none is better in one and as good in the other. Trials: '
        + ', '.join(str(r) for r, b in zip(rows, beaten, strict=True)
                    if not b) + '.')


def trial_table(
    subject: Subject, values: np.ndarray, maximise: bool,
) -> Table:
    """List the trials, the best first."""
    key = -values if maximise else values
    order = np.argsort(np.where(np.isfinite(key), key, np.inf),
                       kind='stable')
    fields = [Field('trial', 'trial', order.tolist(), 0),
              Field('value', 'value', values[order], -1, brief=2),
              *(Field(name, label, subject.values(name)[order], digits,
                      brief=2)
                for name, label, digits in CAME_TO if subject.has(name))]
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
