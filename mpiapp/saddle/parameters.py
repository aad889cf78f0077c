"""What can be tuned of each method: ranges, scales, baselines.

Ranges and the baseline of `gad` and `multimode` are those of the studies
with the HIP model that the original scripts made (`hip`), and with SCINE
(`scine`) where these differ.  Those of Sella are its own defaults, moved
into the range where they lie outside.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.saddle.base import METHODS, SearchSettings


@dataclass(frozen=True)
class Parameter:
    """One parameter: `kind` is float, int or bool.

    `low` and `high` bound the search of `hpo`, `allowed` what a user may
    give at all; `scale` is lin or log; a `fixed` one is not tuned.
    """

    name: str
    kind: str
    baseline: float | int | bool
    low: float = 0.0
    high: float = 1.0
    scale: str = 'lin'
    unit: str = '1'
    about: str = ''
    fixed: bool = False
    allowed: tuple[float, float] = (0.0, math.inf)
    scine: tuple[float, float] | None = None

    def range_of(self, ranges: str = 'hip') -> tuple[float, float]:
        """Return low and high of the ranges hip or scine."""
        if ranges == 'scine' and self.scine is not None:
            return self.scine
        return self.low, self.high


GAD = (
    Parameter('dt', 'float', 0.001, 0.0005, 0.005, 'log', 'A^2/eV',
              'first time step'),
    Parameter('dt_min', 'float', 1e-6, 1e-7, 1e-5, 'log', 'A^2/eV',
              'smallest time step', fixed=True),
    Parameter('dt_max', 'float', 0.05, 0.01, 0.1, 'log', 'A^2/eV',
              'largest time step'),
    Parameter('max_atom_disp', 'float', 0.25, 0.1, 0.5, 'lin', 'A',
              'largest move of an atom in a step'),
    Parameter('plateau_patience', 'int', 5, 3, 20, 'lin', '1',
              'steps of equal n_neg before the time step grows',
              allowed=(1, math.inf)),
    Parameter('plateau_boost', 'float', 2.0, 1.2, 3.0, 'lin', '1',
              'factor by which it grows', allowed=(1, math.inf)),
    Parameter('plateau_shrink', 'float', 0.5, 0.3, 0.7, 'lin', '1',
              'factor by which it shrinks when n_neg rises',
              allowed=(0, 1)),
)
ESCAPE = (
    Parameter('escape_disp_threshold', 'float', 5e-4, 1e-5, 1e-3, 'log',
              'A', 'mean move of an atom below which it is stuck',
              scine=(1e-4, 1e-3)),
    Parameter('escape_window', 'int', 20, 10, 50, 'lin', '1',
              'steps over which that is judged', allowed=(1, math.inf)),
    Parameter('escape_neg_vib_std', 'float', 0.5, 0.1, 1.0, 'lin', '1',
              'largest deviation of n_neg meanwhile', scine=(0.2, 1.0)),
    Parameter('escape_delta', 'float', 0.1, 0.05, 0.3, 'lin', 'A',
              'move along the second mode'),
    Parameter('adaptive_delta', 'bool', True, about='move further along '
              'a soft mode, 1 A at most'),
    Parameter('min_interatomic_dist', 'float', 0.5, 0.3, 0.7, 'lin', 'A',
              'least distance of two atoms after an escape'),
)
SELLA = (
    Parameter('delta0', 'float', 0.15, 0.15, 0.8, 'log', 'A',
              'first trust radius', scine=(0.03, 0.8)),
    Parameter('rho_dec', 'float', 15.0, 15.0, 80.0, 'lin', '1',
              'ratio of predicted and real change that shrinks it',
              allowed=(1, math.inf), scine=(3.0, 80.0)),
    Parameter('rho_inc', 'float', 1.035, 1.01, 1.1, 'lin', '1',
              'ratio up to which it grows', allowed=(1, math.inf)),
    Parameter('sigma_dec', 'float', 0.75, 0.75, 0.95, 'lin', '1',
              'factor by which it shrinks', allowed=(0, 1),
              scine=(0.5, 0.95)),
    Parameter('sigma_inc', 'float', 1.15, 1.1, 1.8, 'lin', '1',
              'factor by which it grows', allowed=(1, math.inf)),
    Parameter('apply_eckart', 'bool', False, about='project rigid motion '
              'out of the Hessian that is handed over'),
)

#: the parameters of each method, in the order they are suggested
PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    'gad': GAD, 'multimode': GAD + ESCAPE, 'sella': SELLA}
#: steps at most where nothing else is asked for
MAX_STEPS = {'gad': 4000, 'multimode': 4000, 'sella': 300}


def baseline(method: str) -> dict[str, Any]:
    """Return all parameters of a method at their baseline."""
    return {p.name: p.baseline for p in PARAMETERS[method]}


def check(settings: SearchSettings) -> SearchSettings:
    """Return settings with all parameters and `max_steps` filled in.

    Raises:
        InputError: an unknown method or name, a wrong type, a value that
            has no meaning, a smallest time step above the largest.
    """
    method = settings.method
    if method not in METHODS:
        raise InputError(f'unknown method {method!r}; there are '
                         f'{", ".join(METHODS)}')
    known = {p.name: p for p in PARAMETERS[method]}
    values = baseline(method)
    for name, value in settings.params.items():
        if name not in known:
            raise InputError(f'{method} has no parameter {name!r}; it has '
                             f'{", ".join(known)}')
        values[name] = checked(known[name], value)
    if 'dt_min' in values \
            and not values['dt_min'] <= values['dt'] <= values['dt_max']:
        raise InputError(
            'dt must lie between dt_min and dt_max; they are '
            f'{values["dt"]:g}, {values["dt_min"]:g} and '
            f'{values["dt_max"]:g}')
    steps = settings.max_steps
    return replace(settings, params=values,
                   max_steps=MAX_STEPS[method] if steps is None else steps)


def checked(parameter: Parameter, value: Any) -> float | int | bool:
    """Return a value in the type of its parameter.

    Raises:
        InputError: it is of another type or outside what has a meaning.
    """
    name = parameter.name
    if parameter.kind == 'bool':
        if not isinstance(value, bool):
            raise InputError(f'{name} = {value!r}: expected true or false')
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) \
            or not math.isfinite(value):
        raise InputError(f'{name} = {value!r}: expected a number')
    if parameter.kind == 'int' and value != int(value):
        raise InputError(f'{name} = {value!r}: expected a whole number')
    low, high = parameter.allowed
    if not (value > low or value == low > 0) or value > high:
        raise InputError(f'{name} = {value!r}: must be above {low:g}' + (
            '' if math.isinf(high) else f', at most {high:g}'))
    return int(value) if parameter.kind == 'int' else float(value)


def check_bounds(
    method: str, bounds: Mapping[str, tuple[float, float]],
) -> None:
    """Check ranges that replace those of a method's parameters.

    Raises:
        InputError: an unknown or fixed name, bounds that are reversed or
            outside what has a meaning.
    """
    known = {p.name: p for p in PARAMETERS[method]}
    for name, (low, high) in bounds.items():
        if name not in known or known[name].kind == 'bool':
            raise InputError(f'{method} has no range of {name!r}; ranges '
                             'have ' + ', '.join(
                                 n for n, p in known.items()
                                 if p.kind != 'bool'))
        if low > high:
            raise InputError(f'bounds of {name} are reversed: {low:g} is '
                             f'above {high:g}')
        for end in (low, high):
            checked(known[name], end)


def read_params(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Return method and parameters of a file that `hpo export` wrote.

    JSON: {"method": "sella", "params": {"delta0": 0.2, ...}, ...}; other
    keys are for people.

    Raises:
        InputError: unreadable, no such object, unknown names, bad values.
    """
    try:
        data = parsed(Path(path).read_text('utf-8'))
    except OSError as error:
        raise InputError(f'--params {path}: {error.strerror}') from error
    except ValueError as error:
        raise InputError(f'--params {path}: no JSON: {error}') from error
    if not isinstance(data, dict) or not isinstance(data.get('method'), str) \
            or not isinstance(data.get('params'), dict):
        raise InputError(f'--params {path}: expected an object with '
                         '"method" and "params"')
    try:
        check(SearchSettings(data['method'], data['params']))
    except InputError as error:
        raise InputError(f'--params {path}: {error}') from error
    return data['method'], dict(data['params'])
