"""How the optimisations went: steps, last forces, seconds."""
from __future__ import annotations

from typing import Any

import numpy as np

from mpiapp.records import Status
from mpiapp.reporting.blocks import (
    STATUS_COLOURS, Block, Histogram, Scatter, Series
)
from mpiapp.reporting.subject import Subject

ORDER = 50
TITLE = 'Convergence'
PROGRAMS: tuple[str, ...] = ()

#: points that a page can show
MOST_POINTS = 20_000
SHOWN = (Status.CONVERGED, Status.UNCONVERGED, Status.FAILED, Status.BROKEN)


def blocks(subject: Subject) -> list[Block]:
    """Return histograms of steps and forces, and the cost by size."""
    found = [
        histogram(subject, 'steps', 'Optimiser steps',
                  'steps (one evaluation of energy and forces each)'),
        histogram(subject, 'evaluations_float32', 'Evaluations in float32',
                  'evaluations of the first of two stages'),
        histogram(subject, 'evaluations', 'Evaluations',
                  'evaluations of energy and forces'),
        forces(subject),
        histogram(subject, 'rmsd_start_final', 'How far the atoms went',
                  'RMSD of start and end, Å'),
        cost(subject)]
    return [block for block in found if block is not None]


def by_status(subject: Subject, values: Any) -> list[Series]:
    """Return the finite values of the records of each state."""
    series = []
    for status in SHOWN:
        mine = values[(subject.status == status) & np.isfinite(values)]
        if len(mine):
            word = status.name.lower()
            series.append(Series(word, mine, STATUS_COLOURS[word]))
    return series


def histogram(
    subject: Subject, name: str, title: str, label: str,
) -> Histogram | None:
    """Return a column of positive numbers by state; None: nothing there."""
    if not subject.has(name):
        return None
    values = subject.values(name)
    values = np.where(values > 0, values, np.nan)
    series = by_status(subject, values)
    if not series:
        return None
    everything = np.concatenate([s.values for s in series])
    return Histogram(
        name, title, label, series, nice_edges(everything),
        f'median {np.median(everything):.4g}, 95 % below '
        f'{np.percentile(everything, 95):.4g}, most '
        f'{everything.max():.4g}.')


def nice_edges(values: Any, n_bins: int = 30) -> Any:
    """Return edges of equal round bins that hold all values."""
    low, high = float(values.min()), float(values.max())
    alike = high - low <= 1e-12 * max(abs(low), abs(high))
    if alike:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / n_bins
    power = 10.0 ** np.floor(np.log10(raw))
    width = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    if (np.mod(values, 1) == 0).all():
        width = max(1.0, round(width))
    first = np.floor(low / width) * width
    if alike:
        # no edge goes through what differs by rounding alone
        first -= width / 2
    return first + width * np.arange(int((high - first) / width) + 2)


def forces(subject: Subject) -> Histogram | None:
    """Return the decimal logarithm of the largest last force."""
    if not subject.has('fmax_final'):
        return None
    values = subject.values('fmax_final')
    with np.errstate(divide='ignore', invalid='ignore'):
        logs = np.log10(values)
    series = by_status(subject, np.where(np.isfinite(logs), logs, np.nan))
    if not series:
        return None
    everything = np.concatenate([s.values for s in series])
    asked = (subject.results.meta.get('options') or {}).get('fmax')
    text = f' Asked for: below {asked:g} eV/Å.' if asked else ''
    return Histogram(
        'fmax', 'Largest force at the end', 'log10 of the force, eV/Å',
        series, nice_edges(everything), f'Largest force on any atom.{text}')


def cost(subject: Subject) -> Scatter | None:
    """Return seconds over atoms, by state."""
    if not subject.has('seconds', 'n_atoms'):
        return None
    seconds, n_atoms = subject.values('seconds'), subject.values('n_atoms')
    timed = np.flatnonzero(np.isfinite(seconds) & (seconds > 0)
                           & np.isin(subject.status, SHOWN))
    rows = timed[:MOST_POINTS]
    if not len(rows):
        return None
    part = '' if len(rows) == len(timed) else \
        f' The first {len(rows):,} of {len(timed):,} records.'
    return Scatter(
        'cost', 'Time by size', 'atoms', 'seconds', n_atoms[rows],
        seconds[rows], [SHOWN.index(Status(int(s)))
                        for s in subject.status[rows]],
        [(s.name.lower(), STATUS_COLOURS[s.name.lower()]) for s in SHOWN],
        rows=rows.tolist(), caption='Time spent on each record; with many '
        f'in flight it includes that of the others.{part}')
