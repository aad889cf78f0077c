"""The schedule without MPI: any order of arrival, the same study."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mpiapp.tuner import usual_pruner
from mpiapp.tuning.director import Cancel, Director, Post, Result
from mpiapp.tuning.objective import OBJECTIVES, Objective, Scale, score
from mpiapp.tuning.outcome import TIMEOUT, Outcome
from mpiapp.tuning.pruning import Pruner
from mpiapp.tuning.trial import Rules, State, Trial, Verdict

N = 8
SCALE = Scale(N, 100.0, 50)
STUDY = 7


class Notes:
    """An advisor that proposes by the ordinal and keeps what it is told."""

    def __init__(self) -> None:
        self.ends: dict[int, Verdict] = {}
        self.reports: list[tuple[int, int, float]] = []
        self.attempts: dict[int, int] = {}
        self.left: dict[int, dict[int, Outcome]] = {}

    def ask(self, ordinal: int) -> Trial:
        return Trial(ordinal, self.attempts.get(ordinal, 0),
                     {'x': ordinal % 5 / 5}, 'sampler', N,
                     outcomes=dict(self.left.get(ordinal, {})))

    def report(self, trial: Trial, rung: int, value: float) -> None:
        self.reports.append((trial.ordinal, rung, value))

    def save(self, trial: Trial, at_once: bool = False) -> None:
        pass

    def tell(self, trial: Trial, verdict: Verdict) -> None:
        assert trial.ordinal not in self.ends
        self.ends[trial.ordinal] = verdict


def outcome(ordinal: int, sample: int) -> Outcome:
    success = (ordinal * 3 + sample * 5) % 11 < 8 - 2 * (ordinal % 4)
    return Outcome('ts' if success else 'step_limit', success, success,
                   cost=float(20 + sample), steps=10, seconds=0.1)


def director(mode: str = 'exact', n_trials: int = 12,
             **changes: Any) -> Director:
    rules = Rules(OBJECTIVES['bounded'], SCALE, (3, 5),
                  Pruner('median', n_startup=2), mode == 'exact')
    values: dict[str, Any] = dict(
        study=STUDY, advisor=Notes(), rules=rules, n_samples=N,
        pending=list(range(n_trials)), mode=mode, keep_waiting=4, most=4)
    return Director(**{**values, **changes})


def play(made: Director, rng: np.random.Generator, n_ranks: int,
         give: Any = outcome) -> Notes:
    """Run a study on pretended ranks that end in any order."""
    waiting: list[tuple[Trial, int]] = []
    held: list[tuple[Trial, int]] = []
    results: list[Result] = []
    dead: set[tuple[int, int]] = set()
    for _ in range(10_000):
        for action in made.step(results, len(waiting)):
            if isinstance(action, Post):
                waiting += [(action.trial, s) for s in action.samples]
            elif isinstance(action, Cancel):
                dead.add((action.ordinal, action.attempt))
        results = []
        if made.done:
            notes = made.advisor
            assert isinstance(notes, Notes)
            return notes
        waiting = [w for w in waiting
                   if (w[0].ordinal, w[0].attempt) not in dead]
        while len(held) < n_ranks and waiting:
            held.append(waiting.pop(0))
        # ranks that hold a cancelled sample may still hand it in
        trial, sample = held.pop(int(rng.integers(len(held))))
        results = [Result(STUDY, trial.ordinal, sample, trial.attempt,
                          give(trial.ordinal, sample))]
    raise AssertionError('the study did not end')


@pytest.mark.parametrize('n_ranks', [2, 3, 16])
def test_exact_mode_is_the_same_for_any_ranks_and_order(
    n_ranks: int,
) -> None:
    alone = play(director(), np.random.default_rng(0), 1)
    states = {v.state for v in alone.ends.values()}
    assert states == {State.COMPLETE, State.PRUNED}
    for seed in range(5):
        made = director()
        many = play(made, np.random.default_rng(seed), n_ranks)
        assert many.ends == alone.ends
        assert sorted(many.reports) == sorted(alone.reports)


def test_samples_beyond_the_rung_of_a_pruned_trial_do_not_count() -> None:
    notes = play(director(), np.random.default_rng(1), 16)
    judged = {v.n_judged for v in notes.ends.values()
              if v.state is State.PRUNED}
    assert judged and judged <= {3, 5}


def test_the_wilcoxon_pruner_compares_the_scores_of_the_objective() -> None:
    # what the bounded score calls a draw: fewer steps are better here
    steps = Objective(
        'steps', ('maximize',),
        lambda outcomes, scale: (-float(sum(o.steps for o in outcomes)),), '',
        lambda o, scale: -float(o.steps))

    def give(ordinal: int, sample: int) -> Outcome:
        return Outcome('step_limit', steps=10 + 5 * ordinal + sample)
    rules = Rules(steps, SCALE, (5,), Pruner('wilcoxon', 1))
    notes = play(director(n_trials=2, rules=rules),
                 np.random.default_rng(0), 1, give)
    assert notes.ends[1].state is State.PRUNED
    none = replace(rules, objective=replace(steps, score=score))
    notes = play(director(n_trials=2, rules=none),
                 np.random.default_rng(0), 1, give)
    assert notes.ends[1].state is State.COMPLETE


@pytest.mark.parametrize('name, pruner', [
    ('bounded', 'wilcoxon'), ('two', 'none'),
    ('original_multimode', 'median'), ('original_sella', 'median')])
def test_the_usual_pruner_is_one_that_the_objective_has_scores_for(
    name: str, pruner: str,
) -> None:
    assert usual_pruner(OBJECTIVES[name]) == pruner


def test_late_results_are_dropped_and_never_credited_to_another() -> None:
    made = director(n_trials=2)
    made.step([], 0)
    good = outcome(0, 0)
    wrong: Sequence[Result] = [
        Result(STUDY + 1, 0, 0, 0, good),   # another study
        Result(STUDY, 1, 0, 0, good),       # a trial not begun
        Result(STUDY, 0, 0, 1, good),       # another attempt
        Result(STUDY, 0, N, 0, good),       # no such sample
    ]
    made.step(wrong, 0)
    assert made.n_late == 4 and not made.running[0].outcomes
    made.step([Result(STUDY, 0, 0, 0, good)] * 2, 0)
    assert made.n_late == 5 and list(made.running[0].outcomes) == [0]


def test_results_of_a_pruned_trial_that_come_late_change_nothing() -> None:
    made = director(n_trials=3, pending=[0, 1, 2])
    bad = Outcome('step_limit', cost=100.0)
    for ordinal in (0, 1):
        made.step([], 0)
        made.step([Result(STUDY, ordinal, i, 0, outcome(0, 0))
                   for i in range(N)], 0)
    made.step([], 0)
    actions = made.step(
        [Result(STUDY, 2, i, 0, bad) for i in range(3)], 0)
    assert Cancel(2, 0) in actions
    before = made.n_late
    assert made.step([Result(STUDY, 2, 5, 0, bad)], 0) == []
    assert made.n_late == before + 1 and made.done


def test_a_timeout_fails_an_exact_trial_as_a_whole() -> None:
    def slow(ordinal: int, sample: int) -> Outcome:
        if (ordinal, sample) == (1, 4):
            return Outcome(TIMEOUT, usable=False)
        return outcome(ordinal, sample)
    notes = play(director(), np.random.default_rng(2), 3, slow)
    assert notes.ends[1].state is State.FAILED
    assert 'sample 4' in notes.ends[1].note
    assert notes.ends[0].state is State.COMPLETE


def test_a_timeout_is_a_failed_sample_in_async_mode() -> None:
    def slow(ordinal: int, sample: int) -> Outcome:
        if sample == 4:
            return Outcome(TIMEOUT, usable=False)
        return outcome(ordinal, sample)
    notes = play(director('async'), np.random.default_rng(2), 3, slow)
    assert State.FAILED not in {v.state for v in notes.ends.values()}


def test_async_mode_keeps_samples_waiting_and_ends_each_trial() -> None:
    made = director('async')
    begun = made.step([], 0)
    assert [a.trial.ordinal for a in begun] == [0]
    assert made.step([], 3)[0].trial.ordinal == 1
    assert made.step([], 4) == []
    notes = play(director('async'), np.random.default_rng(3), 5)
    assert sorted(notes.ends) == list(range(12))


def test_results_of_a_killed_run_are_not_computed_again() -> None:
    notes = Notes()
    notes.left = {0: {i: outcome(0, i) for i in range(6)}}
    notes.attempts = {0: 2}
    made = director(advisor=notes, n_trials=1)
    post = made.step([], 0)[0]
    assert sorted(post.samples) == [6, 7] and post.trial.attempt == 2
    notes.left = {0: {i: outcome(0, i) for i in range(N)}}
    made = director(advisor=notes, n_trials=1)
    made.step([], 0)
    assert made.done and notes.ends[0].state is State.COMPLETE


def test_samples_are_offered_rung_by_rung_the_longest_first() -> None:
    made = director(costs=[1, 2, 3, 4, 5, 6, 7, 8])
    assert made.order(range(N)) == [2, 1, 0, 4, 3, 7, 6, 5]
    made.measured[0] = [10.0, 30.0]
    assert made.order(range(N))[0] == 0


def test_a_stop_begins_no_new_trial() -> None:
    made = director(n_trials=2)
    made.step([], 0)
    made.put_aside([Result(STUDY, 0, i, 0, outcome(0, i))
                    for i in range(N)])
    assert not made.running and made.pending == [1]
