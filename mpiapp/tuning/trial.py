"""One trial: its samples, which of their results are in, how it ends."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mpiapp.tuning.objective import Objective, Scale
from mpiapp.tuning.outcome import TIMEOUT, Outcome
from mpiapp.tuning.pruning import Past, Pruner


class State(Enum):
    """Where a trial is; the last three are its ends."""

    RUNNING = 'running'
    COMPLETE = 'complete'
    PRUNED = 'pruned'
    FAILED = 'failed'


@dataclass(frozen=True)
class Rules:
    """How trials are judged; `fatal_timeouts` fails those of a timeout."""

    objective: Objective
    scale: Scale
    rungs: tuple[int, ...] = ()
    pruner: Pruner = Pruner('none')
    fatal_timeouts: bool = False


@dataclass(frozen=True)
class Verdict:
    """How a trial ended.

    `n_judged` are the samples that count, the first ones; `values` are of a
    complete trial; `note` says why one failed.
    """

    state: State
    n_judged: int
    values: tuple[float, ...] = ()
    note: str = ''


@dataclass
class Trial:
    """A trial in flight.

    `ordinal` counts the trials of a study from 0, `attempt` how often this
    one was begun, also by runs that were killed.  `params` is what is
    varied, `source` who chose it.
    """

    ordinal: int
    attempt: int
    params: Mapping[str, Any]
    source: str
    n_samples: int
    handle: Any = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    at_rungs: dict[int, float] = field(default_factory=dict)
    state: State = State.RUNNING

    def take(self, sample: int, attempt: int, outcome: Outcome) -> bool:
        """Keep a result; False for one that does not belong here.

        That is one of another attempt, a second one, or one that comes
        after the end of the trial.
        """
        if self.state is not State.RUNNING or attempt != self.attempt \
                or not 0 <= sample < self.n_samples \
                or sample in self.outcomes:
            return False
        self.outcomes[sample] = outcome
        return True

    @property
    def missing(self) -> list[int]:
        """Samples without a result, in order."""
        return [i for i in range(self.n_samples) if i not in self.outcomes]

    def first(self, n: int) -> list[Outcome]:
        """Return the results of the first n samples."""
        return [self.outcomes[i] for i in range(n)]

    @property
    def n_known(self) -> int:
        """How many of the first samples have results without a gap."""
        n = 0
        while n in self.outcomes:
            n += 1
        return n


def judge(
    trial: Trial, rules: Rules, past: Sequence[Past],
) -> Verdict | None:
    """Return how a trial ends by what is known so far, None if it goes on.

    Rungs are judged once, in order, by the samples below them alone: what
    other ranks computed ahead changes nothing.
    """
    known = trial.n_known
    for stop in [*rules.rungs, trial.n_samples]:
        if stop in trial.at_rungs:
            continue
        late = _timed_out(trial, min(stop, known), rules)
        if late is not None:
            return late
        if known < stop:
            return None
        outcomes = trial.first(stop)
        values = rules.objective.values(outcomes, rules.scale)
        if stop == trial.n_samples:
            return Verdict(State.COMPLETE, stop, values)
        trial.at_rungs[stop] = values[0]
        scores = rules.objective.scores(outcomes, rules.scale)
        if rules.pruner.gives_up(values[0], stop, scores, past,
                                 rules.objective.maximise):
            return Verdict(State.PRUNED, stop)
    return None


def _timed_out(trial: Trial, n: int, rules: Rules) -> Verdict | None:
    """Fail a trial of whose first n samples one ran out of time."""
    if not rules.fatal_timeouts:
        return None
    for i, outcome in enumerate(trial.first(n)):
        if outcome.reason == TIMEOUT:
            return Verdict(State.FAILED, i + 1,
                           note=f'sample {i} took longer than its limit')
    return None


def as_past(trial: Trial, verdict: Verdict, rules: Rules) -> Past:
    """Return what later trials are compared with."""
    return Past(
        trial.ordinal, verdict.state is State.COMPLETE,
        verdict.values[0] if verdict.values else None,
        rules.objective.scores(trial.first(verdict.n_judged), rules.scale),
        dict(trial.at_rungs))
