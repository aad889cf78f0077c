"""The campaign file: layout, content, and nothing half written."""
from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from mpiapp.errors import InputError
from mpiapp.parallel.agree import AgreedExit
from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX, Column, Schema
from mpiapp.store import campaign as module
from mpiapp.store.campaign import write_campaign
from mpiapp.store.digest import content_digest
from mpiapp.store.files import reserve
from mpiapp.store.packing import RowPacker
from mpiapp.store.reader import load
from mpiapp.store.rounds import bytes_by_bin, pieces, plan_rounds
from mpiapp.store.seal import seal
from mpiapp.store.sources import MemorySource

EXOTIC = 'Ärger, "naïve" \u03b1\u2192\u03b2 \U0001f600\n\u65e5\u672c' * 9


def test_every_column_has_its_values_unit_and_dimension(
    write_result: Any, values: Any,
) -> None:
    with h5py.File(write_result(rows=[0, 1, 3, 4, 5])) as file:
        for column in RELAX.columns:
            dataset = file[f'{column.group}/{column.name}']
            assert dataset.attrs['unit'] == column.unit
            assert dataset.attrs['description'] == column.description
            assert dataset.attrs['volatile'] == column.volatile
            assert dataset.chunks is None and dataset.compression is None
            label = column.ragged or 'record'
            assert dataset.dims[0].label == label
            assert dataset.dims[0][0].shape == dataset.shape[:1]
        offsets = file['geometry/atom_offsets'][:]
        for row in (0, 1, 3, 4, 5):
            part = slice(offsets[row], offsets[row + 1])
            made = values(row)
            assert (file['geometry/x_final'][part] == made['x_final']).all()
            assert file['energies/e_total'][row] == made['e_total']
            assert file['records/name'].asstr()[row] == made['name']
        assert offsets[2] == offsets[3]
        assert file['results/status'][2] == 0
        assert np.isnan(file['energies/e_total'][2])


def test_root_and_meta_describe_the_file(write_result: Any) -> None:
    long = {'note': 'ä' * 70000, 'n': 3, 'nothing': None, 'list': [1, 2]}
    meta = {'settings': long, 'potential': 'lj',
            'inputs': [{'path': 'é.sdf', 'sha256': 'ab', 'n_records': 6}]}
    path = write_result(meta=meta)
    with h5py.File(path) as file:
        assert file.attrs['format'] == 'mpiapp campaign'
        assert file.attrs['n_records'] == 6
        assert file['meta'].attrs['potential'] == 'lj'
        settings = file['meta/settings']
        assert settings.attrs['n'] == 3
        assert settings['note'].asstr()[()] == long['note']
        assert file['meta/inputs/path'].asstr()[0] == 'é.sdf'
        assert file['meta/inputs/n_records'][0] == 6
        status = file['results/status'].attrs
        assert status['flag_meanings'].split()[1] == 'converged'
        assert '1 converged' in status['codes']
    assert load(path).meta == meta


@pytest.mark.parametrize('rows, complete', [(range(6), True),
                                            (range(5), False)])
def test_complete_tells_that_nothing_is_pending(
    write_result: Any, rows: Any, complete: bool,
) -> None:
    assert load(write_result(rows=rows)).complete == complete


def test_blank_rows_are_what_the_caller_says(write_result: Any) -> None:
    path = write_result(rows=[1], blank=lambda row: {
        'record': 100 + row, 'status': 6})
    campaign = load(path)
    assert campaign.complete
    assert campaign.table['record'].tolist() == [100, 1, 102, 103, 104, 105]


def test_a_blank_row_with_atoms_is_refused(
    write_result: Any, values: Any,
) -> None:
    with pytest.raises(AgreedExit, match='blank row 0'):
        write_result(rows=[1], blank=values)


@pytest.mark.parametrize('n_records, rows', [
    (0, []), (1, []), (1, [0]), (70000, [69999]),
])
def test_any_number_of_records_works(
    write_result: Any, n_records: int, rows: list[int],
) -> None:
    campaign = load(write_result(n_records=n_records, rows=rows))
    assert len(campaign.table) == campaign.n_records == n_records
    for row in rows:
        assert campaign.table['record'][row] == row


def test_exotic_text_is_cut_to_valid_utf8(write_result: Any) -> None:
    path = write_result(name='t.h5', message=EXOTIC, reason='')
    message = load(path).table['message'][0]
    assert EXOTIC.startswith(message)
    assert 156 < len(message.encode()) <= 160


def test_rounds_of_any_size_give_the_same_content(
    tmp_path: Path, values: Any,
) -> None:
    source = MemorySource(RELAX, {r: values(r) for r in range(0, 40, 3)})
    digests = set()
    for limit in (1, 2000, 30000, 2**26):
        write_campaign(SerialComm(), tmp_path / 'x.h5', RELAX, 40, source,
                       {}, {'limit': limit}, round_bytes=limit)
        digests.add(content_digest(tmp_path / 'x.h5'))
    assert len(digests) == 1


def test_the_plan_covers_all_rows_and_keeps_to_the_limit() -> None:
    packer, n = RowPacker(RELAX), 200
    rng = np.random.default_rng(1)
    lengths = rng.integers(2, 240, (n, len(packer.axes)))
    sizes = bytes_by_bin(packer, np.arange(n), lengths, n)
    limit = 100_000
    for n_writers in (1, 3, 8):
        plan = plan_rounds(sizes, sizes / 2, n, 1, n_writers, limit)
        assert plan[0][0] == 0 and plan[-1][-1] == n
        for cuts, following in zip(plan, [*plan[1:], None], strict=True):
            assert len(cuts) == n_writers + 1 and (np.diff(cuts) >= 0).all()
            assert following is None or following[0] == cuts[-1]
            part = sizes[cuts[0]:cuts[-1]].sum()
            assert part <= limit * n_writers and part / 2 <= limit


def test_bins_of_many_rows_stay_aligned() -> None:
    packer, n = RowPacker(RELAX), 1003
    ones = np.ones((n, len(packer.axes)), int)
    sizes = bytes_by_bin(packer, np.arange(n), ones, n, 10)
    assert len(sizes) == 10
    plan = plan_rounds(sizes, sizes, n, 101, 2, int(sizes.max() * 1.5))
    assert plan[0][0] == 0 and plan[-1][-1] == n
    assert all(len(set(c.tolist())) == 3 for c in plan)


def test_pieces_cover_everything() -> None:
    for n, k in ((0, 3), (2, 5), (10, 3)):
        parts = pieces(n, k)
        assert [i for p in parts for i in range(n)[p]] == list(range(n))
        assert len(parts) == k


def test_the_same_content_has_the_same_digest(write_result: Any) -> None:
    first = content_digest(write_result('a.h5', seconds=1.0))
    assert content_digest(write_result('b.h5', seconds=2.0)) == first
    assert content_digest(write_result('c.h5', steps=3)) != first
    assert content_digest(write_result('d.h5', meta={'a': 1})) != first


def test_a_digest_sees_units_and_single_bits(write_result: Any) -> None:
    path = write_result()
    first = content_digest(path)
    with h5py.File(path, 'r+') as file:
        file['energies/e_total'].attrs['unit'] = 'hartree'
    seal(path, [])
    second = content_digest(path)
    with h5py.File(path, 'r+') as file:
        file['geometry/x_final'][0, 0] += 1e-15
    seal(path, [])
    assert len({first, second, content_digest(path)}) == 3


def test_an_old_file_stays_where_writing_fails(
    write_result: Any, tmp_path: Path,
) -> None:
    path = write_result()
    before = path.read_bytes()

    class Broken(MemorySource):
        def fetch(self, rows: Any) -> list[bytes]:
            raise OSError(5, 'Input/output error')
    source = Broken(RELAX, {0: {}})
    with pytest.raises(AgreedExit, match='Input/output error'):
        write_campaign(SerialComm(), path, RELAX, 1, source, {}, {})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ['x.h5']


def test_too_little_space_is_said_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, 'disk_usage',
                        lambda path: SimpleNamespace(free=1000))
    with pytest.raises(AgreedExit, match='0.0 MB are free'):
        write_campaign(SerialComm(), tmp_path / 'x.h5', RELAX, 0,
                       MemorySource(RELAX, {}), {}, {})
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_is_noticed_before_hdf5_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(module, 'reserve', full)
    with pytest.raises(AgreedExit, match='disk is full.*--resume'):
        write_campaign(SerialComm(), tmp_path / 'x.h5', RELAX, 0,
                       MemorySource(RELAX, {}), {}, {})
    assert not list(tmp_path.iterdir())


def test_reserving_keeps_size_and_content(tmp_path: Path) -> None:
    path = tmp_path / 'sparse'
    with open(path, 'wb') as file:
        file.write(b'head')
        file.truncate(10**6)
    reserve(path)
    content = path.read_bytes()
    assert content == b'head' + b'\0' * (10**6 - 4)


def test_mpi_io_without_mpi_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(AgreedExit) as caught:
        write_campaign(SerialComm(), tmp_path / 'x.h5', RELAX, 0,
                       MemorySource(RELAX, {}), {}, {}, parallel=True)
    assert caught.value.code == 2
    assert isinstance(caught.value.__cause__, InputError)


def test_other_programs_bring_other_columns(tmp_path: Path) -> None:
    schema = Schema((
        Column('ok', 'records', 'b1', '1', ''),
        Column('cell', 'records', 'f4', 'angstrom', '', shape=(3, 3)),
        Column('h', 'matrices', 'f8', 'eV', '', ragged='element'),
        Column('q', 'atoms', 'f8', 'e', '', ragged='atom'),
        Column('spin', 'atoms', 'f8', '1', '', shape=(2,), ragged='atom'),
        Column('z', 'more', 'i2', '1', '', ragged='atom'),
    ))
    rows = {i: {'ok': bool(i), 'cell': np.full((3, 3), i),
                'h': np.arange(i * i), 'q': np.zeros(i),
                'spin': np.ones((i, 2)), 'z': np.arange(i)}
            for i in range(5)}
    path = tmp_path / 'x.h5'
    write_campaign(SerialComm(), path, schema, 5,
                   MemorySource(schema, rows), {}, {}, round_bytes=300)
    campaign = load(path)
    assert campaign.table['ok'].tolist() == [False] + [True] * 4
    assert campaign.complete
    for i in range(5):
        for name in ('h', 'spin', 'z'):
            np.testing.assert_array_equal(
                campaign.ragged(name, i), rows[i][name])
    np.testing.assert_array_equal(campaign.column('cell')[4], 4)


KILLED = '''
import os, signal, sys
from pathlib import Path
from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX
from mpiapp.store.campaign import write_campaign
from mpiapp.store.seal import seal
from mpiapp.store.sources import MemorySource
if sys.argv[2] == 'mpi':
    from mpi4py import MPI
    comm = MPI.COMM_WORLD.Dup()
else:
    comm = SerialComm()

class Killed(MemorySource):
    n = 0
    def fetch(self, rows):
        self.n += 1
        if self.n == 3 and comm.rank == comm.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fetch(rows)

rows = {i: {'status': 1} for i in range(comm.rank, 20, comm.size)}
write_campaign(comm, Path(sys.argv[1]), RELAX, 20, Killed(RELAX, rows), {},
               {}, round_bytes=2000)
'''


def is_open_mpi() -> bool:
    """Tell whether mpirun takes the options used here."""
    if not shutil.which('mpirun'):
        return False
    said = subprocess.run(['mpirun', '--version'], capture_output=True)
    return b'Open MPI' in said.stdout


@pytest.mark.parametrize('launcher', [
    (), ('mpirun', '--allow-run-as-root', '--oversubscribe', '-n', '2')])
def test_a_kill_in_the_middle_leaves_the_old_file_or_none(
    write_result: Any, tmp_path: Path, launcher: tuple[str, ...],
) -> None:
    if launcher and not is_open_mpi():
        pytest.skip('mpirun of Open MPI is not installed')
    if launcher and 'OMPI_COMM_WORLD_SIZE' in os.environ:
        pytest.skip('mpirun does not start inside of mpirun')
    root = Path(module.__file__).parents[2]
    how = 'mpi' if launcher else 'serial'
    old = write_result('old.h5')
    before = old.read_bytes()
    for path in (tmp_path / 'new.h5', old):
        ended = subprocess.run(
            [*launcher, sys.executable, '-c', KILLED, str(path), how],
            env={**os.environ, 'PYTHONPATH': str(root)},
            capture_output=True, timeout=60)
        assert ended.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert not (tmp_path / 'new.h5').exists()
    assert old.read_bytes() == before
    assert load(write_result('new.h5')).complete
