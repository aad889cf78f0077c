"""Nothing listens, nothing is unpickled unasked, damage is told."""
from __future__ import annotations

import os
import pickle
import signal
import socket
from pathlib import Path

import h5py
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpiapp.errors import InputError, StoreError
from mpiapp.store.reader import load
from tests.jobs import needs_mpirun, ranks_of, run, run_and

LISTEN = '0A'


def listening(pid: int) -> list[str]:
    """Return the addresses, hex, on which a process listens (TCP)."""
    inodes = set()
    for fd in Path(f'/proc/{pid}/fd').iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if target.startswith('socket:['):
            inodes.add(target[8:-1])
    found = []
    for name in ('tcp', 'tcp6'):
        path = Path(f'/proc/{pid}/net/{name}')
        for row in path.read_text().splitlines()[1:]:
            words = row.split()
            if words[3] == LISTEN and words[9] in inodes:
                found.append(words[1])
    return found


def test_a_listening_socket_would_be_seen() -> None:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        one.listen()
        assert listening(os.getpid())


ENDLESS = ('--calculator', 'lj', '--fmax', '1e-30', '--max-steps', '1000000')


@needs_mpirun
@pytest.mark.parametrize('n', [0, 2])
def test_a_running_job_listens_on_nothing_but_what_its_mpi_opens(
    data_dir: Path, tmp_path: Path, n: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # without the TCP transport of Open MPI what is left would be ours
    monkeypatch.setenv('OMPI_MCA_btl', 'self,vader')
    monkeypatch.setenv('OMPI_MCA_pml', 'ob1')
    found: list[str] = []

    def look(job: int, ranks: list[int]) -> None:
        for pid in ranks or [job]:
            found.extend(listening(pid))
        for pid in ranks or [job]:
            os.kill(pid, signal.SIGUSR1)

    done = run_and(
        look, lambda: list(tmp_path.glob('**/*.jnl')) != []
        and bool(ranks_of(str(tmp_path / 'x'))), 'reopt', '--sdf',
        data_dir / 'dimers/library_sample.sdf', *ENDLESS, '--output-prefix',
        tmp_path / 'x', marker=str(tmp_path / 'x'), n=n)
    assert done.code == 4, done.output
    assert found == []


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('option', ['--sdf', '--smiles-csv', '--config',
                                    '--systems', '--analyse'])
def test_no_user_data_is_unpickled(
    data_dir: Path, tmp_path: Path, option: str,
) -> None:
    trap = tmp_path / 'unpickled'
    suffix = {'--sdf': '.sdf', '--analyse': '.h5'}.get(option, '.txt')
    bomb = tmp_path / f'bomb{suffix}'
    bomb.write_bytes(pickle.dumps(Bomb(trap)))
    words = ['--sdf', data_dir / 'dimers/library_sample.sdf'] \
        if option != '--sdf' else []
    done = run('reopt', *words, option, bomb, '--calculator', 'lj',
               '--output-prefix', tmp_path / 'x', '--max-steps', '1')
    assert done.code in (2, 3), done.output
    assert not trap.exists()


def test_a_resumed_campaign_unpickles_nothing(
    data_dir: Path, tmp_path: Path,
) -> None:
    trap = tmp_path / 'unpickled'
    words = ['--sdf', data_dir / 'dimers/library_sample.sdf',
             '--calculator', 'lj', '--output-prefix', tmp_path / 'x',
             '--max-steps', '1', '--resume']
    assert run('reopt', *words).code in (0, 3)
    folder = tmp_path / 'x.journal'
    (folder / 'run009-rank0000.jnl').write_bytes(pickle.dumps(Bomb(trap)))
    (folder / 'died-run001-rank0000').write_bytes(pickle.dumps(Bomb(trap)))
    done = run('reopt', *words)
    assert done.code in (1, 2), done.output
    assert 'is not a journal of mpiapp' in done.output
    assert not trap.exists()


@pytest.fixture(scope='module')
def result(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory,
) -> bytes:
    """Return the bytes of a result file."""
    out = tmp_path_factory.mktemp('result')
    done = run('reopt', '--sdf', data_dir / 'dimers/moe_et_5.sdf',
               '--calculator', 'lj', '--max-steps', '2', '--output-prefix',
               out / 'x', '--max-failed', '9')
    assert done.code == 0, done.output
    return (out / 'x.h5').read_bytes()


@settings(max_examples=30, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_reader_survives_damaged_files(
    result: bytes, tmp_path: Path, data: st.DataObject,
) -> None:
    """It reads, or says that the file is damaged; nothing else."""
    size = len(result)
    damaged = bytearray(result)
    kind = data.draw(st.sampled_from(['bytes', 'cut', 'zeros']))
    at = data.draw(st.integers(0, size - 1))
    if kind == 'bytes':
        new = data.draw(st.binary(min_size=1, max_size=16))
        damaged[at:at + len(new)] = new[:size - at]
    elif kind == 'zeros':
        damaged[at:at + 512] = bytes(min(512, size - at))
    else:
        del damaged[at:]
    path = tmp_path / 'x.h5'
    path.write_bytes(bytes(damaged))
    try:
        table = load(path).table
        assert len(table) == 5
    except (InputError, StoreError) as error:
        assert str(path) in str(error)


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / 'x.h5', 'w') as file:
        file['y'] = 1
    with pytest.raises((InputError, StoreError)):
        load(tmp_path / 'x.h5')


def test_a_model_that_is_named_is_loaded_with_a_warning_and_its_hash(
    data_dir: Path, tmp_path: Path,
) -> None:
    import hashlib
    model = tmp_path / 'x.model'
    model.write_bytes(b'\x80no model at all')
    done = run('reopt', '--model-path', model, '--dry-run')
    assert done.code == 2, done.output
    assert 'a model file is a Python pickle' in done.output
    assert hashlib.sha256(model.read_bytes()).hexdigest() in done.output
