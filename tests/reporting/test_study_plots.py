"""Importances of parameters: those for the best trials."""
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mpiapp.reporting.study_plots import importances

DIRECTIONS = {'one maximised': ['maximize'], 'one minimised': ['minimize'],
              'two': ['maximize', 'minimize']}


def a_study(directions: list[str]) -> Any:
    """Return a study in which `a` decides the best trials, `b` the worst."""
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions)
    unit = optuna.distributions.FloatDistribution(0.0, 1.0)
    rng = np.random.default_rng(0)
    for a, b in rng.random((200, 2)).tolist():
        good = math.exp(-((a - 0.9) / 0.05) ** 2) \
            - math.exp(-((b - 0.1) / 0.05) ** 2)
        values = [good if directions[0] == 'maximize' else -good, 0.0]
        study.add_trial(optuna.trial.create_trial(
            params={'a': a, 'b': b}, distributions={'a': unit, 'b': unit},
            values=values[:len(directions)]))
    return study


@pytest.mark.parametrize('directions', DIRECTIONS.values(), ids=DIRECTIONS)
def test_importances_are_those_for_reaching_the_best_trials(
    directions: list[str],
) -> None:
    study = a_study(directions)
    found = importances(study)
    assert list(found) == ['a', 'b'] and found['a'] > 0.9
    if len(directions) == 1:
        import optuna
        assert found == pytest.approx(optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()))
