"""FIRE: Bitzek et al., Phys. Rev. Lett. 97 (2006) 170201.

Defaults and results are those of ASE's optimiser of the same name: unit
masses, explicit Euler steps, and a limit on the length of the whole step.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.base import Arrays, Numbers
from mpiapp.optimize.registry import require
from mpiapp.records import Floats


@dataclass(frozen=True, eq=False)
class FireState:
    """`velocity` [n_atoms, 3] is empty before the first step.

    `dt` is the time step, `mixing` the share of the force direction in the
    velocity, `downhill` the number of downhill steps since the last stop.
    """

    velocity: Floats
    dt: float
    mixing: float
    downhill: int


@dataclass(frozen=True)
class Fire:
    """`maxstep` [A] limits the step of all coordinates together."""

    name: ClassVar[str] = 'fire'

    dt: float = 0.1
    dtmax: float = 1.0
    maxstep: float = 0.2
    n_min: int = 5
    f_inc: float = 1.1
    f_dec: float = 0.5
    mixing: float = 0.1
    f_mixing: float = 0.99

    def __post_init__(self) -> None:
        require({
            'fire: 0 < dt <= dtmax is needed': 0 < self.dt <= self.dtmax,
            'fire: maxstep must be positive': self.maxstep > 0,
            'fire: f_inc must be at least 1': self.f_inc >= 1,
            'fire: f_dec must be in (0, 1)': 0 < self.f_dec < 1,
            'fire: mixing must be in [0, 1]': 0 <= self.mixing <= 1,
            'fire: f_mixing must be in (0, 1]': 0 < self.f_mixing <= 1,
        })

    def init(self, positions: Floats, numbers: Numbers) -> FireState:
        """Return the state at rest."""
        return FireState(np.empty((0, 3)), self.dt, self.mixing, 0)

    def step(
        self, state: FireState, positions: Floats, energy: float,
        forces: Floats,
    ) -> tuple[FireState, Floats]:
        """Take one step; see `Optimizer`."""
        if len(state.velocity) == 0:
            state = replace(state, velocity=np.zeros_like(forces))
        elif np.vdot(forces, state.velocity) > 0.0:
            state = self.faster(state, forces)
        else:
            state = FireState(np.zeros_like(forces), state.dt * self.f_dec,
                              self.mixing, 0)
        velocity = state.velocity + state.dt * forces
        move = state.dt * velocity
        length = float(np.sqrt(np.vdot(move, move)))
        if length > self.maxstep:
            move = self.maxstep * move / length
        return replace(state, velocity=velocity), positions + move

    def faster(self, state: FireState, forces: Floats) -> FireState:
        """Turn the velocity to the force and, after a while, speed up."""
        velocity = steer(state.velocity, forces, state.mixing)
        dt, mixing = state.dt, state.mixing
        if state.downhill > self.n_min:
            dt = min(dt * self.f_inc, self.dtmax)
            mixing *= self.f_mixing
        return FireState(velocity, dt, mixing, state.downhill + 1)

    def dump(self, state: FireState) -> Arrays:
        """Return the state as arrays."""
        return {'velocity': state.velocity,
                'dt': np.array(state.dt), 'mixing': np.array(state.mixing),
                'downhill': np.array(state.downhill)}

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> FireState:
        """Return the state of dumped arrays."""
        return FireState(arrays['velocity'], float(arrays['dt']),
                         float(arrays['mixing']), int(arrays['downhill']))


build = Fire


def steer(velocity: Floats, forces: Floats, mixing: float) -> Floats:
    """Mix the velocity with one of the same size along the forces."""
    # squares of forces below 1e-162 eV/A vanish though forces do not
    square = np.vdot(forces, forces)
    if square == 0.0:
        return velocity
    speed = np.sqrt(np.vdot(velocity, velocity))
    along: Floats = mixing * forces / np.sqrt(square) * speed
    return (1.0 - mixing) * velocity + along
