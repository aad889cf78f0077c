"""The project's own batch scripts on a Slurm: drain, requeue, join."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mpiapp.store.digest import content_digest
from mpiapp.store.reader import load
from tests.jobs import bytes_of_results, ranks_of, run
from tests.slurm.cluster import Cluster

#: under load starting takes most of the time
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / 'jobs').glob('*.sbatch'))
LIMIT_SECONDS = 240
#: what the small nodes of the tests can't give
SMALL = ('--mem-per-cpu=10', '--time=30')
N_RECORDS = 19


def words(files: list[Path]) -> list[str]:
    """Return the options of a campaign of some seconds."""
    return ['--calculator', 'lj', '--optimizer', 'lbfgs', '--max-steps',
            '200', '--max-failed', '9', '--sdf', *map(str, files)]


@dataclass(frozen=True)
class Queue:
    """A folder as a user has it, from which jobs are submitted."""

    cluster: Cluster
    folder: Path
    pmi: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a user's shell."""
        return {**self.cluster.environment,
                'MPIAPP_ENV': str(self.folder / 'activate'),
                'MPIAPP_SRUN': f'--mpi={self.pmi}'}

    def submit(self, script: str, slurm: tuple[str, ...],
               options: list[str], **extra: str) -> int:
        """Submit a script of jobs/; returns the number of the job."""
        done = subprocess.run(
            ['sbatch', '--parsable', *SMALL, *slurm, f'jobs/{script}',
             *options], cwd=self.folder, text=True, capture_output=True,
            env={**self.environment, **extra})
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split(';')[0])

    def wait(self, *, until: Callable[[], bool] | None = None) -> None:
        """Return when no job is left, or when something is true."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            if until is not None:
                if until():
                    return
            elif not self.cluster.call('squeue', '-h').strip():
                return
            time.sleep(0.05)
        raise AssertionError(self.output())

    def output(self) -> str:
        """Return what all jobs printed."""
        return '\n'.join(p.read_text(errors='replace')
                         for p in sorted(self.folder.glob('*.out')))

    def begun(self) -> bool:
        """Tell whether some results are in the journals."""
        return bytes_of_results(self.folder) > 10_000


@pytest.fixture
def queue(
    cluster: Cluster, tmp_path: Path, pmi: str,
) -> Iterator[Queue]:
    """Give a folder with jobs/ and an environment, and an empty queue."""
    (tmp_path / 'jobs').symlink_to(ROOT / 'jobs')
    (tmp_path / 'activate').write_text(
        f'export PATH={Path(sys.executable).parent}:$PATH '
        f'PYTHONPATH={ROOT} OMP_NUM_THREADS=1\n')
    cluster.wait_until_empty()
    yield Queue(cluster, tmp_path, pmi)
    cluster.call('scancel', '--signal=KILL', '--full', '--user',
                 str(os.geteuid()))
    cluster.call('scancel', '--user', str(os.geteuid()))
    cluster.wait_until_empty()


@pytest.fixture(scope='module')
def few(files: list[Path]) -> list[Path]:
    """Return 19 records."""
    return files[:3]


@pytest.fixture(scope='module')
def expected(
    few: list[Path], tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Return the digest of an undisturbed run without Slurm."""
    out = tmp_path_factory.mktemp('expected')
    done = run('reopt', *words(few), '--output-prefix', out / 'x')
    assert done.code == 0, done.output
    return content_digest(out / 'x.h5')


def test_a_warned_job_drains_is_requeued_and_finishes(
    queue: Queue, few: list[Path], expected: str,
) -> None:
    job = queue.submit('cpu_24.sbatch', ('--ntasks=2',), words(few))
    queue.wait(until=queue.begun)
    # what --signal=B:USR1@300 sends, at once
    queue.cluster.call('scancel', '--signal=USR1', '--batch', str(job))
    queue.wait()
    output = queue.output()
    assert 'stopping (SIGUSR1)' in output, output
    assert 'mpiapp.reopt ended with exit code 4' in output
    assert re.search(r'resuming: \d+ of \d+ records are done', output)
    assert 'mpiapp.reopt ended with exit code 0' in output, output
    assert content_digest(queue.folder / 'runs/reopt.h5') == expected


def test_a_job_whose_rank_is_killed_goes_on_by_itself(
    queue: Queue, few: list[Path], expected: str,
) -> None:
    queue.submit('cpu_24.sbatch', ('--ntasks=2',), words(few))
    queue.wait(until=queue.begun)
    os.kill(ranks_of('runs/reopt')[-1], signal.SIGKILL)
    queue.wait()
    output = queue.output()
    assert 'job.sh: requeued' in output, output
    assert 'mpiapp.reopt ended with exit code 0' in output, output
    assert content_digest(queue.folder / 'runs/reopt.h5') == expected
    assert not list(queue.folder.glob('.crashes-*'))


def test_a_cancelled_job_drains_and_is_not_requeued(
    queue: Queue, few: list[Path], expected: str,
) -> None:
    job = queue.submit('cpu_24.sbatch', ('--ntasks=2',), words(few))
    queue.wait(until=queue.begun)
    queue.cluster.call('scancel', str(job))
    queue.wait()
    assert 'requeued' not in queue.output()
    assert 'stopping (SIGTERM)' in queue.output()
    # written, or cut short by KillWait on a busy machine: the same
    result = queue.folder / 'runs/reopt.h5'
    done = run('reopt', *words(few), '--output-prefix',
               result.with_suffix(''), '--resume')
    assert done.code == 0, done.output
    assert content_digest(result) == expected


def test_windows_of_a_job_array_are_joined(
    queue: Queue, few: list[Path],
) -> None:
    first = queue.submit('array.sbatch', ('--ntasks=1', '--array=0-1%2'),
                         words(few), WINDOW='10')
    queue.submit('merge.sbatch', (f'--dependency=afterok:{first}',),
                 ['runs/window', 'runs/all.h5'])
    queue.wait()
    parts = sorted(p.name for p in (queue.folder / 'runs').glob('*.h5'))
    assert parts == ['all.h5', 'window_00000.h5', 'window_00001.h5'], \
        queue.output()
    table = load(queue.folder / 'runs/all.h5').table
    assert len(table) == N_RECORDS
    assert (table['status'] != 6).all()
    alone = run('reopt', *words(few), '--output-prefix',
                queue.folder / 'runs/alone')
    assert alone.code == 0, alone.output
    assert np.array_equal(
        table['e_total'],
        load(queue.folder / 'runs/alone.h5').table['e_total'])


def test_ranks_get_the_cores_of_cpus_per_task_and_as_many_threads(
    queue: Queue, few: list[Path],
) -> None:
    queue.submit('cpu_24.sbatch', ('--ntasks=1', '--cpus-per-task=2'),
                 words(few[:1]))
    queue.wait()
    rows = re.findall(r'^ +0  \S+ +0/1 +(\S+) +(\d+)  cpu$',
                      queue.output(), re.M)
    assert rows and rows[0][1] == '2', queue.output()
    if queue.cluster.binds:
        assert rows[0][0] == '0-1'


def test_wrong_input_ends_the_job_and_is_not_requeued(queue: Queue) -> None:
    queue.submit('cpu_24.sbatch', ('--ntasks=1',),
                 ['--calculator', 'lj', '--sdf', 'none.sdf'])
    queue.wait()
    output = queue.output()
    assert 'ended with exit code 2' in output
    assert 'requeued' not in output


@pytest.mark.slow
def test_the_warning_of_slurm_itself_is_enough(
    queue: Queue, few: list[Path],
) -> None:
    queue.submit('cpu_24.sbatch',
                 ('--ntasks=1', '--time=1', '--signal=B:USR1@20'),
                 [*words(few[:1]), '--fmax', '1e-30', '--max-steps',
                  '1000000'])
    queue.wait(until=lambda: 'requeued' in queue.output())
    assert 'ended with exit code 4' in queue.output()


@pytest.mark.slow
def test_the_end_of_the_time_without_a_warning_drains_too(
    queue: Queue, few: list[Path],
) -> None:
    queue.submit('cpu_24.sbatch',
                 ('--ntasks=1', '--time=1', '--signal=B:CONT@1'),
                 [*words(few[:1]), '--fmax', '1e-30', '--max-steps',
                  '1000000'])
    queue.wait(until=lambda: 'ended with exit code' in queue.output())
    assert 'ended with exit code 4' in queue.output()
    queue.wait()


@pytest.mark.slow
def test_an_interactive_session_ends_by_ctrl_c_and_goes_on_in_the_next(
    queue: Queue, few: list[Path], expected: str,
) -> None:
    line = ['bash', 'jobs/interactive.sh', '--ntasks=2', '--mem-per-cpu=10',
            '--', *words(few)]

    def start() -> subprocess.Popen[str]:
        # a terminal's process group, where Ctrl-C is not ignored
        return subprocess.Popen(
            line, cwd=queue.folder, env=queue.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL) and None)
    first = start()
    queue.wait(until=queue.begun)
    os.killpg(first.pid, signal.SIGINT)
    output, _ = first.communicate(timeout=LIMIT_SECONDS)
    assert first.returncode == 4, output
    assert 'stopping (SIGTERM)' in output
    queue.wait()
    second = start()
    output, _ = second.communicate(timeout=LIMIT_SECONDS)
    assert second.returncode == 0, output
    assert 'resuming' in output
    assert content_digest(
        queue.folder / 'runs/interactive.h5') == expected


@pytest.mark.slow
def test_a_student_is_made_and_proved_in_one_job(queue: Queue) -> None:
    (queue.folder / 'molecules.csv').write_text(
        'name,r_group,screen_group,smiles\nheld,,,CC\nmethanol,,,CO\n'
        'methylamine,,,CN\nwater,,,O\n')
    queue.submit(
        'distill.sbatch', ('--ntasks=2',), ['molecules.csv'],
        TEACHER='gfn2', TOTAL='24', UNSEEN='2', EPOCHS='1',
        TEST_OPTIONS='--proofs errors')
    queue.wait()
    output, out = queue.output(), queue.folder / 'runs/distill'
    ends = re.findall(r'mpiapp.distill (\w+) ended with .* (\d)\n', output)
    assert [name for name, _ in ends] == ['label', 'label', 'train', 'test']
    assert {code for _, code in ends} <= {'0', '3'}, output
    labels = load(out / 'labels.h5')
    assert labels.complete and labels.n_records == 24
    assert not any('held' in name for name in labels.table.molecule)
    report = json.loads((out / 'report.json').read_text())
    assert [part['n'] for part in report['errors']
            if part['subset'] == 'all'] == [2]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda p: p.name)
def test_slurm_takes_every_script(queue: Queue, script: Path) -> None:
    """The directives are known and the scripts are sound bash."""
    subprocess.run(['bash', '-n', str(script)], check=True)
    cut = ['--gpus-per-node=0'] if '--gpus-per-node' in script.read_text() \
        else []
    tasks = ['--ntasks-per-node=1'] if 'ntasks-per-node' in \
        script.read_text() else ['--ntasks=1']
    done = subprocess.run(
        ['sbatch', '--test-only', *SMALL, '--nodes=1', '--cpus-per-task=1',
         *tasks, *cut, str(script)], text=True, capture_output=True,
        env=queue.cluster.environment)
    assert done.returncode == 0, done.stderr
