"""Are forces fit for dynamics and relaxation? Gates of physics (R8).

NVE after relaxation and equilibration: drift, the dt^2 law, time reversal,
bonds; NVT: kinetic energies and equipartition by physical_validation;
relaxations to the same minimum; batch against single.
"""
from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any

import numpy as np

from mpiapp.benchmarks import trajectories as tr
from mpiapp.benchmarks.harness import document
from mpiapp.errors import InputError
from mpiapp.records import Batch, Floats, Structure

#: ps of NVE and steps of NVT
LENGTH, NVT_STEPS = 5.0, 10000
QUICK_LENGTH, QUICK_NVT_STEPS = 0.15, 1000
#: 1/fs, and steps between samples: 20 fs are four times what velocities
#: remember; physical_validation counts samples as independent
FRICTION, STRIDE = 0.2, 40
#: samples that the noise of single groups of degrees can be told from
LEAST_SAMPLES = 150
#: A and eV; relaxations that end at the same minimum
SAME_RMSD, SAME_ENERGY = 0.01, 1e-4


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--quick', action='store_true',
                        help='short runs: the gates on noise are wide then')
    parser.add_argument('--calculator', default='mace',
                        help='mace, gfn2, lj, ...')
    parser.add_argument('--model-path', metavar='FILE',
                        help='MACE model; default: the bundled student')
    parser.add_argument('--backends', nargs='+', default=['poly'],
                        metavar='NAME', help='compared with the reference')
    parser.add_argument('--dtypes', nargs='+', metavar='NAME',
                        default=['float64', 'float32'],
                        choices=('float64', 'float32'))
    parser.add_argument('--molecule', default='ethanol', metavar='NAME',
                        help='name, or FILE or FILE:RECORD')
    parser.add_argument('--length', type=float, metavar='PS',
                        help=f'of NVE, ps (default {LENGTH:g}, quick '
                        f'{QUICK_LENGTH:g})')
    parser.add_argument('--dt', type=float, default=0.5, metavar='FS',
                        help='time step, fs (default 0.5)')
    parser.add_argument('--temperature', type=float, default=300.0,
                        metavar='KELVIN')
    parser.add_argument('--replicas', type=int, default=3, metavar='N',
                        help='of NVT runs (default 3)')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')
    parser.add_argument('--plots', action='store_true',
                        help='draw the pictures beside --json')


def run(options: argparse.Namespace) -> int:
    """Run all gates, print and write; 1 if one is not passed.

    Raises:
        InputError: wrong options, model or molecule.
    """
    from mpiapp.benchmarks.harness.molecules import Unphysical, molecule
    warnings.filterwarnings('ignore')
    if not options.dt > 0 or options.replicas < 2 \
            or not options.temperature > 0:
        raise InputError('--dt and --temperature must be greater than 0, '
                         '--replicas at least 2')
    if options.plots and not options.json:
        raise InputError('--plots needs --json, beside which they go')
    try:
        structure = molecule(options.molecule)
    except Unphysical as error:
        raise InputError(f'unphysical molecule: {error}') from error
    exact = potential(options, 'reference', 'float64')
    minimum = relaxed(exact, structure)
    results = document.Results('md', options.json)
    for backend, dtype in choices(options):
        fast = potential(options, backend, dtype)
        row = {'calculator': options.calculator, 'backend': backend,
               'dtype': dtype, 'molecule': options.molecule,
               'n_atoms': len(structure.numbers), **subject(
                   options, exact, structure)}
        row |= judged(options, fast, minimum)
        row['gates'] += [*same_minimum(fast, exact, structure, minimum),
                         batch_gate(fast, minimum)]
        wrong = [g['name'] for g in row['gates'] if g['passed'] is False]
        row['state'] = 'failed' if wrong else 'ok'
        row['reason'] = '; '.join(wrong)
        results.add(row)
        print('\n'.join(lines(row)), flush=True)
    content = results.close()
    if options.plots:
        from pathlib import Path

        from mpiapp.benchmarks.plots import draw_all
        for path in draw_all(content, Path(options.json).with_suffix('')):
            print(f'wrote {path}')
    return int(any(r['state'] != 'ok' for r in results.rows))


def subject(
    options: argparse.Namespace, exact: Any, structure: Structure,
) -> dict[str, Any]:
    """Return what identifies model and molecule, and how long runs are."""
    from mpiapp.benchmarks.harness.molecules import set_sha256
    return {'model_sha256': exact.describe().get('sha256', ''),
            'inputs_sha256': set_sha256([structure]),
            'settings': {name: getattr(options, name) for name in (
                'quick', 'length', 'dt', 'temperature', 'replicas')}}


def choices(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return back ends and precisions; one pair without MACE."""
    if options.calculator != 'mace':
        return [('auto', 'float64')]
    return [(b, d) for b in options.backends for d in options.dtypes]


def potential(
    options: argparse.Namespace, backend: str, dtype: str,
) -> Any:
    """Return a potential of the options, not guarded: it is on trial."""
    from mpiapp.potentials import PotentialOptions, build, resolve
    from mpiapp.potentials.mace import load_backend
    if options.calculator != 'mace':
        return build(PotentialOptions(options.calculator, device='cpu'))
    asked = resolve(PotentialOptions(
        model_path=options.model_path, dtype=dtype, device='cpu',
        backend=backend))
    return load_backend(backend, asked)


def field_of(potential: Any, structure: Structure) -> tr.Field:
    """Return energy and forces as a function of positions.

    It raises FloatingPointError where the potential fails, or the run has
    gone where nothing is finite.
    """
    def field(x: Floats) -> tuple[float, Floats]:
        if not np.isfinite(x).all():
            raise FloatingPointError('positions are not finite')
        found = potential.evaluate(batch_of(structure, [x]))
        for _, message in found.failures.values():
            raise FloatingPointError(message)
        energy = float(found.energies[0])
        if not (np.isfinite(energy) and np.isfinite(found.forces).all()):
            raise FloatingPointError('energy or forces are not finite')
        return energy, found.forces
    return field


def batch_of(structure: Structure, many: Sequence[Floats]) -> Batch:
    """Return copies of a molecule at several positions."""
    return Batch.join([(structure.numbers, x, structure.charge,
                        structure.unpaired) for x in many])


def relaxed(potential: Any, structure: Structure) -> Structure:
    """Return the molecule at its minimum under a potential.

    Raises:
        InputError: it does not get there.
    """
    from dataclasses import replace

    from mpiapp.optimize import optimizer
    from mpiapp.optimize.driver import Limits, Relaxed, Task
    from mpiapp.optimize.driver import relax as drive
    tasks = [Task(0, structure.numbers, structure.positions,
                  structure.charge, structure.unpaired)]
    ends = [e for e in drive(
        lambda n: [tasks.pop()] if tasks else [], potential.evaluate,
        optimizer('lbfgs'), Limits(1e-3, 1000), 1, lambda: False)
        if isinstance(e, Relaxed)]
    if ends[0].outcome != 'converged':
        raise InputError(f'the molecule does not relax: {ends[0].outcome}')
    return replace(structure, positions=ends[0].positions)


def judged(
    options: argparse.Namespace, potential: Any, minimum: Structure,
) -> dict[str, Any]:
    """Return numbers, series and gates of the dynamics of a potential.

    A run that breaks off is a gate that is not passed; the other goes on.
    """
    from ase.data import atomic_masses
    field = field_of(potential, minimum)
    masses = atomic_masses[minimum.numbers]
    found: dict[str, Any] = {'gates': []}
    for name, judge in (('NVE', nve), ('NVT', nvt)):
        try:
            got = judge(options, field, minimum, masses)
        except FloatingPointError as error:
            got = {'gates': [gate(f'{name} run', False,
                                  f'broke off: {error}'[:300])]}
        found |= got | {'gates': found['gates'] + got['gates']}
    return found


def nve(
    options: argparse.Namespace, field: tr.Field, minimum: Structure,
    masses: Floats,
) -> dict[str, Any]:
    """Return numbers, series and gates at constant energy."""
    from mpiapp.bonding import bond_list
    ps = options.length or (QUICK_LENGTH if options.quick else LENGTH)
    n = max(40, round(1e3 * ps / options.dt))
    rng = np.random.default_rng(12)
    # half of the kinetic energy at a minimum goes into the potential
    v = tr.thermal_velocities(masses, 2 * options.temperature, rng,
                              minimum.positions)
    warm = tr.verlet(field, minimum.positions, v, masses, options.dt,
                     max(40, n // 5))
    x, v = warm.positions[-1], warm.velocities[-1]
    coarse = tr.verlet(field, x, v, masses, options.dt, n)
    fine = tr.verlet(field, x, v, masses, options.dt / 2, 2 * n)
    numbers = {**tr.drift(coarse), 'order': tr.order(coarse, fine),
               'reversal_A': tr.reversal(field, short(coarse), masses),
               'temperature_K': tr.temperature(
                   coarse, max(1, 3 * len(masses) - 6))}
    bonds = bond_list(minimum.numbers, minimum.positions)
    stretch, least = tr.bond_excursion(coarse, bonds)
    numbers |= {'bond_stretch': stretch, 'least_distance_A': least}
    every = max(1, n // 400)
    return {**numbers, 'gates': nve_gates(numbers, options.temperature),
            'series': {'ps': coarse.times[::every].tolist(),
                       'meV_per_atom': (1e3 * (
                           coarse.total - coarse.total[0])
                           / len(masses))[::every].tolist()}}


def short(run: tr.Trajectory, n: int = 100) -> tr.Trajectory:
    """Return the beginning of a run: chaos makes rounding grow."""
    n = min(n, len(run.kinetic) - 1) + 1
    return tr.Trajectory(run.dt, run.potential[:n], run.kinetic[:n],
                         run.positions[:n], run.velocities[:n])


def gate(name: str, passed: bool | None, told: str) -> dict[str, Any]:
    """Return a gate as data; `passed` is None if it was left out."""
    return {'name': name, 'told': told,
            'passed': None if passed is None else bool(passed)}


def nve_gates(
    numbers: Mapping[str, float], kelvin: float,
) -> list[dict[str, Any]]:
    """Return the gates at constant energy.

    A slope passes if it is small or within its own noise.
    """
    slope, noise = numbers['drift_meV_atom_ps'], numbers['drift_error']
    low, high = tr.ORDER
    apart = abs(numbers['temperature_K'] / kelvin - 1)
    return [
        gate('drift', abs(slope) <= max(tr.DRIFT, tr.SIGMAS * noise),
             f'{slope:+.4f} +- {noise:.4f} meV/atom/ps, allowed '
             f'{tr.DRIFT:g}'),
        gate('drift in kinetic energy',
             numbers['drift_in_kinetic_sd'] <= tr.DRIFT_IN_KINETIC,
             f'{numbers["drift_in_kinetic_sd"]:.3f} standard deviations '
             'over the run'),
        gate('dt^2 law', low <= numbers['order'] <= high,
             f'fluctuation ~ dt^{numbers["order"]:.2f}'),
        gate('time reversal', numbers['reversal_A'] <= tr.REVERSAL,
             f'{numbers["reversal_A"]:.1e} A off after 100 steps'),
        gate('temperature', apart <= tr.TEMPERATURE,
             f'{numbers["temperature_K"]:.0f} K of {kelvin:.0f} K'),
        gate('bonds', numbers['bond_stretch'] < 1.3
             and numbers['least_distance_A'] > 0.6,
             f'stretched to {numbers["bond_stretch"]:.2f}, nearest pair '
             f'{numbers["least_distance_A"]:.2f} A'),
    ]


def nvt(
    options: argparse.Namespace, field: tr.Field, minimum: Structure,
    masses: Floats,
) -> dict[str, Any]:
    """Return replicas at a temperature, judged by physical_validation."""
    steps = QUICK_NVT_STEPS if options.quick else NVT_STEPS
    runs = [tr.langevin(
        field, minimum.positions, masses, options.temperature, options.dt,
        steps, np.random.default_rng(100 + i), FRICTION)
        for i in range(options.replicas)]
    runs = [tr.Trajectory(options.dt * STRIDE, *(
        a[len(r.kinetic) // 5::STRIDE] for a in (
            r.potential, r.kinetic, r.positions, r.velocities)))
        for r in runs]
    means = np.array([tr.temperature(r, 3 * len(masses)) for r in runs])
    error = means.std(ddof=1) / np.sqrt(len(means))
    # of a canonical ensemble: sd of T is T sqrt(2 / (3 N)) in one sample
    expected = options.temperature * np.sqrt(2 / (3 * len(masses)))
    samples = sum(len(r.kinetic) for r in runs)
    noise = max(float(error), float(expected) / np.sqrt(samples / 2))
    mean = float(means.mean())
    gates = [gate('NVT temperature',
                  abs(mean - options.temperature) <= tr.SIGMAS * noise,
                  f'{mean:.1f} +- {noise:.1f} K of '
                  f'{options.temperature:g} K')]
    return {'nvt_temperature_K': mean, 'nvt_noise_K': noise,
            'replicas_K': means.tolist(), 'gates': [
                *gates, *validated(runs, masses, options.temperature)]}


def validated(
    runs: Sequence[tr.Trajectory], masses: Floats, kelvin: float,
) -> Iterator[dict[str, Any]]:
    """Yield the gates of physical_validation, where it is installed."""
    if find_spec('physical_validation') is None:
        yield gate('physical_validation', None, 'not installed: '
                   'pip install physical_validation')
        return
    with quiet():
        import physical_validation as pv
        data = validation_data(pv, runs, masses, kelvin)
        deviation = pv.kinetic_energy.distribution(
            data, strict=False, verbosity=0)
        parts = pv.kinetic_energy.equipartition(
            data, strict=False, verbosity=0,
            random_groups=2, random_divisions=1)
    worst = max(float(np.max(np.abs(d))) for d in deviation)
    yield gate('kinetic-energy distribution', worst <= tr.SIGMAS,
               f'mean and width within {worst:.1f} standard deviations')
    shared = max(float(np.max(np.abs(p))) for p in parts)
    n = sum(len(r.kinetic) for r in runs)
    if n < LEAST_SAMPLES:
        yield gate('equipartition', None, f'{n} samples, '
                   f'{LEAST_SAMPLES} are needed')
        return
    yield gate('equipartition', shared <= tr.SIGMAS + 1,
               f'groups within {shared:.1f} standard deviations')


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the messages of other packages to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), \
                np.errstate(all='ignore'):
            yield
    finally:
        logging.disable(before)


def validation_data(
    pv: Any, runs: Sequence[tr.Trajectory], masses: Floats, kelvin: float,
) -> Any:
    """Return runs in the units of physical_validation: kJ/mol, nm, ps."""
    from ase.units import fs, kJ, mol
    n = len(masses)
    kinetic = np.concatenate([r.kinetic for r in runs]) / (kJ / mol)
    potential = np.concatenate([r.potential for r in runs]) / (kJ / mol)
    velocities = np.concatenate([r.velocities for r in runs]) \
        * 0.1 * (1e3 * fs)
    positions = 0.1 * np.concatenate([r.positions for r in runs])
    system = pv.data.SystemData(
        natoms=n, nconstraints=0, ndof_reduction_tra=0,
        ndof_reduction_rot=0, mass=masses,
        molecule_idx=np.array([0]), nconstraints_per_molecule=np.array([0]))
    return pv.data.SimulationData(
        units=pv.data.UnitData.units('GROMACS'), dt=1e-3 * runs[0].dt,
        system=system, ensemble=pv.data.EnsembleData(
            'NVT', natoms=n, volume=1.0, temperature=kelvin),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic, potential_energy=potential,
            total_energy=kinetic + potential, volume=np.ones_like(kinetic)),
        trajectory=pv.data.TrajectoryData(positions, velocities))


def same_minimum(
    fast: Any, exact: Any, structure: Structure, minimum: Structure,
) -> Iterator[dict[str, Any]]:
    """Yield whether a relaxation ends where the reference's ends."""
    from mpiapp.chemistry.geometry import superposed_rmsd
    try:
        end = relaxed(fast, structure)
    except InputError as error:
        yield gate('same minimum', False, str(error))
        return
    rmsd = superposed_rmsd(minimum.positions, end.positions)
    found = exact.evaluate(batch_of(
        minimum, [minimum.positions, end.positions])).energies
    apart = abs(float(found[1] - found[0]))
    yield gate('same minimum', rmsd <= SAME_RMSD and apart <= SAME_ENERGY,
               f'RMSD {rmsd:.1e} A, {1e3 * apart:.1e} meV')


def batch_gate(fast: Any, minimum: Structure) -> dict[str, Any]:
    """Return whether a batch gives what single molecules give."""
    from mpiapp.potentials.guard import TOLERANCES
    rng = np.random.default_rng(8)
    many = [minimum.positions + rng.normal(0, 0.02, minimum.positions.shape)
            for _ in range(4)]
    together = fast.evaluate(batch_of(minimum, many))
    alone = [fast.evaluate(batch_of(minimum, [x])) for x in many]
    # by NumPy, which does not lose a NaN
    energy = float(np.abs(together.energies - np.concatenate(
        [a.energies for a in alone])).max()) / len(minimum.numbers)
    force = float(np.abs(together.forces - np.concatenate(
        [a.forces for a in alone])).max())
    allowed = TOLERANCES[fast.dtype]
    return gate('batch v single',
                energy <= allowed.energy and force <= allowed.force,
                f'dE {energy:.1e} eV/atom, dF {force:.1e} eV/A')


def lines(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield a potential's gates in words."""
    yield (f'{row["molecule"]} {row["backend"]} {row["dtype"]}: '
           f'{row["state"]}')
    for g in row['gates']:
        word = {True: 'passed', False: 'FAILED', None: 'left out'}
        yield f'  {word[g["passed"]]:9s}{g["name"]:28s}{g["told"]}'
