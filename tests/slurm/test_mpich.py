"""MPICH under Slurm: srun with PMI-2, and its own launcher in a job.

In an environment of its own, made here: PyPI's MPICH, mpi4py, h5py.
"""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mpiapp.store.digest import content_digest
from tests.jobs import python_with, run
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 240


@pytest.fixture(scope='module')
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return python_with('mpich', tmp_path_factory.mktemp('mpich'))


def words(files: list[Path], out: Path) -> list[str]:
    return ['-m', 'mpiapp.reopt', '--calculator', 'lj', '--max-steps', '60',
            '--max-failed', '9', '--sdf', *map(str, files[:3]),
            '--output-prefix', str(out / 'x')]


@pytest.fixture(scope='module')
def reference(
    files: list[Path], tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Return the digest of a run without Slurm and MPICH."""
    out = tmp_path_factory.mktemp('reference')
    done = run('reopt', *words(files, out)[2:])
    assert done.code == 0, done.output
    return content_digest(out / 'x.h5')


def call(cluster: Cluster, line: list[str]) -> str:
    done = subprocess.run(
        line, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS,
        env={**cluster.environment, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_srun_starts_mpich_by_pmi2(
    cluster: Cluster, python: Path, files: list[Path], reference: str,
    tmp_path: Path,
) -> None:
    output = call(cluster, ['srun', '--mpi=pmi2', '-n2', str(python),
                            *words(files, tmp_path)])
    assert 'on 2 rank(s)' in output
    assert content_digest(tmp_path / 'x.h5') == reference


def test_a_job_may_use_the_launcher_of_mpich_on_two_nodes(
    cluster: Cluster, python: Path, files: list[Path], reference: str,
    tmp_path: Path,
) -> None:
    if not cluster.nodes_differ:
        pytest.skip('nodes of their own need root')
    script = tmp_path / 'job.sh'
    # its proxies are started by srun: not as ranks of PMIx, the default here
    script.write_text(
        '#!/bin/bash\nexport SLURM_MPI_TYPE=none\n'
        f'{python.parent}/mpiexec -n 3 -ppn 2 {python} '
        f'{" ".join(words(files, tmp_path))}\n')
    call(cluster, ['sbatch', '--wait', '-N2', '-n3', f'-o{script}.out',
                   str(script)])
    output = Path(f'{script}.out').read_text()
    for place in ('n1                0/2', 'n2                0/1'):
        assert place in output, output
    assert content_digest(tmp_path / 'x.h5') == reference
