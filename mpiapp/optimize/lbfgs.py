"""L-BFGS without line search: Nocedal, Math. Comp. 35 (1980) 773.

Defaults and results are those of ASE's optimiser of the same name: a constant
initial Hessian and a step scaled down as a whole when an atom moves too far.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.base import Arrays, Numbers
from mpiapp.optimize.registry import require
from mpiapp.records import Floats

#: |s.y| below this has no finite inverse; such a pair tells nothing
SMALLEST_CURVATURE = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class LBFGSState:
    """Pairs of the last steps, oldest first, and where the last one began.

    `s` [3 n_atoms] A are steps, `y` [3 n_atoms] eV/A the changes of the
    gradient along them, `rho` is 1 / (s.y).  `last_positions` and
    `last_forces` [n_atoms, 3] are empty before the first step.
    """

    s: tuple[Floats, ...]
    y: tuple[Floats, ...]
    rho: tuple[float, ...]
    last_positions: Floats
    last_forces: Floats


@dataclass(frozen=True)
class LBFGS:
    """`alpha` [eV/A^2] is the initial curvature, `maxstep` [A] the limit."""

    name: ClassVar[str] = 'lbfgs'

    memory: int = 100
    damping: float = 1.0
    alpha: float = 70.0
    maxstep: float = 0.2

    def __post_init__(self) -> None:
        require({
            'lbfgs: memory must be at least 1': self.memory >= 1,
            'lbfgs: damping must be positive': self.damping > 0,
            'lbfgs: alpha must be positive': self.alpha > 0,
            'lbfgs: maxstep must be in (0, 1] A': 0 < self.maxstep <= 1,
        })

    def init(self, positions: Floats, numbers: Numbers) -> LBFGSState:
        """Return the state without any memory."""
        empty = np.empty((0, 3))
        return LBFGSState((), (), (), empty, empty)

    def step(
        self, state: LBFGSState, positions: Floats, energy: float,
        forces: Floats,
    ) -> tuple[LBFGSState, Floats]:
        """Take one step; see `Optimizer`."""
        state = remember(state, positions, forces, self.memory)
        move = -apply_inverse_hessian(state, -forces.ravel(), self.alpha)
        move = shorten(move.reshape(-1, 3), self.maxstep) * self.damping
        return state, positions + move

    def dump(self, state: LBFGSState) -> Arrays:
        """Return the state as arrays; `s` and `y` are [n_pairs, 3 n]."""
        width = state.last_positions.size
        return {
            's': np.array(state.s, np.float64).reshape(len(state.s), width),
            'y': np.array(state.y, np.float64).reshape(len(state.s), width),
            'rho': np.array(state.rho, np.float64),
            'last_positions': state.last_positions,
            'last_forces': state.last_forces,
        }

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> LBFGSState:
        """Return the state of dumped arrays."""
        return LBFGSState(
            tuple(arrays['s']), tuple(arrays['y']),
            tuple(arrays['rho'].tolist()),
            arrays['last_positions'], arrays['last_forces'],
        )


build = LBFGS


def remember(
    state: LBFGSState, positions: Floats, forces: Floats, memory: int,
) -> LBFGSState:
    """Return the state with the pair of the last step, if there was one."""
    if len(state.last_positions) == 0:
        return LBFGSState((), (), (), positions, forces)
    s = (positions - state.last_positions).ravel()
    y = (state.last_forces - forces).ravel()
    curvature = float(np.dot(y, s))
    if abs(curvature) < SMALLEST_CURVATURE:
        return LBFGSState(state.s, state.y, state.rho, positions, forces)
    return LBFGSState(
        (*state.s, s)[-memory:], (*state.y, y)[-memory:],
        (*state.rho, 1.0 / curvature)[-memory:], positions, forces,
    )


def apply_inverse_hessian(
    state: LBFGSState, gradient: Floats, alpha: float,
) -> Floats:
    """Return H^-1 gradient [3 n_atoms] A by the two-loop recursion."""
    weights = []
    q = gradient.copy()
    pairs = list(zip(state.s, state.y, state.rho, strict=True))
    for s, y, rho in reversed(pairs):
        weights.append(rho * np.dot(s, q))
        q -= weights[-1] * y
    z = q * (1.0 / alpha)
    for (s, y, rho), weight in zip(pairs, reversed(weights), strict=True):
        z += s * (weight - rho * np.dot(y, z))
    return z


def shorten(move: Floats, maxstep: float) -> Floats:
    """Scale [n_atoms, 3] A down so that no atom moves more than maxstep."""
    longest = float(np.linalg.norm(move, axis=1).max())
    return move * (maxstep / longest) if longest >= maxstep else move
