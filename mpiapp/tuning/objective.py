"""Scores: of a trial, of one sample, and what is told about a trial.

All sums run in the order of the samples, so that a score has the same bits
whatever the order in which results arrived.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpiapp.tuning.outcome import Outcome

#: share of one success by which the cost can move the bounded score
COST_WEIGHT = 0.5
#: n_neg is counted up to this
MOST_NEGATIVE = 5


@dataclass(frozen=True)
class Scale:
    """What scores refer to: samples of a trial, cost cap, steps at most."""

    n_samples: int
    cost_cap: float
    max_steps: int


@dataclass(frozen=True)
class Objective:
    """A way to score: `directions` is one word for each value.

    `values(outcomes, scale)` scores samples in their order, also the first
    few of a trial.  `score(outcome, scale)` is the share of one sample,
    larger is better; None where the value has no such shares.
    """

    name: str
    directions: tuple[str, ...]
    values: Callable[[Sequence[Outcome], Scale], tuple[float, ...]]
    about: str
    score: Callable[[Outcome, Scale], float] | None = None

    def scores(self, outcomes: Sequence[Outcome], scale: Scale,
               ) -> list[float]:
        """Return the shares of samples, none where there are no shares."""
        if self.score is None:
            return []
        return [self.score(o, scale) for o in outcomes]

    @property
    def single(self) -> bool:
        """Whether there is one value."""
        return len(self.directions) == 1

    @property
    def maximise(self) -> bool:
        """Whether more of the first value is better."""
        return self.directions[0] == 'maximize'


def bounded_cost(outcome: Outcome, scale: Scale) -> float:
    """Return the calls of a success, the cap for more and for failures.

    A failure that ends early would be rewarded otherwise.
    """
    return min(outcome.cost, scale.cost_cap) if outcome.success \
        else scale.cost_cap


def score(outcome: Outcome, scale: Scale) -> float:
    """Return the share of one sample in the bounded score.

    A success counts 1; the cost takes so little that all samples together
    can't outweigh half a success.
    """
    weight = COST_WEIGHT / scale.n_samples
    share = bounded_cost(outcome, scale) / scale.cost_cap
    return float(outcome.success) - weight * share


def _mean(values: Sequence[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values) if values else 0.0


def _bounded(outcomes: Sequence[Outcome], scale: Scale) -> tuple[float, ...]:
    return (_mean([score(o, scale) for o in outcomes]),)


def _two(outcomes: Sequence[Outcome], scale: Scale) -> tuple[float, ...]:
    return (_mean([float(o.success) for o in outcomes]),
            _mean([bounded_cost(o, scale) for o in outcomes]))


def _original_multimode(
    outcomes: Sequence[Outcome], scale: Scale,
) -> tuple[float, ...]:
    steps = [float(o.steps) for o in outcomes if o.index_one]
    mean = _mean(steps)
    bonus = 0.01 * 1000.0 / mean if mean > 0 else 0.0
    return (-(_mean([float(o.index_one) for o in outcomes]) + bonus),)


def _original_sella(
    outcomes: Sequence[Outcome], scale: Scale,
) -> tuple[float, ...]:
    # as the sequential original: samples without result are left out
    steps = [float(o.steps) for o in outcomes if o.usable]
    speed = 1.0 - _mean(steps) / scale.max_steps if steps else 0.0
    return (_mean([float(o.index_one) for o in outcomes]) + 0.01 * speed
            + 0.001 * _mean([float(o.stationary) for o in outcomes]),)


OBJECTIVES = {o.name: o for o in (
    Objective('bounded', ('maximize',), _bounded,
              'success rate; cost breaks ties', score),
    Objective('two', ('maximize', 'minimize'), _two,
              'success rate and mean cost, a Pareto front'),
    Objective('original_multimode', ('minimize',), _original_multimode,
              'of the original multi-mode script'),
    Objective('original_sella', ('maximize',), _original_sella,
              'of the original Sella script'),
)}


def summary(outcomes: Sequence[Outcome], scale: Scale) -> dict[str, Any]:
    """Return what is told of a trial's samples, given in their order.

    Means over no sample are None.
    """
    n = len(outcomes)
    wins = [o for o in outcomes if o.success]
    usable = [o for o in outcomes if o.usable]
    negative = Counter(min(o.n_neg, MOST_NEGATIVE) for o in usable
                       if o.n_neg >= 0)
    seconds = [o.seconds for o in outcomes]
    return {
        'n_samples': n, 'n_success': len(wins),
        'success_rate': len(wins) / n if n else None,
        'index_one_rate': _mean([float(o.index_one) for o in outcomes])
        if n else None,
        'n_errors': n - len(usable),
        'n_early_stopped': sum(o.early_stopped for o in outcomes),
        'mean_steps': _mean([float(o.steps) for o in usable])
        if usable else None,
        'mean_steps_success': _mean([float(o.steps) for o in wins])
        if wins else None,
        'mean_escapes': _mean([float(o.n_escape) for o in usable])
        if usable else None,
        'cost': _mean([bounded_cost(o, scale) for o in outcomes])
        if n else None,
        'calls': sum(o.cost for o in outcomes),
        'evaluations': sum(o.evaluations for o in outcomes),
        'mean_seconds': _mean(seconds) if n else None,
        'total_seconds': sum(seconds),
        'n_neg': {str(k): negative[k] for k in sorted(negative)},
        'reasons': dict(sorted(Counter(
            o.reason for o in outcomes).items())),
    }
