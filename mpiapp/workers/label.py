"""Label structures: each row is made, checked and given to the teacher.

What a row is made of and its seed follow from its item alone.  Molecular
dynamics and relaxations run with a sampler, which may be the teacher.
"""
from __future__ import annotations

import math
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry import embedding
from mpiapp.chemistry.arrangements import (
    DIMERS, Monomer, dimer, nearest_distance, rattled
)
from mpiapp.chemistry.checks import check_elements, check_structure
from mpiapp.chemistry.novelty import descriptor, disagreement
from mpiapp.optimize import optimizer as make_optimizer
from mpiapp.optimize.tasks import TIME_LIMIT
from mpiapp.potentials.base import Potential
from mpiapp.records import (
    RUN, Batch, Column, Finished, Floats, Rejection, Row, Schema, Status,
    Stream, Structure, Suspended, taken
)
from mpiapp.units import EV_PER_AMU_A2_FS2, EV_PER_KELVIN
from mpiapp.workers.label_items import LabelItem, Subject, seed_of
from mpiapp.workers.legs import Legs, Stopped

#: sources of conformers as they are
PLAIN = ('conformer', 'fragment')
#: tries to embed a structure before it is given up
TRIES = 3
#: share of the starts that are folded, where a molecule can be
FOLDED = 0.5
#: steps of the relaxation that monomers of dimers get, and largest force
MONOMER_STEPS, MONOMER_FMAX = 40, 0.05
#: steps of a path are a random number up to this
PATH_STEPS = 15
#: K; temperatures of the dynamics
TEMPERATURES = (300.0, 700.0)
#: fs; one step
TIME_STEP = 0.5

LABELS = Schema((
    Column('kind', 'records', 'S16', '', 'source of the structure'),
    Column('molecule', 'records', 'S128', '', 'names of its molecules, '
           'joined by +'),
    Column('smiles', 'records', 'S512', '', 'their SMILES, joined by .'),
    Column('number', 'records', 'i4', '1', 'number among its kind'),
    Column('n_first', 'records', 'i4', '1', 'atoms of the first molecule',
           default=0),
    Column('split', 'records', 'S8', '', 'train or valid, by molecule'),
    Column('n_atoms', 'records', 'i4', '1', 'atoms', default=0),
    *taken(RUN, 'status', 'reason', 'message', 'retries', 'seconds', 'rank',
           'finished_at'),
    Column('energy', 'labels', 'f8', 'eV', 'energy by the teacher'),
    Column('fmax', 'labels', 'f8', 'eV/angstrom', 'largest force on an atom'),
    Column('nearest', 'labels', 'f8', 'angstrom',
           'smallest distance of two atoms'),
    Column('score', 'labels', 'f8', 'eV/angstrom',
           'spread of the committee at the atom where it is largest'),
    Column('numbers', 'geometry', 'i4', '1', 'atomic numbers',
           ragged='atom'),
    Column('x', 'geometry', 'f8', 'angstrom', 'positions', shape=(3,),
           ragged='atom'),
    Column('forces', 'labels', 'f8', 'eV/angstrom', 'forces by the teacher',
           shape=(3,), ragged='atom'),
    Column('descriptor', 'selection', 'f4', '1', 'smeared distances of '
           'element pairs', ragged='feature'),
))


@dataclass(frozen=True)
class LabelSettings:
    """What decides a label: the ceilings [A, eV/A], MD steps, the seed."""

    min_distance: float = 0.7
    force_ceiling: float = 15.0
    md_steps: int = 60
    seed: int = 0
    valid: tuple[str, ...] = ()
    describe: bool = False
    record_timeout: float | None = None


@dataclass(frozen=True, eq=False)
class Built:
    """A structure before it is labelled."""

    structure: Structure
    n_first: int


class LabelWorker:
    """The worker of `distill label`; call it with the stream of this rank.

    Without a teacher structures are made, checked and scored alone.
    `ready` are geometries by row that need not be made again.
    """

    def __init__(
        self, settings: LabelSettings, subjects: Sequence[Subject],
        items: Sequence[LabelItem], teacher: Potential | None,
        sampler: Potential, committee: Sequence[Potential] = (),
        ready: dict[int, Floats] | None = None,
    ) -> None:
        self.settings = settings
        self.subjects = subjects
        self.items = items
        self.teacher = teacher
        self.sampler = sampler
        self.committee = committee
        self.ready = ready or {}
        self.optimizer = make_optimizer('lbfgs')
        self._prepared: dict[int, embedding.Subject] = {}
        self._monomers: dict[int, Structure | Rejection] = {}
        self._deadline = math.inf

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each item, `Suspended` at a stop."""
        while items := stream.take(1):
            try:
                yield self.row_of(items[0].row, stream)
            except Stopped:
                yield Suspended(items[0].row, b'')

    def row_of(self, number: int, stream: Stream) -> Finished:
        """Make and label one structure; what goes wrong is in its row."""
        item = self.items[number]
        row = known_values(item, self.subjects, self.settings.valid)
        began = time.perf_counter()
        self._deadline = began + (self.settings.record_timeout or math.inf)
        n_atoms = 0
        try:
            built = self._built(number, item, stream)
            n_atoms = len(built.structure.numbers)
            row.update(geometry(built))
            self._left()
            self._check(built, row)
            self._label(built, row)
        except (Stopped, KeyboardInterrupt):
            raise
        except Rejection as error:
            row.update(status=int(Status.REJECTED), reason=error.reason,
                       message=error.message)
        except OutOfTime:
            row.update(status=int(Status.UNCONVERGED), reason=TIME_LIMIT,
                       message='longer than --record-timeout '
                       f'{self.settings.record_timeout:g} s')
        except Exception as error:
            text = traceback.format_exception_only(error)[-1].strip()
            row.update(status=int(Status.FAILED), reason='internal_error',
                       message=text)
        seconds = time.perf_counter() - began
        row['seconds'] = seconds
        return Finished(number, row, n_atoms, seconds)

    def _left(self) -> float:
        """Return the seconds that are left for the running row.

        Raises:
            OutOfTime: none are.
        """
        left = self._deadline - time.perf_counter()
        if left <= 0:
            raise OutOfTime
        return left

    def _check(self, built: Built, row: Row) -> None:
        """Refuse what is no physical structure; see `Rejection`."""
        check_structure(built.structure)
        row['nearest'] = nearest_distance(built.structure.positions)
        if row['nearest'] < self.settings.min_distance:
            raise Rejection(
                'atoms_overlap', f'two atoms are {row["nearest"]:.3f} A '
                f'apart, --min-distance is {self.settings.min_distance:g}')

    def _label(self, built: Built, row: Row) -> None:
        structure = built.structure
        if self.committee:
            forces = [self._forces(p, structure)[1] for p in self.committee]
            row['score'] = disagreement(forces)
        if self.settings.describe:
            row['descriptor'] = descriptor(
                structure.numbers, structure.positions)
        if self.teacher is not None:
            check_elements(structure, self.teacher.elements,
                           self.teacher.name)
            try:
                energy, forces_t = self._forces(self.teacher, structure)
            except CalculationError as error:
                row.update(status=int(Status.FAILED), reason='teacher',
                           message=str(error))
                return
            fmax = float(np.sqrt((forces_t ** 2).sum(axis=1).max()))
            row['fmax'] = fmax
            if fmax > self.settings.force_ceiling:
                raise Rejection(
                    'force_ceiling', f'a force of {fmax:.1f} eV/A, '
                    f'--force-ceiling is {self.settings.force_ceiling:g}')
            row.update(energy=energy, forces=forces_t)
        row['status'] = int(Status.CONVERGED)

    def _forces(
        self, potential: Potential, structure: Structure,
        positions: Floats | None = None,
    ) -> tuple[float, Floats]:
        """Return energy and forces of a structure, or at other positions.

        Raises:
            CalculationError: the potential can't.
        """
        x = structure.positions if positions is None else positions
        found = potential.evaluate(Batch.join([(structure.numbers, x, 0, 0)]))
        if found.failures:
            reason, message = found.failures[0]
            raise CalculationError(f'{reason}: {message}')
        return float(found.energies[0]), found.forces

    def _built(
        self, number: int, item: LabelItem, stream: Stream,
    ) -> Built:
        """Make the structure of an item.

        Raises:
            Rejection: it can't be made.
            OutOfTime: it takes too long.
            Stopped: the job is stopping.
        """
        names = [self.subjects[i].name for i in item.parts]
        rng = np.random.default_rng(seed_of(item, names, self.settings.seed))
        if number in self.ready:
            bare = [self._prepare(i).structure for i in item.parts]
            whole = joined(bare) if len(bare) == 2 else bare[0]
            return Built(replace(whole, positions=self.ready[number]),
                         len(bare[0].numbers))
        if item.kind in DIMERS:
            return self._dimer(item, rng, stream)
        start = self._embedded(item.parts[0], int(rng.integers(2 ** 20)))
        x = self._moved(item, start, rng, stream)
        return Built(replace(start, positions=x), len(start.numbers))

    def _moved(
        self, item: LabelItem, start: Structure, rng: np.random.Generator,
        stream: Stream,
    ) -> Floats:
        """Return the positions of a structure of one molecule."""
        kind = item.kind
        if kind == 'rattle' or self._is_repeat(item):
            return rattled(start.positions, rng)
        if kind == 'relax':
            shaken = rattled(start.positions, rng)
            return self._relaxed(start, shaken,
                                 int(rng.integers(1, PATH_STEPS + 1)),
                                 0.0, stream)
        if kind == 'md':
            return self._dynamics(start, rng, stream)
        return start.positions

    def _is_repeat(self, item: LabelItem) -> bool:
        """Tell whether a conformer is much the same as an earlier one.

        Those of a molecule that can't be folded are; the first is not.
        """
        return item.kind in PLAIN and item.number > 0 and \
            not self._prepare(item.parts[0]).folds

    def _prepare(self, i: int) -> embedding.Subject:
        if i not in self._prepared:
            self._prepared[i] = embedding.prepare(
                self.subjects[i].row, embedding.Recipe(folded=FOLDED))
        return self._prepared[i]

    def _embedded(self, i: int, number: int) -> Structure:
        """Return a conformer; a few numbers on are tried if that fails."""
        subject = self._prepare(i)
        recipe = embedding.Recipe(folded=FOLDED, seed=self.settings.seed)
        outcome = ''
        for k in range(TRIES):
            self._left()
            found = embedding.attempt(subject, recipe, number + k)
            if found.positions is not None:
                return replace(subject.structure, positions=found.positions)
            outcome = found.outcome
        raise Rejection(outcome, f'{TRIES} starts gave no sound structure')

    def _dimer(
        self, item: LabelItem, rng: np.random.Generator, stream: Stream,
    ) -> Built:
        halves = [self._monomer(i, stream) for i in item.parts]
        first, second = (Monomer(h.numbers, h.positions) for h in halves)
        x = dimer(item.kind, first, second, rng)
        if rng.random() < 0.5:
            x = x + 0.02 * rng.standard_normal(x.shape)
        return Built(replace(joined(halves), positions=x),
                     len(halves[0].numbers))

    def _monomer(self, i: int, stream: Stream) -> Structure:
        """Return a molecule nearly at its minimum; made once a rank."""
        if i not in self._monomers:
            try:
                start = self._embedded(i, 0)
                x = self._relaxed(start, start.positions, MONOMER_STEPS,
                                  MONOMER_FMAX, stream)
                self._monomers[i] = replace(start, positions=x)
            except Rejection as error:
                self._monomers[i] = error
        found = self._monomers[i]
        if isinstance(found, Rejection):
            raise found.with_traceback(None)
        return found

    def _relaxed(
        self, start: Structure, positions: Floats, steps: int, fmax: float,
        stream: Stream,
    ) -> Floats:
        """Return positions after so many steps downhill at most.

        Raises:
            OutOfTime: fewer steps were made: where they end depends on the
                machine.
        """
        legs = Legs(self.sampler, self.optimizer, fmax, self._left(),
                    stream.stopping)
        end, _ = legs.relax(start.numbers, positions, steps)
        if end.outcome == TIME_LIMIT:
            raise OutOfTime
        if not np.isfinite(end.positions).all() or end.outcome in (
                'nan', 'calculator_error'):
            raise Rejection('sampler', f'{self.sampler.name}: {end.outcome} '
                            f'{end.message}')
        return end.positions

    def _dynamics(
        self, start: Structure, rng: np.random.Generator, stream: Stream,
    ) -> Floats:
        """Return positions after a short molecular dynamics (velocity
        Verlet) from random velocities."""
        from ase.data import atomic_masses
        steps = int(rng.integers(self.settings.md_steps // 3,
                                 self.settings.md_steps + 1))
        kelvin = rng.uniform(*TEMPERATURES)
        # eV fs^2/A^2: an acceleration is a force over this
        mass = atomic_masses[start.numbers][:, None] * EV_PER_AMU_A2_FS2
        # twice the temperature: half of it becomes potential energy
        v = rng.standard_normal(start.positions.shape) * np.sqrt(
            2 * kelvin * EV_PER_KELVIN / mass)
        v -= (mass * v).sum(axis=0) / mass.sum()
        x = start.positions.copy()
        try:
            force = self._forces(self.sampler, start, x)[1]
            for _ in range(max(1, steps)):
                if stream.stopping():
                    raise Stopped(b'')
                self._left()
                v += 0.5 * TIME_STEP * force / mass
                x = x + TIME_STEP * v
                force = self._forces(self.sampler, start, x)[1]
                v += 0.5 * TIME_STEP * force / mass
        except CalculationError as error:
            raise Rejection('sampler', str(error)) from error
        return x


class CalculationError(Exception):
    """A potential can't compute a structure."""


class OutOfTime(Exception):
    """The time of a row is up."""


def joined(parts: Sequence[Structure]) -> Structure:
    """Return two molecules as one structure."""
    first, second = parts
    return replace(
        first, numbers=np.concatenate([first.numbers, second.numbers]),
        positions=np.concatenate([first.positions, second.positions]),
        formal_charges=np.concatenate(
            [first.formal_charges, second.formal_charges]),
        bonds=np.concatenate(
            [first.bonds, second.bonds + len(first.numbers)]),
        orders=np.concatenate([first.orders, second.orders]))


def known_values(
    item: LabelItem, subjects: Sequence[Subject], valid: Sequence[str],
) -> Row:
    """Return the columns of an item that are known before any work."""
    parts = [subjects[i] for i in item.parts]
    names = [p.name for p in parts]
    held = any(name in valid for name in names)
    return {'kind': item.kind, 'molecule': '+'.join(names),
            'smiles': '.'.join(p.row.smiles for p in parts),
            'number': item.number, 'split': 'valid' if held else 'train',
            'n_atoms': sum(p.n_atoms for p in parts)}


def geometry(built: Built) -> dict[str, Any]:
    """Return the columns of a structure."""
    numbers: NDArray[np.int32] = built.structure.numbers
    return {'numbers': numbers, 'x': built.structure.positions,
            'n_atoms': len(numbers), 'n_first': built.n_first,
            'forces': np.full((len(numbers), 3), np.nan)}
