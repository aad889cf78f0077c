"""What is varied: dimensions with bounds, scale and a baseline."""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpiapp.errors import InputError

Value = float | int | bool


@dataclass(frozen=True)
class Dimension:
    """One parameter that is varied: `kind` is float, int or bool."""

    name: str
    kind: str
    baseline: Value
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    unit: str = '1'
    about: str = ''

    def check(self) -> None:
        """Check the bounds.

        Raises:
            InputError: reversed, equal or not finite; a log scale from zero.
        """
        if self.kind == 'bool':
            return
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise InputError(f'bounds of {self.name} must be finite')
        if self.low > self.high:
            raise InputError(f'bounds of {self.name} are reversed: '
                             f'{self.low:g} is above {self.high:g}')
        if self.low == self.high:
            raise InputError(f'bounds of {self.name} are equal '
                             f'({self.low:g}): fix it with --fix '
                             f'{self.name}={self.low:g}')
        if self.log and self.low <= 0:
            raise InputError(f'{self.name} has a logarithmic scale: its '
                             f'lower bound {self.low:g} must be above 0')
        if self.kind == 'int' and (self.low != int(self.low)
                                   or self.high != int(self.high)):
            raise InputError(f'bounds of {self.name} must be whole numbers')

    def holds(self, value: Value) -> bool:
        """Tell whether a value lies within the bounds."""
        return self.kind == 'bool' or self.low <= value <= self.high

    def distribution(self) -> Any:
        """Return Optuna's form of it."""
        from optuna.distributions import (
            CategoricalDistribution, FloatDistribution, IntDistribution
        )
        if self.kind == 'bool':
            return CategoricalDistribution([True, False])
        if self.kind == 'int':
            return IntDistribution(int(self.low), int(self.high),
                                   log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Space:
    """All that is varied, in the order it is asked for, and what is not."""

    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Value] = field(default_factory=dict)

    def check(self) -> None:
        """Check all bounds; InputError for the first that is wrong."""
        if not self.dimensions:
            raise InputError('no parameter is left to tune')
        for dimension in self.dimensions:
            dimension.check()

    @property
    def names(self) -> list[str]:
        """Names of what is varied."""
        return [d.name for d in self.dimensions]

    def baseline(self) -> dict[str, Value]:
        """Return the baseline of what is varied."""
        return {d.name: d.baseline for d in self.dimensions}

    def outside(self, params: Mapping[str, Value]) -> list[str]:
        """Return one text for each value that is out of its bounds."""
        return [f'{d.name} = {params[d.name]:g} is outside '
                f'{d.low:g}..{d.high:g}'
                for d in self.dimensions if not d.holds(params[d.name])]

    def encode(self, params: Mapping[str, Value]) -> list[float]:
        """Return what is varied as numbers, in order."""
        return [float(params[name]) for name in self.names]

    def decode(self, numbers: Iterable[float]) -> dict[str, Value]:
        """Return all parameters, the fixed ones included."""
        kinds: dict[str, Any] = {'float': float, 'int': int, 'bool': bool}
        varied = {d.name: kinds[d.kind](x) for d, x in zip(
            self.dimensions, numbers, strict=True)}
        return {**self.fixed, **varied}

    def distributions(self) -> dict[str, Any]:
        """Return Optuna's form of the space."""
        return {d.name: d.distribution() for d in self.dimensions}

    def described(self) -> dict[str, Any]:
        """Return JSON data that tells two spaces apart."""
        return {
            'fixed': dict(self.fixed),
            **{d.name: [d.kind, d.low, d.high, 'log' if d.log else 'lin']
               if d.kind != 'bool' else ['bool'] for d in self.dimensions}}


def parse_range(text: str) -> tuple[str, float, float, bool | None]:
    """Return name, bounds and scale (None: as it was) of NAME=LOW:HIGH[:log].

    Raises:
        InputError: it reads otherwise.
    """
    name, equals, rest = text.partition('=')
    parts = rest.split(':')
    scale = {'log': True, 'lin': False}.get(parts[2]) \
        if len(parts) == 3 else None
    if not name or not equals or len(parts) not in (2, 3) \
            or (len(parts) == 3 and scale is None):
        raise InputError(f'--range {text}: expected NAME=LOW:HIGH, '
                         'NAME=LOW:HIGH:log or NAME=LOW:HIGH:lin')
    try:
        return name, float(parts[0]), float(parts[1]), scale
    except ValueError:
        raise InputError(f'--range {text}: bounds must be numbers') from None


def parse_value(text: str) -> tuple[str, Value]:
    """Return name and value of NAME=VALUE; InputError for other texts."""
    name, equals, rest = text.partition('=')
    if not name or not equals:
        raise InputError(f'--fix {text}: expected NAME=VALUE')
    if rest.lower() in ('true', 'false'):
        return name, rest.lower() == 'true'
    try:
        return name, int(rest) if rest.lstrip('+-').isdigit() \
            else float(rest)
    except ValueError:
        raise InputError(f'--fix {text}: the value must be a number, true '
                         'or false') from None


def named_once(option: str, names: Sequence[str]) -> None:
    """Raise InputError where a name is given twice."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f'{option}: {name} is named twice')
