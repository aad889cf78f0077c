"""Optimise dimers from given starts, or take their energies as they are.

One item is a method, a dimer and a start.  Every item leaves as one row; its
row is the same on whatever rank and in whatever order items are done.
"""
from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.bonds import bonds_changed
from mpiapp.chemistry.dimer_gate import Gate, row_verdict
from mpiapp.chemistry.dimer_names import ORIGINAL, REFERENCE, SINGLE_POINT
from mpiapp.chemistry.dimer_references import Reference
from mpiapp.chemistry.dimer_sets import Dimer, Monomer
from mpiapp.chemistry.dimers import (
    STARTS, Measures, assembled, kicked, kind_of, laid_flat, measure, sideways
)
from mpiapp.optimize.convergence import largest_force
from mpiapp.optimize.registry import optimizer as make_optimizer
from mpiapp.optimize.tasks import Relaxed
from mpiapp.partition import CostModel, cost_model
from mpiapp.potentials.base import Potential
from mpiapp.records import (
    Batch, Evaluation, Finished, Floats, Rejection, Row, Status, Stream,
    Suspended
)
from mpiapp.units import KCAL_PER_EV
from mpiapp.workers.dimer_columns import DIMER, KEPT_AFTER, MEASURES
from mpiapp.workers.dimer_saddle import fault_of, way_down
from mpiapp.workers.legs import Legs, Stopped
from mpiapp.workers.relax import STATUS_OF

#: shift of the saddle test, A, and the steps after it; all are made: so
#: near to a saddle forces are below any fmax
SADDLE_SHIFT, SADDLE_STEPS = 0.3, 20
#: it has short steps; others cross to another valley in 20 of theirs
PROBER = 'lbfgs'
#: fmax is so many times smaller on the way down: the slope is faint
DOWNHILL = 5.0
#: steps of an item, tests included, as costs are predicted
OPTIMISER_STEPS = 200
#: eV and eV/A: a start whose halves feel less of each other is refused
FELT = 1e-7


@dataclass(frozen=True)
class DimerItem:
    """What one row is of; `seed` is that of its random kick."""

    potential: str
    method: str
    dimer: str
    start: str
    reference: Reference
    kick: int = 0
    seed: int = 0
    data_set: str = ''


@dataclass(frozen=True)
class DimerSettings:
    """What decides the rows besides the items."""

    optimizer: str = 'lbfgs'
    fmax: float = 0.005
    max_steps: Mapping[str, int] = field(default_factory=dict)
    saddle_test: bool = True
    record_timeout: float | None = None
    gate: Gate = Gate()


@dataclass(frozen=True)
class Relaxation:
    """A monomer at its minimum under a method: [n, 3] A flat, and eV."""

    positions: Floats
    energy: float


class CalculationFailed(Exception):
    """A method can't go on with an item: a status, a reason, words."""

    def __init__(self, reason: str, message: str,
                 status: Status = Status.FAILED) -> None:
        super().__init__(f'{reason}: {message}')
        self.status = status
        self.reason = reason
        self.message = message


class DimerWorker:
    """The worker of `validate`; call it with the stream of this rank.

    `load(name)` returns a potential, and is called when its first item
    comes.  `monomers` and `dimers` are those of the items, by name.
    """

    def __init__(
        self, settings: DimerSettings, items: Sequence[DimerItem],
        dimers: Mapping[str, Dimer], monomers: Mapping[str, Monomer],
        load: Callable[[str], Potential],
    ) -> None:
        self.settings = settings
        self.items = items
        self.dimers = dimers
        self.monomers = monomers
        self.load = load
        self.optimizer = make_optimizer(settings.optimizer)
        self.prober = make_optimizer(PROBER)
        self._potentials: dict[str, tuple[Potential, float]] = {}
        self._relaxed: dict[tuple[str, str],
                            Relaxation | CalculationFailed] = {}

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each item, `Suspended` at a stop."""
        while items := stream.take(1):
            number, state = items[0].row, items[0].state
            try:
                yield self.row_of(number, state, stream.stopping)
            except Stopped as stop:
                yield Suspended(number, stop.state)

    def row_of(
        self, number: int, state: bytes, stopping: Callable[[], bool],
    ) -> Finished:
        """Do one item; what goes wrong is in its row."""
        item = self.items[number]
        row = known_values(item, self.dimers[item.dimer])
        began = time.perf_counter()
        legs = None
        try:
            potential, loaded = self._potential(item.potential)
            row['load_seconds'] = loaded
            began = time.perf_counter()
            legs = Legs(potential, self.optimizer, self.settings.fmax,
                        self.settings.record_timeout, stopping, state,
                        number)
            self._fill(row, item, potential, legs, stopping)
        except (Stopped, KeyboardInterrupt):
            raise
        except CalculationFailed as error:
            row.update(status=int(error.status), reason=error.reason,
                       message=error.message)
        except Exception as error:
            text = traceback.format_exception_only(error)[-1].strip()
            row.update(status=int(Status.FAILED), reason='internal_error',
                       message=text)
        seconds = time.perf_counter() - began
        row['seconds'] = seconds
        row['verdict'] = row_verdict(DIMER.complete(row), self.settings.gate)
        return Finished(number, row, legs.atom_steps if legs else 0, seconds)

    def _potential(self, name: str) -> tuple[Potential, float]:
        """Return a potential and the seconds that loading took."""
        if name not in self._potentials:
            began = time.perf_counter()
            potential = self.load(name)
            self._potentials[name] = (potential,
                                      time.perf_counter() - began)
        return self._potentials[name]

    def _fill(
        self, row: Row, item: DimerItem, potential: Potential, legs: Legs,
        stopping: Callable[[], bool],
    ) -> None:
        dimer = self.dimers[item.dimer]
        check_known(potential, dimer.numbers)
        if item.start == SINGLE_POINT:
            assert dimer.positions is not None
            fixed_point(row, potential, dimer)
            return
        try:
            halves = [self._monomer(item.potential, name, potential, stopping)
                      for name in dimer.monomers]
        except Stopped:
            raise Stopped(legs.pack()) from None
        numbers, positions = self._start(item, dimer, halves)
        row.update(geometry(numbers, positions))
        check_contact(potential, numbers, positions, dimer.n_first)
        apart = sum(half.energy for half in halves)
        self._optimise(row, item, potential, legs, numbers, positions,
                       dimer.n_first, apart)

    def _monomer(
        self, method: str, name: str, potential: Potential,
        stopping: Callable[[], bool],
    ) -> Relaxation:
        """Return a monomer at its minimum, laid flat; tried once."""
        if (method, name) not in self._relaxed:
            try:
                self._relaxed[method, name] = self._relax_monomer(
                    method, name, potential, stopping)
            except CalculationFailed as error:
                self._relaxed[method, name] = error
        found = self._relaxed[method, name]
        if isinstance(found, CalculationFailed):
            raise found.with_traceback(None)
        return found

    def _relax_monomer(
        self, method: str, name: str, potential: Potential,
        stopping: Callable[[], bool],
    ) -> Relaxation:
        monomer = self.monomers[name]
        legs = Legs(potential, self.optimizer, self.settings.fmax,
                    self.settings.record_timeout, stopping)
        end, _ = legs.relax(monomer.numbers, monomer.positions,
                            self._max_steps(method))
        if end.outcome != 'converged':
            raise CalculationFailed(
                'monomer', f'{name}: {end.outcome} {end.message}')
        return Relaxation(
            laid_flat(monomer.numbers, end.positions),
            energy_of(potential, monomer.numbers, end.positions))

    def _max_steps(self, method: str) -> int:
        return self.settings.max_steps.get(method, 500)

    def _start(
        self, item: DimerItem, dimer: Dimer, halves: Sequence[Relaxation],
    ) -> tuple[NDArray[np.int32], Floats]:
        """Return numbers [n] and start positions [n, 3] A of an item."""
        if item.start == REFERENCE:
            assert dimer.positions is not None
            numbers, positions = dimer.numbers, dimer.positions
        else:
            numbers = np.concatenate(
                [self.monomers[name].numbers for name in dimer.monomers])
            positions = assembled(halves[0].positions, halves[1].positions,
                                  STARTS[item.start])
        if item.kick:
            positions = kicked(positions, item.seed)
        return numbers, positions

    def _optimise(
        self, row: Row, item: DimerItem, potential: Potential, legs: Legs,
        numbers: NDArray[np.int32], positions: Floats, n_first: int,
        apart: float,
    ) -> None:
        """Fill in the stationary point, and what lies beyond a saddle."""
        max_steps = self._max_steps(item.potential)
        end, change = legs.relax(numbers, positions, max_steps)
        row.update(
            status=int(STATUS_OF[end.outcome]), message=end.message,
            reason='' if end.outcome == 'converged' else end.outcome,
            steps=end.steps, fmax_final=end.fmax, energy_change=change,
            x_final=end.positions)
        if row['status'] == Status.FAILED:
            return
        measures = measure(numbers, end.positions, n_first)
        energy = energy_of(potential, numbers, end.positions)
        row.update(
            {name: getattr(measures, name) for name, _, _ in MEASURES},
            structure=named(measures), e_total=energy,
            binding_kcal=(energy - apart) * KCAL_PER_EV,
            interaction_kcal=interaction(
                potential, numbers, end.positions, n_first, energy))
        if potential.topology_guards:
            fault = bonds_changed(numbers, positions, end.positions)
            if fault:
                row.update(status=int(Status.BROKEN), reason='bonds_changed',
                           message=fault)
        if row['status'] == Status.CONVERGED and self.settings.saddle_test:
            self._leave_saddle(row, legs, numbers, n_first, end, max_steps,
                               apart, potential)

    def _leave_saddle(
        self, row: Row, legs: Legs, numbers: NDArray[np.int32],
        n_first: int, end: Relaxed, max_steps: int, apart: float,
        potential: Potential,
    ) -> None:
        """Go on downhill where a shift shows that there is a way."""
        tries = [
            legs.relax(numbers, moved, SADDLE_STEPS, 0.0, self.prober)[0]
            for moved in sideways(numbers, end.positions, n_first,
                                  SADDLE_SHIFT)]
        best, remark = way_down(numbers, end, tries,
                                potential.topology_guards)
        if best is None:
            tell(row, remark)
            return
        row['structure'] = 'saddle'
        after, _ = legs.relax(numbers, best.positions, max_steps,
                              self.settings.fmax / DOWNHILL)
        fault = fault_of(numbers, end.positions, after,
                         potential.topology_guards)
        if fault:
            tell(row, f'after the saddle: {fault}')
            return
        try:
            energy = energy_of(potential, numbers, after.positions)
        except CalculationFailed as error:
            tell(row, f'after the saddle: {error}')
            return
        measures = measure(numbers, after.positions, n_first)
        row.update(
            {f'{name}_after': getattr(measures, name)
             for name in KEPT_AFTER}, x_after=after.positions,
            binding_after_kcal=(energy - apart) * KCAL_PER_EV)


def tell(row: Row, text: str) -> None:
    """Add to the message of a row."""
    row['message'] = '; '.join(filter(None, (row['message'], text)))


def known_values(item: DimerItem, dimer: Dimer) -> Row:
    """Return the columns of an item that are known before any work."""
    reference = item.reference
    centroid = reference.original if item.start == ORIGINAL \
        else reference.centroid
    return {
        'benchmark': item.dimer, 'method': item.method,
        'potential': item.potential, 'start': item.start, 'kick': item.kick,
        'data_set': item.data_set, 'n_atoms': len(dimer.numbers),
        'n_first': dimer.n_first, 'n_aromatic_atoms': dimer.n_aromatic,
        'ref_kind': reference.kind, 'ref_vertical': reference.vertical,
        'ref_slip': reference.slip, 'ref_centroid': centroid,
        'ref_energy_kcal': reference.energy, 'ref_source': reference.source,
        'ref_confirmed': int(reference.confirmed),
    }


def geometry(numbers: NDArray[np.int32], positions: Floats) -> Row:
    """Return the columns of the atoms before any optimisation."""
    unknown = np.full_like(positions, np.nan)
    return {'numbers': numbers, 'x_start': positions, 'x_final': unknown,
            'x_after': unknown}


def named(m: Measures) -> str:
    """Return the word for a measured structure."""
    return kind_of(m.plane_angle, m.twist, m.contact)


def check_known(potential: Potential, numbers: NDArray[np.int32]) -> None:
    """Raise CalculationFailed for an element that the method lacks."""
    from mpiapp.chemistry.checks import check_elements
    from mpiapp.records import Structure
    structure = Structure(0, 0, 0, numbers, np.zeros((len(numbers), 3)))
    try:
        check_elements(structure, potential.elements, potential.name)
    except Rejection as error:
        raise CalculationFailed(error.reason, error.message,
                                Status.REJECTED) from error


def evaluated(potential: Potential, numbers: NDArray[np.int32],
              positions: Floats) -> Evaluation:
    """Evaluate one neutral molecule.

    Raises:
        CalculationFailed: the potential can't.
    """
    found = potential.evaluate(Batch.join([(numbers, positions, 0, 0)]))
    if found.failures:
        raise CalculationFailed(*found.failures[0])
    return found


def energy_of(potential: Potential, numbers: NDArray[np.int32],
              positions: Floats) -> float:
    """Return the energy, eV, in float64 arithmetic."""
    exact = potential.finisher or potential
    return float(evaluated(exact, numbers, positions).energies[0])


def interaction(
    potential: Potential, numbers: NDArray[np.int32], positions: Floats,
    n_first: int, energy: float,
) -> float:
    """Return the energy of a dimer less its parts as they are, kcal/mol."""
    parts = [energy_of(potential, numbers[part], positions[part])
             for part in (slice(n_first), slice(n_first, None))]
    return (energy - sum(parts)) * KCAL_PER_EV


def check_contact(
    potential: Potential, numbers: NDArray[np.int32], positions: Floats,
    n_first: int,
) -> None:
    """Refuse a start whose halves lie beyond the reach of the method.

    In float64 arithmetic: the noise of float32 would be felt.

    Raises:
        CalculationFailed: no force and no energy between them.
    """
    exact = potential.finisher or potential
    whole = evaluated(exact, numbers, positions)
    parts = [evaluated(exact, numbers[part], positions[part])
             for part in (slice(n_first), slice(n_first, None))]
    apart = np.concatenate([part.forces for part in parts])
    energy = float(whole.energies[0] - sum(p.energies[0] for p in parts))
    if abs(energy) < FELT and largest_force(whole.forces - apart) < FELT:
        raise CalculationFailed(
            'beyond_cutoff', 'the halves of this start do not feel each '
            f'other with {potential.name}', Status.REJECTED)


def fixed_point(row: Row, potential: Potential, dimer: Dimer) -> None:
    """Fill in the interaction energy at the geometry of the file."""
    assert dimer.positions is not None
    numbers, positions = dimer.numbers, dimer.positions
    measures = measure(numbers, positions, dimer.n_first)
    energy = energy_of(potential, numbers, positions)
    row.update(geometry(numbers, positions))
    row.update(
        {name: getattr(measures, name) for name, _, _ in MEASURES},
        x_final=positions, status=int(Status.CONVERGED),
        structure=named(measures), e_total=energy,
        interaction_kcal=interaction(potential, numbers, positions,
                                     dimer.n_first, energy))


def blank_row(item: DimerItem, dimer: Dimer, why_not: str) -> dict[str, Any]:
    """Return the row of an item without a result, not run if `why_not`."""
    row = known_values(item, dimer)
    if why_not:
        row.update(status=int(Status.SKIPPED), reason='not_run',
                   message=why_not, verdict='not_run')
    return row


def steps_model(calculator: str) -> CostModel:
    """Return the cost model of an optimisation of so many steps."""
    return replace(cost_model(calculator), steps=OPTIMISER_STEPS,
                   steps_power=0.0)


def predicted_seconds(
    item: DimerItem, dimer: Dimer, calculator: str,
) -> float:
    """Predict the seconds of an item on one core."""
    n = len(dimer.numbers)
    if item.start == SINGLE_POINT:
        return float(cost_model(calculator, 1).predict([n])[0])
    # the optimisation, four short ones and what may follow
    return float(steps_model(calculator).predict([n])[0])
