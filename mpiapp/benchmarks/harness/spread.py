"""How numbers scatter, and when a ratio may be called one (R6, R9)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.records import Floats

#: resamples of a bootstrap, the share of its interval, its random state
RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 7
#: fewer rounds give no interval
LEAST_ROUNDS = 5
#: what two rows of a ratio must share, all but one of them
EQUAL = ('model', 'model_sha256', 'molecule', 'inputs_sha256', 'device',
         'quantity', 'batch', 'threads', 'ranks', 'dtype', 'way',
         'neighbours')


def summary(seconds: Sequence[float] | Floats) -> dict[str, float]:
    """Return what is told of samples [n]; the mean beside the median."""
    x = np.asarray(seconds, np.float64)
    if not x.size:
        return {}
    median = float(np.median(x))
    return {
        'median': median, 'mad': float(np.median(np.abs(x - median))),
        'mean': float(x.mean()), 'sd': float(x.std(ddof=x.size > 1)),
        'p95': float(np.percentile(x, 95)),
        'p99': float(np.percentile(x, 99)),
        'min': float(x.min()), 'max': float(x.max()), 'n': float(x.size)}


@dataclass(frozen=True)
class Ratio:
    """Time of a baseline over that of another, with its interval.

    `reason` says why there is none.  A ratio whose interval holds 1 is no
    speed-up and no slow-down.
    """

    value: float = float('nan')
    low: float = float('nan')
    high: float = float('nan')
    reason: str = ''

    @property
    def distinct(self) -> bool:
        """Whether the interval leaves 1 out."""
        return bool(self.low > 1.0 or self.high < 1.0)

    def __str__(self) -> str:
        if self.reason:
            return f'no ratio: {self.reason}'
        interval = f'{self.low:.2f}-{self.high:.2f}'
        if not self.distinct:
            return f'no difference shown ({interval} holds 1)'
        return f'{self.value:.2f}x ({interval})'


def paired_ratio(base: Floats, other: Floats) -> Ratio:
    """Return base / other of samples [n] taken in the same rounds.

    The interval is the bootstrap of the median of the ratios in a round,
    whole rounds resampled: what disturbs a round disturbs both.
    """
    return _bootstrap(np.asarray(base) / np.asarray(other)) \
        if len(base) == len(other) else Ratio(
            reason=f'{len(base)} rounds against {len(other)}')


def _bootstrap(ratios: Floats) -> Ratio:
    if len(ratios) < LEAST_ROUNDS:
        return Ratio(reason=f'{len(ratios)} rounds, at least '
                     f'{LEAST_ROUNDS} are needed')
    rng = np.random.default_rng(SEED)
    picks = rng.integers(0, len(ratios), (RESAMPLES, len(ratios)))
    return _interval(float(np.median(ratios)),
                     np.median(ratios[picks], axis=1))


def unpaired_ratio(base: Floats, other: Floats) -> Ratio:
    """Return base / other of samples from different runs."""
    if min(len(base), len(other)) < LEAST_ROUNDS:
        return Ratio(reason=f'{min(len(base), len(other))} rounds, at least '
                     f'{LEAST_ROUNDS} are needed')
    rng = np.random.default_rng(SEED)

    def medians(x: Floats) -> Any:
        x = np.asarray(x, np.float64)
        return np.median(x[rng.integers(0, len(x), (RESAMPLES, len(x)))],
                         axis=1)
    return _interval(float(np.median(base) / np.median(other)),
                     medians(base) / medians(other))


def _interval(value: float, found: Any) -> Ratio:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail])
    return Ratio(value, float(low), float(high))


def unequal(
    a: Mapping[str, Any], b: Mapping[str, Any], vary: str,
) -> list[str]:
    """Return what differs between two rows beside the varied name (R6).

    A name that only one of the rows has differs.
    """
    return [f'{name} {a.get(name)!r} and {b.get(name)!r}' for name in EQUAL
            if name != vary and a.get(name) != b.get(name)]


def ratio_of(
    base: Mapping[str, Any], other: Mapping[str, Any], vary: str,
    paired: bool = True,
) -> Ratio:
    """Return the ratio of two rows, which may differ in `vary` alone.

    Rows hold their `state` and `samples` [s]; a row that is not `ok` has no
    time (R2), and rows that differ elsewhere have no ratio (R6).
    """
    if vary not in EQUAL:
        raise ValueError(f'nothing called {vary} may vary')
    for row in (base, other):
        if row['state'] != 'ok':
            return Ratio(reason=f'{row["way"]} {row["dtype"]} is '
                         f'{row["state"]}')
    differing = unequal(base, other, vary)
    if differing:
        return Ratio(reason='unequal in ' + '; '.join(differing))
    take = paired_ratio if paired else unpaired_ratio
    return take(np.array(base['samples']), np.array(other['samples']))


def break_even(
    base: Mapping[str, Any], other: Mapping[str, Any],
) -> float | None:
    """Return the calls after which the other way's start is earned back.

    None: never, or a row has no time.  The start is the building, the first
    call and the warming up (R5).
    """
    if base['state'] != 'ok' or other['state'] != 'ok':
        return None
    if not base.get('steady') or not other.get('steady'):
        return None
    gain = base['steady']['median'] - other['steady']['median']
    extra = cold(other) - cold(base)
    if gain <= 0:
        return None
    return max(0.0, extra / gain)


def cold(row: Mapping[str, Any]) -> float:
    """Return the seconds before a way is warm."""
    return float(row['build_s'] + row['first_s'] + row['warm_s'])
