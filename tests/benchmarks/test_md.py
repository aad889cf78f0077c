"""Gates of dynamics: sound forces pass, unsound ones do not (R8)."""
import json
from dataclasses import replace

import numpy as np
import pytest

from mpiapp import bench
from mpiapp.benchmarks import md
from mpiapp.benchmarks import trajectories as tr
from mpiapp.potentials.lj import LennardJones

MASSES = np.array([12.0, 1.0])
START = np.array([[0.0, 0, 0], [1.0, 0, 0]])


def spring(shift=0.0, push=0.0, noise=0.0):
    """Return a bond; `push` is a force that no energy has."""
    rng = np.random.default_rng(0)

    def field(x):
        d = x[1] - x[0]
        r = np.linalg.norm(d)
        f = -30.0 * (r - 1.0) * d / r + push * np.array([-d[1], d[0], 0])
        f = f + noise * rng.normal(size=3)
        return 15.0 * (r - 1.0) ** 2 + shift, np.array([-f, f])
    return field


def run(field, dt=0.5, n=400):
    v = np.array([[0, 0.001, 0], [0.05, -0.012, 0]])
    return tr.verlet(field, START, v, MASSES, dt, n)


def numbers_of(field):
    coarse, fine = run(field), run(field, 0.25, 800)
    return {**tr.drift(coarse), 'order': tr.order(coarse, fine),
            'reversal_A': tr.reversal(field, md.short(coarse), MASSES),
            'temperature_K': 300.0, 'bond_stretch': 1.1,
            'least_distance_A': 0.9}


def passed(numbers):
    return {g['name']: g['passed'] for g in md.nve_gates(numbers, 300.0)}


def test_sound_forces_pass():
    numbers = numbers_of(spring())
    assert numbers['order'] == pytest.approx(2.0, abs=0.1)
    assert all(passed(numbers).values())


def test_forces_that_are_no_gradient_fail():
    found = passed(numbers_of(spring(push=2.0)))
    assert not found['drift'] and not found['drift in kinetic energy']


def test_noisy_forces_break_the_dt_law_and_reversal():
    found = passed(numbers_of(spring(noise=0.05)))
    assert not found['dt^2 law'] and not found['time reversal']


def test_r8_the_zero_of_the_energy_changes_no_verdict():
    for push in (0.0, 2.0):
        plain, shifted = (numbers_of(spring(s, push)) for s in (0.0, -1e5))
        assert passed(plain) == passed(shifted)
        assert plain['drift_meV_atom_ps'] == pytest.approx(
            shifted['drift_meV_atom_ps'], rel=1e-3, abs=1e-2)


def test_r8_nothing_is_told_as_a_share_of_the_energy():
    told = ' '.join(g['told'] for g in md.nve_gates(
        numbers_of(spring()), 300.0))
    assert '%' not in told


def test_a_hot_run_fails():
    numbers = numbers_of(spring()) | {'temperature_K': 6160.0}
    assert not passed(numbers)['temperature']


def test_energies_that_are_not_finite_stop_a_run():
    with pytest.raises(FloatingPointError):
        tr.verlet(lambda x: (np.nan, 0 * x), START, 0 * START, MASSES, 1, 2)


def test_velocities_have_the_temperature_and_do_not_turn():
    from ase.units import kB
    rng = np.random.default_rng(5)
    x = rng.uniform(0, 5, (40, 3))
    masses = rng.uniform(1, 16, 40)
    kinetic = []
    for _ in range(50):
        v = tr.thermal_velocities(masses, 300.0, rng, x)
        momentum = masses[:, None] * v
        assert np.abs(momentum.sum(axis=0)).max() < 1e-10
        centre = (masses[:, None] * x).sum(axis=0) / masses.sum()
        assert np.abs(np.cross(x - centre, momentum).sum(axis=0)
                      ).max() < 1e-9
        kinetic.append(0.5 * (momentum * v).sum())
    assert np.mean(kinetic) / (0.5 * 114 * kB) == pytest.approx(300, rel=0.05)


def springs(x):
    """Return independent springs to the origin: all degrees are free."""
    return 5.0 * float((x ** 2).sum()), -10.0 * x


def replicas(kelvin):
    masses = np.array([12.0, 16.0, 1.0, 1.0, 14.0])
    runs = [tr.langevin(springs, np.zeros((5, 3)), masses, kelvin, 0.5, 4000,
                        np.random.default_rng(i), md.FRICTION)
            for i in range(2)]
    return masses, [tr.Trajectory(20.0, *(a[400::md.STRIDE] for a in (
        r.potential, r.kinetic, r.positions, r.velocities))) for r in runs]


def test_physical_validation_tells_a_wrong_temperature():
    pytest.importorskip('physical_validation')
    masses, runs = replicas(300.0)
    found = {g['name']: g for g in md.validated(runs, masses, 300.0)}
    assert found['kinetic-energy distribution']['passed'], found
    assert found['equipartition']['passed'], found
    wrong = {g['name']: g for g in md.validated(runs, masses, 400.0)}
    assert not wrong['kinetic-energy distribution']['passed']


class Trial:
    """The toy potential, which fails or explodes from some call on."""

    dtype = 'float64'

    def __init__(self, fault='', after=0):
        self.model, self.fault, self.left = LennardJones(), fault, after

    def describe(self):
        return self.model.describe()

    def evaluate(self, batch):
        found = self.model.evaluate(batch)
        self.left -= 1
        if self.left >= 0 or not self.fault:
            return found
        if self.fault == 'explodes':
            return replace(found, forces=1e250 * (1 + found.forces))
        if self.fault == 'NaN':
            return replace(found, energies=np.nan * found.energies)
        return replace(found, energies=np.nan * found.energies,
                       failures={0: ('scf', 'SCF did not converge')})


@pytest.mark.parametrize('fault', ['explodes', 'NaN', 'SCF'])
def test_a_run_that_breaks_off_is_a_failed_gate(
        fault, tmp_path, monkeypatch, capsys):
    def potential(options, backend, dtype):
        return Trial(fault, 5) if backend == 'poly' else Trial()
    monkeypatch.setattr(md, 'potential', potential)
    monkeypatch.setattr(md, 'QUICK_NVT_STEPS', 200)
    path = tmp_path / 'md.json'
    code = bench.main([
        'md', '--quick', '--molecule', 'water', '--backends', 'poly',
        'native', '--dtypes', 'float64', '--length', '0.02', '--json',
        str(path), '--plots'])
    assert code == 1, capsys.readouterr()
    rows = json.loads(path.read_text())['rows']
    assert [r['backend'] for r in rows] == ['poly', 'native']
    assert json.loads(path.read_text())['complete'] is True
    gates = {g['name']: g for g in rows[0]['gates']}
    assert gates['NVE run']['passed'] is False
    assert gates['NVT run']['passed'] is False
    assert {'same minimum', 'batch v single'} < set(gates)
    assert gates['same minimum']['passed'] is False
    if fault == 'SCF':
        assert 'SCF did not converge' in gates['NVE run']['told']
    # the other potential is judged in full
    assert {'drift', 'NVT temperature'} < {
        g['name'] for g in rows[1]['gates']}


@pytest.mark.parametrize('words', [
    ['--dt', '0'], ['--replicas', '1'], ['--molecule', 'absent'],
    ['--plots']])
def test_wrong_options_are_refused(words):
    assert bench.main(['md', *words]) == 2
