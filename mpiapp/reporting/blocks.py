"""What a section of a report is made of: facts, tables, figures.

A block holds data alone; page.py, terminal.py and picture.py draw it, so
that page, terminal and exported files show the same numbers.  Positions,
text and values are plain Python or numpy; NaN means that there is none.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Sequence[Any] | NDArray[Any]

#: colours that are told apart by the colour-blind (Okabe and Ito)
BLUE, ORANGE, SKY, GREEN = '#0072b2', '#e69f00', '#56b4e9', '#009e73'
RED, PINK, GREY, YELLOW = '#d55e00', '#cc79a7', '#9aa3ad', '#f0e442'
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY)
#: of the classes of a pair, in their order
CLASS_COLOURS = {'strong': RED, 'weak': ORANGE, 'monomer': SKY, 'none': GREY}
#: of the states of a record
STATUS_COLOURS = {
    'converged': BLUE, 'unconverged': ORANGE, 'failed': RED,
    'rejected': PINK, 'broken': '#7b3f00', 'skipped': GREY,
    'pending': '#d5d9de'}


@dataclass(frozen=True)
class Fact:
    """One number or text with its label; `hint` says what it means."""

    label: str
    value: str
    hint: str = ''


@dataclass(frozen=True)
class Facts:
    """Facts side by side."""

    items: Sequence[Fact]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Field:
    """A column of a table.

    `digits` are decimals; -1: five significant digits, None: text.

    `spread` are errors, shown behind the values.  `brief` ones stand in the
    terminal as well, where it has room: larger numbers first.
    """

    name: str
    label: str
    values: Values
    digits: int | None = None
    unit: str = ''
    spread: Values = ()
    hint: str = ''
    brief: int = 1


@dataclass(frozen=True)
class Table:
    """Columns of one length.

    `rows`: the record that each line opens in the 3D view.  `lines` are
    shown at a time, the first `terminal` of them in the terminal too.
    """

    name: str
    title: str
    fields: Sequence[Field]
    caption: str = ''
    rows: Sequence[int] = ()
    lines: int = 15
    terminal: int = 0


@dataclass(frozen=True)
class Series:
    """Values of one kind in a figure."""

    label: str
    values: Values
    colour: str
    errors: Values = ()


@dataclass(frozen=True)
class Histogram:
    """Counts of several series over the same bins.

    `edges` [n + 1]; values outside are counted in the outermost bins.
    """

    name: str
    title: str
    x_label: str
    series: Sequence[Series]
    edges: Values
    caption: str = ''
    bands: Sequence[tuple[float, float, str]] = ()

    @property
    def counts(self) -> list[NDArray[np.int64]]:
        """Return the counts [n] of each series; NaN is not counted."""
        edges = np.asarray(self.edges, np.float64)
        return [np.histogram(np.clip(s.values, edges[0], edges[-1]), edges)[0]
                for s in self.series]


@dataclass(frozen=True)
class Scatter:
    """Points; `kinds` number the entries of `legend`: (label, colour).

    `groups` name what a point belongs to, for a menu; `rows` are records.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    x: Values
    y: Values
    kinds: Sequence[int]
    legend: Sequence[tuple[str, str]]
    groups: Sequence[str] = ()
    rows: Sequence[int] = ()
    caption: str = ''
    diagonal: bool = False


@dataclass(frozen=True)
class Heat:
    """Values [n_rows][n_columns] in colours; NaN is an empty cell.

    `notes` of the same shape are shown with a cell.
    """

    name: str
    title: str
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    values: Sequence[Sequence[float]]
    unit: str
    top: float
    digits: int = 0
    notes: Sequence[Sequence[str]] = ()
    caption: str = ''


@dataclass(frozen=True)
class Bars:
    """A bar a label and series, with errors if given.

    Side by side, or `stacked` on one another.
    """

    name: str
    title: str
    y_label: str
    labels: Sequence[str]
    series: Sequence[Series]
    caption: str = ''
    stacked: bool = False


@dataclass(frozen=True)
class Lines:
    """Curves: each series against the `x` of all."""

    name: str
    title: str
    x_label: str
    y_label: str
    x: Values
    series: Sequence[Series]
    caption: str = ''
    log: bool = False


@dataclass(frozen=True)
class Gantt:
    """Spans of time in lanes; `kinds` number the entries of `legend`."""

    name: str
    title: str
    x_label: str
    lanes: Sequence[str]
    lane: Sequence[int]
    start: Values
    stop: Values
    kinds: Sequence[int]
    legend: Sequence[tuple[str, str]]
    rows: Sequence[int] = ()
    caption: str = ''


@dataclass(frozen=True)
class Viewer:
    """The 3D view of all records that have a geometry."""

    name: str = 'viewer'


FIGURES = (Histogram, Scatter, Heat, Bars, Lines, Gantt)
Block = (Facts | Text | Table | Histogram | Scatter | Heat | Bars | Lines
         | Gantt | Viewer)


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading; `name` is that of its file."""

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


@dataclass(frozen=True)
class Report:
    """All sections of one report and the words above them."""

    title: str
    subtitle: str
    sections: Sequence[Section]
