"""Quasi-Newton steps in internal coordinates from a model Hessian.

BFGS in redundant internal coordinates (Pulay and Fogarasi, J. Chem. Phys. 96
(1992) 2856) whose initial Hessian is diagonal there (Lindh et al., Chem.
Phys. Lett. 241 (1995) 423).  It is kept in the limited-memory form, so that a
step costs a few products and triangular solves: the model is factored in
Cartesian coordinates, and only where the geometry has changed.  The trust
radius follows the energy; a step that raises it is taken back.  Where all
that leads nowhere the steps of `lbfgs` go on, as they would from any start.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from mpiapp.optimize.base import Arrays, Numbers
from mpiapp.optimize.internals.metric import Frame, Place
from mpiapp.optimize.internals.state import (
    Base, InternalState, Progress, arrive, forget, give_up, lose_faith, newton,
    remember, take_back
)
from mpiapp.optimize.lbfgs import LBFGS
from mpiapp.optimize.registry import require
from mpiapp.records import Floats

#: rises of the energy are noise up to this, eV, and this part of |energy|
NOISE, RELATIVE_NOISE = 1e-5, 1e-9
#: rises of the energy up to this, eV, count if the forces agree, whose error
#: in single precision is so much smaller
DOUBTFUL = 1e-3
#: largest change of a torsion in a step, radian
LARGEST_TURN = 0.5
#: below this trust radius, A, a rising energy is taken as it is
SMALLEST_TRUST = 1e-3


@dataclass(frozen=True)
class Internal:
    """`trust` and `maxstep` [A]: first and largest move of an atom."""

    name: ClassVar[str] = 'internal'
    plain: ClassVar[LBFGS] = LBFGS()

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
        state = replace(state, progress=state.progress.after(energy, forces))
        if state.plain is None:
            reason = state.progress.fault()
            try:
                found = None if reason else self.try_step(
                    state, positions, energy, forces)
                if found is not None and np.isfinite(found[1]).all():
                    return found
            except LinAlgError as error:
                reason = str(error)
            state = give_up(state, reason or 'the step is not finite',
                            self.plain.init(positions, state.numbers))
        assert state.plain is not None
        plain, x = self.plain.step(state.plain, positions, energy, forces)
        return replace(state, plain=plain), x

    def try_step(
        self, state: InternalState, positions: Floats, energy: float,
        forces: Floats,
    ) -> tuple[InternalState, Floats]:
        """Take one step in internal coordinates.

        Raises:
            LinAlgError: there is no model Hessian at the positions.
        """
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
        change = change_between(base, new)
        noise = NOISE + RELATIVE_NOISE * abs(new.energy)
        poor = change > gain / 4 and -gain > noise
        rose = change > noise
        if poor or rose:
            state = lose_faith(state)
        else:
            state = replace(state, failures=0)
        if rose and trust > SMALLEST_TRUST:
            return take_back(state)
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
        base, plain = state.base, state.plain
        arrays = {} if plain is None else {
            f'plain_{k}': v for k, v in self.plain.dump(plain).items()}
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
            'progress': np.array(astuple(state.progress)),
            'given_up': np.array(state.given_up), **arrays,
        }

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> InternalState:
        """Return the state of dumped arrays."""
        numbers, frame_at = arrays['numbers'], arrays['frame_at']
        frame = Frame.at(numbers, frame_at)
        base = plain = None
        if len(arrays['base_at']):
            place = Place.at(frame, arrays['base_at'])
            base = Base(place, arrays['base_pull'],
                        float(arrays['base_energy']))
        if given_up := str(arrays['given_up']):
            plain = self.plain.load({
                k.removeprefix('plain_'): v for k, v in arrays.items()
                if k.startswith('plain_')})
        trust, length, gain = arrays['last_step'].tolist()
        steps, vain, rises, frames, energy, force = arrays[
            'progress'].tolist()
        progress = Progress(int(steps), int(vain), int(rises), int(frames),
                            energy, force)
        return InternalState(
            numbers, frame_at, frame,
            tuple(arrays['s']), tuple(arrays['y']),
            tuple(arrays['rho'].tolist()), base, trust, length, gain,
            int(arrays['failures']), progress, given_up, plain)


build = Internal


def change_between(base: Base, new: Base) -> float:
    """Return the change of energy [eV]; a small rise is that of the forces.

    The trapezoid of the gradients along the way, exact to third order.
    """
    change = new.energy - base.energy
    if not 0 < change <= DOUBTFUL:
        return change
    way = base.place.to_place(new.place)
    return 0.5 * float(np.dot(way, base.pull + new.pull))


def longest_move(moves: Floats) -> float:
    """Return the length [A] of the longest of moves [n_atoms, 3] A."""
    return float(np.linalg.norm(moves, axis=1).max())
