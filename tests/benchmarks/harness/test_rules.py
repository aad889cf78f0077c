"""The rules R1 to R9 of docs/bench.md: what breaks one is caught."""
import os
import time

import numpy as np
import pytest

from mpiapp.benchmarks import scaling_law, shapes
from mpiapp.benchmarks.harness import clock, gate, molecules, spread, tables
from mpiapp.benchmarks.harness.cells import Cell, Timing, undecided
from mpiapp.benchmarks.harness.worker import GroupWorker, Job, Model
from mpiapp.errors import InputError
from mpiapp.potentials.lj import LennardJones
from mpiapp.records import Evaluation, Structure

#: s that a way puts off until its first call
LAZY_S = 0.5
ETHANOL = Structure(0, 0, 0, *shapes.embedded('CCO'))


def cell(way, **fields):
    base = {'model': 'toy', 'molecule': 'ethanol', 'device': 'cpu',
            'quantity': 'energy+forces', 'batch': 2, 'threads': 1,
            'dtype': 'float64', 'neighbours': 'tree'}
    return Cell(**base | fields, way=way)


class Toy:
    """A sound way: the toy potential, counted where it is computed."""

    def __init__(self):
        self.model, self.ran = LennardJones(), 0

    def compute(self, batch):
        self.ran += 1
        return self.model.evaluate(batch)

    def evaluate(self, batch, forces):
        return self.compute(batch)

    def evaluations(self):
        return self.ran

    def expected(self, batch):
        return 1

    def synchronise(self):
        pass


class Cached(Toy):
    """Keeps its first answer for batches of one size: computed once."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def evaluate(self, batch, forces):
        key = batch.numbers.tobytes()
        if key not in self.kept:
            self.kept[key] = self.compute(batch)
        return self.kept[key]


class CachedLater(Toy):
    """Honest while it is proved, then answers from what it kept."""

    def evaluate(self, batch, forces):
        if self.ran < 20:
            self.last = self.compute(batch)
        return self.last


class Pretending(CachedLater):
    """The same, but counts as if it had computed."""

    def evaluate(self, batch, forces):
        if self.ran >= 20:
            self.ran += 1
            return self.last
        return super().evaluate(batch, forces)


class Wrong(Toy):
    """Forces off by 0.01 eV/A."""

    def evaluate(self, batch, forces):
        found = super().evaluate(batch, forces)
        return Evaluation(found.energies, found.forces + 0.01,
                          found.e_model_minus_e0)


class NotANumber(Toy):
    def evaluate(self, batch, forces):
        found = super().evaluate(batch, forces)
        return Evaluation(found.energies * np.nan, found.forces,
                          found.e_model_minus_e0)


class Raising(Toy):
    """Raises once it is being timed."""

    def evaluate(self, batch, forces):
        if self.ran > 20:
            raise ValueError('the device is gone')
        return super().evaluate(batch, forces)


class Lazy(Toy):
    """Does what it put off when it is called first, as a compiler does."""

    def evaluate(self, batch, forces):
        if not self.ran:
            time.sleep(LAZY_S)
        return super().evaluate(batch, forces)


class Dead(Toy):
    def evaluate(self, batch, forces):
        raise RuntimeError('it never computes')


class Absent:
    def __init__(self):
        raise InputError('it is not installed')


class Broken:
    def __init__(self):
        raise ZeroDivisionError('a fault in the building')


KINDS = {k.__name__: k for k in (
    Toy, Cached, CachedLater, Pretending, Wrong, NotANumber, Raising,
    Lazy, Dead, Absent, Broken)}


def measured(*names, molecule=ETHANOL, rounds=6, limit=None, **fields):
    """Return the rows by way of a group of cells."""
    cells = [cell(name, **fields) for name in names]
    job = Job([cells], {'toy': Model('lj', 'abc', 3.0)},
              {'ethanol': molecule}, Timing(rounds, 6), limit=limit)
    worker = GroupWorker(job, lambda c, path: KINDS[c.way]())
    worker._oracles['lj'] = gate.Oracle(LennardJones())
    rows = worker.measure(cells)
    assert undecided(cells, rows) == []
    return {r['way']: r for r in rows}


def test_r1_a_calculator_that_returns_cached_results_fails():
    rows = measured('Toy', 'CachedLater')
    assert rows['Toy']['state'] == 'ok'
    assert len(rows['Toy']['samples']) == 6
    found = rows['CachedLater']
    assert found['state'] == 'failed'
    assert 'such as a cache' in found['reason']
    assert 'samples' not in found and 'steady' not in found


def test_r1_a_cache_that_fakes_its_counter_is_refused_by_its_answer():
    found = measured('Pretending')['Pretending']
    assert found['state'] == 'refused'
    assert found['reason'].startswith('last timed call')
    assert 'samples' not in found


def test_r1_every_timed_call_has_new_coordinates():
    seen = []

    class Watching(Toy):
        def evaluate(self, batch, forces):
            seen.append(batch.positions.copy())
            return super().evaluate(batch, forces)

    clock.in_turns({'a': Watching()}, clock.copies(ETHANOL, 1), True, 5, 6,
                   seed=1)
    assert len(seen) >= 8
    assert len({x.tobytes() for x in seen}) == len(seen)


def test_r2_a_wrong_fast_path_gets_no_time():
    rows = measured('Toy', 'Wrong', 'NotANumber', 'Cached')
    for name in ('Wrong', 'NotANumber', 'Cached'):
        assert rows[name]['state'] == 'refused', name
        assert 'samples' not in rows[name]
        assert ' ms' not in tables.line(rows[name], rows['Toy'])
    assert 'equal' in rows['Wrong']['reason']
    failed = [c['name'] for c in rows['Wrong']['checks'] if not c['passed']]
    assert 'finite differences' in failed and 'sum of forces' in failed


def test_r3_a_cell_that_raises_is_failed_with_its_traceback():
    rows = measured('Toy', 'Raising', 'Broken', 'Absent')
    assert rows['Toy']['state'] == 'ok'
    assert rows['Raising']['state'] == 'failed'
    assert 'ValueError: the device is gone' in rows['Raising']['traceback']
    assert 'test_rules.py' in rows['Raising']['traceback']
    assert rows['Broken']['state'] == 'failed'
    assert 'ZeroDivisionError' in rows['Broken']['traceback']
    assert rows['Absent']['state'] == 'skipped'
    assert rows['Absent']['reason'] == 'it is not installed'


def test_r3_a_cell_that_no_row_decides_is_found():
    cells = [cell('a'), cell('b')]
    assert undecided(cells, [cells[0].as_row() | {'state': 'ok'}]) == [
        cells[1]]
    assert undecided(cells[:1], [cells[0].as_row() | {'state': ''}])


def test_r3_threads_without_cores_are_skipped_with_the_reason(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {3})
    assert measured('Toy')['Toy']['state'] == 'ok'
    row = measured('Toy', threads=2)['Toy']
    assert row['state'] == 'skipped' and 'samples' not in row
    assert row['reason'] == '2 threads, and 1 core(s) for this rank'


def test_r3_cells_beyond_the_time_limit_fail():
    rows = measured('Lazy', 'Toy', limit=LAZY_S / 2)
    assert rows['Lazy']['state'] == 'ok'
    assert rows['Toy']['state'] == 'failed'
    assert '--record-timeout' in rows['Toy']['reason']


def test_edges_are_known_of_every_way_and_give_it_a_law():
    rows = measured('Toy')
    x = clock.copies(ETHANOL, 2).positions.reshape(2, -1, 3)
    d = np.linalg.norm(x[:, :, None] - x[:, None], axis=3)
    assert rows['Toy']['n_edges'] == ((d > 0) & (d <= 3.0)).sum()
    many = [rows['Toy'] | {'n_atoms': 9 * i, 'n_edges': 40 * i}
            for i in range(1, 6)]
    law, = scaling_law.laws(many)
    assert law['way'] == 'Toy' and law['n_points'] == 5


def strip(structure, number):
    kept = structure.numbers != number
    return structure.numbers[kept], structure.positions[kept]


def no_force(numbers, positions, charge):
    return np.zeros_like(positions)


def test_r4_unphysical_molecules_are_refused(rng):
    numbers, x = ETHANOL.numbers, ETHANOL.positions
    molecules.check_physical(numbers, x)
    with pytest.raises(molecules.Unphysical, match='lacks hydrogens'):
        molecules.check_physical(*strip(ETHANOL, 1), forces_of=no_force)
    benzene = Structure(0, 0, 0, *shapes.embedded('c1ccccc1'))
    with pytest.raises(molecules.Unphysical, match='lacks hydrogens'):
        molecules.check_physical(*strip(benzene, 1), forces_of=no_force)
    cloud = np.full(20, 6), rng.normal(0.0, 3.0, (20, 3))
    with pytest.raises(molecules.Unphysical):
        molecules.check_physical(*cloud, forces_of=no_force)
    with pytest.raises(molecules.Unphysical, match='0.00 A apart'):
        molecules.check_physical(
            np.append(numbers, 1), np.concatenate([x, x[:1]]))
    with pytest.raises(molecules.Unphysical, match='not relaxed'):
        molecules.check_physical(numbers, 0.85 * x)
    with pytest.raises(molecules.Unphysical, match='not finite'):
        molecules.check_physical(numbers, x * np.nan)


def test_r4_linear_carbons_need_no_hydrogen():
    for smiles in ('C#C', 'CC#N', 'O=C=O', '[C-]#[O+]', 'C=C=C'):
        numbers, x = shapes.embedded(smiles)
        molecules.check_physical(numbers, x, forces_of=no_force)


def test_r4_a_refused_molecule_refuses_its_cells():
    rows = measured('Toy', molecule='carbon 3 lacks hydrogens')
    assert rows['Toy']['state'] == 'refused'
    assert 'unphysical' in rows['Toy']['reason']


def test_r4_the_set_is_hashed():
    moved = Structure(0, 0, 0, ETHANOL.numbers, ETHANOL.positions + 1e-3)
    assert molecules.set_sha256([ETHANOL]) == molecules.set_sha256([ETHANOL])
    assert molecules.set_sha256([ETHANOL]) != molecules.set_sha256([moved])


def test_r5_the_first_call_is_taken_while_the_way_is_cold():
    row = measured('Lazy')['Lazy']
    assert row['state'] == 'ok'
    assert row['first_s'] >= LAZY_S > 10 * row['steady']['median']
    # not in what comes later, and part of what has to be earned back
    assert row['warm_s'] < LAZY_S
    assert spread.cold(row) >= LAZY_S


def test_r5_a_first_call_that_raises_fails_its_cell():
    rows = measured('Toy', 'Dead')
    assert rows['Toy']['state'] == 'ok'
    assert rows['Dead']['state'] == 'failed'
    assert 'never computes' in rows['Dead']['traceback']
    assert 'first_s' not in rows['Dead']


def test_r5_cold_calls_are_not_in_the_steady_samples():
    clock_now = [0.0]

    class Slow(Toy):
        """The first four calls take 5 s, all others 1 s."""

        def evaluate(self, batch, forces):
            found = super().evaluate(batch, forces)
            clock_now[0] += 5.0 if self.ran < 5 else 1.0
            return found

    original = clock.time.perf_counter
    defaults = clock.timed_call.__defaults__
    clock.timed_call.__defaults__ = (lambda: clock_now[0],)
    try:
        found, _ = clock.in_turns({'slow': Slow()}, clock.copies(ETHANOL, 1),
                                  True, 8, 20, seed=1)
    finally:
        clock.timed_call.__defaults__ = defaults
    assert clock.time.perf_counter is original
    times = found['slow']
    assert times.stable and times.warm_s >= 4 * 5.0
    assert times.samples == [1.0] * 8


def test_r5_break_even_counts_the_calls_that_earn_the_start_back():
    def row(cold_s, median):
        return {'state': 'ok', 'build_s': cold_s, 'first_s': 0.0,
                'warm_s': 0.0, 'steady': {'median': median}}
    assert spread.break_even(row(0, 2.0), row(30.0, 0.5)) == 20.0
    assert spread.break_even(row(0, 1.0), row(30.0, 1.5)) is None
    assert spread.break_even(row(0, 1.0), row(30.0, 0.5) | {
        'state': 'refused'}) is None


def rows_to_compare():
    rows = measured('Toy', rounds=8)
    a = rows['Toy']
    return a, dict(a, way='other', samples=[x / 2 for x in a['samples']])


@pytest.mark.parametrize('name', [
    'quantity', 'batch', 'dtype', 'device', 'inputs_sha256', 'model_sha256',
    'threads', 'ranks', 'neighbours'])
def test_r6_unequal_baselines_have_no_ratio(name):
    a, b = rows_to_compare()
    assert spread.ratio_of(a, b, 'way').value == pytest.approx(2.0)
    found = spread.ratio_of(a, b | {name: 'another'}, 'way')
    assert np.isnan(found.value) and name in found.reason
    assert '2.0' not in str(found)


def test_r6_a_row_that_is_not_ok_has_no_ratio():
    a, b = rows_to_compare()
    assert 'is refused' in str(
        spread.ratio_of(a, b | {'state': 'refused'}, 'way'))


def test_r9_no_speed_up_where_the_interval_holds_1():
    noise = np.array([1 + 0.1 * (-1) ** np.arange(20), np.ones(20)])
    found = spread.paired_ratio(*noise)
    assert found.low < 1.0 < found.high and not found.distinct
    assert 'no difference shown' in str(found)
    assert f'{found.value:.2f}x' not in str(found)
    clear = spread.paired_ratio(3 * noise[0], noise[1])
    assert clear.distinct and f'{clear.value:.2f}x' in str(clear)


def test_r9_equal_ways_seldom_differ(rng):
    distinct = sum(spread.paired_ratio(*rng.normal(1.0, 0.1, (2, 20))).distinct
                   for _ in range(200))
    # 5 % of 200, and four standard deviations more
    assert distinct <= 22


def test_r9_few_rounds_give_no_interval():
    found = spread.paired_ratio(np.full(4, 2.0), np.ones(4))
    assert 'at least 5' in str(found)


def test_ways_take_turns_and_each_is_first():
    order = []

    def named(name):
        class Named(Toy):
            def evaluate(self, batch, forces):
                order.append(name)
                return super().evaluate(batch, forces)
        return Named()

    clock.in_turns({n: named(n) for n in 'ab'}, clock.copies(ETHANOL, 1),
                   True, 6, 0, seed=1)
    assert order == list('abbaabbaabba')
