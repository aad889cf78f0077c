"""The relaxation worker: every record leaves as one row."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.records import (
    RELAX, Batch, Evaluation, Finished, Floats, Item, Status, Suspended
)
from mpiapp.structures import Collection
from mpiapp.workers.reading import FileRecords
from mpiapp.workers.relax import RelaxSettings, RelaxWorker

ETHANE = 'bad_inputs/ethane.xyz'
ANIONS = 'dimers/moe_et_5.sdf'


@dataclass
class FakeStream:
    """A list of rows; stops after so many looks."""

    rows: list[int]
    looks: int = 10**9
    dry: bool = False
    state: bytes = b''

    def take(self, n: int, wait: bool = True) -> list[Item]:
        taken, self.rows = self.rows[:n], self.rows[n:]
        self.dry = not taken
        return [Item(row, self.state) for row in taken]

    def stopping(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@dataclass(frozen=True)
class Pull:
    """A harmonic pull of all atoms towards a target geometry."""

    target: Callable[[Floats], Floats]
    name: str = 'pull'
    elements: frozenset[int] | None = None
    accepts_charge: bool = False
    topology_guards: bool = True
    bytes_per_atom: float = 1.0
    dtype: str = 'float64'
    finisher: Any = None
    fail: str = ''

    def evaluate(self, batch: Batch) -> Evaluation:
        if self.fail:
            raise RuntimeError(self.fail)
        move = batch.positions - self.target(batch.positions)
        energies = np.array([0.5 * (move[batch.part(i)]**2).sum()
                             for i in range(len(batch))])
        return Evaluation(energies, -move, energies * 2)

    def describe(self) -> dict[str, str]:
        return {'name': self.name}


def still(x: Floats) -> Floats:
    return x


def worker_of(
    collection: Collection, potential: Pull, charge_policy: str = 'refuse',
    **settings: Any,
) -> RelaxWorker:
    records = FileRecords(collection, None, ['stem'], charge_policy)
    return RelaxWorker(RelaxSettings(**settings), records, potential)


def work(
    data_dir: Path, name: str, potential: Pull, **settings: Any,
) -> list[Finished | Suspended]:
    collection = Collection.open([data_dir / name])
    worker = worker_of(collection, potential, **settings)
    return list(worker(FakeStream(list(range(len(collection))))))


def rows(results: list[Finished | Suspended]) -> list[dict[str, Any]]:
    assert all(isinstance(r, Finished) for r in results)
    return [RELAX.complete(r.values) for r in results  # type: ignore
            if isinstance(r, Finished)]


def test_a_relaxed_record_has_all_its_columns(data_dir: Path) -> None:
    row, = rows(work(data_dir, ETHANE, Pull(still)))
    assert row['status'] == Status.CONVERGED and row['reason'] == ''
    assert row['n_atoms'] == 8 == len(row['x_final'])
    assert np.abs(row['x_start'].mean(axis=0)).max() < 1e-12
    assert row['rmsd_start_final'] == pytest.approx(0, abs=1e-6)
    assert row['name']


def test_a_broken_bond_is_noticed(data_dir: Path) -> None:
    def stretched(x: Floats) -> Floats:
        return np.array([[3.0, 0, 0]] + [[0.0, 0, 0]] * 7)

    row, = rows(work(data_dir, ETHANE, Pull(stretched), max_steps=30))
    assert (row['status'], row['reason']) == (Status.BROKEN, 'bonds_changed')
    assert row['message'] and np.isfinite(row['x_final']).all()


def test_an_inverted_centre_is_noticed(data_dir: Path) -> None:
    mirror = np.array([1.0, 1.0, -1.0])
    collection = Collection.open([data_dir / 'dimers/library_sample.sdf'])
    worker = worker_of(collection, Pull(still))
    worker.begin(Item(0))
    job = worker.jobs[0]
    from mpiapp.optimize.driver import Relaxed
    end = Relaxed(0, 'converged', '', 0.0, 0.0, 0.0,
                  job.structure.positions * mirror, 0.0, 1, 2, 0.1, 10)
    row = worker.close(end)
    assert isinstance(row, Finished)
    assert row.values['status'] == Status.BROKEN
    assert row.values['reason'] == 'stereo_changed'


@pytest.mark.parametrize('policy, statuses', [
    ('refuse', {Status.REJECTED}), ('neutralise', {Status.CONVERGED}),
    ('allow', {Status.CONVERGED})])
def test_charges_follow_the_policy(
    data_dir: Path, policy: str, statuses: set[Status],
) -> None:
    found = rows(work(data_dir, ANIONS, Pull(still), charge_policy=policy))
    assert {r['status'] for r in found} == statuses
    assert {r['input_charge'] for r in found} == {-1}
    added = {'refuse': 0, 'neutralise': 1, 'allow': 0}[policy]
    assert {r['n_added_hydrogens'] for r in found} == {added}
    assert {r['n_atoms'] for r in found} == {117 + added}
    assert {r['charge_ignored'] for r in found} == {int(policy == 'allow')}


def test_a_failing_potential_fails_records_one_by_one(
    data_dir: Path,
) -> None:
    found = rows(work(data_dir, ANIONS, Pull(still, fail='no SCF'),
                      charge_policy='allow', slots=3))
    assert {r['reason'] for r in found} == {'calculator_error'}
    assert all('no SCF' in r['message'] for r in found)
    assert len(found) == 5


def test_an_unforeseen_fault_of_one_record_is_in_its_row(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mpiapp.workers import reading

    def faulty(structure: Any) -> None:
        if structure.row == 1:
            raise ZeroDivisionError('unlucky')

    monkeypatch.setattr(reading, 'check_structure', faulty)
    found = rows(work(data_dir, ANIONS, Pull(still), charge_policy='allow'))
    assert sorted(r['reason'] for r in found) == ['', '', '', '',
                                                  'internal_error']


def test_rejected_records_do_not_pile_up(
    data_dir: Path, tmp_path: Path,
) -> None:
    path = tmp_path / 'many.xyz'
    path.write_text('1\nlonely\nH 0 0 0\n' * 300)
    collection = Collection.open([path])
    worker = worker_of(collection, Pull(still))
    stream = FakeStream(list(range(300)))
    most = 0
    results = []
    for result in worker(stream):
        most = max(most, len(worker.ready))
        results.append(result)
    assert len(results) == 300 and most <= 64
    assert {r['reason'] for r in rows(results)} == {'unparsable'}


def test_a_stop_suspends_and_the_state_goes_on(data_dir: Path) -> None:
    def off(x: Floats) -> Floats:
        return x * 0.999

    collection = Collection.open([data_dir / ETHANE])
    worker = worker_of(collection, Pull(off), fmax=1e-7)
    whole = list(worker(FakeStream([0])))
    suspended, = worker(FakeStream([0], looks=3))
    assert isinstance(suspended, Suspended)
    resumed = list(worker(FakeStream([0], state=suspended.state)))
    assert isinstance(resumed[0], Finished)
    assert isinstance(whole[0], Finished)
    for name in ('x_final', 'e_total', 'steps'):
        assert np.array_equal(resumed[0].values[name],
                              whole[0].values[name])


def test_a_damaged_state_starts_anew_and_is_no_failure(
    data_dir: Path,
) -> None:
    collection = Collection.open([data_dir / ETHANE])
    worker = worker_of(collection, Pull(still))
    row, = worker(FakeStream([0], state=b'not a state'))
    assert isinstance(row, Finished)
    assert row.values['status'] == Status.CONVERGED


def test_energies_of_a_fast_model_are_finished_in_float64(
    data_dir: Path,
) -> None:
    @dataclass(frozen=True)
    class Exact(Pull):
        def evaluate(self, batch: Batch) -> Evaluation:
            return Evaluation(np.full(len(batch), -7.0),
                              np.zeros_like(batch.positions),
                              np.full(len(batch), -3.0))

    fast = Pull(still, dtype='float32', finisher=Exact(still))
    row, = rows(work(data_dir, ETHANE, fast))
    assert (row['e_start'], row['e_total'], row['e_model_minus_e0']) == (
        -7.0, -7.0, -3.0)


def test_a_closing_energy_that_fails_fails_the_record(
    data_dir: Path,
) -> None:
    @dataclass(frozen=True)
    class Full(Pull):
        def evaluate(self, batch: Batch) -> Evaluation:
            nothing = np.full(len(batch), np.nan)
            return Evaluation(nothing, np.full_like(batch.positions, np.nan),
                              nothing, {0: ('out_of_memory', 'too large')})

    fast = Pull(still, dtype='float32', finisher=Full(still))
    row, = rows(work(data_dir, ETHANE, fast))
    assert (row['status'], row['reason']) == (Status.FAILED, 'out_of_memory')


def test_a_fault_after_the_relaxation_is_in_its_row(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mpiapp.workers import relax

    def faulty(*args: Any) -> float:
        raise ZeroDivisionError('unlucky')

    monkeypatch.setattr(relax, 'superposed_rmsd', faulty)
    row, = rows(work(data_dir, ETHANE, Pull(still)))
    assert (row['status'], row['reason']) == (Status.FAILED,
                                              'internal_error')


def test_an_absurd_tag_does_not_matter(
    data_dir: Path, tmp_path: Path,
) -> None:
    text = (data_dir / ANIONS).read_text()
    absurd = text.replace('  <mseq>\n1\n', '  <mseq>\n' + '9' * 30 + '\n')
    assert absurd != text
    path = tmp_path / 'x.sdf'
    path.write_text(absurd)
    collection = Collection.open([path])
    worker = worker_of(collection, Pull(still), 'allow')
    found = rows(list(worker(FakeStream([0]))))
    assert found[0]['mseq'] == -1
