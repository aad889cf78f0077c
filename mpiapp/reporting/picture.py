"""Figures of a report as PNG and SVG files, by matplotlib."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.reporting.blocks import (
    Bars, Gantt, Heat, Histogram, Lines, Scatter
)

Figure = Histogram | Scatter | Heat | Bars | Lines | Gantt

#: dots an inch of a PNG
DPI = 150
#: below the bars of a figure
MOST_LABELS = 40


def draw(paths: Sequence[Path], figure: Figure) -> None:
    """Write a figure in the formats of the paths' suffixes, png or svg."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas
    wide = isinstance(figure, Gantt) or isinstance(figure, Bars) and len(
        figure.labels) > 12 or isinstance(figure, Heat) and len(
        figure.column_labels) > 8
    # the same figure gives the same file; names of molecules are no formulas
    with rc_context({'svg.hashsalt': figure.name, 'font.size': 9,
                     'text.parse_math': False}):
        canvas = Canvas(figsize=(9.6 if wide else 5.4, 3.9),
                        layout='constrained')
        FigureCanvasAgg(canvas)
        axes = canvas.subplots()
        axes.spines[['top', 'right']].set_visible(False)
        DRAWN[type(figure)](axes, figure)
        axes.set_title(figure.title, fontsize=10)
        for path in paths:
            form = path.suffix[1:]
            canvas.savefig(path, dpi=DPI, format=form, metadata={
                'Date': None} if form == 'svg' else None)


def histogram(axes: Any, figure: Histogram) -> None:
    """Draw counts; values outside are in the outermost bins."""
    edges = np.asarray(figure.edges, np.float64)
    for low, high, label in figure.bands:
        axes.axvspan(low, high, color='#d55e00', alpha=0.09, label=label)
    for series, counts in zip(figure.series, figure.counts, strict=True):
        axes.hist(edges[:-1], edges, weights=counts, color=series.colour,
                  label=series.label,
                  alpha=0.62 if len(figure.series) > 1 else 0.9)
    axes.set(xlabel=figure.x_label, ylabel='records')
    legend(axes, len(figure.series) > 1)


def scatter(axes: Any, figure: Scatter) -> None:
    """Draw points by kind."""
    x, y = np.asarray(figure.x), np.asarray(figure.y)
    kinds = np.asarray(figure.kinds)
    for i, (label, colour) in enumerate(figure.legend):
        of = kinds == i
        if of.any():
            axes.plot(x[of], y[of], 'o', color=colour, label=label,
                      markersize=2 if len(x) > 500 else 3.5, alpha=0.7,
                      markeredgewidth=0)
    if figure.diagonal:
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color='0.6', linewidth=0.8)
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
    legend(axes, len(set(figure.kinds)) > 1)


def heat(axes: Any, figure: Heat) -> None:
    """Draw cells in colours with their values."""
    from matplotlib.colors import LinearSegmentedColormap
    colours = LinearSegmentedColormap.from_list(
        'blues', ['#f0f4f8', '#b2d4e8', '#5ca5cd', '#146eaa', '#08306b'])
    values = np.asarray(figure.values, np.float64)
    axes.imshow(values, cmap=colours, vmin=0, vmax=figure.top,
                aspect='auto')
    for i, j in np.argwhere(np.isfinite(values)):
        axes.text(j, i, f'{values[i, j]:.{figure.digits}f}', ha='center',
                  va='center', fontsize=7, color='white'
                  if values[i, j] > 0.55 * figure.top else '#1c2733')
    axes.set_xticks(range(len(figure.column_labels)), figure.column_labels,
                    rotation=40, ha='right')
    axes.set_yticks(range(len(figure.row_labels)), figure.row_labels)
    axes.set_xlabel(figure.unit)


def bars(axes: Any, figure: Bars) -> None:
    """Draw the bars of each label, beside or on one another."""
    values = np.array([s.values for s in figure.series], np.float64)
    here = np.isfinite(values)
    n_here = np.maximum(1 if figure.stacked else here.sum(axis=0), 1)
    width = np.broadcast_to(0.8 / n_here, values.shape[1:])
    place = 0 * here if figure.stacked else np.cumsum(here, axis=0) - 1
    base = np.zeros(values.shape[1])
    for k, series in enumerate(figure.series):
        of = here[k]
        x = np.arange(len(base)) - 0.4 + (place[k] + 0.5) * width
        errors = np.nan_to_num(np.asarray(series.errors, np.float64))[of] \
            if len(series.errors) else None
        axes.bar(x[of], values[k][of], width[of] * 0.94, base[of],
                 yerr=errors, color=series.colour, label=series.label,
                 error_kw={'linewidth': 0.8})
        if figure.stacked:
            base += np.nan_to_num(values[k])
    # of many labels some, or they would cover one another
    step = -(-len(figure.labels) // MOST_LABELS)
    axes.set_xticks(range(0, len(figure.labels), step),
                    figure.labels[::step], rotation=38, ha='right')
    axes.set_ylabel(figure.y_label)
    legend(axes, len(figure.series) > 1 or figure.stacked)


def lines(axes: Any, figure: Lines) -> None:
    """Draw curves."""
    for series in figure.series:
        axes.plot(figure.x, series.values, 'o-', color=series.colour,
                  label=series.label, markersize=3, linewidth=1.2)
    if figure.log:
        axes.set_yscale('log')
        axes.yaxis.set_major_formatter('{x:g}')
    axes.set(xlabel=figure.x_label, ylabel=figure.y_label)
    legend(axes, len(figure.series) > 1)


def gantt(axes: Any, figure: Gantt) -> None:
    """Draw spans in their lanes."""
    start = np.asarray(figure.start, np.float64)
    length = np.asarray(figure.stop, np.float64) - start
    lane, kinds = np.asarray(figure.lane), np.asarray(figure.kinds)
    for i, (label, colour) in enumerate(figure.legend):
        of = kinds == i
        if of.any():
            axes.barh(lane[of], length[of], 0.8, start[of], color=colour,
                      label=label, edgecolor='white', linewidth=0.3)
    if len(figure.lanes) <= 32:
        axes.set_yticks(range(len(figure.lanes)), figure.lanes)
    axes.invert_yaxis()
    axes.set_xlabel(figure.x_label)
    legend(axes, len(set(figure.kinds)) > 1)


def legend(axes: Any, several: bool) -> None:
    """Say what the colours mean where there are several."""
    if several:
        axes.legend(frameon=False, fontsize=8, loc='upper left',
                    bbox_to_anchor=(1.0, 1.0))


DRAWN: dict[type, Callable[[Any, Any], None]] = {
    Histogram: histogram, Scatter: scatter, Heat: heat, Bars: bars,
    Lines: lines, Gantt: gantt}
