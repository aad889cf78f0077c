"""What is printed of cells: states, times, ratios that may be told."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpiapp.benchmarks.harness.cells import BASELINE, SHARED
from mpiapp.benchmarks.harness.spread import break_even, ratio_of


def states(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many cells ended how."""
    counts = Counter(r['state'] for r in rows)
    return ', '.join(f'{n} {state}' for state, n in counts.most_common())


def lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a Markdown table of all cells, the reasons below it."""
    yield ('| model | molecule | atoms | batch | quantity | threads | way | '
           'state | ms (MAD) | us per atom-step | against the baseline | '
           'dF eV/A |')
    yield '|' + '---|' * 12
    for row in rows:
        yield line(row, baseline_of(row, rows))
    told = [r for r in rows if r['state'] != 'ok']
    if told:
        yield ''
    for row in told:
        yield (f'{row["state"]}: {row["model"]} {row["molecule"]} '
               f'{label(row)}: {row["reason"]}')


def label(row: Mapping[str, Any]) -> str:
    """Return what differs within a group."""
    found = '' if row['neighbours'] == 'tree' else f' {row["neighbours"]}'
    return f'{row["way"]} {row["dtype"]}{found}'


def baseline_of(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]],
) -> Mapping[str, Any] | None:
    """Return the row of the reference of the same precision and list.

    For the reference with another list of pairs it is the one with ours.
    """
    vary = varied(row)
    wanted = {'way': BASELINE, 'dtype': row['dtype'],
              'neighbours': 'tree' if vary == 'neighbours'
              else row['neighbours']}
    for other in rows:
        same = all(other[n] == row[n] for n in SHARED)
        if same and other is not row and all(
                other[k] == v for k, v in wanted.items()):
            return other
    return None


def varied(row: Mapping[str, Any]) -> str:
    """Return the name in which a row differs from its baseline."""
    return 'neighbours' if row['way'] == BASELINE else 'way'


def line(row: Mapping[str, Any], base: Mapping[str, Any] | None) -> str:
    """Return a cell as a line; without a time unless it is ok (R2)."""
    head = (f'| {row["model"]} | {row["molecule"]} | {row.get("n_atoms", 0)}'
            f' | {row["batch"]} | {row["quantity"]} | {row["threads"]} | '
            f'{label(row)} | {row["state"]} | ')
    steady = row.get('steady') or {}
    if row['state'] != 'ok' or not steady:
        counts = f'{row["operations"]} operations, {row["flops"]:.2e} FLOP' \
            if 'operations' in row else ''
        return head + f'{counts} | | | |'
    ratio = '' if base is None else str(ratio_of(base, row, varied(row)))
    if base is not None and row['way'] != BASELINE:
        calls = break_even(base, row)
        if calls:
            ratio += f', earned back after {calls:.0f} calls'
    force = row.get('errors', {}).get('d_force_max')
    return head + (
        f'{1e3 * steady["median"]:.2f} ({1e3 * steady["mad"]:.2f}) | '
        f'{row["us_per_atom_step"]:.1f} | {ratio} | '
        f'{"" if force is None else format(force, ".0e")} |')


def cold_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the four numbers of each timed cell (R5)."""
    yield ('| model | molecule | way | build s | first call s | warm-up s '
           '(calls) | steady ms, median, p95, p99 |')
    yield '|' + '---|' * 7
    for row in rows:
        steady = row.get('steady') or {}
        if row['state'] != 'ok' or not steady:
            continue
        yield (f'| {row["model"]} | {row["molecule"]} | {label(row)} | '
               f'{row["build_s"]:.2f} | {row["first_s"]:.3f} | '
               f'{row["warm_s"]:.3f} ({row["warm_calls"]}'
               f'{"" if row["stable"] else ", not stable"}) | '
               f'{1e3 * steady["median"]:.2f}, {1e3 * steady["p95"]:.2f}, '
               f'{1e3 * steady["p99"]:.2f} |')
