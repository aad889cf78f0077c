"""What is told of a study: lines while it runs, the closing table."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpiapp.parallel.progress import clock
from mpiapp.tuning.study import Row


def trial_line(row: Row, n_done: int, n_trials: int,
               best: Row | None) -> str:
    """Tell how a trial ended."""
    told = row.summary
    text = (f'[{n_done}/{n_trials}] trial {row.ordinal} {row.state.value}, '
            f'{told["n_success"]}/{told["n_samples"]} found')
    if row.values:
        text += f', value {" ".join(f"{v:.4f}" for v in row.values)}'
    if told['n_errors']:
        text += f', {told["n_errors"]} without result'
    if row.source != 'sampler':
        text += f' ({row.source})'
    if row.note:
        text += f': {row.note}'
    if best is not None:
        text += f'; best is trial {best.ordinal}'
    return text


def closing(
    rows: Sequence[Row], best: Sequence[Row], baseline: Row | None,
    importances: Mapping[str, float], single: bool,
) -> list[str]:
    """Return what a study came to."""
    states = Counter(r.state.value for r in rows)
    lines = ['', 'trials        ' + ', '.join(
        f'{n} {state}' for state, n in sorted(states.items()))]
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row.summary['reasons'])
    lines.append('samples       ' + ', '.join(
        f'{n} {word}' for word, n in reasons.most_common()))
    if baseline is not None:
        lines.append('baseline      ' + _scores(baseline))
    if not best:
        return [*lines, 'best          none: no trial is complete with any '
                'result']
    if not single:
        lines.append(f'Pareto front  {len(best)} trial(s)')
    for row in best[:10]:
        lines.append(f'best          trial {row.ordinal}: '
                     + _scores(row))
    lines += [f'  {name:22s} {_plain(value)}'
              for name, value in best[0].params.items()]
    if importances:
        lines.append('importance    ' + ', '.join(
            f'{name} {share:.2f}'
            for name, share in list(importances.items())[:6]))
    return lines


def _scores(row: Row) -> str:
    told = row.summary
    value = ' '.join(f'{v:.4f}' for v in row.values) or 'none'
    return (f'value {value}, {told["n_success"]} of {told["n_samples"]} '
            f'found, cost {told["cost"]:.0f} calls a sample')


def _plain(value: Any) -> str:
    return f'{value:.6g}' if isinstance(value, float) else str(value)


def timing_lines(
    wall: float, figures: Sequence[Mapping[str, float]], n_trials: int,
    n_late: int,
) -> list[str]:
    """Tell how the time of the ranks was spent."""
    n = len(figures)
    if not n_trials or wall <= 0:
        return ['this run      no trial']
    work = sum(f['work'] for f in figures)
    dropped = sum(f['dropped'] for f in figures)
    samples = int(sum(f['samples'] for f in figures))
    most = max(f['work'] for f in figures)
    return [
        f'this run      {n_trials} trial(s), {samples} sample(s) in '
        f'{clock(wall)} on {n} rank(s), {3600 * n_trials / wall:.4g} '
        'trials/h',
        f'ranks         busy {100 * work / (n * wall):.1f} % ('
        f'{100 * dropped / (n * wall):.1f} % on samples of pruned trials), '
        f'slowest/mean {most * n / max(work, 1e-9):.2f}, manager '
        f'{figures[0]["managing"]:.2f} s, {n_late} late result(s) dropped']


def files_lines(paths: Iterable[Path]) -> list[str]:
    """Name what was written."""
    return [f'wrote         {path}' for path in paths]
