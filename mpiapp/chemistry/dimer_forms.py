"""The forms that optimised dimers came to, and which is like a reference.

A row is a mapping with the columns of a campaign of `validate`.  Distances
in A, energies in kcal/mol.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpiapp.chemistry.dimer_names import SINGLE_POINT
from mpiapp.chemistry.dimer_sets import RECIPES
from mpiapp.chemistry.dimers import SANDWICH_SLIP, SLIPPED, kind_of
from mpiapp.records import Status

Row = Mapping[str, Any]

#: kinds in the order in which an order of structures is told
FORMS = ('slipped', 'twisted', 'crossed', 't', 'sandwich')


@dataclass(frozen=True)
class End:
    """A structure that a row came to."""

    kind: str
    vertical: float
    slip: float
    centroid: float
    binding: float
    saddle: bool = False


def ends_of(row: Row) -> list[End]:
    """Return the stationary point of a row, and where it led from a saddle.

    Empty where nothing converged.
    """
    if row['status'] != Status.CONVERGED or row['start'] == SINGLE_POINT:
        return []
    saddle = row['structure'] == 'saddle'
    found = [End(kind_of(row['plane_angle'], row['twist'], row['contact']),
                 row['vertical'], row['slip'], row['centroid'],
                 row['binding_kcal'], saddle)]
    if saddle and math.isfinite(row['binding_after_kcal']):
        found.append(End(
            kind_of(row['plane_angle_after'], row['twist_after'],
                    row['contact_after']),
            row['vertical_after'], row['slip_after'], row['centroid_after'],
            row['binding_after_kcal']))
    return found


def form_of(end: End) -> str:
    """Name the form: a stack is slipped, a sandwich, or neither quite."""
    if end.kind != 'stacked':
        return end.kind
    if end.slip < SANDWICH_SLIP:
        return 'sandwich'
    return 'slipped' if end.slip > SLIPPED else 'stacked'


def like(row: Row) -> End | None:
    """Return the end of a row that is like its reference, if there is one.

    A saddle is like a sandwich alone.  A stack whose reference is slipped
    must be slipped itself.
    """
    kind, slip = row['ref_kind'], row['ref_slip']
    for end in ends_of(row):
        if kind == 'sandwich':
            if form_of(end) == 'sandwich':
                return end
        elif end.saddle or end.kind != kind:
            continue
        elif kind != 'stacked' or slip < SLIPPED \
                or form_of(end) == 'slipped':
            return end
    return None


def distance_error(row: Row) -> float:
    """Return the signed error of the distance, A, like for like.

    Of the centroids for T-shapes, else vertical; NaN where no end is like
    the reference or the reference has none.
    """
    end = like(row)
    if end is None:
        return math.nan
    if row['ref_kind'] == 't':
        return float(end.centroid - row['ref_centroid'])
    return float(end.vertical - row['ref_vertical'])


def lowest_forms(rows: Sequence[Row], molecule: str) -> dict[str, float]:
    """Return the lowest binding energy of each form of a molecule's dimer.

    Only dimers of two equal molecules; a saddle counts as a sandwich alone.
    """
    lowest: dict[str, float] = {}
    for row in rows:
        recipe = RECIPES.get(row['benchmark'])
        if recipe is None or set(recipe.monomers) != {molecule}:
            continue
        for end in ends_of(row):
            form = form_of(end)
            if math.isfinite(end.binding) \
                    and not (end.saddle and form != 'sandwich'):
                lowest[form] = min(end.binding,
                                   lowest.get(form, math.inf))
    return lowest


def reference_forms(
    rows: Sequence[Row], molecule: str,
) -> dict[str, float]:
    """Return the lowest reference energy of each form of a molecule."""
    known: dict[str, float] = {}
    for row in rows:
        recipe = RECIPES.get(row['benchmark'])
        if recipe is not None and set(recipe.monomers) == {molecule} \
                and math.isfinite(row['ref_energy_kcal']):
            kind = str(row['ref_kind'])
            form = 'slipped' if kind == 'stacked' else kind
            known[form] = min(row['ref_energy_kcal'],
                              known.get(form, math.inf))
    return known
