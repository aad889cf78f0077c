"""One search from one start: the surface, the method, the judgement.

Stable: `SurfaceChoice`, `Surfaces` and `search`.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mpiapp.bonding import bond_list
from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.potentials.base import Potential, PotentialOptions
from mpiapp.records import Floats, InputError
from mpiapp.saddle import gad
from mpiapp.saddle.base import (
    NO_RESULT, Point, Sample, SearchResult, SearchSettings, Stopped, Stopping,
    Surface, SurfaceError, never
)
from mpiapp.saddle.gad import Ended
from mpiapp.saddle.judge import Look, broken, min_distance, verdict
from mpiapp.saddle.parameters import check
from mpiapp.saddle.surfaces import GUARD, PotentialSurface, compared
from mpiapp.saddle.toys import TOYS

#: atoms nearer than this, A, at the start: on one another after the noise
FUSED = 0.1
#: steps at most to the calculator's own TS from that of the file
OWN_STEPS = 500
#: how Hessians are made where a potential has none
FD = 'finite differences'


@dataclass(frozen=True, eq=False)
class SurfaceChoice:
    """What computes energies: a toy, or a potential; cheap to send.

    `numbers` and `positions` of a molecule of the user's, on which a fast
    Hessian is compared with finite differences; empty: not compared.
    `hessian` is auto or fd.
    """

    options: PotentialOptions
    hessian: str = 'auto'
    numbers: NDArray[np.int32] = field(
        default_factory=lambda: np.empty(0, np.int32))
    positions: Floats = field(default_factory=lambda: np.empty((0, 3)))
    charge: int = 0
    unpaired: int = 0

    @property
    def toy(self) -> bool:
        """Whether it is a toy surface."""
        return self.options.calculator in TOYS


class Surfaces:
    """Makes the surface of any sample; holds the potential.

    `about` is what `describe` of the potential says, and how Hessians are
    made.  Raises InputError where the potential can't be built.
    """

    def __init__(self, choice: SurfaceChoice) -> None:
        self.choice = choice
        self.potential: Potential | None = None
        self.about: dict[str, str] = {
            'name': choice.options.calculator, 'backend': 'numpy',
            'hessian': 'analytic', 'hessian_guard': 'none needed'}
        self._own = False
        self._kind = 'fd'
        if not choice.toy:
            self._build()

    def _build(self) -> None:
        from mpiapp.potentials import build
        self.potential = build(self.choice.options)
        self.about = dict(self.potential.describe())
        self._kind = getattr(self.potential, 'hessian_kind', 'fd')
        self._own = (hasattr(self.potential, 'hessian')
                     and self.choice.hessian == 'auto')
        note = self._compare() if self._own else 'none needed'
        self.about['hessian'] = self._kind if self._own else FD
        self.about['hessian_guard'] = note

    def _compare(self) -> str:
        """Compare the fast Hessian with differences, refuse it if need be.

        Returns what came of it, in words.
        """
        c = self.choice
        if not len(c.numbers):
            return 'not compared'
        surface = self._surface(c.numbers, c.charge, c.unpaired)
        try:
            share = compared(surface, c.positions)
        except (SurfaceError, RuntimeError) as error:
            self._own = False
            return f'{self._kind} refused, it failed: {error}'
        self._own = share <= GUARD
        words = f'within {share:.1e} of finite differences'
        return words if self._own else f'{self._kind} refused, only {words}'

    def _surface(self, numbers: NDArray[np.int32], charge: int,
                 unpaired: int) -> PotentialSurface:
        assert self.potential is not None
        own = getattr(self.potential, 'hessian', None) if self._own else None
        return PotentialSurface(self.potential, numbers, charge, unpaired,
                                own, self._kind)

    def surface(self, sample: Sample) -> Surface:
        """Return the surface of a sample, its counts zero."""
        if self.choice.toy:
            return TOYS[self.choice.options.calculator](sample.numbers)
        return self._surface(sample.numbers, sample.charge, sample.unpaired)

    def fault(self, sample: Sample) -> tuple[str, str]:
        """Return why the potential can't compute a sample, or ('', '')."""
        known = None if self.potential is None else self.potential.elements
        if known is None:
            return '', ''
        strange = sorted(set(sample.numbers.tolist()) - known)
        if not strange:
            return '', ''
        from ase.data import chemical_symbols
        return 'element', (f'{self.about["name"]} does not know '
                           f'{", ".join(chemical_symbols[z] for z in strange)}'
                           )


class Late(Exception):
    """A search has taken longer than it may."""


class Clock:
    """Told of every step of a search; `steps` are those made so far.

    Raises `Late` when it is told of one after the time limit [s], if any.
    """

    def __init__(self, limit: float | None) -> None:
        self._began, self._limit = time.perf_counter(), limit
        self.steps = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._began

    def __call__(self, steps: int) -> None:
        """Note the steps made; raises Late."""
        self.steps = steps
        if self._limit is not None and self.seconds > self._limit:
            raise Late(f'more than {self._limit:g} s')


class _Watched:
    """A surface that remembers the last geometry with finite forces."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.numbers, self.masses = surface.numbers, surface.masses
        self.kind, self.bonded = surface.kind, surface.bonded
        self.flat = surface.flat
        self.last: tuple[Floats, Point] | None = None

    n_calls = property(lambda self: self.surface.n_calls)
    n_hess = property(lambda self: self.surface.n_hess)
    n_displaced = property(lambda self: self.surface.n_displaced)

    def point(self, positions: Floats) -> Point:
        """Return energy and forces."""
        found = self.surface.point(positions)
        self.last = (positions, found)
        return found

    def hessian(self, positions: Floats) -> Floats:
        """Return the Hessian."""
        return self.surface.hessian(positions)


def search(
    sample: Sample, surface: Surface,
    settings: SearchSettings = SearchSettings(), stopping: Stopping = never,
) -> SearchResult:
    """Search from the start of a sample; what goes wrong is in the result.

    Raises:
        Stopped: `stopping()` became true.
        InputError: the settings are wrong.
    """
    clock = Clock(settings.timeout)
    settings = check(settings)
    fault = fault_of(sample, surface)
    if fault[0]:
        return SearchResult(*fault, positions=sample.start)
    surface.n_calls = surface.n_hess = surface.n_displaced = 0
    watched = _Watched(surface)
    try:
        found = _searched(sample, watched, settings, stopping, clock)
    except (SurfaceError, Late) as error:
        found = failed(sample, watched, error, clock.steps)
    return replace(found, seconds=clock.seconds)


def fault_of(sample: Sample, surface: Surface) -> tuple[str, str]:
    """Return why a sample can't be searched, or ('', '')."""
    if sample.fault[0]:
        return sample.fault
    if surface.flat is None and sample.n_atoms < 3:
        return 'too_small', (
            f'{sample.n_atoms} atom(s): a saddle point needs two vibrations')
    if not np.isfinite(sample.start).all():
        return 'bad_input', 'the start is not finite'
    nearest = min_distance(sample.start)
    if nearest < FUSED:
        return 'collapsed', (f'start: two atoms are {nearest:.3f} A apart, '
                             'nothing was computed')
    return '', ''


#: (sample, surface, settings, stopping, clock) -> how it ended
Method = Callable[
    [Sample, Surface, SearchSettings, Stopping, Callable[[int], None]], Ended]


def method_of(name: str) -> Method:
    """Return the function of a method."""
    if name == 'sella':
        from mpiapp.workers.saddle_sella import search as by_sella
        return by_sella
    return gad.search


def _searched(
    sample: Sample, surface: _Watched, settings: SearchSettings,
    stopping: Stopping, clock: Clock,
) -> SearchResult:
    """Search, judge the end and look at what lies beside it.

    What the last takes is not counted.
    """
    method = method_of(settings.method)
    ended = method(sample, surface, settings, stopping, clock)
    reason, message = verdict(surface, sample, ended.look, settings,
                              ended.early)
    here = ended.look
    found = SearchResult(
        reason, message, ended.steps, surface.n_calls, surface.n_hess,
        surface.n_displaced, ended.n_escape, n_neg=here.n_neg,
        lambda0=here.eigenvalue(0), lambda1=here.eigenvalue(1), fmax=here.fmax,
        energy=here.point.energy, positions=here.positions,
        early_stopped=ended.early)
    known = sample.ts
    if known is not None and settings.reference == 'own':
        known = own_reference(sample, surface, settings, stopping, clock)
    if known is not None:
        rmsd, same = compared_with(sample, surface, here, known)
        found = replace(found, reference=known, rmsd_to_reference=rmsd,
                        same_connectivity=same)
    if settings.ends and reason == 'ts':
        from mpiapp.workers.saddle_ends import ends_of
        return replace(found, ends=ends_of(sample, surface, here, stopping))
    return found


def own_reference(
    sample: Sample, surface: Surface, settings: SearchSettings,
    stopping: Stopping, clock: Clock,
) -> Floats | None:
    """Return the calculator's own TS, None where there is none.

    Found from the TS of the sample without noise, which is another
    method's, by `multimode` at its baseline.
    """
    assert sample.ts is not None
    plain = check(SearchSettings(
        fmax=settings.fmax, max_steps=OWN_STEPS, count=settings.count))
    try:
        ended = gad.search(replace(sample, start=sample.ts), surface, plain,
                           stopping, clock)
    except SurfaceError:
        return None
    reason, _ = verdict(surface, sample, ended.look, plain, ended.early)
    return ended.look.positions if reason == 'ts' else None


def compared_with(sample: Sample, surface: Surface, here: Look,
                  known: Floats) -> tuple[float, int]:
    """Return RMSD and connectivity beside a known TS [n, 3] A."""
    if surface.flat is not None:
        off = (here.positions - known).ravel()[surface.flat]
        return float(np.linalg.norm(off)), -1
    same = -1
    if surface.bonded:
        same = int(np.array_equal(bond_list(sample.numbers, here.positions),
                                  bond_list(sample.numbers, known)))
    return superposed_rmsd(here.positions, known), same


def failed(sample: Sample, surface: _Watched, error: SurfaceError | Late,
           steps: int) -> SearchResult:
    """Return the result of a search that has no end, after so many steps.

    An atom that has flown off or onto another is the reason why a method
    fails, and then says more than that it did.
    """
    positions, point = surface.last or (sample.start, None)
    if isinstance(error, Late):
        # nothing that depends on how far it came
        return SearchResult('timeout', str(error), positions=sample.start)
    reason, message = error.reason, error.message
    if reason in ('calculator_error', 'nan_hessian', 'internals_error'):
        why = broken(surface, sample, positions, 0.3)
        if why[0]:
            reason, message = why[0], f'{why[1]}; {error.message}'
    energy = float('nan') if point is None else point.energy
    return SearchResult(
        reason, message[:160], steps, n_calls=surface.n_calls,
        n_hess=surface.n_hess, n_displaced=surface.n_displaced,
        positions=positions, energy=energy)


__all__ = ['InputError', 'NO_RESULT', 'Stopped', 'SurfaceChoice', 'Surfaces',
           'search']
