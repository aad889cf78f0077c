"""A Slurm of three small nodes for the tests, started once."""
from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing_programs

N_NODES = 3
#: the whole input has 76 records, some seconds of work for two ranks
N_COPIES = 8
LIBRARY_SECONDS = 60


@pytest.fixture(scope='session')
def cluster() -> Iterator[Cluster]:
    """Give a running Slurm; skip where there can be none."""
    missing = missing_programs()
    if missing:
        pytest.skip(f'not installed: {", ".join(missing)}')
    # Sockets have paths below 108 bytes, which pytest's folders may exceed.
    folder = Path(tempfile.mkdtemp(prefix='slurm-', dir='/tmp'))
    slurm = Cluster(folder, N_NODES)
    try:
        slurm.start()
    except (OSError, RuntimeError) as error:
        slurm.stop_daemons()
        shutil.rmtree(folder)
        pytest.skip(f'Slurm does not start here: {error}')
    yield slurm
    slurm.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope='session')
def pmi() -> str:
    """Return the kind of srun's start that this MPI understands."""
    script = 'from mpi4py import MPI; print(MPI.Get_library_version())'
    text = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True,
        check=True, timeout=LIBRARY_SECONDS).stdout
    return 'pmix' if 'Open MPI' in text else 'pmi2'


@pytest.fixture(scope='session')
def files(data_dir: Path) -> list[Path]:
    """Return the input: 19 real records, four times."""
    names = ('library_sample.sdf', 'moe_binaph_H_10.sdf', 'moe_et_5.sdf')
    return [data_dir / 'dimers' / name for name in names] * N_COPIES
