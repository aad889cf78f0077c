"""Quasi-Newton steps in internal coordinates from a model Hessian.

BFGS in redundant internal coordinates (Pulay and Fogarasi, J. Chem. Phys. 96
(1992) 2856) whose initial Hessian is diagonal there (Lindh et al., Chem.
Phys. Lett. 241 (1995) 423).  It is kept in the limited-memory form, so that a
step costs a few products and triangular solves: the model is factored in
Cartesian coordinates, and only where the geometry has changed.  The trust
radius follows the energy; a step that raises it is taken back.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.base import Arrays, Numbers
from mpiapp.optimize.internals.metric import Frame, Place
from mpiapp.optimize.registry import require
from mpiapp.records import Floats

#: rises of the energy are noise up to this, eV, and this part of |energy|
NOISE, RELATIVE_NOISE = 1e-5, 1e-9
#: bends beyond [rad] and lines this bent [2 cos(angle/2)] end a frame
LARGEST_BEND, LARGEST_LINE = np.deg2rad(176.0), 0.5
#: largest change of a torsion in a step, radian
LARGEST_TURN = 0.5
#: below this trust radius, A, a rising energy is taken as it is
SMALLEST_TRUST = 1e-3
#: least curvature of a pair, as a part of that of the model
LEAST_CURVATURE = 1e-4
#: the least number with a finite inverse
TINY = float(np.finfo(np.float64).tiny)
#: after so many bad steps in a row the memory is to blame
MOST_FAILURES = 3


@dataclass(frozen=True, eq=False)
class Base:
    """The geometry that the next step starts from."""

    place: Place
    pull: Floats
    energy: float


@dataclass(frozen=True, eq=False)
class InternalState:
    """`frame` was chosen at the geometry `frame_at` [n_atoms, 3] A.

    `s` and `y` [n_q + 3 n_atoms] are the steps and the gradient changes,
    oldest first, and `rho` 1 / (s.y).  `base` is None before the first
    step; `length` [A] is the longest atomic move of the last step, `gain`
    [eV] the change of energy that was expected of it, `failures` the number
    of steps in a row that did much worse.
    """

    numbers: Numbers
    frame_at: Floats
    frame: Frame
    s: tuple[Floats, ...]
    y: tuple[Floats, ...]
    rho: tuple[float, ...]
    base: Base | None
    trust: float
    length: float
    gain: float
    failures: int


@dataclass(frozen=True)
class Internal:
    """`trust` and `maxstep` [A]: first and largest move of an atom."""

    name: ClassVar[str] = 'internal'

    memory: int = 60
    trust: float = 0.25
    maxstep: float = 0.5

    def __post_init__(self) -> None:
        require({
            'internal: memory must be at least 1': self.memory >= 1,
            'internal: 0 < trust <= maxstep is needed':
                0 < self.trust <= self.maxstep,
            'internal: maxstep must be at most 1 A': self.maxstep <= 1,
        })

    def init(self, positions: Floats, numbers: Numbers) -> InternalState:
        """Choose the coordinates; see `Optimizer`."""
        return InternalState(
            numbers, positions, Frame.at(numbers, positions),
            (), (), (), None, self.trust, 0.0, 0.0, 0)

    def step(
        self, state: InternalState, positions: Floats, energy: float,
        forces: Floats,
    ) -> tuple[InternalState, Floats]:
        """Take one step; see `Optimizer`."""
        state, here = arrive(state, positions)
        pull = here.decompose(-forces.ravel())
        new = Base(here, pull, energy)
        if state.base is not None:
            state = remember(state, new, self.memory)
            state = self.judge(state, new)
        else:
            state = replace(state, base=new)
        return self.leave(state)

    def judge(self, state: InternalState, new: Base) -> InternalState:
        """Go on from the new geometry, or back if the energy rose."""
        base, trust, gain = state.base, state.trust, state.gain
        assert base is not None
        change = new.energy - base.energy
        noise = NOISE + RELATIVE_NOISE * abs(new.energy)
        poor = change > gain / 4 and -gain > noise
        rose = change > noise
        if poor or rose:
            state = lose_faith(state)
        else:
            state = replace(state, failures=0)
        if rose and trust > SMALLEST_TRUST:
            return replace(state, trust=state.length / 3)
        if poor:
            trust = max(state.length / 2, SMALLEST_TRUST)
        elif change < 0.75 * gain and state.length > 0.7 * trust:
            trust = min(2 * trust, self.maxstep)
        return replace(state, base=new, trust=trust)

    def leave(self, state: InternalState) -> tuple[InternalState, Floats]:
        """Return the state and the positions after a step from the base."""
        base = state.base
        assert base is not None
        change = newton(state)
        slope = float(np.dot(base.pull, change))
        if slope > 0.0 and state.s:
            # by rounding, in a memory that is close to singular
            return self.leave(forget(state))
        move = base.place.project(change)
        share = self.share(state, change, move)
        x = base.place.follow(share * change, share * move)
        return replace(state, length=longest_move(x - base.place.x),
                       gain=share * (1 - share / 2) * slope), x

    def share(
        self, state: InternalState, change: Floats, move: Floats,
    ) -> float:
        """Return the part (0, 1] of a step that keeps within the limits."""
        c = state.frame.coordinates
        longest = longest_move(move.reshape(-1, 3))
        turn = float(np.abs(change[c.starts[3]:c.size]).max(initial=0.0))
        return 1 / max(1.0, longest / state.trust, turn / LARGEST_TURN)

    def dump(self, state: InternalState) -> Arrays:
        """Return the state as arrays; what follows from them is left out."""
        n = state.frame.coordinates.size + state.frame_at.size
        base = state.base
        return {
            'numbers': state.numbers, 'frame_at': state.frame_at,
            's': np.array(state.s).reshape(len(state.s), n),
            'y': np.array(state.y).reshape(len(state.s), n),
            'rho': np.array(state.rho, np.float64),
            'last_step': np.array([state.trust, state.length, state.gain]),
            'failures': np.array(state.failures),
            'base_at': np.empty((0, 3)) if base is None else base.place.x,
            'base_pull': np.empty(0) if base is None else base.pull,
            'base_energy': np.array(
                np.nan if base is None else base.energy),
        }

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> InternalState:
        """Return the state of dumped arrays."""
        numbers, frame_at = arrays['numbers'], arrays['frame_at']
        frame = Frame.at(numbers, frame_at)
        base = None
        if len(arrays['base_at']):
            place = Place.at(frame, arrays['base_at'])
            base = Base(place, arrays['base_pull'],
                        float(arrays['base_energy']))
        trust, length, gain = arrays['last_step'].tolist()
        return InternalState(
            numbers, frame_at, frame,
            tuple(arrays['s']), tuple(arrays['y']),
            tuple(arrays['rho'].tolist()), base, trust, length, gain,
            int(arrays['failures']))


build = Internal


def longest_move(moves: Floats) -> float:
    """Return the length [A] of the longest of moves [n_atoms, 3] A."""
    return float(np.linalg.norm(moves, axis=1).max())


def forget(state: InternalState) -> InternalState:
    """Return the state without its memory."""
    return replace(state, s=(), y=(), rho=(), failures=0)


def lose_faith(state: InternalState) -> InternalState:
    """Count a step that failed; after some in a row, drop the memory."""
    if state.failures + 1 == MOST_FAILURES:
        return forget(state)
    return replace(state, failures=state.failures + 1)


def arrive(
    state: InternalState, positions: Floats,
) -> tuple[InternalState, Place]:
    """Return the place of the positions, frame and factor fit for it."""
    here = Place.at(state.frame, positions)
    if not fits(here):
        frame = Frame.at(state.numbers, positions)
        here = Place.at(frame, positions)
        state = replace(forget(state), frame_at=positions, frame=frame,
                        base=None)
    return state, here


def fits(place: Place) -> bool:
    """Say whether the coordinates are safe where they are."""
    _, bends, lines, torsions, _ = place.frame.coordinates.starts
    straight = place.q[bends:lines].max(initial=0.0) > LARGEST_BEND
    bent = np.abs(place.q[lines:torsions]).max(initial=0.0) > LARGEST_LINE
    return not (straight or bent)


def remember(
    state: InternalState, new: Base, memory: int,
) -> InternalState:
    """Return the state with the pair of the last step, if it is sound."""
    base = state.base
    assert base is not None
    s = base.place.to_place(new.place)
    y = new.pull - base.pull
    curvature = float(np.dot(s, y))
    of_model = float(np.dot(s, base.place.weigh(s)))
    if curvature <= max(LEAST_CURVATURE * of_model, TINY):
        return state
    return replace(
        state, s=(*state.s, s)[-memory:], y=(*state.y, y)[-memory:],
        rho=(*state.rho, 1.0 / curvature)[-memory:])


def newton(state: InternalState) -> Floats:
    """Return the quasi-Newton step [n_q + 3 n_atoms] from the base."""
    assert state.base is not None
    place = state.base.place
    pairs = list(zip(state.s, state.y, state.rho, strict=True))
    pull = state.base.pull.copy()
    weights = []
    for s, y, rho in reversed(pairs):
        weights.append(rho * float(np.dot(s, pull)))
        pull -= weights[-1] * y
    step = place.forward(place.solve(place.backward(pull)))
    for (s, y, rho), weight in zip(pairs, reversed(weights), strict=True):
        step += s * (weight - rho * float(np.dot(y, step)))
    return -step
