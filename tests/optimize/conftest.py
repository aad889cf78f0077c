"""Toy surfaces, as functions of a Batch, and molecules to relax on them."""
from collections.abc import Callable

import numpy as np
import pytest

from mpiapp.optimize.tasks import Task
from mpiapp.records import Batch, Evaluation, Floats

Surface = Callable[[Floats], tuple[float, Floats]]

R_MIN = 2.0  # A, of both pair potentials
STIFFNESS = 3.0  # eV/A^2


def pairs(x: Floats) -> tuple[Floats, Floats, np.ndarray, np.ndarray]:
    """Return vectors [n_pairs, 3], distances and the atoms of each pair."""
    i, j = np.triu_indices(len(x), 1)
    d = x[i] - x[j]
    return d, np.linalg.norm(d, axis=1), i, j


def scatter(x: Floats, d: Floats, slope_by_r: Floats, i, j) -> Floats:
    """Return forces [n_atoms, 3] from dE/dr / r of each pair."""
    forces = np.zeros_like(x)
    np.add.at(forces, i, -slope_by_r[:, None] * d)
    np.add.at(forces, j, slope_by_r[:, None] * d)
    return forces


def lennard_jones(x: Floats) -> tuple[float, Floats]:
    """Depth 1 eV."""
    d, r, i, j = pairs(x)
    u = (R_MIN / r)**6
    return float((u * u - 2 * u).sum()), scatter(
        x, d, 12 * (u - u * u) / r**2, i, j)


def morse(x: Floats) -> tuple[float, Floats]:
    """Depth 1 eV, width 1.2 / A."""
    d, r, i, j = pairs(x)
    u = np.exp(-1.2 * (r - R_MIN))
    return float((u * u - 2 * u).sum()), scatter(
        x, d, 2.4 * (u - u * u) / r, i, j)


def harmonic(x: Floats) -> tuple[float, Floats]:
    """A well around the origin for each atom, softer along z."""
    k = STIFFNESS * np.array([1.0, 0.7, 0.1])
    return float(0.5 * (k * x**2).sum()), -k * x


def batched(surface: Surface) -> Callable[[Batch], Evaluation]:
    """Return the potential that evaluates each molecule by itself."""
    def evaluate(batch: Batch) -> Evaluation:
        results = [surface(batch.positions[batch.part(i)])
                   for i in range(len(batch))]
        energies = np.array([e for e, _ in results])
        return Evaluation(energies, np.concatenate([f for _, f in results]),
                          energies + 0.5)
    return evaluate


def cluster(n_atoms: int, seed: int) -> Floats:
    """Return atoms on a cubic grid of spacing R_MIN, shaken by 0.2 A."""
    side = int(np.ceil(n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3)
    rng = np.random.default_rng(seed)
    return R_MIN * grid[:n_atoms] + rng.normal(0, 0.2, (n_atoms, 3))


def task(key: int, positions: Floats, state: bytes = b'') -> Task:
    """Return a molecule of argon atoms."""
    return Task(key, np.full(len(positions), 18, np.int32), positions,
                state=state)


class Source:
    """Gives tasks in order; remembers how many were asked for."""

    def __init__(self, tasks):
        self.tasks = list(tasks)
        self.asked = []

    def __call__(self, n):
        self.asked.append(n)
        given, self.tasks = self.tasks[:n], self.tasks[n:]
        return given


@pytest.fixture(params=[lennard_jones, morse, harmonic],
                ids=lambda f: f.__name__)
def surface(request) -> Surface:
    """Every toy surface."""
    return request.param


@pytest.fixture
def toys():
    """Give the helpers of this file to tests."""
    import types
    return types.SimpleNamespace(
        lennard_jones=lennard_jones, morse=morse, harmonic=harmonic,
        batched=batched, cluster=cluster, task=task, Source=Source)
