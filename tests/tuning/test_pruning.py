"""Pruning: by the order of samples, never by the order of arrival."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.errors import InputError
from mpiapp.tuning.pruning import Past, Pruner, best, lower, rungs


def past(*values: float, scores: list[float] | None = None) -> list[Past]:
    return [Past(i, True, v, scores or [v] * 8, {4: v})
            for i, v in enumerate(values)]


def test_rungs_are_quarters_of_four_samples_or_more() -> None:
    assert rungs(16) == (4, 8, 12)
    assert rungs(6) == (5,)
    assert rungs(3) == ()
    assert rungs(10, (7, 2)) == (2, 7)


@pytest.mark.parametrize('asked, message', [
    ((6,), 'must be below 6'), ((7,), 'a trial has 6 samples'),
    ((0,), '1 or more'), ((2, 2), 'twice')])
def test_rungs_that_are_no_samples_are_refused(
    asked: tuple[int, ...], message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        rungs(6, asked)


def test_no_trial_is_given_up_before_enough_are_complete() -> None:
    for kind in ('median', 'wilcoxon'):
        pruner = Pruner(kind, n_startup=5)
        few, enough = past(*[1.0] * 4), past(*[1.0] * 5)
        assert not pruner.gives_up(-9.0, 4, [-9.0] * 4, few, True)
        assert pruner.gives_up(-9.0, 4, [-9.0] * 4, enough, True)


def test_the_median_is_that_of_complete_trials_at_the_rung() -> None:
    pruner = Pruner('median', n_startup=3)
    found = past(0.2, 0.5, 0.9)
    assert pruner.gives_up(0.4, 4, [], found, True)
    assert not pruner.gives_up(0.5, 4, [], found, True)
    assert not pruner.gives_up(0.4, 4, [], found, False)
    assert not pruner.gives_up(0.4, 5, [], found, True)


def test_wilcoxon_compares_with_the_first_samples_of_the_best() -> None:
    pruner = Pruner('wilcoxon', n_startup=1)
    best_scores = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    found = past(0.6, scores=best_scores)
    assert pruner.gives_up(0, 5, [0.0] * 5, found, True)
    assert not pruner.gives_up(0, 5, best_scores[:5], found, True)
    # three samples can't be sure at 10 %
    assert not pruner.gives_up(0, 3, [0.0] * 3, found, True)


def test_our_wilcoxon_decides_as_optunas(
    rng: np.random.Generator,
) -> None:
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    decided = []
    for _ in range(40):
        ours, theirs = rng.random(8) - 0.25, rng.random(8)
        study = optuna.create_study(
            direction='maximize', pruner=optuna.pruners.WilcoxonPruner(
                p_threshold=0.1, n_startup_steps=0))
        first = study.ask()
        for i, x in enumerate(theirs):
            first.report(float(x), i)
        study.tell(first, float(theirs.mean()))
        trial = study.ask()
        for i, x in enumerate(ours):
            trial.report(float(x), i)
        decided.append(lower(ours.tolist(), theirs.tolist(), 0.1))
        assert decided[-1] == trial.should_prune()
    assert 5 < sum(decided) < 35


def test_the_best_is_the_earliest_of_equals() -> None:
    found = past(0.2, 0.7, 0.7, 0.1)
    assert best(found, True).ordinal == 1
    assert best(found, False).ordinal == 3
