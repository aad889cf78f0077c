"""Sella: its errors are reasons, its side effects stay away."""
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.parallel import ase_serial
from mpiapp.records import Floats
from mpiapp.saddle.base import Point, Sample, SearchSettings
from mpiapp.saddle.toys import LennardJonesCluster, MullerBrown
from mpiapp.workers import saddle_sella
from mpiapp.workers.saddle_search import search

TRIANGLE = np.array([[0.0, 0, 0], [1.12, 0, 0], [0.5, 1.0, 0.1]])


def argon() -> tuple[Sample, LennardJonesCluster]:
    sample = Sample(0, 0, 'ar3', np.full(3, 18, np.int32), TRIANGLE)
    return sample, LennardJonesCluster(sample.numbers)


@pytest.mark.parametrize('error', [
    RuntimeError('Geometry update ODE failed to converge!'),
    ValueError('no valid internal'), AssertionError()])
def test_what_sella_raises_is_a_reason(
    error: Exception, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*words: Any, **options: Any) -> None:
        raise error
    monkeypatch.setattr(ase_serial, 'sella', fail)
    found = search(*argon(), SearchSettings('sella'))
    assert found.reason == 'internals_error'
    assert type(error).__name__ in found.message
    assert np.array_equal(found.positions, TRIANGLE)


def test_a_particle_in_a_plane_has_no_internals() -> None:
    sample = Sample(0, 0, 'mb', np.array([1], np.int32), np.zeros((1, 3)))
    found = search(sample, MullerBrown(sample.numbers),
                   SearchSettings('sella'))
    assert found.reason == 'internals_error'


class Bonded(LennardJonesCluster):
    """A cluster whose bonds have a meaning."""

    bonded = True


@pytest.mark.parametrize('apart, steps', [(5.0, 24), (0.0, 60)])
def test_a_molecule_in_pieces_is_given_up_early(
    apart: float, steps: int, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sella would go on to its last step with what has flown apart."""
    def walk(atoms: Any, *words: Any) -> Iterator[int]:
        for step in range(61):
            if step == 10:
                atoms.positions[2, 0] += apart
            yield step
    monkeypatch.setattr(saddle_sella, 'run', walk)
    sample = Sample(0, 0, 'co2', np.array([8, 6, 8], np.int32), TRIANGLE)
    found = search(sample, Bonded(sample.numbers), SearchSettings('sella'))
    assert found.steps == steps
    assert found.n_calls == 1 and found.n_hess == 1
    assert (found.reason == 'dissociated') == (apart > 0)


class Pushed(LennardJonesCluster):
    """Pushes its first atom, so hard as x of the last one says."""

    def point(self, positions: Floats) -> Point:
        """Return no energy and one force."""
        self.n_calls += 1
        forces = np.zeros_like(positions)
        forces[0, 0] = positions[-1, 0]
        return Point(0.0, forces)


@pytest.mark.parametrize('limit, asked', [
    (300, [(1.0, 300), (0.5, 290)]), (10, [(1.0, 10)])])
def test_forces_on_atoms_are_small_where_sella_ends(
    limit: int, asked: list[tuple[float, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sella's own forces are 2 % smaller than those on the atoms."""
    seen: list[tuple[float, int]] = []

    class Optimiser:
        nsteps = 0

        def __init__(self, atoms: Any, **options: Any) -> None:
            self.atoms = atoms

    def steps(made: Any, fmax: float, limit: int) -> Iterator[int]:
        seen.append((fmax / 0.03, limit))
        made.nsteps += 10
        made.atoms.positions[-1, 0] = 1.02 * 0.99 * fmax
        yield made.nsteps
    monkeypatch.setattr(ase_serial, 'sella', Optimiser)
    monkeypatch.setattr(ase_serial, 'steps_of', steps)
    sample, _ = argon()
    found = search(sample, Pushed(sample.numbers),
                   SearchSettings('sella', max_steps=limit))
    assert seen == asked
    assert (found.fmax < 0.03) == (limit == 300)


CODE = '''
import sys
import numpy as np
sys.path.insert(0, {folder!r})
from tests.workers.test_saddle_sella import argon
from mpiapp.parallel import ase_serial
from mpiapp.saddle.base import SearchSettings
from mpiapp.workers.saddle_search import search
made = ase_serial.sella
def kept(*a, **k):
    made_now = made(*a, **k)
    print(type(made_now.comm).__name__)
    return made_now
ase_serial.sella = kept
found = search(*argon(), SearchSettings('sella', max_steps=2))
print(found.reason, found.n_hess > 0, 'mpi4py' in sys.modules)
'''


@pytest.mark.slow  # it compiles without a cache
def test_sella_leaves_mpi_and_the_home_alone(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items()
           if k != 'JAX_COMPILATION_CACHE_DIR'}
    home = tmp_path / 'home'
    home.mkdir()
    folder = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, '-c', CODE.format(folder=folder)], text=True,
        env={**env, 'HOME': str(home), 'TMPDIR': str(tmp_path)},
        stdout=subprocess.PIPE, timeout=110)
    communicator, result = done.stdout.splitlines()
    assert communicator == 'DummyMPI'
    reason, any_hessian, with_mpi = result.split()
    assert reason in ('ts', 'minimum', 'higher_order', 'step_limit',
                      'index_only')
    assert any_hessian == 'True' and with_mpi == 'False'
    assert not list(home.iterdir())
    assert list(tmp_path.glob('mpiapp-jax-*'))
