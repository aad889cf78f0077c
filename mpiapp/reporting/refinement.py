"""How the stages of a refinement agree, in the terminal."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.records import Status

if TYPE_CHECKING:
    import pandas


def comparison_lines(
    statuses: Mapping[str, Any], table: pandas.DataFrame,
) -> list[str]:
    """Return the closing lines: each stage against the one before.

    `statuses` maps a stage to the status [n_records] of its records,
    `table` has a line for each stage and molecule (columns stage, n,
    kendall_tau, same_lowest, n_class_changed).
    """
    lines = ['stage              done  failed  median tau  same lowest  '
             'class changed']
    for name, status in statuses.items():
        lines.append(_line(name, status, table[table['stage'] == name]))
    return lines


def _line(name: str, status: Any, of: pandas.DataFrame) -> str:
    n_done = int(np.isin(status, [Status.CONVERGED,
                                  Status.UNCONVERGED]).sum())
    n_failed = int(np.isin(status, [Status.FAILED, Status.REJECTED,
                                    Status.BROKEN]).sum())
    taus = of['kendall_tau'].dropna()
    several = of[of['n'] > 1]
    counted = of['n_class_changed'][of['n_class_changed'] >= 0]
    words: Sequence[str] = (
        f'{taus.median():.2f}' if len(taus) else '-',
        f'{int(several["same_lowest"].sum())}/{len(several)}',
        f'{int(counted.sum())}/{int(of["n"].sum())}' if len(counted)
        else '-')
    return (f'{name:17s}  {n_done:4d}  {n_failed:6d}  {words[0]:>10s}  '
            f'{words[1]:>11s}  {words[2]:>13s}')
