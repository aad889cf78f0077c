"""The campaign file is the same for any number of ranks and both writers."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mpiapp.parallel.agree import AgreedExit
from mpiapp.parallel.serial import SerialComm
from mpiapp.records import ENERGIES, GEOMETRY, IDENTITY, RUN, Schema, Status
from mpiapp.store.campaign import write_campaign
from mpiapp.store.digest import content_digest
from mpiapp.store.folder import journal_name
from mpiapp.store.journal import JournalWriter
from mpiapp.store.reader import load
from mpiapp.store.sources import MemorySource, share_results, survey_together

pytestmark = pytest.mark.mpi
needs_mpi_io = pytest.mark.skipif(
    not h5py.get_config().mpi, reason='this h5py is built without MPI')
WRITERS = [pytest.param(True, id='mpio', marks=needs_mpi_io),
           pytest.param(False, id='gather')]
META = {'settings': {'fmax': 0.005}, 'inputs': [
    {'path': 'ä.sdf', 'sha256': 'aa', 'n_records': 1}]}
#: fewer columns than reopt's, to write the many files of these tests faster
SCHEMA = Schema(IDENTITY + RUN + ENERGIES + GEOMETRY)


def values(row: int) -> dict[str, Any]:
    """Return a finished row, the same for the same number."""
    rng = np.random.default_rng(row)
    n = int(rng.integers(0, 40))
    return {'record': row, 'name': f'mol – {row}', 'status': 1,
            'seconds': rng.random(), 'message': 'é' * int(n * 4),
            'e_total': -rng.random(), 'n_atoms': n,
            'numbers': rng.integers(1, 18, n),
            'x_start': rng.normal(size=(n, 3)),
            'x_final': rng.normal(size=(n, 3))}


@pytest.fixture(params=[1, 2, 4])
def part_comm(
    comm: Any, request: pytest.FixtureRequest,
) -> Iterator[Any]:
    """Give the first 1, 2, 4 ranks a communicator, the others None."""
    if request.param > comm.size:
        pytest.skip(f'needs {request.param} ranks')
    member = comm.rank < request.param
    part = comm.Split(0 if member else 1, comm.rank)
    yield part if member else None
    part.Free()


def is_as_expected(comm: Any, path: Path, rows: Any, n_records: int) -> bool:
    """Collective: compare a file with the one that one process writes."""
    same = False
    if comm.rank == 0:
        alone = path.with_name('alone.h5')
        write_campaign(
            SerialComm(), alone, SCHEMA, n_records,
            MemorySource(SCHEMA, {r: values(r) for r in rows}), META, {})
        same = content_digest(path) == content_digest(alone)
    return bool(comm.bcast(same))


@pytest.mark.parametrize('parallel', WRITERS)
@pytest.mark.parametrize('n_records, step, limit', [
    (30, 1, 2**26), (30, 4, 2500), (1, 1, 2**26), (0, 1, 2**26),
])
def test_content_does_not_depend_on_ranks_or_writer(
    comm: Any, part_comm: Any, shared_dir: Path, parallel: bool,
    n_records: int, step: int, limit: int,
) -> None:
    rows = range(step - 1, n_records, step)
    if part_comm is not None:
        mine = [r for i, r in enumerate(rows)
                if i * 7 % part_comm.size == part_comm.rank]
        write_campaign(
            part_comm, shared_dir / 'x.h5', SCHEMA, n_records,
            MemorySource(SCHEMA, {r: values(r) for r in mine}), META,
            {'n_ranks': part_comm.size}, parallel, round_bytes=limit)
    comm.Barrier()
    assert is_as_expected(comm, shared_dir / 'x.h5', rows, n_records)


@pytest.mark.parametrize('parallel', WRITERS)
def test_one_rank_may_supply_everything(
    comm: Any, shared_dir: Path, parallel: bool,
) -> None:
    last = comm.rank == comm.size - 1
    rows = {r: values(r) for r in range(20)} if last else {}
    write_campaign(comm, shared_dir / 'x.h5', SCHEMA, 20,
                   MemorySource(SCHEMA, rows), META, {}, parallel,
                   round_bytes=4000)
    assert is_as_expected(comm, shared_dir / 'x.h5', range(20), 20)


@pytest.mark.parametrize('parallel', WRITERS)
def test_journals_of_two_runs_become_the_file(
    comm: Any, shared_dir: Path, parallel: bool,
) -> None:
    n_records = 12
    for run, rows in ((1, range(n_records)), (2, range(0, n_records, 3))):
        header = {'run': run, 'rank': comm.rank, 'digest': 'd'}
        path = shared_dir / journal_name(run, comm.rank)
        with JournalWriter(path, SCHEMA, header) as journal:
            for row in list(rows)[comm.rank::comm.size]:
                status = Status.FAILED if run == 1 and row % 3 == 0 else 1
                journal.append_row(row, {**values(row), 'status': status})
    found = survey_together(comm, shared_dir, SCHEMA, 'd')
    assert (found is None) == (comm.rank > 0)
    if found is not None:
        retries = found.progress(n_records).retries
        assert np.flatnonzero(retries).tolist() == [0, 3, 6, 9]
    source = share_results(comm, shared_dir, found, SCHEMA)
    write_campaign(comm, shared_dir / 'x.h5', SCHEMA, n_records, source,
                   META, {}, parallel)
    assert is_as_expected(comm, shared_dir / 'x.h5', range(n_records),
                          n_records)
    assert load(shared_dir / 'x.h5').complete


class Broken(MemorySource):
    """A source that fails on the last rank in the second round."""

    def __init__(self, comm: Any, rows: Any) -> None:
        super().__init__(SCHEMA, {r: values(r) for r in rows})
        self.left = 2 if comm.rank == comm.size - 1 else -1

    def fetch(self, rows: Any) -> list[bytes]:
        """Fail in time."""
        self.left -= 1
        if self.left == 0:
            raise OSError(5, 'disk on fire')
        return super().fetch(rows)


@pytest.mark.parametrize('parallel', WRITERS)
def test_an_error_of_one_rank_ends_all_and_leaves_nothing(
    comm: Any, shared_dir: Path, parallel: bool,
) -> None:
    source = Broken(comm, range(comm.rank, 20, comm.size))
    with pytest.raises(AgreedExit, match='disk on fire') as caught:
        write_campaign(comm, shared_dir / 'x.h5', SCHEMA, 20, source, META,
                       {}, parallel, round_bytes=2500)
    assert f'[rank {comm.size - 1}]' in str(caught.value)
    comm.Barrier()
    assert not list(shared_dir.iterdir())


@pytest.mark.parametrize('parallel', WRITERS)
def test_a_row_from_two_ranks_is_refused(
    comm: Any, shared_dir: Path, parallel: bool,
) -> None:
    if comm.size == 1:
        pytest.skip('needs two ranks')
    source = MemorySource(SCHEMA, {3: values(3)})
    with pytest.raises(AgreedExit, match='row 3 comes from two ranks'):
        write_campaign(comm, shared_dir / 'x.h5', SCHEMA, 5, source, META,
                       {}, parallel)


@pytest.mark.parametrize('parallel', WRITERS)
def test_a_missing_folder_is_told_by_all_ranks(
    comm: Any, shared_dir: Path, parallel: bool,
) -> None:
    with pytest.raises(AgreedExit, match='no/x.h5'):
        write_campaign(comm, shared_dir / 'no' / 'x.h5', SCHEMA, 0,
                       MemorySource(SCHEMA, {}), META, {}, parallel)


@needs_mpi_io
def test_datasets_larger_than_a_piece_are_written_in_pieces(
    comm: Any, shared_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mpiapp.store import writers
    calls: list[int] = []
    real = writers.put

    def counted(dataset: Any, start: int, data: Any, mode: Any) -> None:
        calls.append(data.nbytes)
        real(dataset, start, data, mode)
    rows = {r: values(r) for r in range(comm.rank, 8, comm.size)}
    # a round holds one row at least, which is above the limit itself
    with monkeypatch.context() as patch:
        patch.setattr(writers, 'put', counted)
        write_campaign(comm, shared_dir / 'x.h5', SCHEMA, 8,
                       MemorySource(SCHEMA, rows), META, {}, True,
                       round_bytes=200)
    # every rank takes part in each write, with or without data
    assert len(set(comm.allgather(len(calls)))) == 1
    assert max(calls) <= 200 + 160  # one entry more than the limit at most
    assert is_as_expected(comm, shared_dir / 'x.h5', range(8), 8)
