"""Giving trials up early, by the first samples in their order.

Optuna's own pruners see reports in the order of arrival; here a decision
needs all samples before a rung, so it is the same on any number of ranks.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mpiapp.errors import InputError

PRUNERS = ('wilcoxon', 'median', 'none')


@dataclass(frozen=True)
class Past:
    """A finished trial: state, values at the rungs, scores of its samples.

    `value` is the final one, None where there is none.
    """

    ordinal: int
    complete: bool
    value: float | None
    scores: Sequence[float]
    at_rungs: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pruner:
    """When to give a trial up.

    `wilcoxon`: the objective's scores of its samples are lower than those of
    the best trial's same samples, by a signed-rank test at `threshold`, for
    objectives that score samples one by one; `median`: its
    value at the rung is worse than the median of the complete trials there.
    Neither acts before `n_startup` trials are complete.
    """

    kind: str = 'wilcoxon'
    n_startup: int = 5
    threshold: float = 0.1

    def gives_up(
        self, value: float, rung: int, scores: Sequence[float],
        past: Sequence[Past], maximise: bool,
    ) -> bool:
        """Tell whether a trial with this value at a rung is to end.

        `scores` [rung] are of its samples, larger is better; `past` are the
        finished trials.
        """
        complete = [p for p in past if p.complete and p.value is not None]
        if self.kind == 'none' or len(complete) < max(1, self.n_startup):
            return False
        if self.kind == 'median':
            others = [p.at_rungs[rung] for p in complete
                      if rung in p.at_rungs]
            return bool(others) and _worse(
                value, float(np.median(others)), maximise)
        return lower(scores, best(complete, maximise).scores[:rung],
                     self.threshold)


def best(past: Sequence[Past], maximise: bool) -> Past:
    """Return the trial of the best value, the earliest of equals."""
    sign = -1.0 if maximise else 1.0
    return min(past, key=lambda p: (
        sign * (p.value if p.value is not None else np.inf), p.ordinal))


def _worse(value: float, other: float, maximise: bool) -> bool:
    return value < other if maximise else value > other


def lower(
    scores: Sequence[float], others: Sequence[float], threshold: float,
) -> bool:
    """Tell whether paired scores are lower than others.

    Wilcoxon's one-sided signed-rank test with zeros split, as Optuna's
    WilcoxonPruner has it; never where the mean is not lower.
    """
    from scipy.stats import wilcoxon
    difference = np.asarray(scores) - np.asarray(others)
    if len(difference) < 2 or difference.sum() >= 0:
        return False
    p = wilcoxon(difference, alternative='less', zero_method='zsplit').pvalue
    return bool(p < threshold)


def rungs(n_samples: int, asked: Sequence[int] = ()) -> tuple[int, ...]:
    """Return after how many samples a trial is judged, in order.

    Without a wish: after a quarter, a half and three quarters, four samples
    at least.

    Raises:
        InputError: a rung that is no number of samples of a trial.
    """
    if not asked:
        quarters = {-(-n_samples * i // 4) for i in (1, 2, 3)}
        return tuple(sorted(r for r in quarters if 4 <= r < n_samples))
    for rung in asked:
        if rung < 1:
            raise InputError(f'--rungs {rung}: must be 1 or more')
        if rung >= n_samples:
            raise InputError(
                f'--rungs {rung}: a trial has {n_samples} samples, so a rung '
                f'must be below {n_samples}')
    if len(set(asked)) < len(asked):
        raise InputError('--rungs: a number is named twice')
    return tuple(sorted(asked))
