"""Every figure and table of a report as files: PNG, SVG, CSV."""
from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.reporting.blocks import (
    FIGURES, Bars, Gantt, Heat, Histogram, Lines, Report, Scatter, Table
)

Line = list[Any]


def export(folder: Path, report: Report) -> list[Path]:
    """Write all figures and tables below a folder; return their paths.

    Raises:
        OSError: a file can't be written.
    """
    from mpiapp.reporting.picture import draw
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for block in (b for s in report.sections for b in s.blocks):
        if isinstance(block, FIGURES):
            pictures = [folder / f'{block.name}.{suffix}'
                        for suffix in ('png', 'svg')]
            draw(pictures, block)
            paths += pictures
        if isinstance(block, (*FIGURES, Table)):
            paths.append(folder / f'{block.name}.csv')
            write_csv(paths[-1], block)
    return paths


def write_csv(path: Path, block: Any) -> None:
    """Write the numbers of a block; missing ones are empty."""
    with open(path, 'w', encoding='utf-8', newline='') as file:
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
