"""Molecular dynamics for gates: velocity Verlet, and what is judged of it.

No judgement looks at the total energy itself, whose zero is arbitrary (R8):
adding a constant to all energies changes none.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.records import Floats

#: positions [n_atoms, 3] A -> energy eV, forces [n_atoms, 3] eV/A
Field = Callable[[Floats], tuple[float, Floats]]
#: limits of the gates, reasons in docs/bench.md
DRIFT, DRIFT_IN_KINETIC = 0.1, 0.5
ORDER = (1.5, 2.5)
REVERSAL = 1e-4
TEMPERATURE = 0.35
SIGMAS = 4.0


@dataclass(frozen=True)
class Trajectory:
    """Samples of a run: all arrays [n_steps + 1] but the last two.

    `potential` and `kinetic` are eV, `dt` fs; `positions` [n, n_atoms, 3]
    and `velocities` in A and A per ASE's unit of time.
    """

    dt: float
    potential: Floats
    kinetic: Floats
    positions: Floats
    velocities: Floats

    @property
    def total(self) -> Floats:
        """Total energy [n_steps + 1] eV."""
        return np.asarray(self.potential + self.kinetic, np.float64)

    @property
    def times(self) -> Floats:
        """Times [n_steps + 1] ps."""
        return np.asarray(
            1e-3 * self.dt * np.arange(len(self.kinetic)), np.float64)


def verlet(
    field: Field, x: Floats, v: Floats, masses: Floats, dt: float,
    n_steps: int,
) -> Trajectory:
    """Return a run at constant energy; dt in fs, masses [n_atoms] amu.

    Raises:
        FloatingPointError: energy or forces are not finite.
    """
    from ase.units import fs
    m, step = masses[:, None], dt * fs
    energy, forces = field(x)
    found: dict[str, list[Any]] = {k: [] for k in 'pkxv'}

    def note() -> None:
        kinetic = kinetic_energy(m, v)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise FloatingPointError('energy or forces are not finite')
        for key, value in zip('pkxv', (energy, kinetic, x, v)):
            found[key].append(value)

    note()
    for _ in range(n_steps):
        v = v + 0.5 * step * forces / m
        x = x + step * v
        energy, forces = field(x)
        v = v + 0.5 * step * forces / m
        note()
    return Trajectory(dt, *(np.array(found[k]) for k in 'pkxv'))


def kinetic_energy(m: Floats, v: Floats) -> float:
    """Return the kinetic energy [eV] of masses [n_atoms, 1].

    Raises:
        FloatingPointError: it is not finite.
    """
    found = 0.5 * float((m * v * v).sum())
    if not np.isfinite(found):
        raise FloatingPointError('the kinetic energy is not finite')
    return found


def thermal_velocities(
    masses: Floats, kelvin: float, rng: np.random.Generator, x: Floats,
) -> Floats:
    """Return velocities of a temperature, without drift and rotation."""
    from ase.units import kB
    v = rng.normal(size=(len(masses), 3)) * np.sqrt(
        kB * kelvin / masses)[:, None]
    v -= (masses[:, None] * v).sum(axis=0) / masses.sum()
    return without_rotation(v, x, masses)


def without_rotation(v: Floats, x: Floats, masses: Floats) -> Floats:
    """Return velocities without angular momentum."""
    r = x - (masses[:, None] * x).sum(axis=0) / masses.sum()
    momentum = (masses[:, None] * np.cross(r, v)).sum(axis=0)
    inertia = np.einsum('i,ijk->jk', masses, np.array(
        [np.eye(3) * (q @ q) - np.outer(q, q) for q in r]))
    omega = np.linalg.pinv(inertia) @ momentum
    return np.asarray(v - np.cross(omega, r), np.float64)


def langevin(
    field: Field, x: Floats, masses: Floats, kelvin: float, dt: float,
    n_steps: int, rng: np.random.Generator, friction: float = 0.02,
) -> Trajectory:
    """Return a run at a temperature; `friction` in 1/fs.

    BAOAB of B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013,
    34.

    Raises:
        FloatingPointError: the kinetic energy is not finite.
    """
    from ase.units import fs, kB
    m, step = masses[:, None], dt * fs
    v = rng.normal(size=x.shape) * np.sqrt(kB * kelvin / m)
    keep = np.exp(-friction * dt)
    push = np.sqrt((1 - keep ** 2) * kB * kelvin / m)
    energy, forces = field(x)
    found: dict[str, list[Any]] = {k: [] for k in 'pkxv'}
    for _ in range(n_steps + 1):
        for key, value in zip('pkxv', (energy, kinetic_energy(m, v), x, v)):
            found[key].append(value)
        v = v + 0.5 * step * forces / m
        x = x + 0.5 * step * v
        v = keep * v + push * rng.normal(size=x.shape)
        x = x + 0.5 * step * v
        energy, forces = field(x)
        v = v + 0.5 * step * forces / m
    return Trajectory(dt, *(np.array(found[k]) for k in 'pkxv'))


def drift(run: Trajectory) -> dict[str, float]:
    """Return the slope of the total energy and what it is measured by.

    meV/atom/ps, and the drift over the run in standard deviations of the
    kinetic energy.
    """
    from scipy.stats import linregress
    n_atoms = run.positions.shape[1]
    fit = linregress(run.times, run.total - run.total.mean())
    spread = float(run.kinetic.std())
    return {'drift_meV_atom_ps': 1e3 * float(fit.slope) / n_atoms,
            'drift_error': 1e3 * float(fit.stderr) / n_atoms,
            'drift_in_kinetic_sd': abs(float(fit.slope)) * run.times[-1]
            / max(spread, 1e-12)}


def fluctuation(run: Trajectory) -> float:
    """Return the RMS of the total energy about its line [eV]."""
    fit = np.polyfit(run.times, run.total - run.total.mean(), 1)
    rest = run.total - run.total.mean() - np.polyval(fit, run.times)
    return float(np.sqrt((rest ** 2).mean()))


def order(coarse: Trajectory, fine: Trajectory) -> float:
    """Return the power p of fluctuation ~ dt^p; 2 for sound forces."""
    ratio = fluctuation(coarse) / max(fluctuation(fine), 1e-300)
    return float(np.log(ratio) / np.log(coarse.dt / fine.dt))


def reversal(field: Field, run: Trajectory, masses: Floats) -> float:
    """Return how far [A] the run back in time misses its start."""
    back = verlet(field, run.positions[-1], -run.velocities[-1], masses,
                  run.dt, len(run.kinetic) - 1)
    return float(np.abs(back.positions[-1] - run.positions[0]).max())


def temperature(run: Trajectory, degrees: int) -> float:
    """Return the mean temperature [K] of `degrees` of freedom."""
    from ase.units import kB
    return float(2 * run.kinetic.mean() / (degrees * kB))


def bond_excursion(run: Trajectory, bonds: Any) -> tuple[float, float]:
    """Return the longest bond over its start, and the least distance [A]."""
    x = run.positions
    lengths = np.linalg.norm(x[:, bonds[:, 0]] - x[:, bonds[:, 1]], axis=2)
    i, j = np.triu_indices(x.shape[1], 1)
    least = np.linalg.norm(x[:, i] - x[:, j], axis=2).min()
    stretch = (lengths / lengths[0]).max() if len(bonds) else 1.0
    return float(stretch), float(least)
