"""What a campaign of `hameval` came to, as plain text."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: metrics of the closing table, with a unit that people think in
SHOWN = (
    ('hamiltonian_diff', 1e6, 'uHa'),
    ('energy_diff', 1e3, 'mHa'),
    ('force_mae', 1e3, 'mHa/bohr'),
    ('occupied_orbital_energy_mae', 1e3, 'mHa'),
    ('gap_error', 1e3, 'mHa'),
    ('orbital_similarity_s', 1.0, ''),
    ('subspace_loss', 1.0, 'pairs'),
    ('dipole_vec_error', 1.0, 'D'),
)
#: lines about duplicates at most
MOST_WARNINGS = 5
PAIRS = ('pred-gt', 'pred-calc', 'gt-calc', 'init-calc')


def metric_lines(summary: Any) -> list[str]:
    """Return the mean absolute values of the main metrics, a line each.

    `summary` is the table of all frames; empty lines where there is none.
    """
    if not len(summary):
        return []
    # errors of either sign must not cancel
    means = figures_of(summary, 'mean_abs')
    lines = ['', f'{"mean absolute over frames":38s}'
             + ''.join(f'{pair:>13s}' for pair in PAIRS)]
    for name, factor, unit in SHOWN:
        cells = [number(means.get((pair, name)), factor) for pair in PAIRS]
        if any(cell.strip() != '-' for cell in cells):
            label = f'{name} [{unit}]' if unit else name
            lines.append(f'{label:38s}' + ''.join(cells))
    return lines + cycle_lines(figures_of(summary, 'mean'),
                               figures_of(summary, 'n'))


def figures_of(summary: Any, name: str) -> dict[tuple[str, str], float]:
    """Return a column of the summary by pair and metric."""
    return {(p, m): v for p, m, v in zip(
        summary['pair'], summary['metric'], summary[name], strict=True)}


def number(value: float | None, factor: float) -> str:
    """Return a cell of 13 characters."""
    return f'{"-":>13s}' if value is None else f'{value * factor:13.5g}'


def cycle_lines(
    means: Mapping[tuple[str, str], float],
    counts: Mapping[tuple[str, str], float],
) -> list[str]:
    """Return the SCF cycles from each start, and of how many runs."""
    cells = []
    for start in ('minao', 'atom', 'init', 'pred', 'gt'):
        runs = counts.get(('scf', f'converged_{start}'))
        if runs:
            key = ('scf', f'cycles_{start}')
            n = counts.get(key, 0)
            mean = f' {means[key]:.2f}' if n else ''
            cells.append(f'{start}{mean} (converged {n:.0f}/{runs:.0f})')
    return [f'{"SCF cycles from":38s}{", ".join(cells)}'] if cells else []


def speed_line(n: int, wall: float, n_ranks: int) -> str:
    """Return the throughput of this run."""
    return (f'frames/hour   {3600 * n / max(wall, 1e-9):.1f} on {n_ranks} '
            f'rank(s), {n} frame(s) in {wall:.1f} s')


def duplicate_lines(table: Any) -> list[str]:
    """Tell of frames that carry the number of another one."""
    seen: dict[tuple[int, int, str], str] = {}
    lines = []
    for number, index, molecule, name in zip(
            table['file_number'], table['index'], table['molecule'],
            table['name'], strict=True):
        key = (int(number), int(index), molecule)
        if index >= 0 and key in seen:
            lines.append(f'warning: {name} has the idx {index} of '
                         f'{seen[key]}: counted twice')
        seen.setdefault(key, name)
    if len(lines) > MOST_WARNINGS:
        n = len(lines) - MOST_WARNINGS
        lines[MOST_WARNINGS:] = [f'warning: ... and {n} more']
    return lines


def check_lines(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Return a line for each frame that was looked at."""
    for row in rows:
        what = row['message'] if row['reason'] else (
            f'{row["length_unit"]}, order {row["ao_order"]}, '
            + (f'overlap agrees to {row["overlap_error"]:.1e}'
               if row['proof'] else 'no overlap to prove it'))
        yield (f'{row["name"]:24s} {row["reason"] or "ok":18s} '
               f'{row.get("molecule", ""):12s} {what}')
