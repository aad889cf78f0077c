"""The worker of `validate`: known minima, saddles, refusals, stops."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from mpiapp.chemistry.dimer_references import Reference
from mpiapp.optimize.tasks import Relaxed
from mpiapp.potentials import Potential, PotentialOptions, build
from mpiapp.potentials.base import settle
from mpiapp.records import (
    Batch, Evaluation, Finished, Floats, Item, Status, Suspended
)
from mpiapp.store.packing import RowPacker
from mpiapp.units import KCAL_PER_EV
from mpiapp.workers import dimer
from mpiapp.workers.dimer import (
    CalculationFailed, DimerItem, DimerSettings, DimerWorker
)
from mpiapp.workers.dimer_columns import DIMER
from mpiapp.workers.dimer_items import (
    Molecules, items_of, molecules_of, read_frames
)
from mpiapp.workers.dimer_methods import chosen_methods
from mpiapp.workers.legs import Legs

#: the minimum of the toy, eV and A, and how well it is found
DEPTH, R_MIN, FOUND = 0.05, 3.7, 0.01
#: A and kcal/mol; the stated tolerances of the regression numbers
DISTANCE, ENERGY = 0.02, 0.05


@lru_cache(maxsize=8)
def molecules(*names: str, sets: tuple[str, ...] = ()) -> Molecules:
    return molecules_of(names, sets, read_frames()[0])


def item(dimer: str, start: str, method: str = 'toy', **more: Any
         ) -> DimerItem:
    return DimerItem(method, method.upper(), dimer, start,
                     Reference('stacked', 3.7, 0.0, 3.7, -6.0), **more)


@dataclass
class Shelf:
    """A list of rows that stops after so many looks."""

    rows: list[int]
    looks: int = 10**9
    states: dict[int, bytes] | None = None
    dry: bool = False

    def take(self, n: int, wait: bool = True) -> list[Item]:
        taken, self.rows = self.rows[:n], self.rows[n:]
        return [Item(r, (self.states or {}).get(r, b'')) for r in taken]

    def stopping(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def worker(
    items: Sequence[DimerItem], load: Callable[[str], Potential],
    **settings: Any,
) -> DimerWorker:
    made = molecules(*dict.fromkeys(i.dimer for i in items))
    return DimerWorker(DimerSettings(**settings), items, made.dimers,
                       made.monomers, load)


def rows(
    items: Sequence[DimerItem], load: Callable[[str], Potential],
    order: Sequence[int] | None = None, **settings: Any,
) -> list[dict[str, Any]]:
    """Do items in some order; return their rows in that of the items."""
    shelf = Shelf(list(order or range(len(items))))
    ends = list(worker(items, load, **settings)(shelf))
    assert all(isinstance(end, Finished) for end in ends)
    found = {end.row: stored(end.values) for end in ends
             if isinstance(end, Finished)}
    return [found[i] for i in sorted(found)]


def stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the journal takes and gives it."""
    packer = RowPacker(DIMER)
    return packer.unpack(packer.pack(values))


def named(name: str) -> Potential:
    return build(PotentialOptions(name))


@dataclass(frozen=True)
class Stack:
    """Benzenes held rigid; each carbon binds the one across it.

    A Lennard-Jones well for every pair of carbons of equal number, so the
    minimum is the sandwich at `R_MIN` with 6 `DEPTH`.
    """

    name: str = 'toy'
    elements: frozenset[int] | None = None
    accepts_charge: bool = True
    topology_guards: bool = True
    bytes_per_atom: float = 1.0
    dtype: str = 'float64'
    finisher: Potential | None = None
    fail_above: int = 10**9
    depth: float = DEPTH

    def evaluate(self, batch: Batch) -> Evaluation:
        energies = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        failures = {}
        for i in range(len(batch)):
            part = batch.part(i)
            x = batch.positions[part]
            if len(x) > self.fail_above:
                failures[i] = ('out_of_memory', 'too many atoms')
                continue
            for half in range(0, len(x), 12):
                energy, force = held(x[half:half + 12])
                energies[i] += energy
                forces[part][half:half + 12] += force
            if len(x) == 24:
                energy, force = wells(x[:6], x[12:18], self.depth)
                energies[i] += energy
                forces[part][:6] += force
                forces[part][12:18] -= force
        return settle(batch, energies, forces,
                      np.full(len(batch), np.nan), failures)

    def describe(self) -> dict[str, str]:
        return {'name': self.name}


@lru_cache(maxsize=1)
def model() -> Floats:
    """Return all distances in the benzene of the file."""
    x = molecules('benzene_pd').monomers['benzene'].positions
    return np.asarray(np.linalg.norm(x[:, None] - x[None], axis=-1))


def held(x: Floats) -> tuple[float, Floats]:
    """Return energy and forces of springs between all atoms."""
    apart = x[:, None] - x[None]
    distance = np.linalg.norm(apart, axis=-1) + np.eye(len(x))
    stretch = distance - model() - np.eye(len(x))
    force = -20.0 * (stretch / distance)[..., None] * apart
    return float(5.0 * (stretch**2).sum()), force.sum(axis=1)


def wells(a: Floats, b: Floats, depth: float) -> tuple[float, Floats]:
    """Return the energy of pairs and the forces on the first ones."""
    apart = a - b
    r = np.linalg.norm(apart, axis=1)
    s6 = (R_MIN / r)**6
    slope = 12 * depth * (s6 - s6 * s6) / r
    return (float(depth * (s6 * s6 - 2 * s6).sum()),
            -(slope / r)[:, None] * apart)


def toy(name: str) -> Potential:
    return Stack()


def test_a_lennard_jones_stack_finds_its_minimum() -> None:
    items = [item('benzene_pd', start) for start in
             ('sandwich', 'sandwich_off', 'original')]
    for row in rows(items, toy, fmax=1e-3):
        assert row['status'] == Status.CONVERGED, row['message']
        assert row['structure'] == 'stacked'
        if row['start'] != 'sandwich_off':
            # turned and slipped a little, the pairs are as far apart
            assert row['vertical'] == pytest.approx(R_MIN, abs=FOUND)
            assert row['slip'] == pytest.approx(0, abs=FOUND)
        assert row['binding_kcal'] == pytest.approx(
            -6 * DEPTH * KCAL_PER_EV, abs=FOUND)
        # nothing is deformed in it
        assert row['interaction_kcal'] == pytest.approx(
            row['binding_kcal'], abs=FOUND)


def test_binding_counts_from_relaxed_monomers_interaction_not() -> None:
    """GFN2 on the geometry of the file, then relaxed: known numbers."""
    row, = rows([item('benzene_pd', 'single_point', 'gfn2')], named)
    assert row['interaction_kcal'] == pytest.approx(-3.818, abs=ENERGY)
    assert np.isnan(row['binding_kcal']) and row['steps'] == 0
    assert row['vertical'] == pytest.approx(3.361, abs=1e-3)


def test_a_sandwich_of_gfn2_is_a_saddle_and_is_left() -> None:
    row, = rows([item('benzene_sandwich', 'sandwich', 'gfn2')], named,
                max_steps={'gfn2': 1000})
    assert row['structure'] == 'saddle'
    assert (row['vertical'], row['slip'], row['centroid']) == pytest.approx(
        (3.438, 0.0, 3.438), abs=DISTANCE)
    assert row['binding_kcal'] == pytest.approx(-3.971, abs=ENERGY)
    # the way down ends in the slipped form of the table
    assert row['vertical_after'] == pytest.approx(3.319, abs=DISTANCE)
    assert row['slip_after'] == pytest.approx(1.077, abs=DISTANCE)
    assert row['binding_after_kcal'] == pytest.approx(-4.114, abs=ENERGY)
    assert np.isfinite(row['x_after']).all()


def test_an_unfinished_way_down_is_told() -> None:
    # the saddle is reached in 16 steps, the minimum after it in 63
    row, = rows([item('benzene_sandwich', 'sandwich', 'gfn2')], named,
                max_steps={'gfn2': 30})
    assert row['status'] == Status.CONVERGED
    assert row['structure'] == 'saddle'
    assert row['message'].startswith('after the saddle: step_limit ')
    assert np.isnan(row['binding_after_kcal'])
    assert np.isnan(row['x_after']).all()


def ways(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, Any]:
    """Return the row of a toy whose ways from its minimum are changed."""
    plain = Legs.relax
    n_legs = 0

    def relax(self: Legs, *given: Any) -> tuple[Relaxed, float]:
        nonlocal n_legs
        end, change = plain(self, *given)
        n_legs += 1
        # the monomer and the dimer come first
        return (end if n_legs <= 2 else replace(end, **changes)), change
    monkeypatch.setattr(Legs, 'relax', relax)
    row, = rows([item('benzene_pd', 'sandwich')], toy)
    assert row['status'] == Status.CONVERGED and n_legs > 2
    return row


def test_a_failed_saddle_test_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = ways(monkeypatch, outcome='exploded', message='far', e_final=-9.0)
    assert row['structure'] == 'stacked'
    assert row['message'] == 'saddle test failed: exploded far'


def test_a_way_down_that_breaks_bonds_leaves_no_minimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row, = rows([item('benzene_pd', 'sandwich')], toy)
    torn = row['x_final'] * 1.5
    monkeypatch.setattr('mpiapp.workers.dimer.way_down',
                        lambda numbers, end, tries, guarded: (end, ''))
    row = ways(monkeypatch, outcome='converged', message='', positions=torn)
    assert row['structure'] == 'saddle'
    assert row['message'].startswith('after the saddle: bonds_changed C1-')
    assert np.isnan(row['vertical_after'])
    assert np.isnan(row['x_after']).all()


def test_a_minimum_without_energy_after_a_saddle_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def energy_of(*given: Any) -> float:
        if len(seen) == n_before:
            raise CalculationFailed('scf', 'no end')
        seen.append(plain(*given))
        return seen[-1]
    # the monomer, the dimer and its two parts
    n_before = 4
    seen: list[float] = []
    plain = dimer.energy_of
    monkeypatch.setattr(dimer, 'energy_of', energy_of)
    monkeypatch.setattr(dimer, 'way_down',
                        lambda numbers, end, tries, guarded: (end, ''))
    row = ways(monkeypatch, outcome='converged', message='')
    assert row['message'] == 'after the saddle: scf: no end'
    assert np.isfinite(row['binding_kcal'])
    assert np.isnan(row['vertical_after'])


#: dimer, start: binding, vertical, slip, centroid, twist; GFN2-xTB, tblite,
#: L-BFGS, fmax 0.005
REGRESSION = {
    ('benzene_sandwich', 'sandwich'): (-3.971, 3.438, 0.0, 3.438, None),
    ('benzene_pd', 'pd_diag'): (-4.114, 3.319, 1.077, 3.490, None),
    ('benzene_pd', 'cross_near'): (-3.975, 3.499, 0.180, 3.504, None),
    ('naphthalene_sandwich', 'sandwich'): (-7.720, 3.392, 0.0, 3.392, 0),
    ('naphthalene_pd', 'pd_long'): (-8.259, 3.258, 1.195, 3.470, 3.0),
    ('naphthalene_pd', 'pd_short'): (-8.020, 3.278, 1.046, 3.441, 2.9),
    ('naphthalene_pd', 'pd_diag'): (-8.257, 3.244, 1.234, 3.471, 2.8),
    ('naphthalene_cross', 'cross_near'): (-8.393, 3.253, 0.178, 3.257, 87),
    ('pyrene_sandwich', 'sandwich'): (-13.635, 3.358, 0.0, 3.358, 0),
    ('pyrene_pd', 'pd_long'): (-14.936, 3.196, 1.336, 3.464, 2.4),
    ('pyrene_pd', 'pd_short'): (-14.605, 3.211, 1.232, 3.439, 2.8),
    ('pyrene_pd', 'pd_diag'): (-14.675, 3.222, 1.192, 3.436, 2.8),
    ('pyrene_cross', 'cross_near'): (-14.663, 3.243, 0.164, 3.247, 87.1),
}
#: degrees; the surface is flat along the twist
TWIST = 10.0
#: what the original reported for GFN2: a stack that never left the saddle
ORIGINALS = {'benzene_pd': 3.448, 'naphthalene_pd': 3.392,
             'pyrene_pd': 3.357}


def regressed(dimer: str, start: str) -> None:
    row, = rows([item(dimer, start, 'gfn2')], named, saddle_test=False,
                max_steps={'gfn2': 1000})
    binding, vertical, slip, centroid, twist = REGRESSION[dimer, start]
    assert row['status'] == Status.CONVERGED
    assert row['binding_kcal'] == pytest.approx(binding, abs=ENERGY)
    assert (row['vertical'], row['slip'], row['centroid']) == pytest.approx(
        (vertical, slip, centroid), abs=DISTANCE)
    if twist is not None:
        assert row['twist'] == pytest.approx(twist, abs=TWIST)


@pytest.mark.parametrize('dimer, start', [
    key for key in REGRESSION if key[0].startswith('benzene')])
def test_gfn2_gives_the_regression_numbers(dimer: str, start: str) -> None:
    regressed(dimer, start)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize('dimer, start', [
    key for key in REGRESSION if not key[0].startswith('benzene')])
def test_gfn2_gives_the_regression_numbers_of_larger_dimers(
    dimer: str, start: str,
) -> None:
    regressed(dimer, start)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize('dimer', ORIGINALS)
def test_the_original_start_gives_the_originals_numbers(dimer: str) -> None:
    row, = rows([item(dimer, 'original', 'gfn2')], named, saddle_test=False,
                max_steps={'gfn2': 1000})
    assert row['centroid'] == pytest.approx(ORIGINALS[dimer], abs=DISTANCE)


def test_halves_beyond_the_cutoff_are_refused() -> None:
    # bonds reach 2.2 A, the halves are 3.5 A apart
    row, = rows([item('benzene_pd', 'pd_long', 'lj')], named)
    assert (row['status'], row['reason']) == (Status.REJECTED,
                                              'beyond_cutoff')
    assert row['verdict'] == 'fail'


def test_contact_is_felt_in_float64() -> None:
    # of a single precision potential only the finisher is without noise
    noisy = Stack(dtype='float32', finisher=Stack(depth=0.0))
    row, = rows([item('benzene_pd', 'pd_long')], lambda name: noisy)
    assert row['reason'] == 'beyond_cutoff'


def test_an_unknown_element_is_refused() -> None:
    potential = replace(Stack(), elements=frozenset({1}))
    row, = rows([item('benzene_pd', 'pd_long')], lambda name: potential)
    assert (row['status'], row['reason']) == (Status.REJECTED, 'element')


def test_a_failure_is_a_row_and_the_others_go_on() -> None:
    potential = Stack(fail_above=12)
    items = [item('benzene_pd', 'pd_long'), item('benzene_pd', 'sandwich')]
    first, second = rows(items, lambda name: potential)
    for row in (first, second):
        assert row['status'] == Status.FAILED
        assert row['reason'] == 'out_of_memory' and row['message']
        assert np.isnan(row['binding_kcal'])


def test_a_method_that_raises_is_a_row() -> None:
    def broken(name: str) -> Potential:
        raise RuntimeError('no such thing')
    row, = rows([item('benzene_pd', 'pd_long')], broken)
    assert (row['status'], row['reason']) == (Status.FAILED,
                                              'internal_error')
    assert 'no such thing' in row['message']


def test_a_monomer_that_does_not_converge_is_a_reason() -> None:
    row, = rows([item('benzene_pd', 'pd_long', 'gfn2')], named,
                max_steps={'gfn2': 2})
    assert (row['status'], row['reason']) == (Status.FAILED, 'monomer')
    assert 'benzene: step_limit' in row['message']


def test_a_monomer_that_fails_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    legs: list[int] = []
    plain = Legs.relax

    def relax(self: Legs, *given: Any) -> tuple[Relaxed, float]:
        legs.append(len(given[0]))
        return plain(self, *given)
    monkeypatch.setattr(Legs, 'relax', relax)
    potential = Stack(fail_above=6)
    first, second = rows(
        [item('benzene_pd', start) for start in ('pd_long', 'sandwich')],
        lambda name: potential)
    assert legs == [12]
    for row in (first, second):
        assert (row['status'], row['reason']) == (Status.FAILED, 'monomer')
    assert first['message'] == second['message'] != ''


def bits(row: dict[str, Any]) -> dict[str, Any]:
    """Return what must be equal, arrays as bytes."""
    return {c.name: np.asarray(row[c.name], c.dtype).tobytes()
            for c in DIMER.columns if not c.volatile}


def test_rows_do_not_depend_on_the_order_of_items() -> None:
    items = [item('benzene_pd', start, kick=kick, seed=kick)
             for start in ('reference', 'sandwich', 'pd_diag')
             for kick in (0, 1)]
    forward = rows(items, toy)
    backward = rows(items, toy, order=range(len(items))[::-1])
    assert list(map(bits, forward)) == list(map(bits, backward))


def test_a_kick_moves_the_start_and_only_with_its_seed() -> None:
    plain, first, same, other = rows(
        [item('benzene_pd', 'sandwich', kick=kick, seed=seed)
         for kick, seed in ((0, 5), (1, 5), (1, 5), (1, 6))], toy)
    assert bits(first) == bits(same)
    moved = [np.abs(r['x_start'] - plain['x_start']).max()
             for r in (first, other)]
    assert all(0.05 < m < 0.3 for m in moved)
    assert bits(first) != bits(other)


def stopped_everywhere(items: Sequence[DimerItem], looks: int
                       ) -> tuple[list[dict[str, Any]], int]:
    """Do items with a stop after so many looks, again and again."""
    states: dict[int, bytes] = {}
    done: dict[int, dict[str, Any]] = {}
    n_stops = 0
    while len(done) < len(items):
        left = [i for i in range(len(items)) if i not in done]
        for end in worker(items, toy)(Shelf(left, looks, states)):
            if isinstance(end, Suspended):
                states[end.row] = end.state
                n_stops += 1
                break
            done[end.row] = stored(end.values)
        assert n_stops < 1000
    return [done[i] for i in range(len(items))], n_stops


def test_stopped_items_go_on_to_the_same_bits() -> None:
    # the first half of a stop lies in the monomer, which is redone
    items = [item('benzene_pd', 'sandwich'), item('benzene_pd', 'pd_diag')]
    found, n_stops = stopped_everywhere(items, 20)
    assert n_stops > 3
    assert list(map(bits, found)) == list(map(bits, rows(items, toy)))


def test_items_stand_in_a_fixed_order_and_methods_are_kicked_alike() -> None:
    methods = chosen_methods(['gfn1', 'gfn2'], [], PotentialOptions())
    made = molecules('benzene_pd', 'naphthalene_t', sets=('s22',))
    items = items_of(methods, ['benzene_pd', 'naphthalene_t'], (), 2, made,
                     {})
    first, second = (
        [(i.dimer, i.start, i.kick, i.seed, i.data_set) for i in items
         if i.potential == name] for name in ('gfn1', 'gfn2'))
    assert first == second and len(first) == 5 * 3 + 1 + 3 + 22
    assert [i.potential for i in items] == ['gfn1'] * 41 + ['gfn2'] * 41
    seeds = [seed for _, start, _, seed, _ in first
             if start != 'single_point']
    assert seeds == list(range(18))


def test_all_values_fit_their_columns() -> None:
    made = molecules('adenine_thymine', 'benzene_sandwich')
    for name in made.dimers:
        for column in DIMER.columns:
            if column.name == 'benchmark':
                assert len(name) <= np.dtype(column.dtype).itemsize
