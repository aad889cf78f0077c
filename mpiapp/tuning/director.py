"""Which trials run, which samples are offered, which results count.

Pure: results come in, actions go out.  In *exact* mode one trial is in
flight and everything depends on the results alone, so the trials, scores
and decisions are those of one rank.  In *async* mode a new trial starts
whenever too few samples are waiting for a rank.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mpiapp.tuning.outcome import Outcome
from mpiapp.tuning.pruning import Past
from mpiapp.tuning.trial import Rules, State, Trial, Verdict, as_past, judge

MODES = ('exact', 'async')


class Advisor(Protocol):
    """Who proposes settings and keeps what came of them."""

    def ask(self, ordinal: int) -> Trial:
        """Return a trial, with the results that an earlier run left."""

    def report(self, trial: Trial, rung: int, value: float) -> None:
        """Keep the value at a rung."""

    def save(self, trial: Trial, at_once: bool = False) -> None:
        """Keep the results so far, now and then or at once."""

    def tell(self, trial: Trial, verdict: Verdict) -> None:
        """Keep how a trial ended."""


@dataclass(frozen=True)
class Result:
    """What came back for a sample of a trial of a study."""

    study: int
    ordinal: int
    sample: int
    attempt: int
    outcome: Outcome


@dataclass(frozen=True)
class Post:
    """Offer these samples of a trial, in this order."""

    trial: Trial
    samples: Sequence[int]


@dataclass(frozen=True)
class Cancel:
    """Work on this trial no more."""

    ordinal: int
    attempt: int


@dataclass
class Director:
    """The schedule of one study.

    `pending` are the ordinals that are still to be done, in order;
    `costs` [n_samples] predicted seconds.  `keep_waiting` is how many
    samples are to wait for ranks in async mode, `most` how many trials may
    be in flight.
    """

    study: int
    advisor: Advisor
    rules: Rules
    n_samples: int
    pending: list[int]
    past: list[Past] = field(default_factory=list)
    mode: str = 'exact'
    costs: Sequence[float] = ()
    keep_waiting: int = 1
    most: int = 1
    running: dict[int, Trial] = field(default_factory=dict)
    n_late: int = 0
    n_done: int = 0
    stopping: bool = False
    measured: dict[int, list[float]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether all trials have ended."""
        return not self.pending and not self.running

    def step(self, results: Sequence[Result], waiting: int) -> list[Any]:
        """Take results; return what is to be offered and cancelled.

        `waiting` is how many samples no rank has taken yet.
        """
        actions: list[Any] = []
        touched: dict[int, Trial] = {}
        for result in results:
            trial = self._accept(result)
            if trial is not None:
                touched[trial.ordinal] = trial
        for trial in touched.values():
            actions += self._judge(trial)
        while self._may_start(waiting):
            begun = self._start()
            waiting += sum(len(a.samples) for a in begun
                           if isinstance(a, Post))
            actions += begun
        return actions

    def _accept(self, result: Result) -> Trial | None:
        """Credit a result to its trial, or drop it as late."""
        trial = self.running.get(result.ordinal)
        if result.study != self.study or trial is None or not trial.take(
                result.sample, result.attempt, result.outcome):
            self.n_late += 1
            return None
        if result.outcome.seconds > 0:
            self.measured.setdefault(result.sample, []).append(
                result.outcome.seconds)
        return trial

    def _judge(self, trial: Trial) -> list[Any]:
        before = set(trial.at_rungs)
        verdict = judge(trial, self.rules, self.past)
        for rung in sorted(set(trial.at_rungs) - before):
            self.advisor.report(trial, rung, trial.at_rungs[rung])
        if verdict is None:
            self.advisor.save(trial)
            return []
        trial.state = verdict.state
        del self.running[trial.ordinal]
        self.n_done += 1
        self.advisor.tell(trial, verdict)
        if verdict.state is not State.FAILED:
            self.past.append(as_past(trial, verdict, self.rules))
        return [Cancel(trial.ordinal, trial.attempt)]

    def _may_start(self, waiting: int) -> bool:
        if not self.pending or self.stopping:
            return False
        if self.mode == 'exact':
            return not self.running
        return waiting < self.keep_waiting and len(self.running) < self.most

    def _start(self) -> list[Any]:
        trial = self.advisor.ask(self.pending.pop(0))
        self.running[trial.ordinal] = trial
        if trial.outcomes:
            # all results may be there already, from before a kill
            actions = self._judge(trial)
            if actions:
                return actions
        return [Post(trial, self.order(trial.missing))]

    def order(self, samples: Sequence[int]) -> list[int]:
        """Return samples rung by rung, the longest of each first."""
        def key(i: int) -> tuple[int, float, int]:
            return (sum(i >= r for r in self.rules.rungs),
                    -self._seconds(i), i)
        return sorted(samples, key=key)

    def _seconds(self, sample: int) -> float:
        """Predict the seconds of a sample, by what it took before."""
        times = self.measured.get(sample)
        if times:
            return sum(times) / len(times)
        return self.costs[sample] if len(self.costs) else 0.0

    def put_aside(self, results: Sequence[Result]) -> None:
        """Take the last results before a stop, and keep all there are."""
        self.stopping = True
        self.step(results, 0)
        for trial in self.running.values():
            self.advisor.save(trial, at_once=True)
