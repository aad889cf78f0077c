"""The place of the results: can all ranks write there, fast enough?"""
from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.checks.table import (
    FAIL, NOTE, Doubt, Finding, Unfit, joined, locally, on_all, on_root
)
from mpiapp.parallel.agree import agree
from mpiapp.store.hdf5 import is_parallel, load_h5py, open_serial
from mpiapp.store.output import check_output
from mpiapp.store.writers import put

#: entries of one write of a rank, float64
BLOCK = 2**17
#: a write that is slower makes journals wait, s
SLOW_SYNC = 0.2


def check_storage(
    comm: Any, result: Path, seconds: float, writer: str,
    goes_on: bool = False,
) -> list[Finding]:
    """Collective: try the folder of `result` as a job would use it.

    The job `goes_on` with results that are there, or replaces them.
    """
    name = 'output folder'
    writable = on_root(comm, name, lambda: folder(result, goes_on))
    if writable.verdict == FAIL:
        return [writable, Finding('HDF5', NOTE, 'not tried')]
    with scratch(comm, result.parent) as path:
        return [
            writable,
            on_all(comm, 'same folder', lambda: shared(path)),
            on_all(comm, 'journals', lambda: journal(path, comm.rank)),
            on_root(comm, 'locks', lambda: locks(path)),
            hdf5(comm, path, seconds, writer),
        ]


def folder(result: Path, goes_on: bool) -> str:
    """Return the folder of the results; it is not made.

    Raises:
        Unfit: results are there, and the job is not to touch them.
    """
    check_output(result, create=False)
    if result.exists() and not goes_on:
        raise Unfit(f'{result} exists: the job needs --resume, --overwrite '
                    'or another name for the output')
    return str(result.parent.absolute())


@contextmanager
def scratch(comm: Any, parent: Path) -> Iterator[Path]:
    """Collective: have a folder for trials, gone at the end with all that
    was made for it."""
    path = parent / f'.preflight-{os.getpid()}'
    path = comm.bcast(path)
    made: list[Path] = []
    with agree(comm, 'making a folder for trials'):
        if comm.rank == 0:
            made = [p for p in (path, *path.parents) if not p.exists()]
            path.mkdir(parents=True)
    try:
        yield path
    finally:
        comm.barrier()
        if comm.rank == 0:
            for file in path.iterdir():
                file.unlink()
            for one in made:
                one.rmdir()


def shared(path: Path) -> str:
    """Check that this rank sees what rank 0 made."""
    if not path.is_dir():
        raise Unfit(f'{path.parent} is not the folder that rank 0 sees: all '
                    'nodes need a shared file system')
    return 'all ranks see it'


def journal(path: Path, rank: int) -> str:
    """Time what makes a result safe: append and fsync."""
    fd = os.open(path / f'journal-{rank}', os.O_WRONLY | os.O_CREAT
                 | os.O_APPEND, 0o666)
    times = []
    try:
        for _ in range(5):
            began = time.perf_counter()
            os.write(fd, b'x' * 4096)
            os.fsync(fd)
            times.append(time.perf_counter() - began)
    finally:
        os.close(fd)
    median = float(np.median(times))
    text = f'a synchronised write takes {1e3 * median:.1f} ms'
    if median > SLOW_SYNC:
        raise Doubt(f'{text}: raise --save-every')
    return text


def locks(path: Path) -> str:
    """Try the lock that keeps two jobs from one campaign."""
    with open(path / 'lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Doubt(f'the file system has none ({error.strerror}): '
                        'nothing stops a second job here') from error
    return 'flock works'


def hdf5(comm: Any, path: Path, seconds: float, writer: str) -> Finding:
    """Collective: write with all ranks for some seconds, read it back."""
    serial = comm.size == 1 and type(comm).__name__ == 'SerialComm'
    parallel = not serial and all(comm.allgather(is_parallel()))
    if writer == 'mpio' and not parallel:
        return Finding('HDF5', FAIL, '--writer mpio needs an h5py that is '
                       'built with MPI')
    if not parallel or writer == 'gather':
        return on_root(comm, 'HDF5', lambda: gathered(path))
    began = time.perf_counter()
    fault, n = '', 0
    try:
        n = collectively(comm, path / 'trial.h5', seconds)
    except Exception as error:
        # all ranks or none raise in collective calls
        fault = str(error)
    wall = time.perf_counter() - began
    if any(comm.allgather(fault)):
        return Finding('HDF5', FAIL, f'collective writing: {fault}; try '
                       '--writer gather, or OMPI_MCA_io=romio321')

    def read_back() -> str:
        mine = slice(comm.rank * BLOCK, (comm.rank + 1) * BLOCK)
        with open_serial(path / 'trial.h5', 'r') as file:
            if not (file['x'][mine] == n - 1 + comm.rank).all():
                raise Unfit('collective writing: other numbers come back')
        rate = n * comm.size * BLOCK * 8 / wall / 1e6
        return (f'h5py {load_h5py().__version__} with MPI-IO: {n} '
                f'collective writes in {wall:.1f} s, {rate:.0f} MB/s, read '
                'back right')
    return joined('HDF5', comm.allgather(locally('HDF5', read_back)))


def collectively(comm: Any, path: Path, seconds: float) -> int:
    """Collective: write blocks until the time is up; returns how many.

    Block n holds n plus the rank, over the one before.
    """
    h5py = load_h5py()
    mode = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    mode.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    began, n = time.perf_counter(), 0
    with h5py.File(path, 'w', driver='mpio', comm=comm) as file:
        data = file.create_dataset('x', (comm.size * BLOCK,), 'f8')
        while comm.bcast(n == 0 or time.perf_counter() - began < seconds):
            put(data.id, comm.rank * BLOCK,
                np.full(BLOCK, float(n + comm.rank)), mode)
            file.flush()
            n += 1
    return n


def gathered(path: Path) -> str:
    """Write as rank 0 does where h5py is serial."""
    with open_serial(path / 'trial.h5', 'w') as file:
        file['x'] = np.arange(BLOCK, dtype=np.float64)
    with open_serial(path / 'trial.h5', 'r') as file:
        if file['x'][-1] != BLOCK - 1:
            raise Unfit('other numbers come back')
    return (f'h5py {load_h5py().__version__}: rank 0 gathers and writes, '
            'read back right')
