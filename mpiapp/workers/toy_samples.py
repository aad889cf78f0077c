"""Samples of known cost and outcome: to test and measure the schedule."""
from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpiapp.tuning.outcome import TIMEOUT, Outcome, Unfinished
from mpiapp.tuning.space import Dimension, Space
from mpiapp.workers.tune import Stopping

REASONS = ('ts', 'step_limit', 'calculator_error', TIMEOUT)
SPACE = Space((
    Dimension('dt', 'float', 0.001, 0.0005, 0.005, log=True),
    Dimension('reach', 'float', 0.25, 0.1, 0.5),
    Dimension('patience', 'int', 5, 3, 20),
    Dimension('adaptive', 'bool', True),
))
#: where the toy's success rate is best, as fractions of the ranges
BEST = (0.7, 0.3, 0.5)


@dataclass
class Toy:
    """An evaluator whose samples take known seconds, asleep or at work.

    Sample i takes `seconds` times 1 to 3, by its number.  Those in `errors`
    have no result, those in `slow` run out of time; `slice_seconds` is the
    time between two questions whether to stop.
    """

    seconds: float = 0.0
    errors: Sequence[int] = ()
    slow: Sequence[int] = ()
    spin: bool = False
    slice_seconds: float = 0.005
    reasons: Sequence[str] = REASONS

    def evaluate(
        self, sample: int, params: dict[str, Any], attempt: int,
        stopping: Stopping,
    ) -> Outcome:
        """Return what a sample comes to: easy ones succeed more widely."""
        seconds = duration(sample, self.seconds)
        self._pass(seconds, stopping)
        distance = _distance(params)
        limit = 0.05 + 0.25 * ((sample * 7) % 10) / 10
        success = distance < limit
        if sample in self.errors:
            return Outcome('calculator_error', usable=False, cost=3.0,
                           seconds=seconds)
        if sample in self.slow:
            return Outcome(TIMEOUT, usable=False, seconds=seconds)
        steps = int(40 + 200 * distance + 5 * (sample % 4))
        return Outcome(
            'ts' if success else 'step_limit', success, success, success,
            True, float(2 * steps), steps, sample % 3, int(not success) + 1,
            False, 0.01, seconds)

    def _pass(self, seconds: float, stopping: Stopping) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if stopping():
                raise Unfinished
            pause = min(left, self.slice_seconds)
            if not self.spin:
                time.sleep(pause)
                continue
            until = time.perf_counter() + pause
            while time.perf_counter() < until:
                pass

    def close(self) -> None:
        """There is nothing to end."""


def duration(sample: int, seconds: float) -> float:
    """Return the seconds of a sample."""
    return seconds * (1 + (sample * 5) % 7 / 3)


def _distance(params: dict[str, Any]) -> float:
    """Return how far settings are from the best, 0 to about 1."""
    total = 0.0
    for d, at in zip(SPACE.dimensions, BEST, strict=False):
        value, low, high = float(params[d.name]), d.low, d.high
        if d.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        total += ((value - low) / (high - low) - at) ** 2
    return total / len(BEST) + (0.0 if params['adaptive'] else 0.05)
