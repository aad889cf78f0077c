"""Every figure and table of a report as files: PNG, SVG, CSV."""
from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.errors import InputError
from mpiapp.reporting.blocks import (
    FIGURES, Bars, Gantt, Heat, Histogram, Lines, Report, Scatter, Table
)

Line = list[Any]

#: lists the files that reports wrote in a folder
OWN = 'report_files.txt'
PICTURES = ('png', 'svg')
#: characters of a name
LONGEST = 80


def export(
    folder: Path, report: Report, overwrite: bool = False,
) -> list[Path]:
    """Write all figures and tables below a folder; return their paths.

    Raises:
        InputError: it would replace files that no report wrote; unless
            `overwrite`, and before anything is written.
        OSError: a file can't be written.
    """
    from mpiapp.reporting.picture import draw
    plan = planned(report)
    names = [f'{stem}.{suffix}' for stem, block in plan.items()
             for suffix in suffixes(block)]
    own = check_free(folder, names, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OWN).write_text(''.join(
        f'{name}\n' for name in sorted({*own, *names})), 'utf-8')
    for stem, block in plan.items():
        if isinstance(block, FIGURES):
            draw([folder / f'{stem}.{suffix}' for suffix in PICTURES], block)
        write_csv(folder / f'{stem}.csv', block)
    return [folder / name for name in names]


def planned(report: Report) -> dict[str, Any]:
    """Return what is exported, by names of files without suffix.

    Names of blocks may come from a file: they are made fit for a folder.
    """
    plan: dict[str, Any] = {}
    for block in (b for s in report.sections for b in s.blocks):
        if isinstance(block, (*FIGURES, Table)):
            stem = re.sub(r'[^\w.-]+', '_', block.name, flags=re.ASCII)
            stem = stem.lstrip('.')[:LONGEST] or '_'
            n = 1
            while (name := stem if n == 1 else f'{stem}_{n}') in plan:
                n += 1
            plan[name] = block
    return plan


def suffixes(block: Any) -> tuple[str, ...]:
    """Return the kinds of files that a block makes."""
    return (*PICTURES, 'csv') if isinstance(block, FIGURES) else ('csv',)


def check_free(
    folder: Path, names: Sequence[str], overwrite: bool,
) -> set[str]:
    """Return the names of the files that reports wrote in a folder.

    Raises:
        InputError: some of `names` are there, and no report wrote them.
    """
    kept = folder / OWN
    own = set(kept.read_text('utf-8').splitlines()) if kept.is_file() \
        else set()
    there = [n for n in names if n not in own
             and os.path.lexists(folder / n)]
    if there and not overwrite:
        more = f' and {len(there) - 1} more' if len(there) > 1 else ''
        raise InputError(
            f'--export {folder}: {there[0]}{more} there already, and not '
            'written by report: name another folder, or --overwrite')
    return own


def write_csv(path: Path, block: Any) -> None:
    """Write the numbers of a block; missing ones are empty."""
    with open(path, 'w', encoding='utf-8', newline='',
              errors='replace') as file:
        csv.writer(file, lineterminator='\n').writerows(
            [_cell(v) for v in line] for line in LINES[type(block)](block))


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return ''
    return f'{value:.10g}' if isinstance(value, float) else value


def _floats(values: Any) -> list[float]:
    return [float(v) for v in np.asarray(values, np.float64)]


def _table(block: Table) -> Iterator[Line]:
    head, columns = [], []
    for f in block.fields:
        head.append(f'{f.name}_{f.unit}' if f.unit else f.name)
        columns.append(list(f.values) if f.digits is None
                       else _floats(f.values))
        if len(f.spread):
            head.append(f'{f.name}_spread')
            columns.append(_floats(f.spread))
    yield head
    yield from map(list, zip(*columns, strict=True))


def _histogram(block: Histogram) -> Iterator[Line]:
    edges, counts = _floats(block.edges), block.counts
    yield ['from', 'to', *(s.label for s in block.series)]
    for i in range(len(edges) - 1):
        yield [edges[i], edges[i + 1], *(int(c[i]) for c in counts)]


def _scatter(block: Scatter) -> Iterator[Line]:
    yield ['row', 'group', 'kind', block.x_label, block.y_label]
    x, y = _floats(block.x), _floats(block.y)
    for i, kind in enumerate(block.kinds):
        yield [block.rows[i] if len(block.rows) else '',
               block.groups[i] if len(block.groups) else '',
               block.legend[kind][0], x[i], y[i]]


def _heat(block: Heat) -> Iterator[Line]:
    yield ['', *block.column_labels]
    for label, values in zip(block.row_labels, block.values, strict=True):
        yield [label, *_floats(values)]


def _bars(block: Bars | Lines) -> Iterator[Line]:
    head: Line = ['' if isinstance(block, Bars) else block.x_label]
    columns: list[list[Any]] = [list(
        block.labels if isinstance(block, Bars) else _floats(block.x))]
    for s in block.series:
        head.append(s.label)
        columns.append(_floats(s.values))
        if len(s.errors):
            head.append(f'{s.label} error')
            columns.append(_floats(s.errors))
    yield head
    yield from map(list, zip(*columns, strict=True))


def _gantt(block: Gantt) -> Iterator[Line]:
    yield ['row', 'lane', 'start', 'stop', 'kind']
    start, stop = _floats(block.start), _floats(block.stop)
    for i, kind in enumerate(block.kinds):
        yield [block.rows[i] if len(block.rows) else '',
               block.lanes[block.lane[i]], start[i], stop[i],
               block.legend[kind][0]]


LINES: dict[type, Callable[[Any], Iterator[Line]]] = {
    Table: _table, Histogram: _histogram, Scatter: _scatter, Heat: _heat,
    Bars: _bars, Lines: _bars, Gantt: _gantt}
