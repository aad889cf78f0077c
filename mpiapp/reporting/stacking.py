"""What `validate` prints: a line for each method, then its judgements."""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mpiapp.chemistry.dimer_forms import Row, distance_error, like
from mpiapp.chemistry.dimer_gate import (
    Gate, Judgement, compat, is_failure, is_gated_energy, judge, overall
)
from mpiapp.chemistry.dimer_names import ORIGINAL, SINGLE_POINT
from mpiapp.records import Status


def by_method(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each method, in the order of first use."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row['potential']), []).append(row)
    return found


def n_items(rows: Iterable[Row]) -> int:
    """Count the items that were worked on."""
    return sum(row['status'] not in (Status.SKIPPED, Status.PENDING)
               for row in rows)


def n_failed(rows: Iterable[Row], strict: bool) -> int:
    """Count failed items; with `strict` unconverged ones too.

    As in the gate a start beyond the cutoff is refused, not failed.
    """
    return sum(is_failure(row)
               or strict and row['status'] == Status.UNCONVERGED
               for row in rows)


def shortcomings(
    rows: Iterable[Row], gate: Gate, required: Iterable[str],
    max_failed: int, strict: bool,
) -> list[str]:
    """Return what is wrong with the required methods, one text each."""
    methods = by_method(rows)
    faults = []
    for name in required:
        word = overall(judge(methods[name], gate))
        failed = n_failed(methods[name], strict)
        if word not in ('pass', 'ungated'):
            faults.append(f'{name}: {word}')
        elif failed > max_failed:
            faults.append(f'{name}: {failed} failed item(s)')
    return faults


def mean_size(values: Iterable[float]) -> float:
    """Return the mean absolute value, NaN of nothing."""
    found = [abs(v) for v in values if math.isfinite(v)]
    return sum(found) / len(found) if found else math.nan


def vertical_errors(rows: Iterable[Row]) -> list[tuple[float, Row]]:
    """Return errors of vertical distances, A, of what can be compared."""
    return [(error, row) for row in rows
            if row['start'] != ORIGINAL and row['ref_kind'] != 't'
            and math.isfinite(error := distance_error(row))]


def slip_errors(rows: Iterable[Row]) -> list[float]:
    """Return errors of slips, A, of what can be compared."""
    return [end.slip - row['ref_slip'] for row in rows
            if row['start'] != ORIGINAL and (end := like(row)) is not None
            and math.isfinite(row['ref_slip'])]


def binding_errors(rows: Iterable[Row]) -> list[float]:
    """Return errors of binding energies, kcal/mol, at like structures."""
    return [end.binding - row['ref_energy_kcal'] for row in rows
            if row['start'] != ORIGINAL and (end := like(row)) is not None
            and math.isfinite(row['ref_energy_kcal'])]


def interaction_errors(rows: Iterable[Row], data_set: str) -> list[float]:
    """Return errors of energies at fixed geometries, kcal/mol.

    Of a published set, or of the gated stacks where none is named.
    """
    return [row['interaction_kcal'] - row['ref_energy_kcal'] for row in rows
            if row['start'] == SINGLE_POINT
            and math.isfinite(row['interaction_kcal'])
            and (row['data_set'] == data_set if data_set
                 else is_gated_energy(row))]


def summary_table(rows: Iterable[Row], gate: Gate) -> str:
    """Return a line for each method: counts, mean absolute errors, worst."""
    lines = [
        f'{"method":20s} {"items":>5s} {"failed":>6s} {"vertical":>8s} '
        f'{"slip":>6s} {"binding":>7s} {"stacks":>7s} {"S22":>6s} '
        f'{"S66":>6s} {"NBC10":>6s}  {"verdict":8s} worst vertical']
    for mine in by_method(rows).values():
        n = n_items(mine)
        errors = vertical_errors(mine)
        values = [mean_size(e for e, _ in errors),
                  mean_size(slip_errors(mine)),
                  mean_size(binding_errors(mine)),
                  *(mean_size(interaction_errors(mine, name))
                    for name in ('', 's22', 's66', 'nbc10'))]
        cells = [f'{v:.3f}' if math.isfinite(v) else '-' for v in values]
        widths = (8, 6, 7, 7, 6, 6, 6)
        text = ' '.join(f'{c:>{w}s}'
                        for c, w in zip(cells, widths, strict=True))
        lines.append(
            f'{mine[0]["method"]:20s} {n:5d} {n_failed(mine, False):6d} '
            f'{text}  {overall(judge(mine, gate)):8s} {_worst(errors)}')
    lines.append('mean absolute errors in A and kcal/mol; vertical, slip and '
                 'binding where the structure is that of the reference')
    return '\n'.join(lines)


def _worst(errors: Sequence[tuple[float, Row]]) -> str:
    if not errors:
        return '-'
    error, row = max(errors, key=lambda e: abs(e[0]))
    return f'{error:+.3f} {row["benchmark"]} from {row["start"]}'


def judgement_lines(name: str, judgements: Iterable[Judgement]) -> list[str]:
    """Return the criteria of a method, one a line."""
    return [f'  {name:20s} {j.verdict:8s} {j.criterion}: {j.text}'
            for j in judgements]


def gate_table(rows: Iterable[Row], gate: Gate) -> str:
    """Return all criteria of all methods that ran, and the old gate."""
    rows = list(rows)
    lines = ['gate']
    for mine in by_method(rows).values():
        lines += judgement_lines(mine[0]['method'], judge(mine, gate))
    lines += judgement_lines('original\'s gate', [compat(rows)])
    return '\n'.join(lines)
