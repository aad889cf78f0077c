"""The device program: what the host driver does, for many at once."""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mpiapp.optimize import optimizer
from mpiapp.optimize.device.budget import GROWTH, SHARE, Budget
from mpiapp.optimize.device.hosted import HostSurface
from mpiapp.optimize.device.program import Air as EmptyAir
from mpiapp.optimize.device.program import (
    Craft, Traffic, fill, fly, relax_on_device
)
from mpiapp.optimize.driver import Limits, Paused, Relaxed, relax
from mpiapp.optimize.tasks import Task
from mpiapp.potentials import PotentialOptions, build

LIMITS = Limits(0.005, 300)
SAME_ENERGY = 1e-7  # eV; rounding, after the growth that a path gives it
SAME_PLACE = 1e-4  # A


def molecule(smiles):
    """Return numbers and an unrelaxed start by distance geometry."""
    from rdkit import Chem
    from rdkit.Chem import AllChem
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    return (np.array([a.GetAtomicNum() for a in mol.GetAtoms()]),
            mol.GetConformer().GetPositions())


def straight(distances, numbers):
    """Return atoms in a row."""
    z = np.cumsum([0.0, *distances])
    return np.array(numbers), np.stack([0 * z, 0 * z, z], 1)


def apart(smiles, distance):
    """Return two copies of a molecule."""
    numbers, x = molecule(smiles)
    return np.tile(numbers, 2), np.concatenate([x, x + [0, 0, distance]])


def bent():
    """Return carbon dioxide that is to become straight."""
    r = 1.16
    return np.array([8, 6, 8]), r * np.array(
        [[-np.cos(0.4), np.sin(0.4), 0], [0, 0, 0],
         [np.cos(0.4), np.sin(0.4), 0]])


def eclipsed():
    """Return ethane on the saddle of its rotation, exactly."""
    a = 2 * np.pi * np.arange(3) / 3
    ring = 1.02 * np.stack([np.cos(a), np.sin(a), 0 * a], 1)
    return np.array([6, 6, *[1] * 6]), np.concatenate([
        [[0, 0, -0.77], [0, 0, 0.77]], ring - [0, 0, 1.16],
        ring + [0, 0, 1.16]])


MIXED = {name: molecule(name) for name in
         ('CCCCCC', 'OCCO', 'CCO', 'O', 'C#C', 'c1ccccc1', 'CC(C)=O')}
ODD = {
    'two atoms': straight([0.9], [1, 1]),
    'linear': straight([1.0, 1.25, 1.0], [1, 6, 6, 1]),
    'bends to straight': bent(),
    'fragments 8 A apart': apart('O', 8.0),
    'saddle start': eclipsed(),
    'one atom': (np.array([18]), np.zeros((1, 3))),
}


def tasks_of(molecules):
    """Return the molecules as tasks, numbered."""
    return [Task(i, numbers, x) for i, (numbers, x) in enumerate(molecules)]


@pytest.fixture(scope='module')
def gfn2():
    """Give GFN2-xTB, a surface of real molecules at little cost."""
    return build(PotentialOptions('gfn2'))


@pytest.fixture(scope='module')
def student():
    """Give the bundled MACE model by the back end of GPUs."""
    return build(PotentialOptions('mace', backend='poly', device='cpu'))


def by_host(tasks, evaluate, limits=LIMITS):
    """Relax one after the other by the host driver."""
    waiting = list(tasks)
    ends = relax(lambda n: [waiting.pop(0)] if waiting else [], evaluate,
                 optimizer('internal'), limits, 1, lambda: False)
    return {end.key: end for end in ends}


def craft_of(surface, evaluate, room=10**9, molecules=None, rounds=1,
             limits=LIMITS):
    """Return a device program with so much room."""
    return Craft(surface, evaluate, optimizer('internal'), limits,
                 Budget(room, molecules), rounds, Traffic())


def by_device(tasks, craft, looks=10**9):
    """Relax by the device program; stop after so many looks."""
    waiting = list(tasks)
    ends = relax_on_device(
        lambda n, nothing_runs: [waiting.pop(0)] if waiting else [], craft,
        lambda: craft.traffic.looks >= looks)
    return {end.key: end for end in ends}


def same(ours: dict[int, Relaxed], theirs: dict[int, Relaxed]) -> None:
    """Assert equal ends by an equal number of evaluations."""
    assert ours.keys() == theirs.keys()
    for key, end in ours.items():
        other = theirs[key]
        assert end.outcome == other.outcome, (end, other)
        assert (end.steps, end.evaluations) == (
            other.steps, other.evaluations)
        assert end.e_start == pytest.approx(other.e_start, abs=SAME_ENERGY)
        assert end.e_final == pytest.approx(other.e_final, abs=SAME_ENERGY)
        assert end.fmax == pytest.approx(other.fmax, abs=1e-5)
        assert end.atom_steps == other.atom_steps
        np.testing.assert_allclose(end.positions, other.positions,
                                   atol=SAME_PLACE)


@pytest.mark.parametrize('molecules', [1, 3, 7])
def test_any_number_together_ends_like_one_by_one_on_the_host(
    gfn2, molecules,
):
    tasks = tasks_of(MIXED.values())
    craft = craft_of(HostSurface(gfn2.evaluate), gfn2.evaluate,
                     molecules=molecules)
    same(by_device(tasks, craft), by_host(tasks, gfn2.evaluate))
    assert craft.traffic.most_in_flight == molecules
    assert craft.traffic.in_vain == 0


@pytest.mark.parametrize('name', ODD)
def test_odd_molecules_end_as_on_the_host(gfn2, name):
    tasks = tasks_of([ODD[name], MIXED['O']])
    craft = craft_of(HostSurface(gfn2.evaluate), gfn2.evaluate)
    found = by_device(tasks, craft)
    same(found, by_host(tasks, gfn2.evaluate))
    assert {end.outcome for end in found.values()} == {'converged'}


def test_coincident_atoms_end_alone_with_a_reason():
    lj = build(PotentialOptions('lj'))
    x = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 3.5]], float)
    tasks = tasks_of([(np.full(3, 6), x), (np.full(3, 6), x + [
        [0, 0, 0], [3.6, 0, 0], [0, 0, 0]])])
    found = by_device(tasks, craft_of(HostSurface(lj.evaluate), lj.evaluate))
    assert found[0].outcome == by_host(tasks[:1], lj.evaluate)[0].outcome
    assert found[0].outcome == 'nan' and found[0].message
    assert found[1].outcome == 'converged'


@dataclass(frozen=True, eq=False)
class Watched(HostSurface):
    """A surface that writes down its flights, and has little memory."""

    flights: tuple[list, ...] = ([],)
    most: int = 10**9

    def compose(self, tasks, n_atoms, edges, slack):
        self.flights[0].append((len(tasks), n_atoms, sum(edges)))
        return tasks

    def evaluate(self, plan, x):
        import torch
        if len(plan) > self.most:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried ...')
        return super().evaluate(plan, x)


def test_the_edges_in_the_air_stay_within_the_room(gfn2):
    seen = []
    surface = Watched(gfn2.evaluate, flights=(seen,))
    room = surface.edges(*MIXED['CCCCCC']) + 60
    tasks = tasks_of(MIXED.values())
    found = by_device(tasks, craft_of(surface, gfn2.evaluate, room))
    assert len(found) == len(tasks)
    assert all(n == 1 or edges <= room for n, _, edges in seen)
    assert max(n for n, _, _ in seen) > 1


def test_a_molecule_beyond_the_room_flies_alone(gfn2):
    tasks = tasks_of(MIXED.values())
    craft = craft_of(HostSurface(gfn2.evaluate), gfn2.evaluate, room=1)
    assert len(by_device(tasks, craft)) == len(tasks)
    assert craft.traffic.most_in_flight == 1


def test_the_tail_flies_in_smaller_arrays(gfn2):
    seen = []
    surface = Watched(gfn2.evaluate, flights=(seen,))
    tasks = tasks_of([MIXED['CCCCCC'], MIXED['O'], MIXED['OCCO']])
    craft = craft_of(surface, gfn2.evaluate, molecules=2)
    same(by_device(tasks, craft), by_host(tasks, gfn2.evaluate))
    assert seen[-1][1] < seen[0][1]
    assert craft.traffic.packed


def test_without_memory_half_goes_on_and_nothing_is_lost(gfn2):
    surface = Watched(gfn2.evaluate, most=2)
    tasks = tasks_of(MIXED.values())
    craft = craft_of(surface, gfn2.evaluate)
    same(by_device(tasks, craft), by_host(tasks, gfn2.evaluate))
    assert craft.budget.halvings >= 1
    assert craft.budget.edges < 10**9


def test_memory_that_ends_on_the_way_keeps_the_steps_taken(gfn2):
    surface = Watched(gfn2.evaluate)
    tasks = tasks_of([MIXED['CCCCCC'], MIXED['OCCO'], MIXED['CCO']])
    craft = craft_of(surface, gfn2.evaluate)
    evaluate, calls = surface.evaluate, []

    def later(plan, x):
        calls.append(len(plan))
        if len(calls) == 4:
            raise MemoryError('not enough')
        return evaluate(plan, x)
    object.__setattr__(surface, 'evaluate', later)
    same(by_device(tasks, craft), by_host(tasks, gfn2.evaluate))
    assert calls[3] == 3 and max(calls[4:]) < 3


def test_one_molecule_without_memory_has_failed(gfn2):
    tasks = tasks_of([MIXED['OCCO'], MIXED['O']])
    craft = craft_of(Watched(gfn2.evaluate, most=0), gfn2.evaluate)
    found = by_device(tasks, craft)
    assert {end.outcome for end in found.values()} == {'out_of_memory'}
    assert all('out of memory' in end.message for end in found.values())


def test_another_error_of_the_surface_is_not_swallowed(gfn2):
    surface = HostSurface(gfn2.evaluate)

    def broken(plan, x):
        raise RuntimeError('illegal instruction')
    object.__setattr__(surface, 'evaluate', broken)
    with pytest.raises(RuntimeError, match='illegal'):
        by_device(tasks_of([MIXED['O']]), craft_of(surface, gfn2.evaluate))


def test_rounds_without_a_look_change_nothing_but_the_looks(student):
    tasks = tasks_of([MIXED['CCO'], MIXED['O'], MIXED['C#C']])
    every = craft_of(student.surface(), student.evaluate)
    some = craft_of(student.surface(), student.evaluate, rounds=4)
    found = by_device(tasks, every)
    same(by_device(tasks, some), found)
    same(found, by_host(tasks, student.evaluate))
    assert some.traffic.looks <= every.traffic.looks / 2
    # a look, and a copy for those that came down
    assert some.traffic.copies <= 2 * some.traffic.looks
    n = len(tasks)
    assert some.traffic.in_vain <= n * (some.rounds - 1)


def waits(name, args):
    """Say whether an operation of PyTorch waits for a GPU."""
    import torch
    known = ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique',
             'equal.default', 'is_nonzero')
    masked = name.startswith('aten.index') and any(
        isinstance(a, torch.Tensor) and a.dtype is torch.bool
        for a in (args[1] if len(args) > 1
                  and isinstance(args[1], list | tuple) else []))
    return masked or any(k in name for k in known)


@pytest.mark.parametrize('backend', ['poly', 'reference'])
def test_nothing_waits_for_the_device_between_two_looks(backend):
    from torch.utils._python_dispatch import TorchDispatchMode
    potential = build(PotentialOptions('mace', backend=backend,
                                       device='cpu'))
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            if waits(str(func), args):
                raise AssertionError(f'{func} waits for the device')
            return func(*args, **(kwargs or {}))
    craft = craft_of(potential.surface(), potential.evaluate, rounds=3)
    tasks = tasks_of([MIXED['CCO'], MIXED['O']])
    air = EmptyAir()
    list(fill(air, deque(), lambda n, w: [tasks.pop()] if tasks else [],
              craft, lambda: False))
    fly(air, craft)  # matrices of the elements are made at their first use
    with Watch():
        fly(air, craft)
    assert len(seen) > 100
    assert craft.traffic.copies == 0


def test_edges_without_a_place_stop_the_step_and_get_one(student):
    surface = student.surface()
    tasks = tasks_of([MIXED['OCCO'], MIXED['O']])

    @dataclass(frozen=True)
    class Narrow:
        inner: object
        device: str = 'cpu'

        def edges(self, numbers, positions):
            return self.inner.edges(numbers, positions) // 2

        def compose(self, *args):
            return self.inner.compose(*args)

        def evaluate(self, plan, x):
            return self.inner.evaluate(plan, x)
    craft = craft_of(Narrow(surface), student.evaluate, rounds=2)
    same(by_device(tasks, craft), by_host(tasks, student.evaluate))
    assert craft.traffic.grown >= 1


def test_a_stopped_flight_goes_on_on_the_host_and_back(gfn2):
    tasks = tasks_of(MIXED.values())
    whole = by_host(tasks, gfn2.evaluate)
    first = by_device(tasks, craft_of(
        HostSurface(gfn2.evaluate), gfn2.evaluate, molecules=4), looks=4)
    paused = {k: e for k, e in first.items() if isinstance(e, Paused)}
    assert len(paused) == 4
    again = [replace(tasks[k], state=e.state) for k, e in paused.items()]
    on_host = by_host(again, gfn2.evaluate)
    on_device = by_device(again, craft_of(
        HostSurface(gfn2.evaluate), gfn2.evaluate))
    same(on_host, {k: whole[k] for k in paused})
    same(on_device, on_host)


def test_a_lying_energy_ends_in_cartesian_steps_on_the_host(toys):
    x = toys.cluster(5, seed=1)
    calls = []

    def evaluate(batch):
        energy, forces = toys.morse(batch.positions)
        calls.append(energy)
        energies = np.array([energy + 0.5 * len(calls)])
        from mpiapp.records import Evaluation
        return Evaluation(energies, forces, energies)
    end = by_device(tasks_of([(np.full(5, 18), x)]),
                    craft_of(HostSurface(evaluate), evaluate))[0]
    assert end.outcome == 'converged'
    assert 'Cartesian coordinates from step' in end.message


def test_limits_end_with_the_lowest_geometry(gfn2):
    tasks = tasks_of([MIXED['CCCCCC'], MIXED['OCCO']])
    limits = Limits(1e-9, 6)
    craft = craft_of(HostSurface(gfn2.evaluate), gfn2.evaluate,
                     limits=limits)
    found = by_device(tasks, craft)
    same(found, by_host(tasks, gfn2.evaluate, limits))
    assert {end.outcome for end in found.values()} == {'step_limit'}
    craft = craft_of(HostSurface(gfn2.evaluate), gfn2.evaluate,
                     limits=Limits(1e-9, 300, record_timeout=1e-6))
    assert {end.outcome for end in by_device(tasks, craft).values()} == {
        'time_limit'}


@dataclass
class FakeMeter:
    """Memory of which a batch takes so many bytes an edge."""

    bytes_per_edge: float
    size: float
    edges: float = 0.0
    idle: float = 100.0

    def begin(self):
        pass

    def peak(self):
        return self.idle + self.bytes_per_edge * self.edges

    def limit(self):
        return self.size


def test_the_room_grows_to_what_the_memory_holds():
    meter = FakeMeter(bytes_per_edge=10.0, size=1e6)
    budget, rooms = Budget(1000, meter=meter), []
    while not budget.settled:
        meter.edges = budget.edges  # there is always more work
        budget.watch()
        budget.learn(meter.edges)
        rooms.append(budget.edges)
    assert rooms[0] == GROWTH * 1000
    assert rooms[-1] == pytest.approx((SHARE * 1e6 - 100) / 10)
    assert len(rooms) < 8


def test_a_half_filled_batch_teaches_nothing():
    budget = Budget(1000, meter=FakeMeter(10.0, 1e6, edges=400))
    budget.learn(400)
    assert budget.edges == 1000 and not budget.settled


def test_halving_ends_the_growth():
    budget = Budget(1000, meter=FakeMeter(10.0, 1e6, edges=1000))
    budget.halve(800)
    budget.learn(400)
    assert (budget.edges, budget.settled, budget.halvings) == (400, True, 1)
