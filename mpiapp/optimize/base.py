"""The optimiser protocol, and how the molecules of a round are stepped."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats

State = TypeVar('State')
Arrays = dict[str, NDArray[Any]]
Numbers = NDArray[np.integer[Any]]


class Optimizer(Protocol[State]):
    """Pure functions over a state that is a frozen dataclass of arrays.

    A state may have a `remark` [str] for the result of the relaxation.
    """

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
