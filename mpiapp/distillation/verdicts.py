"""Goals of a student, and whether one is better than another."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpiapp.distillation.evaluating import USABLE

#: name: (what it is, unit, goal); of all the smaller is the better
GOALS: Mapping[str, tuple[str, str, float]] = {
    'force_mae': ('force MAE on unseen molecules', 'meV/A', 30.0),
    'energy_mae': ('energy MAE on unseen molecules', 'meV/atom', 3.0),
    'vertical': ('largest error of the distance of stacked planes', 'A',
                 0.05),
    'slip': ('largest error of the slip of stacked dimers', 'A', 0.15),
    'at_4.8': ('largest error of a dimer energy at 4.8 A', 'kcal/mol', 0.5),
    'scan_mae': ('MAE of dimer energies along the scans', 'kcal/mol', 0.5),
    'relative': ('MAE of relative conformer energies, small molecules',
                 'kcal/mol', 1.5),
    'relative_large': ('MAE of relative conformer energies, full-size '
                       'molecules', 'kcal/mol', 1.5),
    'rmsd': ('mean RMSD of relaxed small molecules', 'A', 0.15),
    'rmsd_large': ('mean RMSD of relaxed full-size molecules', 'A', 0.15),
    'unstable': ('molecules that broke up in the dynamics', '1', 0.0),
}
#: goals that are counts: a better model has no higher ones
COUNTS = frozenset({'unstable'})
#: ps; a molecule that stays whole for a shorter time proves no stability
LONG = 10.0
#: a single number may be worse by this factor in a model that is better
TOLERATED = 1.25
#: share of a goal that no difference of two models is told from
NOISE = 0.02


def key_numbers(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that decide, as far as they were measured."""
    found: dict[str, float] = {}
    errors = [r for r in report.get('errors', ()) if r['subset'] == 'all']
    if errors:
        found['force_mae'] = errors[0]['force_mae']
        found['energy_mae'] = errors[0]['energy_mae']
    stacks = report.get('stacks', ())
    for name in ('vertical', 'slip'):
        values = [abs(r[f'model_{name}'] - r[f'teacher_{name}'])
                  for r in stacks]
        if values:
            found[name] = float(np.max(values))
    scans = report.get('scans', ())
    if scans:
        far = [abs(r['error']) for r in scans if r['distance'] == 4.8]
        found['scan_mae'] = float(np.mean([abs(r['error']) for r in scans]))
        if far:
            found['at_4.8'] = max(far)
    relaxed = report.get('relaxations', ())
    for size, end in (('small', ''), ('full-size', '_large')):
        for column, name in (('rmsd_mean', 'rmsd'),
                             ('relative_mae', 'relative')):
            values = [r[column] for r in relaxed
                      if r['size'] == size and column in r]
            if values:
                found[name + end] = float(np.mean(values))
    runs = [r for r in report.get('dynamics', ()) if 'stable' in r]
    broken = sum(not r['stable'] for r in runs)
    if broken or runs and min(r['picoseconds'] for r in runs) >= LONG:
        found['unstable'] = float(broken)
    return found


def gaps(report: Mapping[str, Any]) -> dict[str, str]:
    """Return rows of the proofs that failed, by what they are of."""
    found = {
        f'relaxations of {r["molecule"]}':
        f'{r["failed"]} of {r["n"] + r["failed"]} conformers failed'
        for r in report.get('relaxations', ()) if r['failed']}
    found.update({f'dynamics of {r["molecule"]}': r['failed']
                  for r in report.get('dynamics', ()) if 'failed' in r})
    for r in report.get('stacks', ()):
        for who in ('teacher', 'model'):
            if r[f'{who}_outcome'] not in USABLE:
                found[f'stack of {r["dimer"]} ({r["start"]})'] = \
                    f'{who}: {r[f"{who}_outcome"]}'
    return found


def goals_met(numbers: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a row for each goal that has a number."""
    return [{'goal': what, 'unit': unit, 'limit': limit,
             'found': numbers[name], 'met': numbers[name] <= limit}
            for name, (what, unit, limit) in GOALS.items()
            if name in numbers]


def comparison(
    new: Mapping[str, float], old: Mapping[str, float],
) -> tuple[bool, list[dict[str, Any]]]:
    """Tell whether a model is better, and the numbers.

    Better: it has all numbers of the old one, the geometric mean of the
    ratios new / old is below 1, none is above 1.25, and no count is higher.
    What is far below its goal is noise: `NOISE` of the goal is added to both.
    """
    rows: list[dict[str, Any]] = []
    ratios, worse = [], False
    for name in GOALS:
        if name not in old:
            continue
        row: dict[str, Any] = {
            'number': name, 'unit': GOALS[name][1],
            'new': new.get(name, 'missing'), 'old': old[name]}
        if name not in new:
            worse = True
        elif name in COUNTS:
            worse |= new[name] > old[name]
        else:
            noise = NOISE * GOALS[name][2]
            row['ratio'] = (new[name] + noise) / (old[name] + noise)
            ratios.append(row['ratio'])
        rows.append(row)
    better = not worse and bool(ratios) and max(ratios) <= TOLERATED \
        and float(np.exp(np.mean(np.log(ratios)))) < 1.0
    return better, rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table in Markdown."""
    if not rows:
        return '(nothing)'
    names = list(dict.fromkeys(name for r in rows for name in r))
    lines = ['| ' + ' | '.join(names) + ' |', '|' + '---|' * len(names)]
    for row in rows:
        cells = [_cell(row.get(name, '')) for name in names]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    return str(value).replace('|', '/')
