"""How a quantity is spread over the conformers of a molecule, unweighted.

The features and their names are those of the original package
(pyrene_analyzer 1.1.0); its limits are those of the pyrene row.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpiapp.records import Floats

STATISTICS = ('mean', 'std', 'min', 'max', 'median', 'p10', 'p25', 'p75',
              'p90')
CLASSES = ('strong', 'weak', 'monomer')
FRACTIONS = (
    'frac_strong', 'frac_weak', 'frac_any', 'frac_monomer',
    'frac_theta_lt_20', 'frac_d_in_range', 'frac_d_lt_4p5',
    'frac_overlap_gt_50', 'frac_overlap_gt_30', 'frac_dark_excimer',
)
#: deg, A, A, %: limits of the pyrene row of the classes
THETA, D_RANGE, D_FAR, OVERLAPS = 20.0, (3.3, 3.7), 4.5, (50.0, 30.0)


def statistics(values: Floats) -> list[float]:
    """Return `STATISTICS` of the finite values; NaN where there are none.

    `std` is that of a sample (n - 1) and NaN for one value.
    """
    found = values[np.isfinite(values)]
    if not len(found):
        return [np.nan] * len(STATISTICS)
    std = float(found.std(ddof=1)) if len(found) > 1 else np.nan
    low = np.percentile(found, [10, 25, 75, 90]).tolist()
    return [float(found.mean()), std, float(found.min()), float(found.max()),
            float(np.median(found)), *low]


def fractions(
    columns: Mapping[str, Floats], classes: Sequence[str],
) -> list[float]:
    """Return `FRACTIONS` of all conformers; NaN where no class is known.

    `columns` may have plane_angle [deg], vertical [A], overlap [%] and
    dark, each [n]; `classes` [n] are words of `CLASSES`, others: unknown.
    A conformer without the quantity (planes at a large angle have no
    distance) is not in the fraction, but counts.
    """
    words = np.array(classes, object)
    known = np.isin(words, CLASSES)

    def share(name: str, low: float, high: float = np.inf) -> float:
        values = columns.get(name)
        if values is None or not known.any():
            return float('nan')
        return float(((values > low) & (values < high)).mean())

    def of(*wanted: str) -> float:
        return float(np.isin(words, wanted).mean()) if known.any() \
            else float('nan')

    d = 'vertical'
    least, most = np.nextafter(D_RANGE, (-np.inf, np.inf)).tolist()
    return [
        of('strong'), of('weak'), of('strong', 'weak'), of('monomer'),
        share('plane_angle', -np.inf, THETA), share(d, least, most),
        share(d, -np.inf, D_FAR),
        *(share('overlap', limit) for limit in OVERLAPS),
        share('dark', 0.0),
    ]


def indicators(classes: Sequence[str], dark: Floats | None) -> Floats:
    """Return strong, weak, excimer and dark as numbers [n, 4], 0 or 1.

    NaN where the class is not known: their weighted means are fractions.
    """
    words = np.array(classes, object)
    known = np.isin(words, CLASSES)
    columns = [words == 'strong', words == 'weak',
               np.isin(words, ('strong', 'weak'))]
    table = np.array(columns, np.float64).reshape(3, len(words)).T
    table[~known] = np.nan
    if dark is None:
        dark = np.full(len(words), np.nan)
    return np.column_stack([table, np.where(known, dark, np.nan)])
