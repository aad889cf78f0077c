"""Means, spreads and bootstrap intervals of metrics over frames.

Sums go in the order of the frames and are exact, random numbers have a
fixed seed: the same on any number of ranks.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats

#: resamples of a bootstrap, and of how many at a time
RESAMPLES, AT_A_TIME = 1000, 100
SEED = 20240521
#: percent outside a 95 % interval, on either side
TAIL = 2.5
NAMES = ('n', 'n_nan', 'mean', 'mean_abs', 'std', 'median', 'p95', 'max',
         'ci_low', 'ci_high', 'abs_ci_low', 'abs_ci_high')
#: metrics that are errors with a sign: how large they are is told by their
#: absolute values
SIGNED = frozenset({'energy_error', 'energy_one_cycle', 'homo_error',
                    'lumo_error', 'gap_error'})


def summarise(values: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """Return the figures of each metric [n_frames]; NaN never enters one."""
    groups: dict[bytes, list[str]] = {}
    masks: dict[bytes, NDArray[np.bool_]] = {}
    for name, column in values.items():
        finite = np.isfinite(column)
        groups.setdefault(finite.tobytes(), []).append(name)
        masks[finite.tobytes()] = finite
    found: dict[str, dict[str, float]] = {}
    for key, names in groups.items():
        table = np.array([values[name][masks[key]] for name in names])
        ends = {'ci': intervals(table), 'abs_ci': intervals(np.abs(table))}
        for i, name in enumerate(names):
            found[name] = {
                **figures(table[i], is_signed(name)),
                **{f'{kind}_{side}': float(end[i])
                   for kind, both in ends.items()
                   for side, end in zip(('low', 'high'), both,
                                        strict=True)},
                'n_nan': int((~masks[key]).sum())}
    return {name: found[name] for name in values}


def is_signed(name: str) -> bool:
    """Tell whether a metric is an error with a sign."""
    metric = name.rpartition('/')[2]
    return metric in SIGNED or metric.startswith('start_error_')


def figures(column: Floats, signed: bool = False) -> dict[str, float]:
    """Return the figures of finite values [n], all NaN for none.

    95th percentile and largest value of a `signed` error are those of its
    absolute values.
    """
    n = len(column)
    if not n:
        nan = float('nan')
        return {'n': 0, 'mean': nan, 'mean_abs': nan, 'std': nan,
                'median': nan, 'p95': nan, 'max': nan}
    mean = math.fsum(column) / n
    spread = math.sqrt(math.fsum((column - mean)**2) / (n - 1)) \
        if n > 1 else float('nan')
    sizes = np.abs(column) if signed else column
    return {'n': n, 'mean': mean, 'std': spread,
            'mean_abs': math.fsum(np.abs(column)) / n,
            'median': float(np.median(column)),
            'p95': float(np.percentile(sizes, 95)),
            'max': float(sizes.max())}


def intervals(table: Floats) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % interval of the means of rows [m, n].

    By resampling frames, the same resamples for all metrics; NaN for fewer
    than two frames.
    """
    n = table.shape[1]
    if n < 2:
        nothing = np.full(len(table), np.nan)
        return nothing, nothing
    rng = np.random.default_rng(SEED)
    means = []
    for _ in range(RESAMPLES // AT_A_TIME):
        counts = rng.multinomial(n, np.full(n, 1 / n), AT_A_TIME)
        means.append(counts @ table.T / n)
    low, high = np.percentile(np.concatenate(means), [TAIL, 100 - TAIL],
                              axis=0)
    return low, high


def groups_of(names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each molecule, in order of first appearance."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        found.setdefault(name, []).append(i)
    return {name: np.array(rows, np.int64) for name, rows in found.items()}
