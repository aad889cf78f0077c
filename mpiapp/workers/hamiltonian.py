"""Evaluate one frame: reference and prediction against a fresh SCF.

A frame leaves as one row, whatever goes wrong in it; its row is the same on
whatever rank and in whatever order frames are done.
"""
from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mpiapp.hamiltonians.algebra import (
    NEAR_SINGULAR, Basis, Orbitals, basis_from, mulliken, orbitals_of
)
from mpiapp.hamiltonians.ao_order import atoms_of
from mpiapp.hamiltonians.frame import Frame, formula_of
from mpiapp.hamiltonians.metrics import (
    DEGENERATE, State, compare, of_energies, of_forces
)
from mpiapp.potentials.kohn_sham import Field, Solution
from mpiapp.records import (
    Finished, Floats, Rejection, Row, Status, Stream, Suspended
)
from mpiapp.workers.hamiltonian_calc import (
    Calculated, from_cache, into_cache, key_of, pack, unpack
)
from mpiapp.workers.hamiltonian_frames import Reading, Ready, made_ready

log = logging.getLogger('mpiapp')

#: Hartree; a reference whose occupied orbitals are further from those of
#: the SCF is not read rightly, or is none
ORBITALS_AGREE = 0.5
#: Hartree; where no overlap is stored, nearer than this proves the order:
#: another one is off by 0.02 to 0.03 (water, ammonia), the same SCF by 1e-4
ORBITALS_PROVE = 0.005
#: Hartree; energies outside are no energies of molecules
ENERGY_RANGE = (-10_000.0, 0.0)


@dataclass(frozen=True)
class Evaluation:
    """What is computed of each frame."""

    reading: Reading = field(default_factory=Reading)
    stored_overlap: bool = False
    raise_small: bool = False
    forces: bool = True
    init_forces: bool = False
    force_cycles: int = 0
    restarts: tuple[str, ...] = ('pred', 'atom')
    record_timeout: float | None = None
    cache: str = ''
    new_calc: bool = False
    matrices: bool = False
    debug: bool = False


class Source(Protocol):
    """What frames are read from, by their number."""

    def load(self, row: int) -> Frame:
        """Read a frame; raises Rejection."""

    def known(self, row: int) -> Row:
        """Return what is known of a frame without reading it."""


class Stopped(Exception):
    """The job is stopping: the frame is to be put aside."""


class TimedOut(Exception):
    """The frame has had its time."""


class EnergyOverflow(Exception):
    """An energy that no molecule has."""


class Unconverged(Exception):
    """The SCF has not converged on any rung of the ladder."""


class HamiltonianWorker:
    """The worker of `hameval`; call it with the stream of this rank."""

    def __init__(self, settings: Evaluation, source: Source,
                 threads: int = 1) -> None:
        self.settings = settings
        self.source = source
        self.threads = threads

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each frame, `Suspended` at a stop."""
        from pyscf import lib
        lib.num_threads(self.threads)
        while items := stream.take(1):
            row, state = items[0].row, items[0].state
            work = FrameWork(self.settings, stream.stopping, state)
            try:
                yield self.row_of(row, work)
            except Stopped:
                yield Suspended(row, work.state)

    def row_of(self, number: int, work: FrameWork) -> Finished:
        """Do one frame; what goes wrong is in its row."""
        row = self.source.known(number)
        began = time.perf_counter()
        try:
            try:
                work.fill(row, self.source.load(number))
            except EnergyOverflow:
                work.state = b''
                work.fill(row, self.source.load(number), again=True)
        except (Stopped, KeyboardInterrupt, MemoryError):
            raise
        except Rejection as error:
            tell(row, Status.REJECTED, error.reason, error.message)
        except Unconverged as error:
            tell(row, Status.UNCONVERGED, 'scf_unconverged', str(error))
        except EnergyOverflow as error:
            tell(row, Status.FAILED, 'energy_overflow', str(error))
        except TimedOut as error:
            tell(row, Status.UNCONVERGED, 'time_limit', str(error))
        except Exception as error:
            text = traceback.format_exception_only(error)[-1].strip()
            tell(row, Status.FAILED, 'error', text)
            if self.settings.debug:
                log.warning('frame %s:\n%s', row.get('name', number),
                            traceback.format_exc())
        seconds = time.perf_counter() - began
        row['seconds'] = seconds
        return Finished(number, row, work.atom_steps, seconds)


def tell(row: Row, status: Status, reason: str, message: str) -> None:
    """Put what went wrong into a row; its metrics are dropped."""
    for name in [n for n in row if '/' in n]:
        del row[name]
    row.update(status=int(status), reason=reason, message=message)


class FrameWork:
    """The work on one frame; `state` is what a resume can go on from."""

    def __init__(
        self, settings: Evaluation, stopping: Callable[[], bool],
        state: bytes = b'',
    ) -> None:
        self.settings = settings
        self.stopping = stopping
        self.state = state
        self.atom_steps = 0
        self._began = time.perf_counter()
        self._seconds = {'forces': 0.0, 'restart': 0.0}

    def pulse(self) -> None:
        """Look whether to go on; called in every SCF cycle."""
        if self.stopping():
            raise Stopped
        limit = self.settings.record_timeout
        if limit is not None and time.perf_counter() - self._began > limit:
            raise TimedOut(f'not done in --record-timeout {limit:g} s')

    def fill(self, row: Row, frame: Frame, again: bool = False) -> None:
        """Fill in the row of a frame; raises what `row_of` expects."""
        began = time.perf_counter()
        row.update(
            molecule=formula_of(frame.numbers), charge=frame.charge,
            index=frame.index,
            n_atoms=len(frame.numbers), nao=frame.nao,
            numbers=frame.numbers, positions=frame.positions,
            e_data=frame.energy)
        ready = made_ready(frame, self.settings.reading)
        row.update(of_proof(ready))
        basis = basis_from(ready.overlap, self.settings.raise_small)
        row.update(smallest_overlap=basis.smallest,
                   n_small_overlap=basis.n_small)
        row['seconds_load'] = time.perf_counter() - began
        whole = Field(ready.molecule, self.settings.reading.field,
                      self.pulse)
        made = self.calculated(row, ready, whole)
        frame_states = self.states(row, ready, whole, basis, made)
        self.judge(row, ready, frame_states, basis)
        if self.settings.matrices:
            row.update(matrices_of(frame_states))
        row.update(status=int(Status.CONVERGED), reason='',
                   message='energy computed twice' if again else '')

    def calculated(
        self, row: Row, ready: Ready, whole: Field,
    ) -> Calculated:
        """Return the fresh SCF, kept or made; raises Unconverged."""
        settings = self.settings
        key = key_of(ready, settings.reading.field, settings.forces)
        made = unpack(self.state, key)
        if made is None and settings.cache and not settings.new_calc:
            made = from_cache(settings.cache, key)
            row['cached'] = int(made is not None)
        if made is None:
            made = self.made_anew(whole)
            if made.solution.converged:
                self.state = pack(made, key)
                if settings.cache:
                    into_cache(settings.cache, key, made)
        s = made.solution
        self.atom_steps += s.cycles * len(ready.frame.numbers)
        row.update(of_scf('minao', s, s), rescue=s.rescue,
                   seconds_scf=s.seconds)
        self._seconds['forces'] += made.seconds_forces
        if not s.converged:
            raise Unconverged(
                f'{s.cycles} cycles, level shift, damping and second-order '
                'steps did not converge the SCF')
        return made

    def made_anew(self, whole: Field) -> Calculated:
        """Run the SCF, and take its gradient once."""
        solution = whole.solve(whole.guess('minao'))
        check_energy('calc', solution.energy)
        if not (solution.converged and self.settings.forces):
            return Calculated(solution, None)
        began = time.perf_counter()
        forces = whole.forces(solution.eps, solution.coeff, solution.occ)
        return Calculated(solution, forces, time.perf_counter() - began)

    def states(
        self, row: Row, ready: Ready, whole: Field, basis: Basis,
        made: Calculated,
    ) -> dict[str, State]:
        """Return the states of the frame, calc first."""
        frame, n_occ, settings = ready.frame, ready.n_occ, self.settings
        s = made.solution
        calc = orbitals_of(s.fock, basis, n_occ)
        row['n_electrons'] = 2 * n_occ
        theirs = self.basis_of_files(ready, basis)
        initial = frame.initial if frame.initial is not None \
            else whole.initial()
        delta = self.resolve_delta(row, ready, theirs, calc, initial)
        matrices = {'gt': frame.reference + delta * initial}
        if frame.prediction is not None:
            matrices['pred'] = frame.prediction + delta * initial
        matrices['init'] = initial
        found = {'calc': self.state_of(
            ready, whole, s.fock, calc, s.energy, made.forces, s.density)}
        for name, matrix in matrices.items():
            found[name] = self.state_from(
                row, name, ready, whole, matrix,
                orbitals_of(matrix, theirs, n_occ), s)
        if 'atom' in settings.restarts:
            self.restart(row, 'atom', whole, whole.guess('atom'), s, ready)
        return found

    def state_from(
        self, row: Row, name: str, ready: Ready, whole: Field,
        matrix: Floats, orbitals: Orbitals, calc: Solution,
    ) -> State:
        """Return the state that a matrix leads to."""
        settings = self.settings
        energy = self.restarted(row, name, whole, orbitals, calc, ready)
        check_energy(name, energy)
        forces = None
        if settings.forces and (name != 'init' or settings.init_forces):
            forces = self.timed_forces(
                whole, orbitals.eps, orbitals.coeff, orbitals.occ)
        return self.state_of(ready, whole, matrix, orbitals, energy, forces)

    def basis_of_files(self, ready: Ready, computed: Basis) -> Basis:
        """Return the overlap that gt and pred are solved with."""
        if not self.settings.stored_overlap:
            return computed
        if ready.frame.overlap is None:
            raise Rejection('missing_key', '--overlap stored, but the file '
                            'has no overlap')
        return basis_from(ready.frame.overlap, self.settings.raise_small)

    def resolve_delta(
        self, row: Row, ready: Ready, basis: Basis, calc: Orbitals,
        initial: Floats,
    ) -> bool:
        """Tell whether the matrices are differences.

        By which choice makes the occupied orbital energies of the reference
        those of the SCF; what a file or an option says is held against it.

        Raises:
            Rejection: delta_unclear.
        """
        told = self.settings.reading.delta
        choices = [told == 'yes'] if told != 'auto' else [True, False]
        n = ready.n_occ
        off = {}
        for delta in choices:
            eps = orbitals_of(ready.frame.reference + delta * initial,
                              basis, n).eps[:n]
            off[delta] = float(np.abs(eps - calc.eps[:n]).mean())
        stated = ready.frame.delta
        best = min(off, key=lambda d: off[d])
        if told == 'auto' and stated is not None \
                and off[stated] < ORBITALS_AGREE:
            best = stated
        row.update(delta=int(best), reference_orbital_mae=off[best])
        if told == 'auto' and off[best] > ORBITALS_AGREE:
            raise Rejection(
                'delta_unclear', 'neither as differences nor as whole '
                'matrices do the occupied orbitals agree with the SCF: off '
                f'by {off[best]:.2g} Hartree')
        if told == 'auto' and stated is not None and stated != best:
            raise Rejection(
                'delta_unclear', f'the file says delta = {int(stated)}, its '
                f'orbitals say {int(best)}; decide by --delta')
        if not ready.proof and off[best] < ORBITALS_PROVE:
            row['proof'] = 'orbitals'
        return best

    def state_of(
        self, ready: Ready, whole: Field, hamiltonian: Floats,
        orbitals: Orbitals, energy: float, forces: Floats | None,
        density: Floats | None = None,
    ) -> State:
        """Return a state with its dipole and charges."""
        p = orbitals.density if density is None else density
        # nuclear charges without the electrons of a core potential
        charges = mulliken(p, ready.overlap, ready.molecule.atom_charges(),
                           atoms_of(ready.shells))
        return State(hamiltonian, orbitals, energy, whole.dipole(p), charges,
                     forces)

    def restarted(
        self, row: Row, name: str, whole: Field, orbitals: Orbitals,
        calc: Solution, ready: Ready,
    ) -> float:
        """Return the energy of a density, from the SCF that it starts."""
        density = orbitals.density
        wanted = name in self.settings.restarts
        keep = self.settings.force_cycles if name == 'pred' else 0
        if not wanted and not keep:
            return whole.energy(density)
        s = self.restart(row, name, whole, density, calc, ready, keep,
                         (orbitals.coeff, orbitals.occ))
        if name == 'pred':
            row['pred-calc/energy_one_cycle'] = (
                s.energies[0] - calc.energy if s.energies else np.nan)
            if keep and self.settings.forces:
                kept = s.kept or (s.eps, s.coeff, s.occ)
                row['forces_pred_scf'] = self.timed_forces(whole, *kept)
        return s.start_energy

    def restart(
        self, row: Row, name: str, whole: Field, density: Floats,
        calc: Solution, ready: Ready, keep: int = 0,
        orbitals: tuple[Floats, Floats] | None = None,
    ) -> Solution:
        """Run an SCF from a density and tell of it."""
        s = whole.solve(density, keep, check=False, rescue=False,
                        orbitals=orbitals, want_fock=False)
        self._seconds['restart'] += s.seconds
        self.atom_steps += s.cycles * len(ready.frame.numbers)
        row.update(of_scf(name, s, calc))
        return s

    def timed_forces(self, whole: Field, *orbitals: Floats) -> Floats:
        """Return forces and count their time."""
        began = time.perf_counter()
        forces = whole.forces(*orbitals)
        self._seconds['forces'] += time.perf_counter() - began
        return forces

    def judge(
        self, row: Row, ready: Ready, states: dict[str, State],
        basis: Basis,
    ) -> None:
        """Fill in what the states come to."""
        where = ready.frame.positions
        for name, state in states.items():
            row[f'e_{name}'] = state.energy
            row[f'dipole_{name}'] = state.dipole
            row[f'eps_{name}'] = padded(state.orbitals.eps, ready.frame.nao)
            if state.forces is not None:
                row[f'forces_{name}'] = state.forces
        for a, b in (('pred', 'gt'), ('pred', 'calc'), ('gt', 'calc'),
                     ('init', 'gt'), ('init', 'calc')):
            if a in states and b in states:
                put(row, f'{a}-{b}', compare(states[a], states[b],
                                             ready.overlap, ready.shells,
                                             where))
        for name in set(states) - {'init'}:
            state = states[name]
            put(row, f'{name}-data', {
                **of_energies(state.energy, ready.frame.energy, len(where)),
                **of_forces(state.forces, ready.frame.forces)})
        if 'forces_pred_scf' in row:
            put(row, 'pred_scf-calc', of_forces(
                row['forces_pred_scf'], states['calc'].forces))
        if ready.frame.overlap is not None:
            put(row, 'gt-calc', {'overlap_diff': float(
                np.abs(ready.frame.overlap - ready.overlap).mean())})
        row['flags'] = ','.join(flags_of(
            states.values(), basis, bool(row['proof'])))
        row.update({f'seconds_{k}': v for k, v in self._seconds.items()})


def of_proof(ready: Ready) -> Row:
    """Return the columns of unit, order and proof."""
    return {
        'charge': ready.frame.charge, 'positions': ready.frame.positions,
        'proof': ready.proof, 'ao_order': ready.permutation.order,
        'length_unit': ready.unit, 'overlap_error': ready.error}


def of_scf(name: str, s: Solution, calc: Solution) -> Row:
    """Return the columns of an SCF from a start."""
    row: Row = {
        f'cycles_{name}': s.cycles, f'loose_cycles_{name}': s.loose_cycles,
        f'converged_{name}': int(s.converged),
        f'start_error_{name}': s.start_energy - calc.energy,
        f'seconds_{name}': s.seconds}
    if s.start_gradient is not None and name in ('pred', 'gt', 'init'):
        row[f'gradient_{name}'] = s.start_gradient
    if name != 'minao' and s.converged:
        # restarts have no rescue: that of calc is not to their credit
        row[f'cycles_saved_{name}'] = float(calc.plain_cycles - s.cycles)
        row[f'seconds_saved_{name}'] = calc.plain_seconds - s.seconds
    return row


def put(row: Row, pair: str, metrics: dict[str, float]) -> None:
    """Put the metrics of a pair into a row."""
    row.update({f'{pair}/{name}': value for name, value in metrics.items()})


def padded(eps: Floats, nao: int) -> Floats:
    """Return orbital energies with NaN in place of dropped orbitals."""
    return np.concatenate([eps, np.full(nao - len(eps), np.nan)])


def flags_of(states: Any, basis: Basis, proved: bool) -> list[str]:
    """Return what is to be known of the metrics of a frame."""
    flags = [] if proved else ['unproved']
    if basis.smallest < NEAR_SINGULAR:
        flags.append('near_singular')
    if any(s.orbitals.gap < DEGENERATE for s in states):
        flags.append('gap_closed')
    return flags


def matrices_of(states: dict[str, State]) -> Row:
    """Return the flat matrices of all states."""
    row: Row = {}
    for name, state in states.items():
        row[f'h_{name}'] = state.hamiltonian.ravel()
        row[f'p_{name}'] = state.orbitals.density.ravel()
    return row


def check_energy(name: str, energy: float) -> None:
    """Raise EnergyOverflow for what is no energy of a molecule."""
    low, high = ENERGY_RANGE
    if not low < energy < high:
        raise EnergyOverflow(f'the energy of {name} is {energy:g} Hartree, '
                             f'expected {low:g} to {high:g}')
