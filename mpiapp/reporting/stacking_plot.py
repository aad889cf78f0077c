"""One picture of `validate`: distances and energies against references."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpiapp.chemistry.dimer_forms import Row, distance_error
from mpiapp.chemistry.dimer_gate import MARGINAL_ERROR, Gate
from mpiapp.chemistry.dimer_names import ORIGINAL, SINGLE_POINT
from mpiapp.reporting.stacking import by_method

#: inches; rows of the left panel need this much each
WIDTH, ROW_HEIGHT = 10.0, 0.34
#: markers of the methods, beside their colours
MARKERS = 'osD^vP*Xhp'
#: kcal/mol; repulsive energies above are not shown
HIGHEST = 8.0
#: A; larger errors are drawn at the edge, with their number
EDGE = 0.6


def draw(path: Path, rows: Sequence[Row], gate: Gate,
         form: str = 'png') -> None:
    """Write the picture in the format png or svg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    methods = {name: mine for name, mine in by_method(rows).items()
               if any(math.isfinite(row['e_total']) for row in mine)}
    dimers = list(dict.fromkeys(
        row['benchmark'] for row in rows
        if row['start'] not in (SINGLE_POINT, ORIGINAL)
        and math.isfinite(reference_distance(row))))
    figure = Figure(figsize=(WIDTH, max(4.2, ROW_HEIGHT * len(dimers) + 1.4)),
                    layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
    for i, (name, mine) in enumerate(methods.items()):
        style = {'marker': MARKERS[i % len(MARKERS)], 'color': f'C{i % 10}',
                 'linestyle': 'none', 'label': mine[0]['method']}
        offset = (i - (len(methods) - 1) / 2) * 0.7 / max(len(methods), 1)
        _distances(left, mine, dimers, offset, style)
        _energies(right, mine, style)
    _finish_left(left, rows, dimers, gate)
    _finish_right(right, rows)
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc='outside upper center',
                      ncols=min(len(handles), 6), frameon=False)
    # no time of day: the same results give the same file
    figure.savefig(path, dpi=150, format=form,
                   metadata={'Date': None} if form == 'svg' else None)


def reference_distance(row: Row) -> float:
    """Return the distance, A, that a row is compared with."""
    name = 'ref_centroid' if row['ref_kind'] == 't' else 'ref_vertical'
    return float(row[name])


def _distances(
    axes: Any, rows: Sequence[Row], dimers: Sequence[str], offset: float,
    style: Mapping[str, Any],
) -> None:
    """Mark the error of every row that is like its reference."""
    xs, ys = [], []
    for row in rows:
        error = distance_error(row) if row['start'] != ORIGINAL else math.nan
        if math.isfinite(error) and row['benchmark'] in dimers:
            xs.append(max(-EDGE, min(EDGE, error)))
            ys.append(dimers.index(row['benchmark']) + offset)
            if abs(error) > EDGE:
                axes.annotate(f'{error:+.2f}', (xs[-1], ys[-1]), fontsize=6,
                              xytext=(-8 if error > 0 else 8, 0),
                              textcoords='offset points', va='center',
                              ha='right' if error > 0 else 'left')
    axes.plot(xs, ys, markersize=4.5, **style)


def _finish_left(
    axes: Any, rows: Sequence[Row], dimers: Sequence[str], gate: Gate,
) -> None:
    confirmed = {row['benchmark'] for row in rows if row['ref_confirmed']}
    axes.axvspan(-MARGINAL_ERROR, MARGINAL_ERROR, color='0.94', zorder=0)
    axes.axvspan(-gate.distance, gate.distance, color='0.88', zorder=0)
    axes.axvline(0.0, color='0.4', linewidth=0.8, zorder=1)
    for i in range(1, len(dimers)):
        axes.axhline(i - 0.5, color='0.9', linewidth=0.6, zorder=0)
    axes.set_yticks(range(len(dimers)), [
        name + ('' if name in confirmed else ' (?)') for name in dimers])
    axes.set_ylim(len(dimers) - 0.5, -0.5)
    axes.set_xlim(-1.08 * EDGE, 1.08 * EDGE)
    axes.set_xlabel('distance less reference (A), like for like\n'
                    'vertical; centroids for t; (?) not confirmed')
    axes.set_title('Where optimisations end', fontsize=10)


def _energies(
    axes: Any, rows: Sequence[Row], style: Mapping[str, Any],
) -> None:
    """Mark computed energies over those of the references."""
    points = energy_pairs(rows)
    axes.plot([p[0] for p in points], [p[1] for p in points], markersize=3,
              alpha=0.7, **style)


def energy_pairs(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Return reference and computed energies, kcal/mol, of fixed points."""
    return [(row['ref_energy_kcal'], row['interaction_kcal'])
            for row in rows if row['start'] == SINGLE_POINT
            and math.isfinite(row['ref_energy_kcal'])
            and math.isfinite(row['interaction_kcal'])]


def _finish_right(axes: Any, rows: Sequence[Row]) -> None:
    values = [v for pair in energy_pairs(rows) for v in pair] or [-5.0, 0.0]
    low, high = min(values) - 1.0, min(max(values) + 1.0, HIGHEST)
    axes.plot([low, high], [low, high], color='0.4', linewidth=0.8)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect('equal')
    axes.set_xlabel('CCSD(T)/CBS (kcal/mol)')
    axes.set_ylabel('method (kcal/mol)')
    axes.set_title('Interaction at fixed geometries', fontsize=10)
