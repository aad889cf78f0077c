"""Pictures of measurements: each row of B12 in docs/bench.md is a function.

A picture is drawn from the content of a result file alone, and only where
the file has what it shows.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness.cells import BASELINE, FORCES
from mpiapp.benchmarks.harness.spread import break_even, ratio_of
from mpiapp.benchmarks.harness.tables import baseline_of, label, varied

Rows = Sequence[Mapping[str, Any]]
#: inches of a picture
SIZE = (6.4, 4.2)
#: labels of a legend at most
MOST = 12
#: of Matplotlib's tab20: the ten of its usual cycle, and two pale ones
COLOURS = ['#1f77b4', '#ff7f0e', '#2ca02c', '#d62728', '#9467bd', '#8c564b',
           '#e377c2', '#7f7f7f', '#bcbd22', '#17becf', '#aec7e8', '#ffbb78']
#: labels that a legend inside the picture may have
FEW = 4


def draw_all(content: Mapping[str, Any], stem: Path) -> list[Path]:
    """Draw what a result can show as STEM_NAME.png; returns the files."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    written = []
    for name, draw in PICTURES.items():
        figure, axes = pyplot.subplots(figsize=SIZE, layout='constrained')
        axes.set_prop_cycle(color=COLOURS)
        if draw(axes, content):
            add_legend(figure, axes)
            path = stem.with_name(f'{stem.name}_{name}.png')
            figure.savefig(path, dpi=150)
            written.append(path)
        pyplot.close(figure)
    return written


def add_legend(figure: Any, axes: Any) -> None:
    """Add a legend where there are labels, beside the picture if many."""
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) > FEW:
        figure.set_size_inches(SIZE[0] + 2, SIZE[1])
        figure.legend(loc='outside right center', fontsize=7)
    elif labels:
        axes.legend(fontsize=7)


def mark(axes: Any, values: Iterable[int]) -> None:
    """Mark these whole numbers, and no others, on a logarithmic x axis."""
    axes.set_xscale('log')
    axes.set_xticks(sorted(set(values)))
    axes.xaxis.set_major_formatter('{x:.0f}')
    axes.xaxis.minorticks_off()


def timed(content: Mapping[str, Any]) -> Rows:
    """Return the rows of cells that have a time."""
    return [r for r in content['rows'] if r.get('state') == 'ok'
            and r.get('steady') and 'molecule' in r and 'build_s' in r]


def series(
    rows: Rows, names: Sequence[str],
) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Yield rows by the named fields, with a label; the first 12."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[n] for n in names), []).append(row)
    many = [k for k, v in found.items() if len(v) > 1]
    for key in many[:MOST]:
        yield ' '.join(str(k) for k in key if k != 'tree'), found[key]


def latency(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw latency against atoms, with the fitted law."""
    rows = [r for r in timed(content)
            if r['batch'] == 1 and r['quantity'] == FORCES]
    names = ('model', 'way', 'dtype', 'neighbours')
    laws = {tuple(law[n] for n in names): law
            for law in content.get('laws', ())
            if law.get('quantity') == FORCES}
    drawn = False
    for text, members in series(rows, names):
        members = sorted(members, key=lambda r: r['n_atoms'])
        x = [r['n_atoms'] for r in members]
        points = axes.errorbar(
            x, [1e3 * r['steady']['median'] for r in members],
            [1e3 * r['steady']['mad'] for r in members], fmt='o', ms=4,
            label=text)
        law = laws.get(tuple(members[0][n] for n in names))
        if law:
            axes.plot(x, [1e3 * (law['a'] + law['b'] * r['n_atoms']
                                 + law['c'] * r['n_edges'])
                          for r in members], '-', lw=1,
                      color=points[0].get_color())
        drawn = True
    mark(axes, (r['n_atoms'] for r in rows))
    axes.set(xlabel='atoms', ylabel='ms, median and MAD; line: fit',
             yscale='log', title='Energy and forces, batch 1')
    return drawn


def throughput(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw structures/s against batch, the knee where it is in range."""
    rows = [r for r in timed(content) if r['quantity'] == FORCES]
    knees = {(law['model'], law['way'], law['dtype']): law
             for law in content.get('laws', ())
             if law.get('quantity') == FORCES}
    drawn = False
    for text, members in series(
            rows, ('model', 'molecule', 'way', 'dtype', 'neighbours')):
        batches = sorted({r['batch'] for r in members})
        if len(batches) < 2:
            continue
        members = sorted(members, key=lambda r: r['batch'])
        line, = axes.plot(
            [r['batch'] for r in members],
            [r['structures_per_s'] for r in members], 'o-', ms=4,
            label=text)
        law = knees.get(tuple(members[0][n] for n in (
            'model', 'way', 'dtype')))
        if law and batches[0] <= law['knee_batch'] <= batches[-1]:
            axes.axvline(law['knee_batch'], ls=':', lw=1,
                         color=line.get_color())
        drawn = True
    mark(axes, (r['batch'] for r in rows))
    axes.set(xlabel='batch (dotted: knee)', ylabel='structures/s',
             title='Throughput against batch')
    return drawn


def speed_up(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw ratios to the baseline with intervals; open where 1 is inside."""
    rows = timed(content)
    found = []
    for row in rows:
        base = baseline_of(row, rows)
        if base is None or row['way'] == BASELINE:
            continue
        ratio = ratio_of(base, row, varied(row))
        if not ratio.reason:
            found.append((f'{row["model"]} {row["molecule"]} b{row["batch"]}'
                          f' {label(row)}', ratio))
    found = found[:24]
    for i, (_, ratio) in enumerate(found):
        axes.errorbar(
            ratio.value, i, xerr=[[max(0.0, ratio.value - ratio.low)],
                                  [max(0.0, ratio.high - ratio.value)]],
            fmt='o', ms=4, color='C0',
            mfc='C0' if ratio.distinct else 'white')
    axes.axvline(1.0, color='grey', lw=1)
    axes.set_yticks(range(len(found)), [name for name, _ in found],
                    fontsize=6)
    axes.set(xlabel='times faster than the reference, 95 % interval '
             '(open: holds 1)')
    axes.invert_yaxis()
    return bool(found)


def pareto(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw force errors against time."""
    rows = [r for r in content['rows'] if r.get('state') == 'ok'
            and r.get('steady')]
    drawn = False
    names: dict[str, list[tuple[float, float]]] = {}
    for r in rows:
        error = r.get('errors', r).get('d_force_rms')
        if error is None or r.get('stage', 'all') != 'all':
            continue
        text = f'{r["way"]} {r["dtype"]}' if 'way' in r else r['precision']
        atoms = r['n_atoms'] * r.get('batch', 1)
        names.setdefault(text, []).append(
            (1e6 * r['steady']['median'] / atoms, max(error, 1e-17)))
    for text, points in list(names.items())[:MOST]:
        axes.plot(*np.array(points).T, 'o', ms=5, label=text)
        drawn = True
    axes.set(xlabel='us per atom-step', ylabel='RMS force error, eV/A',
             xscale='log', yscale='log', title='Error against time')
    return drawn


def elements(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw boxes of force errors by element and precision."""
    from ase.data import chemical_symbols
    rows = [r for r in content['rows'] if r.get('by_element')
            and r['stage'] == 'all' and r['precision'] != 'float64']
    numbers = sorted({int(z) for r in rows for z in r['by_element']})
    for k, row in enumerate(rows[:4]):
        boxes, places = [], []
        for i, z in enumerate(numbers):
            if str(z) in row['by_element']:
                low, q1, mid, q3, high = np.maximum(
                    row['by_element'][str(z)], 1e-12)
                boxes.append({'whislo': low, 'q1': q1, 'med': mid,
                              'q3': q3, 'whishi': high})
                places.append(i + 0.2 * (k - 1.5))
        drawn = axes.bxp(boxes, positions=places, widths=0.15,
                         showfliers=False, patch_artist=True)
        for patch in drawn['boxes']:
            patch.set_facecolor(f'C{k}')
        axes.plot([], [], 's', color=f'C{k}',
                  label=f'{row["molecule"]} {row["precision"]}')
    axes.set_xticks(range(len(numbers)),
                    [chemical_symbols[z] for z in numbers])
    axes.set(ylabel='force error, eV/A (box: quartiles, whiskers: range)',
             yscale='log', title='Force errors by element')
    return bool(rows)


def nve(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw the total energy of runs at constant energy."""
    rows = [r for r in content['rows'] if r.get('series')]
    for row in rows:
        axes.plot(row['series']['ps'], row['series']['meV_per_atom'], lw=1,
                  label=f'{row["backend"]} {row["dtype"]}, '
                  f'{row["drift_meV_atom_ps"]:+.4f} meV/atom/ps')
    axes.set(xlabel='ps', ylabel='total energy less its start, meV/atom',
             title='Constant energy')
    return bool(rows)


def scaling(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw efficiency of strong and weak scaling."""
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for e in content.get('laws', ()):
        if e.get('kind') in ('strong', 'weak'):
            share = e['efficiency'] / e['ratio']
            found.setdefault(f'{e["kind"]}, {e["schedule"]}', []).append((
                e['ranks'], e['efficiency'], share * e['low'],
                share * e['high']))
    for text, points in found.items():
        x, y, low, high = np.array([(1, 1.0, 1.0, 1.0), *points]).T
        axes.errorbar(x, y, [y - low, high - y], fmt='o-', ms=4, capsize=2,
                      label=text)
    axes.axhline(1.0, color='grey', lw=1)
    axes.set(xlabel='ranks', ylabel='efficiency, 95 % interval',
             ylim=(0, None), title='Scaling over ranks')
    return bool(found)


def memory(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw peak memory against atoms in a batch, with its law."""
    rows = [r for r in content['rows'] if r.get('memory')]
    for row in rows:
        m = row['memory']
        line, = axes.plot(m['atoms'], np.array(m['peaks']) / 1e6, 'o',
                          label=f'{row["way"]} {row["dtype"]}, '
                          f'{m["limit_bytes"] / 1e9:g} GB: '
                          f'{m["largest_batch"]}')
        law = m['law']
        axes.plot(m['atoms'], [
            (law['m0'] + law['per_atom'] * a + law['per_edge'] * e) / 1e6
            for a, e in zip(m['atoms'], m['edges'])], lw=1,
            color=line.get_color())
    axes.set(xlabel='atoms in the batch', ylabel='peak, MB',
             title='Memory, and the largest batch that fits')
    return bool(rows)


def even(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw the calls after which a start is earned back."""
    rows = timed(content)
    found = []
    for row in rows:
        base = baseline_of(row, rows)
        if base is not None and row['way'] != BASELINE:
            calls = break_even(base, row)
            if calls:
                found.append((f'{row["model"]} {row["molecule"]} '
                              f'b{row["batch"]} {label(row)}', calls))
    found = found[:24]
    axes.barh(range(len(found)), [calls for _, calls in found])
    axes.set_yticks(range(len(found)), [name for name, _ in found],
                    fontsize=6)
    axes.set(xlabel='calls until the start is earned back', xscale='log')
    axes.invert_yaxis()
    return bool(found)


def stages(axes: Any, content: Mapping[str, Any]) -> bool:
    """Draw forward and backward ms of the stages of a profile."""
    rows = [r for r in content['rows'] if r.get('stages')]
    if not rows:
        return False
    found = sorted(rows[0]['stages'], key=lambda s: -s['share'])[:14]
    y = np.arange(len(found))
    forward = [s['forward_ms'] for s in found]
    axes.barh(y, forward, label='forward')
    axes.barh(y, [s['backward_ms'] for s in found], left=forward,
              label='backward')
    axes.set_yticks(y, [f'{s["stage"]} ({s["bound"]})' for s in found],
                    fontsize=6)
    axes.set(xlabel='ms', title=f'{rows[0]["way"]} {rows[0]["dtype"]}')
    axes.invert_yaxis()
    return True


PICTURES: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    'latency': latency, 'throughput': throughput, 'speed_up': speed_up,
    'pareto': pareto, 'elements': elements, 'nve': nve, 'scaling': scaling,
    'memory': memory, 'break_even': even, 'stages': stages,
}
