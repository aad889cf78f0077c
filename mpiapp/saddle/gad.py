"""Gentlest ascent dynamics, plain and with escapes.

W. E, X. Zhou, Nonlinearity 24, 1831 (2011): x moves along the force whose
part along one mode v is turned round, so that a saddle attracts.  Steps are
those of the original scripts; two things are ours.  The time step never
exceeds the inverse of the stiffest curvature, beyond which Euler's method
does not settle; and a search with `finish` ends by Newton's method once
there is one negative mode, as what is left are faint forces along soft
modes.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpiapp.records import Floats
from mpiapp.saddle.base import (
    Sample, SearchSettings, Stopped, Stopping, Surface, SurfaceError
)
from mpiapp.saddle.eckart import Modes
from mpiapp.saddle.judge import (
    Look, broken, largest, look, looked, min_distance
)

#: modes among which the last one is looked for
TRACKED = 8
#: softest curvature, eV/A^2, of a Newton step
SOFT = 0.05
#: longest Newton step at first and the shortest that is tried, A; it grows
#: by a factor, and shrinks where the forces would rise by more than `WORSE`
FIRST_TRUST, LEAST_TRUST, GROW, SHRINK, WORSE = 0.1, 1e-3, 1.5, 0.25, 1.2
#: halvings of a move that brings atoms too near
HALVINGS = 5
#: escapes at most
MAX_ESCAPES = 1000
#: eigenvalue, eV/(A^2 amu), below which an escape is adapted to it
BENT = -0.01
#: early stop: after so many steps, two spans of so many are compared
EARLY_AFTER, EARLY_SPAN = 200, 500
#: ... which do not differ: mean n_neg by this, least fmax by this share
EARLY_CHANGE, EARLY_FALL = 0.1, 0.9
#: from this step on, every so many, fragments end a search
LOST_AFTER, LOST_EVERY = 200, 100


@dataclass(eq=False)
class Walk:
    """Where a search is: everything that changes from step to step."""

    dt: float
    best: int | None = None
    same: int = 0
    last: int | None = None
    mode: Floats | None = None
    trust: float = FIRST_TRUST
    moves: deque[float] = field(default_factory=deque)
    counts: deque[int] = field(default_factory=deque)

    def restart(self, dt: float) -> None:
        """Forget everything but the place, after an escape."""
        self.dt, self.best, self.same, self.last = dt, None, 0, None
        self.mode, self.trust = None, FIRST_TRUST
        self.moves.clear()
        self.counts.clear()


@dataclass(frozen=True, eq=False)
class Ended:
    """The last look of a search, its steps, and how it ended."""

    look: Look
    steps: int
    n_escape: int = 0
    early: bool = False


def search(
    sample: Sample, surface: Surface, settings: SearchSettings,
    stopping: Stopping, clock: Callable[[int], None],
) -> Ended:
    """Search from the start of a sample; settings are checked ones.

    Raises:
        SurfaceError: the surface can't be evaluated.
        Stopped: all ranks stop; and what `clock` raises, which is
            told the steps made.
    """
    p = settings.params
    escapes = settings.method == 'multimode'
    finish = escapes if settings.finish is None else settings.finish
    limit = settings.max_steps or 0
    walk = Walk(p['dt'], moves=deque(maxlen=p.get('escape_window', 1)),
                counts=deque(maxlen=p.get('escape_window', 1)))
    counts: list[int] = []
    fmaxs: list[float] = []
    n_escape = 0
    here = look(surface, sample.start, settings)
    for step in range(limit + 1):
        if stopping():
            raise Stopped
        clock(step)
        early = settings.early_stop and (
            stuck(counts, fmaxs, settings.stop)
            or lost(surface, sample, here, settings, step))
        if arrived(here, settings) or step == limit or early:
            return Ended(here, step, n_escape, early)
        counts.append(here.n_neg)
        fmaxs.append(here.fmax)
        adapt(walk, here.n_neg, p)
        if escapes and n_escape < MAX_ESCAPES and needs_escape(walk, p):
            moved = escape(surface, here, p)
            n_escape += 1
            walk.restart(p['dt'])
        elif finish and one_negative(here) and walk.trust > LEAST_TRUST:
            moved = here.positions + capped(
                newton(here), min(walk.trust, p['max_atom_disp']))
            found = surface.point(moved)
            if largest(found.forces) > WORSE * here.fmax:
                walk.trust *= SHRINK
                continue
            walk.trust *= GROW
            here = looked(surface, moved, found, surface.hessian(moved),
                          settings)
            continue
        else:
            walk.trust = FIRST_TRUST
            moved = here.positions + ascent(here, walk, settings)
        walk.moves.append(float(np.linalg.norm(
            moved - here.positions, axis=1).mean()))
        walk.counts.append(here.n_neg)
        here = look(surface, moved, settings)
    raise AssertionError('the last step returns')


def lost(surface: Surface, sample: Sample, here: Look,
         settings: SearchSettings, step: int) -> bool:
    """Tell, now and then, whether a molecule has fallen apart."""
    return step >= LOST_AFTER and step % LOST_EVERY == 0 and bool(
        broken(surface, sample, here.positions, settings.min_distance)[0])


def arrived(here: Look, settings: SearchSettings) -> bool:
    """Tell whether a search may end here."""
    return here.n_neg == 1 and (
        settings.stop == 'index' or here.fmax < settings.fmax)


def one_negative(here: Look) -> bool:
    """Tell whether one mode alone leads down, in both metrics."""
    return here.n_neg == 1 and here.plain.n_neg('projected') == 1


def adapt(walk: Walk, n_neg: int, p: Mapping[str, Any]) -> None:
    """Change the time step as the number of negative modes went."""
    if walk.best is None or n_neg < walk.best:
        walk.best, walk.same = n_neg, 0
        walk.dt = min(max(walk.dt, p['dt_min']), p['dt_max'])
    elif n_neg > walk.best:
        walk.dt = max(walk.dt * p['plateau_shrink'], p['dt_min'])
        walk.same = 0
    else:
        walk.same += 1
        if walk.same >= p['plateau_patience']:
            walk.dt = min(walk.dt * p['plateau_boost'], p['dt_max'])
            walk.same = 0


def ascent(here: Look, walk: Walk, settings: SearchSettings) -> Floats:
    """Return the move [n, 3] A of one step, and note its mode."""
    p = settings.params
    modes = here.modes if settings.original_mode else here.plain
    track = settings.method == 'multimode'
    walk.mode = followed(modes, walk.mode if track else None)
    forces = here.point.forces.ravel()
    along = forces - 2.0 * (forces @ walk.mode) * walk.mode
    stiffest = max(float(np.abs(here.plain.values).max()), 1e-6)
    dt = walk.dt if settings.original_mode else min(walk.dt, 1.0 / stiffest)
    return capped(dt * along.reshape(-1, 3), p['max_atom_disp'])


def followed(modes: Modes, before: Floats | None) -> Floats:
    """Return the mode most like the one before, else the lowest."""
    if before is None:
        return modes.vectors[:, 0]
    few = modes.vectors[:, :TRACKED]
    overlaps = before @ few
    i = int(np.abs(overlaps).argmax())
    sign = -1.0 if overlaps[i] < 0 else 1.0
    return np.asarray(sign * few[:, i])


def newton(here: Look) -> Floats:
    """Return the step [n, 3] to the saddle of the local parabola."""
    values, vectors = here.plain.values, here.plain.vectors
    sizes = np.maximum(np.abs(values), SOFT)
    signs = np.where(np.arange(len(values)) == 0, -1.0, 1.0)
    parts = vectors.T @ here.point.forces.ravel()
    return np.asarray(vectors @ (signs * parts / sizes)).reshape(-1, 3)


def capped(move: Floats, most: float) -> Floats:
    """Scale a move [n, 3] so that no atom goes further than `most` A."""
    longest = float(np.linalg.norm(move, axis=1).max())
    return move * (most / longest) if longest > most else move


def needs_escape(walk: Walk, p: Mapping[str, Any]) -> bool:
    """Tell whether a search has come to rest at a saddle of higher order."""
    if len(walk.moves) < p['escape_window'] or walk.counts[-1] <= 1:
        return False
    return (float(np.mean(walk.moves)) < p['escape_disp_threshold']
            and float(np.std(walk.counts)) <= p['escape_neg_vib_std'])


def escape(surface: Surface, here: Look, p: Mapping[str, Any]) -> Floats:
    """Return a geometry off a saddle of higher order.

    Along the second lowest mode, to the side that is lower in energy; the
    move is halved where atoms would come too near.
    """
    delta = p['escape_delta']
    second = here.eigenvalue(1)
    if p['adaptive_delta'] and second < BENT:
        delta = min(delta / np.sqrt(abs(second)), 1.0)
    way = here.plain.vectors[:, 1].reshape(-1, 3)
    for _ in range(HALVINGS + 1):
        sides = [here.positions + sign * delta * way for sign in (1.0, -1.0)]
        sound = [x for x in sides
                 if min_distance(x) >= p['min_interatomic_dist']]
        energies = [_energy(surface, x) for x in sound]
        if energies and min(energies) < np.inf:
            return sound[int(np.argmin(energies))]
        delta *= 0.5
    return here.positions + delta * way


def _energy(surface: Surface, positions: Floats) -> float:
    """Return the energy; infinite where there is none, so not to go to."""
    try:
        return surface.point(positions).energy
    except SurfaceError:
        return float('inf')


def stuck(counts: list[int], fmaxs: list[float], stop: str) -> bool:
    """Tell whether nothing changes any more.

    The mean number of negative modes; where a search waits for forces too,
    also the smallest of them.
    """
    if len(counts) < max(EARLY_AFTER, 2 * EARLY_SPAN):
        return False
    late = float(np.mean(counts[-EARLY_SPAN:]))
    before = float(np.mean(counts[-2 * EARLY_SPAN:-EARLY_SPAN]))
    if abs(late - before) >= EARLY_CHANGE:
        return False
    return stop == 'index' or min(fmaxs[-EARLY_SPAN:]) > EARLY_FALL * min(
        fmaxs[-2 * EARLY_SPAN:-EARLY_SPAN])
