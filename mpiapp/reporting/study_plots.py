"""Optuna's own pictures of a study, as HTML pages and as PNG."""
from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger('mpiapp')

#: file, name of Optuna's function, complete trials that it needs
PLOTS = (
    ('history', 'plot_optimization_history', 1),
    ('importances', 'plot_param_importances', 4),
    ('slices', 'plot_slice', 2),
    ('parallel', 'plot_parallel_coordinate', 2),
    ('rungs', 'plot_intermediate_values', 1),
    ('edf', 'plot_edf', 2),
    ('timeline', 'plot_timeline', 1),
)
SEVERAL = (('pareto', 'plot_pareto_front', 1),
           ('timeline', 'plot_timeline', 1))


def importances(study: Any) -> dict[str, float]:
    """Return the importance of each parameter, the largest first.

    That is its importance for reaching the best trials by the first value:
    Optuna's PED-ANOVA (S. Watanabe et al., IJCAI 2023, 4389), from four
    complete trials on; empty where it has no answer, as where all values
    are equal.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.study import StudyDirection
    from optuna.trial import TrialState
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    values = {t.values[0] for t in done}
    if len(done) < 4 or len(values) < 2:
        return {}
    # Optuna takes the lowest of such a target for the best, and warns of it
    sign = -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='PedAnova')
        found = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(),
            target=lambda trial: sign * float(trial.values[0]))
    return {name: float(share) for name, share in found.items()}


def plot(study: Any, folder: Path, formats: str, single: bool) -> list[Path]:
    """Draw what there are trials for; `formats` is html, png, both, none.

    A picture that can't be drawn is told and left out: results are safe.
    """
    from optuna.trial import TrialState
    n = len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))
    kinds = {'html': ('html',), 'png': ('png',), 'none': (),
             'both': ('html', 'png')}[formats]
    made = []
    for name, function, need in PLOTS if single else SEVERAL:
        for kind in kinds:
            if n < need or (name == 'rungs' and not _has_rungs(study)):
                continue
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f'{name}.{kind}'
            draw = _html if kind == 'html' else _png
            if _drawn(draw, study, function, path):
                made.append(path)
    return made


def _has_rungs(study: Any) -> bool:
    return any(t.intermediate_values
               for t in study.get_trials(deepcopy=False))


def _drawn(draw: Callable[..., None], study: Any, function: str,
           path: Path) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            draw(study, function, path)
    except ImportError as error:
        log.warning('%s is left out: %s; pip install mpiapp[hpo]', path,
                    error)
        return False
    except (RuntimeError, ValueError, OSError) as error:
        log.warning('%s is left out: %s', path, error)
        return False
    return True


def _html(study: Any, function: str, path: Path) -> None:
    from optuna import visualization
    figure = getattr(visualization, function)(study)
    # one copy of the script beside the pages: they work without a network
    figure.write_html(str(path), include_plotlyjs='directory')


def _png(study: Any, function: str, path: Path) -> None:
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as drawn
    axes = getattr(drawn, function)(study)
    several = hasattr(axes, 'ravel')
    figure = (axes.ravel()[0] if several else axes).figure
    n_panels = len(axes.ravel()) if several else 1
    wide = 1.4 * len(study.trials[0].params) \
        if function == 'plot_parallel_coordinate' else 8.0
    figure.set_size_inches(max(wide, 3.2 * n_panels), 5)
    figure.savefig(str(path), dpi=110, bbox_inches='tight')
    plt.close(figure)
