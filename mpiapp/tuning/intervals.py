"""How sure a difference is: bootstrap over the reactions."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mpiapp.records import Floats, Ints

#: resamples; the ends of an interval are then steady to about 0.01 of it
RESAMPLES = 10_000
LEVEL = 0.95
#: groups below which there is no interval: even if all of five point one
#: way, a sign test has p = 2 / 2**5 > 0.05, and resampling them shows less
#: spread than there is
FEWEST = 6


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its bootstrap interval, NaN if there is none."""

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where zero lies outside, else 0."""
        # NaN is neither
        return int(self.low > 0) - int(self.high < 0)

    @property
    def known(self) -> bool:
        """Whether there are ends."""
        return self.low == self.low

    def listed(self) -> list[float | None]:
        """Return mean and ends as JSON data, None for no end."""
        ends = (self.low, self.high) if self.known else (None, None)
        return [self.mean, *ends]


def resamples(groups: Sequence[int], seed: int, n: int) -> Ints:
    """Return how often each group is drawn, [n, n_groups]."""
    rng = np.random.default_rng(seed)
    n_groups = len(set(groups))
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n)


def bootstrap(
    values: Sequence[float], groups: Sequence[int], seed: int = 0,
    n: int = RESAMPLES, level: float = LEVEL,
) -> Interval:
    """Return the mean of values and its percentile interval.

    Groups, the reactions, are drawn with replacement: draws of noise for
    one reaction are no independent samples of the chemistry.  Fewer than
    `FEWEST` have no interval.

    Raises:
        ValueError: no values, or not one group a value.
    """
    array = np.asarray(values, np.float64)
    if not len(array) or len(groups) != len(array):
        raise ValueError('one group for each of at least one value')
    names = sorted(set(groups))
    of = np.array([names.index(g) for g in groups])
    sums = np.bincount(of, array, len(names))
    counts = np.bincount(of, minlength=len(names)).astype(np.float64)
    if len(names) < FEWEST:
        return Interval(float(array.mean()), np.nan, np.nan)
    drawn = resamples(groups, seed, n)
    means: Floats = (drawn @ sums) / (drawn @ counts)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(array.mean()), float(low), float(high))


def paired(
    ours: Sequence[float], others: Sequence[float], groups: Sequence[int],
    seed: int = 0,
    of: Callable[..., Interval] = bootstrap,
) -> Interval:
    """Return the mean difference of values of the same samples."""
    difference = np.asarray(ours, np.float64) - np.asarray(others, np.float64)
    return of(difference.tolist(), groups, seed)
