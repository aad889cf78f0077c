"""Samplers and the settings that are tried first."""
from __future__ import annotations

from itertools import product
from typing import Any

from mpiapp.errors import InputError
from mpiapp.tuning.space import Space, Value

SAMPLERS = ('tpe', 'random', 'nsga2', 'grid')
#: trials of the random start, as in the original scripts
STARTUP = {'gad': 5, 'multimode': 5, 'sella': 10}
#: points on an axis of the grid
GRID_POINTS = 3


def make_sampler(
    name: str, seed: int, ordinal: int, startup: int, population: int,
    several: bool,
) -> Any:
    """Return the sampler of one trial, seeded by study and trial.

    A new one for each trial: what it proposes depends on the seed, the
    number of the trial and the finished trials, never on what a process did
    before.  `several`: other trials may be running.
    """
    import numpy as np
    import optuna
    number = int(np.random.SeedSequence([seed, ordinal]).generate_state(1)[0])
    samplers = optuna.samplers
    if name == 'tpe':
        # Optuna 5 switches the liar on by default
        return samplers.TPESampler(
            n_startup_trials=startup, seed=number, multivariate=False,
            group=False, constant_liar=several)
    if name == 'nsga2':
        return samplers.NSGAIISampler(population_size=population, seed=number)
    return samplers.RandomSampler(seed=number)


def grid(space: Space, points: int = GRID_POINTS) -> list[dict[str, Value]]:
    """Return the points of a full grid, the last axis running fastest.

    Raises:
        InputError: more than 100,000 points.
    """
    axes = [_axis(d, points) for d in space.dimensions]
    n = 1
    for axis in axes:
        n *= len(axis)
    if n > 100_000:
        raise InputError(
            f'--sampler grid: {len(axes)} parameters make {n} points; fix '
            'some with --fix NAME=VALUE')
    return [dict(zip(space.names, values, strict=True))
            for values in product(*axes)]


def _axis(dimension: Any, points: int) -> list[Value]:
    import numpy as np
    if dimension.kind == 'bool':
        return [True, False]
    low, high = dimension.low, dimension.high
    values = np.geomspace(low, high, points) if dimension.log \
        else np.linspace(low, high, points)
    # the ends exactly: rounding may put them outside the bounds
    values[0], values[-1] = low, high
    if dimension.kind == 'int':
        return list(dict.fromkeys(int(round(v)) for v in values))
    return [float(v) for v in values]
