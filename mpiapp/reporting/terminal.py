"""The closing table of a campaign, as plain text."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.parallel.progress import clock
from mpiapp.records import Status
from mpiapp.reporting.ensembles import molecule_lines


def closing_table(
    table: Any, wall: float,
    ranks: Sequence[Mapping[str, float]], paths: Iterable[Path],
    ensembles: Mapping[str, Any] | None = None, n_alike: int = 0,
) -> str:
    """Return what a run came to.

    `table` is the data frame of the result file (columns status, reason,
    steps), `wall` [s] from the first pull to the last result, `ranks` the
    figures of each rank, `ensembles` the tables of the molecules; `n_alike`
    as for `molecule_lines`.
    """
    lines = ['', *status_lines(table['status'].to_numpy(),
                               table['reason'].tolist())]
    steps = table.loc[table['steps'] > 0, 'steps']
    if len(steps):
        lines.append(f'steps         median {int(steps.median())}, most '
                     f'{int(steps.max())}')
    lines += molecule_lines(ensembles or {}, n_alike)
    lines += timing_lines(wall, ranks)
    lines += [f'wrote         {path}' for path in paths]
    return '\n'.join(lines)


def status_lines(statuses: Any, reasons: Sequence[str]) -> list[str]:
    """Count the records by status, and by reason below it."""
    lines = ['status        records  reasons']
    for status in Status:
        of = np.flatnonzero(np.asarray(statuses) == status)
        if not len(of):
            continue
        words = Counter(reasons[int(i)] for i in of if reasons[int(i)])
        text = ', '.join(f'{n} {word}' for word, n in words.most_common())
        lines.append(f'{status.name.lower():12s}  {len(of):7d}  {text}'
                     .rstrip())
    lines.append(f'{"all":12s}  {len(statuses):7d}')
    return lines


def timing_lines(
    wall: float, ranks: Sequence[Mapping[str, float]],
) -> list[str]:
    """Tell how the time of the ranks was spent.

    The busy share is that of work in the time until the list had ended, the
    idle tail what a mean rank then waited for the last one.
    """
    def total(name: str) -> float:
        return float(sum(r[name] for r in ranks))

    n_records, atom_steps = int(total('records')), total('atom_steps')
    if not n_records:
        return ['this run finished no record']
    per_step = 1e6 * total('work') / atom_steps if atom_steps else np.nan
    works = [r['work'] for r in ranks]
    balance = max(works) / max(float(np.mean(works)), 1e-12)
    lost = total('pull') + total('storage')
    busy = 1 - lost / max(total('until_dry'), 1e-12)
    return [
        f'this run      {n_records} record(s) in {clock(wall)} on '
        f'{len(ranks)} rank(s), {n_records / max(wall, 1e-9):.3g} '
        f'structures/s, {per_step:,.1f} us per atom-step',
        f'ranks         busy {100 * busy:.1f} % until the list ended, idle '
        f'tail {total("idle") / len(ranks):.2f} s, slowest/mean '
        f'{balance:.2f}',
    ]
