"""Is a method fit to stack molecules: like compared with like.

A row is a mapping with the columns of a campaign of `validate`.  Distances
in A, energies in kcal/mol.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.chemistry.dimer_forms import (
    FORMS, Row, distance_error, like, lowest_forms, reference_forms
)
from mpiapp.chemistry.dimer_names import ORIGINAL, SINGLE_POINT
from mpiapp.chemistry.dimer_references import read_toml
from mpiapp.chemistry.dimer_sets import RECIPES, recipe_of
from mpiapp.records import FAILURES, InputError, Status

PASS, MARGINAL, FAIL = 'pass', 'marginal', 'fail'
UNGATED, NOT_RUN = 'ungated', 'not_run'
#: distance error up to which the original called a method marginal
MARGINAL_ERROR = 0.3


@dataclass(frozen=True)
class Gate:
    """What a method must do; the fields are those of a gate file.

    `required` dimers must be found, `distance` is the largest error of the
    vertical distance, `slip` the range of slipped forms, `order` the
    molecules whose slipped form must lie below the sandwich,
    `energy_error` the largest mean error of interaction energies at fixed
    geometries, `energy_change` [eV] the largest of the last step.
    """

    required: tuple[str, ...] = ('benzene_pd', 'naphthalene_pd', 'pyrene_pd')
    distance: float = 0.2
    slip: tuple[float, float] = (1.0, 2.2)
    order: tuple[str, ...] = ('benzene', 'naphthalene')
    energy_error: float = 0.5
    energy_change: float = 1e-4


@dataclass(frozen=True)
class Judgement:
    """One criterion: its name, a verdict word, and why."""

    criterion: str
    verdict: str
    text: str


def read_gate(path: Path) -> Gate:
    """Return the default gate with the fields of a TOML file replaced.

    Raises:
        InputError: unreadable, unknown field or dimer, wrong type.
    """
    known = {f.name: getattr(Gate(), f.name) for f in fields(Gate)}
    values: dict[str, Any] = {}
    for name, value in read_toml(path).items():
        if name not in known:
            raise InputError(f'{path}: unknown field {name!r}; there are '
                             f'{", ".join(known)}')
        values[name] = _checked(f'{path}: {name} = {value!r}', known[name],
                                value)
    for name in values.get('required', ()):
        recipe_of(name)
    molecules = {name.split('_')[0] for name in RECIPES}
    for name in values.get('order', ()):
        if name not in molecules:
            raise InputError(f'{path}: order: unknown molecule {name!r}')
    return replace(Gate(), **values)


def _checked(where: str, known: Any, value: Any) -> Any:
    """Return a value of the type of `known`; InputError for others."""
    if not isinstance(known, tuple):
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise InputError(f'{where}: must be a number above 0')
        return float(value)
    if not isinstance(value, list):
        raise InputError(f'{where}: must be a list')
    if isinstance(known[0], str):
        if not all(isinstance(v, str) for v in value):
            raise InputError(f'{where}: must be names')
        return tuple(value)
    if len(value) != 2 or not all(type(v) in (int, float) for v in value) \
            or not 0 <= value[0] < value[1] < math.inf:
        raise InputError(f'{where}: must be two ascending numbers')
    return tuple(map(float, value))


def graded(error: float, limit: float) -> str:
    """Return the verdict on a distance error."""
    if math.isnan(error):
        return UNGATED
    if abs(error) < limit:
        return PASS
    return MARGINAL if abs(error) <= max(limit, MARGINAL_ERROR) else FAIL


def row_verdict(row: Row, gate: Gate = Gate()) -> str:
    """Return the verdict on one row alone.

    `ungated`: the end is another stationary point than the reference, or
    the reference is not confirmed, or it serves for comparison only.
    """
    if row['status'] == Status.SKIPPED:
        return NOT_RUN
    if row['status'] != Status.CONVERGED:
        return FAIL
    if row['start'] == SINGLE_POINT:
        if not is_gated_energy(row):
            return UNGATED
        error = row['interaction_kcal'] - row['ref_energy_kcal']
        return PASS if abs(error) < gate.energy_error else FAIL
    if row['start'] == ORIGINAL or not row['ref_confirmed']:
        return UNGATED
    return graded(distance_error(row), gate.distance)


def is_gated_energy(row: Row) -> bool:
    """Tell the single points whose mean error is gated."""
    recipe = RECIPES.get(row['benchmark'])
    return row['start'] == SINGLE_POINT and not row['data_set'] \
        and recipe is not None and recipe.gated


def judge(rows: Sequence[Row], gate: Gate) -> list[Judgement]:
    """Judge the rows of one method by all criteria of the gate."""
    if all(row['status'] == Status.SKIPPED for row in rows):
        return [Judgement('available', NOT_RUN,
                          rows[0]['message'] if rows else 'no items')]
    relaxed = [row for row in rows
               if row['start'] not in (SINGLE_POINT, ORIGINAL)]
    found = [*_found(relaxed, gate)]
    for molecule in gate.order:
        found.append(_below_sandwich(relaxed, molecule))
    found.append(_energies(rows, gate))
    found.append(_sound(relaxed, gate))
    found += _orders(relaxed)
    return found


def overall(judgements: Iterable[Judgement]) -> str:
    """Return the worst verdict; ungated where nothing was gated."""
    words = {j.verdict for j in judgements}
    for word in (FAIL, NOT_RUN, MARGINAL, PASS):
        if word in words:
            return word
    return UNGATED


def _found(rows: Sequence[Row], gate: Gate) -> Iterator[Judgement]:
    """Judge whether the required dimers are found, and where."""
    for name in gate.required:
        mine = [row for row in rows if row['benchmark'] == name]
        if not mine:
            yield Judgement(f'{name} found', UNGATED, 'not computed')
            continue
        alike = [(end.binding, end, row) for row in mine
                 if (end := like(row)) is not None]
        text = f'{len(alike)} of {len(mine)} starts'
        yield Judgement(f'{name} found', PASS if alike else FAIL, text)
        if not alike:
            continue
        _, end, row = min(alike, key=lambda a: a[0])
        error = distance_error(row)
        text = f'{end.vertical:.3f} A, reference {row["ref_vertical"]:.3f}'
        yield Judgement(
            f'{name} vertical', graded(error, gate.distance)
            if row['ref_confirmed'] else UNGATED, text
            + ('' if row['ref_confirmed'] else ' (not confirmed)'))
        low, high = gate.slip
        yield Judgement(
            f'{name} slip', PASS if low <= end.slip <= high else FAIL,
            f'{end.slip:.3f} A, allowed {low:g} to {high:g}')


def _below_sandwich(rows: Sequence[Row], molecule: str) -> Judgement:
    lowest = lowest_forms(rows, molecule)
    name = f'{molecule} order'
    if not {'slipped', 'sandwich'} <= set(lowest):
        lacking = {'slipped', 'sandwich'} - set(lowest)
        return Judgement(name, UNGATED,
                         f'no {" and no ".join(sorted(lacking))} form')
    below = lowest['slipped'] - lowest['sandwich']
    return Judgement(
        name, PASS if below < 0 else FAIL,
        f'slipped {lowest["slipped"]:.3f}, sandwich '
        f'{lowest["sandwich"]:.3f} kcal/mol')


def _energies(rows: Sequence[Row], gate: Gate) -> Judgement:
    name = 'interaction energies'
    mine = [row for row in rows if is_gated_energy(row)]
    if not mine:
        return Judgement(name, UNGATED, 'not computed')
    errors = [abs(row['interaction_kcal'] - row['ref_energy_kcal'])
              for row in mine]
    mean = float(np.mean(errors))
    text = f'mean absolute error {mean:.3f} kcal/mol of {len(mine)} stacks'
    return Judgement(name, PASS if mean < gate.energy_error else FAIL, text)


def is_failure(row: Row) -> bool:
    """Tell what failed or broke; a start out of reach is refused alone."""
    return row['status'] in FAILURES and row['reason'] != 'beyond_cutoff'


def _sound(rows: Sequence[Row], gate: Gate) -> Judgement:
    """Judge that nothing failed, broke or was still moving.

    What did not converge was moving; where all starts were refused nothing
    is known of the method.
    """
    name = 'sound'
    if not rows:
        return Judgement(name, UNGATED, 'no optimisation')
    ends = [row for row in rows if row['status'] == Status.CONVERGED]
    faults = {
        'failed or broken': sum(map(is_failure, rows)),
        'not converged': sum(row['status'] == Status.UNCONVERGED
                             for row in rows),
        'still moving': sum(not row['energy_change'] < gate.energy_change
                            for row in ends),
        'without energy': sum(not math.isfinite(row['binding_kcal'])
                              for row in ends)}
    texts = [f'{n} {what}' for what, n in faults.items() if n]
    if not ends:
        texts.append(f'none of {len(rows)} optimisations converged')
    return Judgement(name, FAIL if texts else PASS,
                     ', '.join(texts) or f'{len(rows)} optimisations')


def _orders(rows: Sequence[Row]) -> Iterator[Judgement]:
    """Tell the order of the forms where the references know one."""
    for molecule in ('benzene', 'naphthalene', 'pyrene'):
        lowest = lowest_forms(rows, molecule)
        known = reference_forms(rows, molecule)
        both = [form for form in FORMS if form in lowest and form in known]
        if len(both) < 2:
            continue
        mine, theirs = (
            ' < '.join(sorted(both, key=energies.__getitem__))
            for energies in (lowest, known))
        yield Judgement(f'{molecule} all forms', UNGATED,
                        mine if mine == theirs
                        else f'{mine}; reference {theirs}')


def compat(rows: Sequence[Row]) -> Judgement:
    """Judge as the original did: one dimer, one model, the centroids."""
    for row in rows:
        if (row['method'], row['benchmark'], row['start'], row['kick']) == (
                'MACE-OFF23', 'pyrene_pd', ORIGINAL, 0) \
                and row['status'] == Status.CONVERGED:
            error = row['centroid'] - row['ref_centroid']
            return Judgement(
                'compat', graded(error, Gate().distance),
                f'pyrene, MACE-OFF23 small: centroids {row["centroid"]:.3f} '
                f'A, {error:+.3f}')
    return Judgement('compat', NOT_RUN,
                     'pyrene with MACE-OFF23 small, start original')
