"""The table of names: the columns of the original, then counts and ours.

Means are over records that have a result (converged or not); how many are
left out is a column.  What is weighted is so at the temperature next to
298 K, over the unique conformers.  What concerns energies is told only where
a name is one molecule.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mpiapp.records import Floats, Ints, Status
from mpiapp.store.formats import number
from mpiapp.units import KCAL_PER_EV

if TYPE_CHECKING:
    import pandas

#: rows that count in means
HAS_RESULT = (Status.CONVERGED, Status.UNCONVERGED)
EXCIMERS = ('strong', 'weak')
#: prefix of the columns of weights; `K` ends them
WEIGHT = 'boltz_weight_'
#: K, of the weighted means
ROOM = 298.0
#: rounding of the sum of the weights of one molecule
ONE = 1e-6

#: of several molecules it has no meaning
ENERGY = 'e_total'
#: (header, column, how, factor) of means in the original's order
MEANS = (
    ('mean_distance_moe', 'shown_distance_start', np.mean, 1.0),
    ('mean_distance_mace', 'shown_distance', np.mean, 1.0),
    ('mean_distance_delta', 'shown_delta', np.mean, 1.0),
    ('mean_angle', 'shown_angle', np.mean, 1.0),
    ('mean_overlap', 'shown_overlap', np.mean, 1.0),
    ('best_overlap', 'shown_overlap', np.max, 1.0),
    ('mean_energy', ENERGY, np.mean, KCAL_PER_EV),
    ('min_energy_kcal', ENERGY, np.min, KCAL_PER_EV),
    ('energy_spread_kcal', ENERGY, np.ptp, KCAL_PER_EV),
    ('mean_steps', 'steps', np.mean, 1.0),
    ('mean_rmsd_A', 'rmsd_start_final', np.mean, 1.0),
)
COUNTS = ('n_converged', 'n_unconverged', 'n_failed', 'n_rejected',
          'n_left_out', 'n_unique')
WEIGHTED = {'boltz_excimer_fraction': '', 'boltz_distance': 'shown_distance',
            'boltz_angle': 'shown_angle'}
HEADER = ('name', 'r_group', 'screen_group', 'n_conformers', 'n_excimer',
          'excimer_fraction', *(name for name, *_ in MEANS), *COUNTS,
          *WEIGHTED)
_value = number('.6f')


def summary_lines(table: pandas.DataFrame) -> Iterator[list[str]]:
    """Yield a line for each name, the largest share of excimers first.

    Names of equal share are in the order of their first records.
    """
    groups = [(str(name), group)
              for name, group in table.groupby('name', sort=False)]
    shares = np.array([excimers(group)[1] for _, group in groups])
    order = np.argsort(-np.nan_to_num(shares, nan=-1.0), kind='stable')
    for i in order.tolist():
        yield line(*groups[i])


def line(name: str, group: pandas.DataFrame) -> list[str]:
    """Return the fields of one name."""
    first, part = group.iloc[0], group[group['status'].isin(HAS_RESULT)]
    n_excimer, share = excimers(group)
    known = {column: finite(part, column) for _, column, *_ in MEANS}
    if part['molecule'].nunique() > 1:
        known[ENERGY] = known[ENERGY][:0]
    means = [how(values) * factor if len(values := known[column]) else np.nan
             for _, column, how, factor in MEANS]
    return [name, first['r_group'], first['screen_group'], str(len(group)),
            str(n_excimer), _value(share), *map(_value, means),
            *counts(group['status'].to_numpy()), unique(group),
            *map(_value, weighted(group))]


def excimers(group: pandas.DataFrame) -> tuple[int, float]:
    """Count the excimers, and their share of the classified results."""
    words = group.loc[group['status'].isin(HAS_RESULT), 'shown_class']
    n = int(words.isin(EXCIMERS).sum())
    n_known = int((~words.isin(['none', ''])).sum())
    return n, n / n_known if n_known else float('nan')


def finite(table: pandas.DataFrame, name: str) -> Floats:
    """Return the finite values of a column."""
    values = table[name].to_numpy(np.float64)
    return values[np.isfinite(values)]


def counts(status: Ints) -> list[str]:
    """Count converged, unconverged, failed, rejected, left out."""
    n = np.bincount(status, minlength=len(Status)).tolist()
    failed = n[Status.FAILED] + n[Status.BROKEN]
    return [str(i) for i in (
        n[Status.CONVERGED], n[Status.UNCONVERGED], failed,
        n[Status.REJECTED],
        failed + n[Status.REJECTED] + n[Status.PENDING])]


def unique(group: pandas.DataFrame) -> str:
    """Count the conformers without duplicates; empty without ensembles."""
    return str(int((group['degeneracy'] > 0).sum())) \
        if 'degeneracy' in group else ''


def weighted(group: pandas.DataFrame) -> list[float]:
    """Return `WEIGHTED`; NaN without ensembles or for several molecules."""
    nothing = [float('nan')] * len(WEIGHTED)
    column = weight_column(group)
    if not column:
        return nothing
    some = group[group[column] > 0]
    w = some[column].to_numpy(np.float64)
    if abs(w.sum() - 1.0) > ONE:
        return nothing
    excimer = np.where(some['shown_class'].isin(['none', '']), np.nan,
                       some['shown_class'].isin(EXCIMERS))
    return [mean(w, excimer if not name else some[name].to_numpy(np.float64))
            for name in WEIGHTED.values()]


def weight_column(table: Mapping[str, object]) -> str:
    """Return the column of weights next to 298 K, '' if there is none."""
    found = {name: float(name.removeprefix(WEIGHT)[:-1])
             for name in table if str(name).startswith(WEIGHT)}
    return min(found, key=lambda name: abs(found[name] - ROOM), default='')


def mean(w: Floats, values: Floats) -> float:
    """Return the weighted mean of what is finite."""
    known = np.isfinite(values)
    total = w[known].sum()
    return float((w[known] * values[known]).sum() / total) \
        if total > 0 else float('nan')
