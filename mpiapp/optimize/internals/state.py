"""The state of the internal optimiser and how it changes."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg.blas import daxpy, ddot

from mpiapp.optimize.base import Numbers
from mpiapp.optimize.convergence import largest_force
from mpiapp.optimize.internals.metric import Frame, Place
from mpiapp.optimize.lbfgs import LBFGSState
from mpiapp.records import Floats

#: bends beyond [rad] and lines this bent [2 cos(angle/2)] end a frame
LARGEST_BEND, LARGEST_LINE = np.deg2rad(176.0), 0.5
#: least curvature of a pair, as a part of that of the model
LEAST_CURVATURE = 1e-4
#: the least number with a finite inverse
TINY = float(np.finfo(np.float64).tiny)
#: after so many bad steps in a row the memory is to blame
MOST_FAILURES = 3
#: after so many steps without a new lowest energy or force, so many rises
#: of the energy and so many frames, the coordinates are
MOST_VAIN, MOST_RISES, MOST_FRAMES = 30, 25, 12


@dataclass(frozen=True)
class Progress:
    """Counts of steps, of the last ones that were in vain, and so on.

    `rises` are steps that were taken back; `energy` [eV] and `force` [eV/A]
    are the lowest so far.
    """

    steps: int = 0
    vain: int = 0
    rises: int = 0
    frames: int = 1
    energy: float = np.inf
    force: float = np.inf

    def after(self, energy: float, forces: Floats) -> Progress:
        """Return the counts after another evaluation."""
        force = largest_force(forces)
        better = energy < self.energy or force < self.force
        return replace(
            self, steps=self.steps + 1, vain=0 if better else self.vain + 1,
            energy=min(energy, self.energy), force=min(force, self.force))

    def fault(self) -> str:
        """Say why the coordinates are to be given up; '': they are not."""
        if self.vain >= MOST_VAIN:
            return f'{self.vain} steps in vain'
        if self.rises >= MOST_RISES:
            return f'the energy rose {self.rises} times'
        if self.frames > MOST_FRAMES:
            return f'{self.frames} changes of the coordinates'
        return ''


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
    of steps in a row that did much worse.  Once `given_up` says why and
    since when, `plain` goes on in Cartesian coordinates.
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
    progress: Progress = Progress()
    given_up: str = ''
    plain: LBFGSState | None = None

    @property
    def remark(self) -> str:
        """Return what the result is to say about the relaxation."""
        return self.given_up


def forget(state: InternalState) -> InternalState:
    """Return the state without its memory."""
    return replace(state, s=(), y=(), rho=(), failures=0)


def give_up(
    state: InternalState, reason: str, plain: LBFGSState,
) -> InternalState:
    """Return the state that goes on in Cartesian coordinates."""
    return replace(
        forget(state), base=None, plain=plain,
        given_up='Cartesian coordinates from step '
                 f'{state.progress.steps} on: {reason}')


def take_back(state: InternalState) -> InternalState:
    """Return the state that leaves the base again, less far."""
    progress = replace(state.progress, rises=state.progress.rises + 1)
    return replace(state, trust=state.length / 3, progress=progress)


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
        progress = replace(state.progress, frames=state.progress.frames + 1)
        state = replace(forget(state), frame_at=positions, frame=frame,
                        base=None, progress=progress)
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
    """Return the quasi-Newton step [n_q + 3 n_atoms] from the base.

    BLAS changes `pull` and `step` in place: half of the time of numpy.
    """
    assert state.base is not None
    place = state.base.place
    pairs = list(zip(state.s, state.y, state.rho, strict=True))
    pull = state.base.pull.copy()
    weights = []
    for s, y, rho in reversed(pairs):
        weights.append(rho * float(ddot(s, pull)))
        daxpy(y, pull, a=-weights[-1])
    step = place.forward(place.solve(place.backward(pull)))
    for (s, y, rho), weight in zip(pairs, reversed(weights), strict=True):
        daxpy(s, step, a=weight - rho * float(ddot(y, step)))
    return -step
