"""The main job as a step of Slurm: places, exit codes, ends, resuming."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import pytest

from mpiapp.records import Status
from mpiapp.store.digest import content_digest
from tests.jobs import Ended, bytes_of_results, ranks_of, run
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

#: a step that takes longer hangs; seen: 3-8
LIMIT_SECONDS = 180
#: Slurm looks at its jobs every 30 s, and so warns up to 30 s too early:
#: with a limit of 60 s, 10 to 40 s after the start
WARNING = '--signal=USR1@20'
WARNED_SECONDS = 90
#: two nodes of two ranks each have, without asking rank 0 for more, a first
#: record a rank and two ranges of two records
MOST_WITHOUT_ASKING = 12
#: a program that asks for a GPU and does nothing
ON_A_GPU = '''import sys
from mpiapp.parallel.launch import Resources, launch
sys.exit(launch(lambda world: 0, Resources(device='cuda')))'''
#: relaxed until they are stopped: no force is that small
ENDLESS = ('--fmax', '1e-30', '--max-steps', '1000000')


def words(files: Sequence[Path], out: Path, *more: object) -> list[object]:
    """Return the options of a run of some seconds."""
    return ['--calculator', 'lj', '--sdf', *files, '--output-dir', out,
            '--output-prefix', 'x', '--max-steps', '60', '--max-failed',
            '9', *more]


@dataclass(frozen=True)
class Srun:
    """Steps of reopt; a call runs one to its end."""

    cluster: Cluster
    pmi: str

    def line(self, n: int, nodes: int, *words: object) -> list[str]:
        """Return the command line of n ranks on some nodes."""
        if nodes > 1 and not self.cluster.nodes_differ:
            pytest.skip('nodes of their own need root')
        # PMI-2 does not tell the ranks of a step that one was killed.
        ends = ['--kill-on-bad-exit=1'] if self.pmi == 'pmi2' else []
        return ['srun', f'--mpi={self.pmi}', f'-N{nodes}', f'-n{n}', *ends,
                *self.program(*words)]

    @staticmethod
    def program(*words: object) -> list[str]:
        """Return the command line of one process."""
        return [sys.executable, '-m', 'mpiapp.reopt', *map(str, words)]

    def start(
        self, line: Sequence[str], **extra: str,
    ) -> subprocess.Popen[str]:
        """Start a command as a user of the cluster does."""
        return subprocess.Popen(
            line, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**self.cluster.environment, **extra})

    def __call__(self, n: int, nodes: int, *words: object) -> Ended:
        return ended(self.start(self.line(n, nodes, *words)), LIMIT_SECONDS)


def ended(job: subprocess.Popen[str], seconds: float) -> Ended:
    """Wait for a step."""
    try:
        output, _ = job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        job.kill()
        raise
    return Ended(job.returncode, output)


@pytest.fixture
def srun(cluster: Cluster, pmi: str) -> Srun:
    return Srun(cluster, pmi)


@pytest.fixture(scope='session')
def reference(
    files: list[Path], tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Return the digest of an undisturbed run without Slurm."""
    out = tmp_path_factory.mktemp('reference')
    done = run('reopt', *words(files, out))
    assert done.code == 0, done.output
    return content_digest(out / 'x.h5')


def seats(output: str) -> list[str]:
    """Return host and local rank of each rank from the binding table."""
    rows = re.findall(r'^ +\d+  (\S+) +(\d/\d)  ', output, re.M)
    return [' '.join(row) for row in rows]


@pytest.mark.parametrize('uuid, code', [
    ('GPU-0', 2), ('GPU-$SLURM_LOCALID', 0)])
def test_ranks_that_see_one_gpu_may_have_one_each(
    uuid: str, code: int, srun: Srun, tmp_path: Path,
) -> None:
    """As --gpus-per-node=1 and --gpus-per-task=1 under cgroups look."""
    driver = tmp_path / 'nvidia-smi'
    driver.write_text(f'#!/bin/sh\necho "GPU 0: X (UUID: {uuid})"\n')
    driver.chmod(0o755)
    line = [*srun.line(2, 1)[:-2], '-c', ON_A_GPU]
    done = ended(srun.start(
        line, CUDA_VISIBLE_DEVICES='0',
        PATH=f'{tmp_path}:{srun.cluster.environment["PATH"]}'),
        LIMIT_SECONDS)
    assert done.code == code, done.output
    assert ('2 ranks on' in done.output
            and '--ranks-per-gpu 2' in done.output) == (code == 2)


@pytest.mark.parametrize('n, nodes, expected', [
    (2, 1, ['0/2', '1/2']),
    (3, 2, ['n1 0/2', 'n1 1/2', 'n2 0/1']),
])
def test_ranks_know_their_place_and_the_result_is_the_same(
    srun: Srun, files: list[Path], reference: str, tmp_path: Path, n: int,
    nodes: int, expected: list[str],
) -> None:
    done = srun(n, nodes, *words(files, tmp_path))
    assert done.code == 0, done.output
    found = seats(done.output)
    assert [s[-len(e):] for s, e in zip(found, expected,
                                        strict=True)] == expected
    assert content_digest(tmp_path / 'x.h5') == reference


def test_three_nodes_share_the_work_and_ranks_have_their_own_cores(
    srun: Srun, files: list[Path], reference: str, tmp_path: Path,
) -> None:
    done = srun(6, 3, *words(files, tmp_path))
    assert done.code == 0, done.output
    assert seats(done.output) == [
        'n1 0/2', 'n1 1/2', 'n2 0/2', 'n2 1/2', 'n3 0/2', 'n3 1/2']
    with h5py.File(tmp_path / 'x.h5') as file:
        n_records = file['timeline'].attrs['records']
        cpus = json.loads(file['timeline'].attrs['cpus'])
    assert n_records[2:].sum() > MOST_WITHOUT_ASKING
    for i in (0, 2, 4):
        assert cpus[i] != cpus[i + 1] or not srun.cluster.binds
    assert content_digest(tmp_path / 'x.h5') == reference


@pytest.mark.parametrize('code, more', [
    (2, ['--no-such-option']),
    (2, ['--sdf', '/no/such/file.sdf']),
    (3, ['--max-failed', '0', '--strict', '--max-steps', '1']),
])
def test_the_exit_code_of_the_ranks_is_that_of_srun(
    srun: Srun, files: list[Path], tmp_path: Path, code: int,
    more: list[str],
) -> None:
    done = srun(3, 2, *words(files[:1], tmp_path, *more))
    assert done.code == code, done.output
    assert 'Traceback' not in done.output


def begun(out: Path) -> bool:
    """Tell whether the journals hold some results."""
    return bytes_of_results(out) > 60_000


def run_and(
    act: Callable[[int], object], srun: Srun, line: list[str], out: Path,
) -> Ended:
    """Start a step, do something to its job once it has results."""
    job = srun.start(line)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not begun(out) and job.poll() is None:
        assert time.monotonic() < deadline, 'the work never began'
        time.sleep(0.01)
    assert job.poll() is None, job.communicate()[0]
    act(int(srun.cluster.call('squeue', '-h', '-o', '%i')))
    return ended(job, LIMIT_SECONDS)


def resumed(
    srun: Srun, files: list[Path], out: Path, n: int, nodes: int,
) -> str:
    """Resume; returns the digest of the result."""
    srun.cluster.wait_until_empty()
    done = srun(n, nodes, *words(files, out, '--resume'))
    assert done.code == 0, done.output
    return content_digest(out / 'x.h5')


@pytest.mark.parametrize('options, reason, n', [
    (['--signal=USR1'], 'SIGUSR1', 3), ([], 'SIGTERM', 2)])
def test_scancel_drains_and_the_rest_can_be_done_on_other_nodes(
    srun: Srun, files: list[Path], reference: str, tmp_path: Path,
    options: list[str], reason: str, n: int,
) -> None:
    def cancel(job: int) -> None:
        srun.cluster.call('scancel', *options, str(job))

    line = srun.line(4, 2, *words(files, tmp_path))
    done = run_and(cancel, srun, line, tmp_path)
    assert done.code == 4, done.output
    assert reason in done.output
    with h5py.File(tmp_path / 'x.h5') as file:
        status = file['results/status'][:]
    assert (status == Status.PENDING).any() and (status > 0).any()
    assert resumed(srun, files, tmp_path, n, n - 1) == reference


def test_a_killed_rank_ends_the_step_and_loses_nothing(
    srun: Srun, files: list[Path], reference: str, tmp_path: Path,
) -> None:
    def kill(job: int) -> None:
        os.kill(ranks_of(str(tmp_path))[-1], signal.SIGKILL)

    line = srun.line(4, 2, *words(files, tmp_path))
    done = run_and(kill, srun, line, tmp_path)
    assert done.code not in (0, 4), done.output
    srun.cluster.wait_until_empty()
    assert ranks_of(str(tmp_path)) == []
    assert resumed(srun, files, tmp_path, 1, 1) == reference


def test_the_warning_before_the_time_limit_drains(
    srun: Srun, files: list[Path], tmp_path: Path,
) -> None:
    line = srun.line(1, 1, *words(files[:1], tmp_path, *ENDLESS))
    line[1:1] = ['--time=1', WARNING]
    done = ended(srun.start(line), WARNED_SECONDS)
    assert done.code == 4, done.output
    assert 'SIGUSR1' in done.output


def test_a_batch_script_may_use_mpirun_or_one_plain_process(
    srun: Srun, files: list[Path], tmp_path: Path,
) -> None:
    if srun.pmi != 'pmix' or not srun.cluster.nodes_differ:
        pytest.skip('for Open MPI on nodes of their own')
    script = tmp_path / 'job.sh'
    plain = ' '.join(srun.program(*words(files[:1], tmp_path)))
    script.write_text(f'#!/bin/bash\nset -e\nmpirun -n 3 {plain}\n'
                      f'{plain} --overwrite\n')
    batch = srun.start(['sbatch', '--wait', '-N2', '-n3', f'-o{script}.out',
                        str(script)])
    done = ended(batch, LIMIT_SECONDS)
    output = Path(f'{script}.out').read_text()
    assert done.code == 0, output
    for part in ('n1                0/2', 'n2                0/1',
                 'n1                0/1', 'on 3 rank(s)', 'on 1 rank(s)'):
        assert part in output
