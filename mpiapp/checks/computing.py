"""The method and the input: does it compute, can all be read, how long?"""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.checks.table import Doubt, Unfit
from mpiapp.parallel.progress import clock
from mpiapp.partition import CostModel, longest_first, makespan
from mpiapp.potentials import Potential, PotentialOptions, build, obtain
from mpiapp.records import Batch, Floats, Rejection, Structure
from mpiapp.structures import Collection

#: a C-H and an O-H bond, A, of the molecules that are tried
_CH = 1.09 / np.sqrt(3.0)
MOLECULES: dict[str, tuple[tuple[int, ...], Floats]] = {
    'methane': ((6, 1, 1, 1, 1), _CH * np.array(
        [[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]],
        np.float64)),
    'water': ((8, 1, 1), np.array(
        [[0, 0, 0], [0.7575, 0.5865, 0], [-0.7575, 0.5865, 0]])),
}
#: energies [eV] there: tblite 0.4, RDKit 2025.3, our own lj, and the
#: bundled model in float64; measured once, on an x86 CPU
ENERGIES: dict[str, dict[str, float]] = {
    'gfn1': {'methane': -116.307783, 'water': -156.972797},
    'gfn2': {'methane': -113.609211, 'water': -137.971949},
    'lj': {'methane': -3.955763, 'water': -1.987999},
    'mmff94s': {'methane': 0.001435, 'water': 0.005977},
    'mace:student': {'methane': -113.623286, 'water': -137.965934},
}
ENERGY_TOLERANCE = 1e-4
#: step [A] of the finite differences and what forces may differ, eV/A
STEP = {'float64': 1e-3, 'float32': 1e-2}
FORCE_TOLERANCE = {'float64': 1e-3, 'float32': 3e-2}
#: records that are read to find those a method refuses
MOST_READ = 300
#: conformers that are timed: small, middling, large
PROBES = (0.1, 0.5, 0.9)
#: evaluations of each, the first of which loads code, and its time limit
EVALUATIONS, PROBE_SECONDS = 4, 20.0


def batch(numbers: Sequence[int], positions: Floats) -> Batch:
    """Return a neutral molecule as a batch of one."""
    return Batch.join([(numbers, positions, 0, 0)])


def evaluates(potential: Potential) -> str:
    """Compare methane and water with known energies, and with themselves.

    Forces must be the derivative of the energy.

    Raises:
        Unfit: they do not agree.
    """
    told = []
    for name, (numbers, x) in MOLECULES.items():
        if potential.elements is not None \
                and not set(numbers) <= potential.elements:
            told.append(f'{name}: elements unknown to it')
            continue
        found = potential.evaluate(batch(numbers, x))
        if found.failures:
            raise Unfit(f'{name}: {found.failures[0][1]}')
        energy = float(found.energies[0])
        known = ENERGIES.get(potential.name, {}).get(name)
        if known is not None and not (
                abs(energy - known) < ENERGY_TOLERANCE):
            raise Unfit(f'{name}: {energy:.6f} eV instead of {known:.6f}')
        odd = float(np.abs(found.forces - derivative(
            potential, numbers, x)).max())
        if not odd < FORCE_TOLERANCE[potential.dtype]:
            raise Unfit(f'{name}: forces are {odd:.1e} eV/A off the '
                        'derivative of the energy')
        told.append(f'{name} {energy:.4f} eV')
    return ', '.join(told)


def derivative(
    potential: Potential, numbers: Sequence[int], x: Floats,
) -> Floats:
    """Return the forces [n, 3] eV/A by central differences of energies."""
    step = STEP[potential.dtype]
    forces = np.empty_like(x)
    for at in np.ndindex(x.shape):
        energies = []
        for sign in (-1.0, 1.0):
            moved = x.copy()
            moved[at] += sign * step
            energies.append(potential.evaluate(
                batch(numbers, moved)).energies[0])
        forces[at] = (energies[0] - energies[1]) / (2 * step)
    return forces


def obtained(
    asked: PotentialOptions, sample: Sequence[Structure], work: float,
) -> PotentialOptions:
    """Return the options of a method whose files are at hand."""
    return obtain(asked, sample, work)


def try_method(name: str) -> str:
    """Try a method that the job does not need; Doubt where it fails."""
    try:
        return evaluates(build(obtain(PotentialOptions(name))))
    except Exception as error:
        raise Doubt(f'does not work here, and is not needed: {error}') \
            from error


@dataclass(frozen=True)
class Input:
    """What was read of the input: the files, which records are wanted."""

    collection: Collection
    wanted: Any

    @property
    def n_wanted(self) -> int:
        """Number of records in the window."""
        return int(self.wanted.sum())


def open_input(
    paths: Sequence[str], window: Callable[[int], Any], spool: Path,
) -> Input:
    """Index the input files; InputError names the first bad one.

    What is compressed is unpacked to the folder `spool`.
    """
    collection = Collection.open(paths, spool)
    return Input(collection, window(len(collection)))


def readable(found: Input) -> str:
    """Read some records of the window, evenly spread.

    Raises:
        Unfit: none of them can be read.
        Doubt: some can't.
    """
    rows = spread(np.flatnonzero(found.wanted), MOST_READ)
    faults = []
    for row in rows.tolist():
        try:
            found.collection.load(row)
        except Rejection as error:
            faults.append(f'row {row}: {error.message}')
    sizes = found.collection.n_atoms[found.wanted]
    sizes = sizes[sizes > 0]
    text = f'{found.n_wanted} of {len(found.wanted)} records'
    if len(sizes):
        text += f', {sizes.min()}-{sizes.max()} atoms'
    if faults:
        told = (f'{text}; {len(faults)} of {len(rows)} that were read are '
                f'broken, {faults[0]}')
        raise Unfit(told) if len(faults) == len(rows) else Doubt(told)
    return f'{text}, {len(rows)} read'


def spread(rows: Any, most: int) -> Any:
    """Return at most so many of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def probes(found: Input) -> list[Structure]:
    """Return three conformers: small, middling, large."""
    rows = np.flatnonzero(found.wanted)
    rows = rows[np.argsort(found.collection.n_atoms[rows], kind='stable')]
    chosen = []
    for share in PROBES:
        for row in rows[int(share * len(rows)):].tolist():
            try:
                chosen.append(found.collection.load(row))
                break
            except Rejection:
                continue
    return chosen


def seconds_each(
    potential: Potential, structures: Sequence[Structure],
) -> list[float]:
    """Time evaluations of structures; the median of each, NaN: it fails."""
    times = []
    for s in structures:
        one = Batch.join([(s.numbers, s.positions, s.charge, s.unpaired)])
        runs: list[float] = []
        began = time.perf_counter()
        for _ in range(EVALUATIONS):
            start = time.perf_counter()
            answer = potential.evaluate(one)
            runs.append(time.perf_counter() - start)
            if time.perf_counter() - began > PROBE_SECONDS:
                break
        times.append(float('nan') if answer.failures
                     else float(np.median(runs[1:] or runs)))
    return times


def predicted(
    costs: CostModel, found: Input, sizes: Sequence[int],
    times: Sequence[Sequence[float]], time_limit: float | None,
) -> str:
    """Predict the time of the job from the evaluations of all ranks.

    `times` [n_ranks][n_probes] s; all ranks were timed at once, so that
    they share cores and memory as in the job.  The number of steps is that
    of the cost model.

    Raises:
        Unfit: no conformer could be evaluated.
        Doubt: it takes longer than the time limit.
    """
    n = np.asarray(sizes, np.float64)
    # a rank with half the speed of the others does half of the work
    mean = np.asarray(times).mean(axis=0)
    if not np.isfinite(mean).any():
        raise Unfit('none of the conformers that were tried can be '
                    'evaluated')
    scaled = costs.refit(n, mean * costs.atom_steps(n) / n)
    rows = np.flatnonzero(found.wanted)
    each = scaled.predict(found.collection.n_atoms[rows])
    wall = makespan(each, len(times), longest_first(each, rows))
    shown = ', '.join(f'{1e3 * t:.3g} ms for {s} atoms'
                      for s, t in zip(sizes, mean))
    text = (f'about {clock(wall)} on {len(times)} rank(s) ({shown}; steps '
            'are estimated)')
    if time_limit is not None and wall > time_limit:
        raise Doubt(f'{text}: about {int(np.ceil(wall / time_limit))} jobs '
                    f'of {clock(time_limit)}, each going on with --resume')
    return text
