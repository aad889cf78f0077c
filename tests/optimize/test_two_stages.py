"""A rough potential first, the fine one to the end."""
from dataclasses import asdict

import numpy as np
import pytest

from mpiapp.optimize import optimizer
from mpiapp.optimize.driver import Limits, Paused, Rough, relax
from mpiapp.records import Evaluation

FMAX, ROUGH_FMAX = 0.005, 0.05  # eV/A
LIMITS = Limits(FMAX, 300)
#: eV, and the part of the force, that the rough surface differs by
SHIFT, SCALE = 0.3, 1e-3
SAME_ENERGY = 1e-4  # eV; what FMAX leaves in a well of a few eV/A^2
#: A; as SAME_ENERGY
SAME_PLACE = 0.01
SIZES = (7, 4, 9)


def never():
    """Stop at no time."""
    return False


class Counting:
    """A surface as a potential that counts what it evaluates."""

    def __init__(self, surface, shift=0.0, scale=0.0):
        self.surface, self.shift, self.scale = surface, shift, scale
        self.calls = 0

    def __call__(self, batch):
        self.calls += len(batch)
        energies, forces = [], []
        for i in range(len(batch)):
            energy, force = self.surface(batch.positions[batch.part(i)])
            energies.append(energy + self.shift)
            forces.append(force * (1 + self.scale))
        found = np.array(energies)
        return Evaluation(found, np.concatenate(forces), found + 0.5)


def tasks_of(toys):
    """Return a few clusters."""
    return [toys.task(i, toys.cluster(n, seed=i))
            for i, n in enumerate(SIZES)]


def run(toys, fine, rough=None, tasks=None, slots=1, limits=LIMITS,
        stopping=never, method='internal'):
    """Relax all; return what came out by key."""
    source = toys.Source(tasks_of(toys) if tasks is None else tasks)
    stage = None if rough is None else Rough(rough, ROUGH_FMAX)
    found = relax(source, fine, optimizer(method), limits, slots, stopping,
                  lambda: 0.0, stage)
    return {r.key: r for r in found}


def frozen(result):
    """Return all fields of a result to the bit."""
    return {k: v.tobytes() if isinstance(v, np.ndarray) else repr(v)
            for k, v in asdict(result).items()}


def potentials(toys):
    """Return the fine potential and the rough one."""
    return Counting(toys.morse), Counting(toys.morse, SHIFT, SCALE)


@pytest.mark.parametrize('method', ['internal', 'lbfgs', 'fire'])
def test_two_stages_end_in_the_minimum_of_one(toys, method):
    fine, rough = potentials(toys)
    two = run(toys, fine, rough, method=method)
    alone = Counting(toys.morse)
    one = run(toys, alone, method=method)
    assert fine.calls < alone.calls / 2 < rough.calls
    for key, end in two.items():
        assert end.outcome == 'converged' and end.fmax < FMAX
        assert end.e_final == pytest.approx(one[key].e_final,
                                            abs=SAME_ENERGY)
        between = np.linalg.norm(end.positions[:, None] - end.positions,
                                 axis=-1)
        wanted = np.linalg.norm(
            one[key].positions[:, None] - one[key].positions, axis=-1)
        np.testing.assert_allclose(between, wanted, atol=SAME_PLACE)


def test_energies_and_counts_are_those_of_their_potentials(toys):
    fine, rough = potentials(toys)
    ends = run(toys, fine, rough)
    assert sum(e.rough_evaluations for e in ends.values()) == rough.calls
    assert sum(e.evaluations for e in ends.values()) == \
        rough.calls + fine.calls
    for end in ends.values():
        energy, forces = toys.morse(end.positions)
        assert end.e_final == energy
        assert end.fmax == np.linalg.norm(forces, axis=1).max()


def test_the_error_of_the_rough_potential_is_measured(toys):
    for end in run(toys, *potentials(toys)).values():
        assert end.rough_energy_error == pytest.approx(SHIFT)
        # the rough force that ended the stage was below ROUGH_FMAX
        assert 0 < end.rough_force_error < SCALE * ROUGH_FMAX
    for end in run(toys, Counting(toys.morse)).values():
        assert end.rough_evaluations == 0
        assert np.isnan([end.rough_energy_error,
                         end.rough_force_error]).all()


@pytest.mark.parametrize('slots', [2, 9])
def test_company_changes_no_bit(toys, slots):
    alone = run(toys, *potentials(toys))
    together = run(toys, *potentials(toys), slots=slots)
    assert {k: frozen(r) for k, r in together.items()} == {
        k: frozen(r) for k, r in alone.items()}


def test_a_pause_in_either_stage_changes_no_bit(toys):
    whole = run(toys, *potentials(toys))[0]
    for n_rounds in range(1, whole.steps + 1):
        looks = iter([False] * n_rounds)
        task, = [t for t in tasks_of(toys) if t.key == 0]
        paused = run(toys, *potentials(toys), [task],
                     stopping=lambda: next(looks, True))[0]
        assert isinstance(paused, Paused), n_rounds
        resumed = toys.task(0, task.positions, paused.state)
        again = run(toys, *potentials(toys), [resumed])[0]
        assert frozen(again) == frozen(whole), n_rounds
    assert 0 < whole.rough_evaluations < whole.steps


def test_a_rough_potential_that_fails_leaves_it_to_the_fine_one(toys):
    fine = Counting(toys.morse)

    def failing(batch):
        raise RuntimeError('no such kernel')
    ends = run(toys, fine, failing)
    one = run(toys, Counting(toys.morse))
    for key, end in ends.items():
        assert end.outcome == 'converged'
        assert end.e_final == one[key].e_final
        assert np.isnan(end.rough_force_error)


@pytest.mark.parametrize('limit', [0, 3])
def test_the_step_limit_ends_with_a_fine_energy(toys, limit):
    ends = run(toys, *potentials(toys), limits=Limits(FMAX, limit))
    for end in ends.values():
        assert (end.outcome, end.steps) == ('step_limit', limit)
        assert end.e_final == toys.morse(end.positions)[0]
        assert end.evaluations == limit + 2


def test_a_pause_in_the_first_stage_can_go_on_without_it(toys):
    task = tasks_of(toys)[0]
    looks = iter([False, False])
    paused = run(toys, *potentials(toys), [task],
                 stopping=lambda: next(looks, True))[0]
    fine = Counting(toys.morse)
    again = run(toys, fine, None, [toys.task(0, task.positions,
                                             paused.state)])[0]
    assert again.outcome == 'converged'
    assert (again.rough_evaluations, again.evaluations) == (
        2, 2 + fine.calls)
