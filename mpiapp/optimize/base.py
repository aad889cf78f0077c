"""The optimiser protocol and the registry of optimisers.

An optimiser is one file of this folder whose name is its key and which has
`build(**options) -> Optimizer`.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, InputError

State = TypeVar('State')
Arrays = dict[str, NDArray[Any]]
Numbers = NDArray[np.integer[Any]]

#: files of this folder that are no optimisers
PARTS = frozenset({'base', 'convergence', 'driver', 'evaluation',
                   'internals', 'running', 'tasks'})


class Optimizer(Protocol[State]):
    """Pure functions over a state that is a frozen dataclass of arrays."""

    name: ClassVar[str]

    def init(self, positions: Floats, numbers: Numbers) -> State:
        """Return the state before the first step.

        `positions` [n_atoms, 3] A, atomic `numbers` [n_atoms].
        """

    def step(self, state: State, positions: Floats, energy: float,
             forces: Floats) -> tuple[State, Floats]:
        """Return the next state and the next positions [n_atoms, 3] A.

        `energy` [eV] and `forces` [n_atoms, 3] eV/A are those of
        `positions`; no argument is changed.
        """

    def dump(self, state: State) -> Arrays:
        """Return the state as named arrays, exact to the bit."""

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> State:
        """Return the state that `dump` made the arrays from."""


def names() -> list[str]:
    """List the optimisers; loads none of them."""
    folder = str(Path(__file__).parent)
    return sorted(m.name for m in iter_modules([folder])
                  if m.name not in PARTS)


def optimizer(name: str, **options: float) -> Optimizer[Any]:
    """Return the optimiser of that name; InputError for a wrong request."""
    if name not in names():
        raise InputError(
            f'no optimiser {name!r}; there are: {", ".join(names())}')
    build = import_module(f'mpiapp.optimize.{name}').build
    try:
        return cast('Optimizer[Any]', build(**options))
    except TypeError as error:
        raise InputError(f'optimiser {name}: {error}') from error


def require(rules: Mapping[str, bool]) -> None:
    """Raise InputError with the first rule that does not hold."""
    for rule, holds in rules.items():
        if not holds:
            raise InputError(rule)


def step_all(
    optimizer: Optimizer[Any],
    states: Sequence[Any],
    positions: Sequence[Floats],
    energies: Sequence[float],
    forces: Sequence[Floats],
) -> list[tuple[Any, Floats]]:
    """Step every molecule once and return (state, positions) of each.

    The only place that knows how the molecules of a round are stepped: one
    by one here; an optimiser that steps flat arrays of all of them at once
    takes over here.
    """
    return [optimizer.step(*molecule) for molecule
            in zip(states, positions, energies, forces, strict=True)]
