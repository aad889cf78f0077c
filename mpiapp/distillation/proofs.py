"""What proves a student: each proof compares it with its teacher.

A proof returns rows (mappings with plain values) for the report.  Energies
between structures are kcal/mol, all else eV and A as named.
"""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mpiapp.bonding import bond_list
from mpiapp.chemistry import embedding
from mpiapp.chemistry.dimers import (
    STARTS, Start, assembled, laid_flat, measure
)
from mpiapp.chemistry.fragments import atomic_numbers
from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.distillation.evaluating import (
    USABLE, Atoms, Failed, evaluate, kendall, relax
)
from mpiapp.distillation.frames import PLUS, Frame
from mpiapp.potentials.base import Potential
from mpiapp.records import Floats, Rejection
from mpiapp.units import EV_PER_AMU_A2_FS2, EV_PER_KELVIN, KCAL_PER_EV

Row = dict[str, Any]

#: atoms of a structure that counts as a full-size molecule
LARGE = 100
#: how molecules are relaxed: full-size ones by the method that takes the
#: fewest evaluations of them (`docs/benchmarks_optimiser.md`)
METHODS = {'small': 'lbfgs', 'full-size': 'internal'}
#: numbers that are tried for each conformer that is wanted
TRIES = 3
#: molecules of the dimer proofs
FLAT = {'benzene': 'c1ccccc1', 'naphthalene': 'c1ccc2ccccc2c1',
        'pyrene': 'c1cc2ccc3cccc4ccc(c1)c2c34'}
#: A; distances and slips of the scans
DISTANCES = (3.0, 3.2, 3.4, 3.6, 3.8, 4.2, 4.8, 5.5, 6.5)
SLIPS = (0.0, 1.5)
#: the starts from which stacked dimers are relaxed
RELAXED_STARTS = ('pd_long', 'pd_short')
#: eV/A and steps; the force between two planes is spread over their atoms:
#: 0.2 A off its distance, 0.007 eV/A act on each atom of a benzene dimer
STACK_FMAX, STACK_STEPS = 5e-4, 1000
#: fs; a step of the dynamics
TIME_STEP = 0.5
#: a bond longer than this share of what it was is broken: an explosion
BROKEN = 1.6


def errors(model: Potential, frames: Sequence[Frame]) -> list[Row]:
    """Return errors of forces and energies by subset, the whole last."""
    groups: dict[str, list[tuple[Floats, float]]] = {}
    for frame in frames:
        atoms = Atoms(frame.numbers, frame.positions)
        energy, forces = evaluate(model, atoms)
        entry = (forces - frame.forces,
                 (energy - frame.energy) / len(frame.numbers))
        for name in (subset_of(frame), 'all'):
            groups.setdefault(name, []).append(entry)
    ordered = sorted(groups, key=lambda name: (name == 'all', name))
    return [_errors_row(name, groups[name]) for name in ordered]


def subset_of(frame: Frame) -> str:
    """Return the subset a test structure belongs to."""
    if PLUS in frame.molecule:
        return 'dimers'
    return 'full-size molecules' if len(frame.numbers) >= LARGE \
        else 'molecules'


def _errors_row(name: str, entries: list[tuple[Floats, float]]) -> Row:
    f = np.concatenate([e[0].ravel() for e in entries])
    e = np.array([entry[1] for entry in entries])
    return {'subset': name, 'n': len(entries),
            'force_mae': 1e3 * float(np.abs(f).mean()),
            'force_rmse': 1e3 * float(np.sqrt((f ** 2).mean())),
            'energy_mae': 1e3 * float(np.abs(e).mean()),
            'energy_rmse': 1e3 * float(np.sqrt((e ** 2).mean()))}


def flat_monomer(teacher: Potential, smiles: str) -> Atoms:
    """Return a molecule at the teacher's minimum, laid flat."""
    start = conformer(smiles, 0)
    end = relax(teacher, start, 0.01, 200)
    if end.outcome not in USABLE:
        raise Failed(f'{smiles} by the teacher: {end.outcome} {end.message}')
    return Atoms(start.numbers, laid_flat(start.numbers, end.positions))


def conformer(smiles: str, number: int) -> Atoms:
    """Return a conformer of a molecule by ETKDG and MMFF94s.

    Raises:
        Failed: none can be made.
    """
    try:
        subject = embedding.prepare(table_of([smiles]).rows[0],
                                    embedding.Recipe())
    except Rejection as error:
        raise Failed(f'{smiles}: {error.message}') from error
    found = embedding.attempt(subject, embedding.Recipe(), number)
    if found.positions is None:
        raise Failed(f'{smiles}: {found.outcome}')
    return Atoms(subject.structure.numbers, found.positions)


def scans(
    teacher: Potential, model: Potential, monomers: Mapping[str, Atoms],
) -> list[Row]:
    """Return interaction energies along the distance of two planes."""
    rows = []
    for name, one in monomers.items():
        apart = [2 * evaluate(p, one)[0] for p in (teacher, model)]
        for slip in SLIPS:
            for z in DISTANCES:
                x = assembled(one.positions, one.positions,
                              Start((slip, 0.0, z)))
                pair = Atoms(np.tile(one.numbers, 2), x)
                e = [(evaluate(p, pair)[0] - a) * KCAL_PER_EV
                     for p, a in zip((teacher, model), apart)]
                rows.append({'dimer': name, 'slip': slip, 'distance': z,
                             'teacher': e[0], 'model': e[1],
                             'error': e[1] - e[0]})
    return rows


def stacks(
    teacher: Potential, model: Potential, monomers: Mapping[str, Atoms],
) -> list[Row]:
    """Return relaxed slipped dimers: distance, slip, binding energy."""
    rows = []
    for name, one in monomers.items():
        halves = [relax(p, one, STACK_FMAX, STACK_STEPS)
                  for p in (teacher, model)]
        for start in RELAXED_STARTS:
            x = assembled(one.positions, one.positions, STARTS[start])
            row: Row = {'dimer': name, 'start': start}
            for who, p, half in zip(('teacher', 'model'), (teacher, model),
                                    halves):
                end = relax(p, Atoms(np.tile(one.numbers, 2), x),
                            STACK_FMAX, STACK_STEPS)
                m = measure(np.tile(one.numbers, 2), end.positions,
                            len(one.numbers))
                row.update({
                    f'{who}_vertical': m.vertical, f'{who}_slip': m.slip,
                    f'{who}_binding': (end.e_final - 2 * half.e_final)
                    * KCAL_PER_EV, f'{who}_outcome': end.outcome
                    if half.outcome in USABLE else half.outcome})
            rows.append(row)
    return rows


def size_of(n_atoms: int) -> str:
    """Return the word for a molecule of that size."""
    return 'full-size' if n_atoms >= LARGE else 'small'


def starts(smiles: str, n: int) -> list[Atoms]:
    """Return n conformers, or fewer where more can't be made."""
    found: list[Atoms] = []
    for number in range(TRIES * n):
        if len(found) < n:
            with contextlib.suppress(Failed):
                found.append(conformer(smiles, number))
    return found


def relaxations(
    teacher: Potential, model: Potential, smiles: Mapping[str, str],
    n_conformers: Callable[[str], int], fmax: float, max_steps: int,
) -> list[Row]:
    """Relax conformers with both; compare shapes and relative energies.

    A row a molecule: RMSD of all atoms (mean and largest, A), mean absolute
    error of energies relative to the mean of the molecule (kcal/mol, of two
    conformers at least), and Kendall's tau of their order.
    """
    rows = []
    for name, text in smiles.items():
        rmsds, energies = [], []
        wanted = n_conformers(text)
        n_atoms = len(atomic_numbers(text))
        size = size_of(n_atoms)
        for start in starts(text, wanted):
            ends = [relax(p, start, fmax, max_steps, METHODS[size])
                    for p in (teacher, model)]
            if all(e.outcome in USABLE for e in ends):
                rmsds.append(superposed_rmsd(ends[0].positions,
                                             ends[1].positions))
                energies.append([e.e_final * KCAL_PER_EV for e in ends])
        row: Row = {'molecule': name, 'size': size, 'n_atoms': n_atoms,
                    'n': len(rmsds), 'failed': wanted - len(rmsds)}
        if rmsds:
            row.update(rmsd_mean=float(np.mean(rmsds)), rmsd_max=max(rmsds))
        if len(rmsds) > 1:
            e = np.array(energies) - np.mean(energies, axis=0)
            row.update(
                relative_mae=float(np.abs(e[:, 1] - e[:, 0]).mean()),
                tau=kendall(e[:, 0].tolist(), e[:, 1].tolist()))
        rows.append(row)
    return rows


def dynamics(
    model: Potential, smiles: Mapping[str, str], picoseconds: float,
    seed: int = 0, step: float = TIME_STEP, kelvin: float = 300.0,
) -> list[Row]:
    """Run NVE dynamics from 2 * 300 K at a minimum; is all still whole?"""
    from ase.data import atomic_masses
    rows: list[Row] = []
    for name, text in smiles.items():
        try:
            atoms = conformer(text, 0)
            start = _minimum(model, atoms)
            bonds = bond_list(atoms.numbers, start)
            mass = atomic_masses[atoms.numbers][:, None] * EV_PER_AMU_A2_FS2
            rng = np.random.default_rng(seed)
            v = rng.standard_normal(start.shape) * np.sqrt(
                2 * kelvin * EV_PER_KELVIN / mass)
            v -= (mass * v).sum(axis=0) / mass.sum()
            row = _run(model, atoms, start, v, mass, bonds,
                       round(picoseconds * 1e3 / step), step)
            rows.append({'molecule': name, 'size': size_of(len(start)),
                         'n_atoms': len(start), **row})
        except Failed as error:
            rows.append({'molecule': name, 'failed': str(error)})
    return rows


def _minimum(model: Potential, atoms: Atoms) -> Floats:
    end = relax(model, atoms, 0.05, 200)
    if end.outcome not in USABLE:
        raise Failed(f'relaxation: {end.outcome} {end.message}')
    return end.positions


def _run(
    model: Potential, atoms: Atoms, x: Floats, v: Floats, mass: Floats,
    bonds: Any, n_steps: int, step: float,
) -> Row:
    """Return what came of a trajectory."""
    lengths = _lengths(x, bonds)
    energy, force = evaluate(model, Atoms(atoms.numbers, x))
    totals, kelvins, stretch, done = [], [], 1.0, 0
    for done in range(1, n_steps + 1):
        v = v + 0.5 * step * force / mass
        x = x + step * v
        try:
            energy, force = evaluate(model, Atoms(atoms.numbers, x))
        except Failed:
            stretch = float('inf')
            break
        v = v + 0.5 * step * force / mass
        kinetic = 0.5 * float((mass * v ** 2).sum())
        totals.append(energy + kinetic)
        kelvins.append(2 * kinetic / (3 * len(x) * EV_PER_KELVIN))
        stretch = max(stretch, float((_lengths(x, bonds) / lengths).max()))
        if stretch > BROKEN:
            break
    drift = float(np.polyfit(np.arange(len(totals)) * step * 1e-3, totals,
                             1)[0]) if len(totals) > 9 else float('nan')
    return {'picoseconds': done * step * 1e-3, 'stable': stretch <= BROKEN,
            'largest_stretch': stretch,
            'mean_kelvin': float(np.mean(kelvins)) if kelvins else 0.0,
            'drift_per_atom': 1e3 * drift / len(x)}


def _lengths(x: Floats, bonds: Any) -> Floats:
    return np.asarray(np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]],
                                     axis=1))


def speeds(
    builders: Iterable[tuple[str, Callable[[], Potential]]],
    atoms: Atoms, rounds: int,
) -> list[Row]:
    """Return milliseconds an evaluation of each back end, in turns.

    Atoms are moved by 0.001 A before every call.  A back end that disagrees
    with the reference is replaced by its guard: the row says by what.
    """
    rows, made = [], {}
    for name, build in builders:
        made[name] = build()
    rng = np.random.default_rng(0)
    spent: dict[str, list[float]] = {name: [] for name in made}
    for k in range(rounds + 1):
        moved = Atoms(atoms.numbers, atoms.positions
                      + 1e-3 * rng.standard_normal(atoms.positions.shape))
        for name, potential in made.items():
            began = time.perf_counter()
            evaluate(potential, moved)
            if k:
                spent[name].append(time.perf_counter() - began)
    for name, potential in made.items():
        about = potential.describe()
        rows.append({
            'backend': name, 'computed_by': about.get('backend', ''),
            'dtype': potential.dtype, 'n_atoms': len(atoms.numbers),
            'median_ms': 1e3 * float(np.median(spent[name])),
            'rounds': rounds, 'guard': about.get('guard', '')})
    return rows
