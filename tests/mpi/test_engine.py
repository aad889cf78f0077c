"""The engine with workers that only wait: balance, overhead, failures."""
from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mpiapp import engine
from mpiapp.parallel import binding
from mpiapp.parallel.agree import AgreedExit
from mpiapp.parallel.launch import World
from mpiapp.partition import CostModel
from mpiapp.records import (
    RELAX, Finished, InputError, Status, Stream, Suspended
)

pytestmark = pytest.mark.mpi

#: engine work (queue, journal, counts) as a share of the wall time at the
#: record length of the test: 26 us an entry where memory stays warm, up to
#: 2 % on a virtual machine whose host makes each first touch of idle memory
#: slow
OVERHEAD_SHARE = 0.06
RECORD_SECONDS = 1.0


def world(comm: Any) -> World:
    place = binding.Placement(binding.Seat(), 'here', (0,), 1, 'cpu')
    return World(comm, place, (place,) * comm.size)


def plan(path: Path, n: int, **more: Any) -> engine.Plan:
    atoms = np.arange(n, 0, -1).astype(np.int32)
    return engine.Plan(
        RELAX, path / 'x.h5', atoms, CostModel(), np.ones(n, bool),
        {'version': 1}, [{'path': 'none', 'sha256': '', 'n_records': n}],
        {'program': 'test'}, **more)


def waiting(seconds: float, busy: bool = False) -> engine.Worker:
    """Return a worker that spends a time on each record.

    A processor that has slept is several times slower for some
    milliseconds: who is timed is `busy`, as real workers are.
    """
    def worker(stream: Stream) -> Iterator[Finished | Suspended]:
        while items := stream.take(1):
            began = time.perf_counter()
            while time.perf_counter() - began < seconds:
                if not busy:
                    time.sleep(seconds / 10)
            yield Finished(items[0].row, {'status': 1, 'n_atoms': 2,
                                          'numbers': np.array([1, 1]),
                                          'x_start': np.zeros((2, 3)),
                                          'x_final': np.ones((2, 3))},
                           2, seconds)
    return worker


@pytest.mark.parametrize('n', [0, 1, 3, 50])
def test_every_record_is_done_once_on_any_number_of_ranks(
    comm: Any, shared_dir: Path, n: int,
) -> None:
    outcome = engine.run(world(comm), plan(shared_dir, n), waiting(0))
    assert (outcome.statuses == Status.CONVERGED).sum() == n
    assert sum(r['records'] for r in outcome.ranks) == n
    assert outcome.exit_code(0, False) == 0


def test_the_engine_takes_little_of_the_time(
    comm: Any, shared_dir: Path,
) -> None:
    if comm.size > len(os.sched_getaffinity(0)):
        pytest.skip('needs a core for each rank')
    n = 5 * comm.size
    outcome = engine.run(world(comm), plan(shared_dir, n),
                         waiting(RECORD_SECONDS, busy=True))
    for r in outcome.ranks:
        assert r['pull'] + r['storage'] < OVERHEAD_SHARE * r['until_dry']
    ideal = n / comm.size * RECORD_SECONDS
    assert max(r['work'] for r in outcome.ranks) > 0.9 * ideal


def test_unequal_records_are_balanced(comm: Any, shared_dir: Path) -> None:
    def worker(stream: Stream) -> Iterator[Finished | Suspended]:
        while items := stream.take(1):
            row = items[0].row
            time.sleep(0.4 if row == 0 else 0.02)
            yield Finished(row, {'status': 1})
    outcome = engine.run(world(comm), plan(shared_dir, 20 * comm.size),
                         worker)
    assert outcome.wall < 0.6 * (0.4 + 0.02 * 20 * comm.size) + 0.5


def test_a_failing_worker_start_is_agreed(
    comm: Any, shared_dir: Path,
) -> None:
    (shared_dir / 'x.h5').touch()
    comm.Barrier()
    with pytest.raises(AgreedExit) as error:
        engine.run(world(comm), plan(shared_dir, 3), waiting(0))
    assert error.value.code == 2
    assert isinstance(error.value.__cause__, InputError) or comm.rank


def test_suspended_work_comes_back_with_its_state(
    comm: Any, shared_dir: Path,
) -> None:
    def stopping(stream: Stream) -> Iterator[Finished | Suspended]:
        items = stream.take(1)
        if comm.rank == 0 and items:
            yield Suspended(items[0].row, b'half way')

    first = engine.run(world(comm), plan(shared_dir, 1), stopping)
    assert (first.statuses == Status.PENDING).all()
    seen = []

    def going_on(stream: Stream) -> Iterator[Finished | Suspended]:
        while items := stream.take(1):
            seen.append(items[0].state)
            yield Finished(items[0].row, {'status': 1})

    second = engine.run(world(comm), plan(shared_dir, 1, resume=True),
                        going_on)
    states = [s for mine in comm.allgather(seen) for s in mine]
    if (first.statuses == Status.PENDING).all() and states != [b'']:
        assert states == [b'half way']
    assert (second.statuses == Status.CONVERGED).all()


def test_results_lost_to_damage_are_told_and_computed_again(
    comm: Any, shared_dir: Path, caplog: pytest.LogCaptureFixture,
) -> None:
    name = f'run001-rank{comm.rank:04d}.jnl'
    damaged: list[bool] = []

    def damaging(stream: Stream) -> Iterator[Finished | Suspended]:
        done = 0
        for item in waiting(0)(stream):
            done += 1
            yield item
        damaged.append(done > 0)
        if not done:
            return
        with open(shared_dir / 'x.journal' / name, 'r+b') as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))

    n = 2 * comm.size
    lost = engine.run(world(comm), plan(shared_dir, n), damaging)
    by_rank = comm.allgather(damaged[0])
    assert lost.n_pending == sum(by_rank) > 0
    assert lost.exit_code(n, False) == 1
    assert 'no readable result' in lost.verdict(n, False)
    if comm.rank == 0 and damaged[0]:
        assert f'journal {name}' in caplog.text
    again = engine.run(world(comm), plan(shared_dir, n, resume=True),
                       waiting(0))
    assert again.exit_code(0, False) == 0
    assert sum(r['records'] for r in again.ranks) == lost.n_pending


def test_failed_records_are_tried_again_when_asked(
    comm: Any, shared_dir: Path,
) -> None:
    def failing(stream: Stream) -> Iterator[Finished | Suspended]:
        while items := stream.take(1):
            yield Finished(items[0].row, {'status': 3, 'reason': 'nan'})

    for more in ({}, {'resume': True, 'retry_failed': True}):
        engine.run(world(comm), plan(shared_dir, 4, **more), failing)
    done = engine.run(world(comm), plan(shared_dir, 4, resume=True),
                      waiting(0))
    assert sum(r['records'] for r in done.ranks) == 0
    assert done.exit_code(3, False) == 3
    assert done.exit_code(4, False) == 0
    with h5py.File(shared_dir / 'x.h5') as file:
        assert file['results/retries'][:].tolist() == [1] * 4
    comm.Barrier()
