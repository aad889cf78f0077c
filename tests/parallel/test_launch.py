"""Ends of a job: no rank hangs, the exit code tells what happened."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import environment, needs_mpirun

#: a job that takes longer hangs
LIMIT_SECONDS = 120

SCRIPT = """
import os, sys
from mpiapp.errors import InputError
from mpiapp.parallel.agree import agree
from mpiapp.parallel.launch import Resources, launch

def main(world):
    comm, last = world.comm, world.comm.rank == world.comm.size - 1
    case = sys.argv[1]
    if case == 'done':
        return 0
    if case == 'code':
        return 4
    if last and case == 'raises':
        raise ValueError('broken heart')
    if last and case == 'exits':
        sys.exit(7)
    if last and case == 'killed':
        os.kill(os.getpid(), 9)
    if last and case == 'thread':
        import threading
        threading.Thread(target=lambda: 1 / 0).start()
    with agree(comm, 'the test'):
        if last and case == 'input':
            raise InputError('no such thing')
        if last and case == 'agreed':
            raise ValueError('agreed trouble')
    comm.Barrier()
    import time
    time.sleep(600 if case == 'thread' else 0)
    return 0

log = sys.argv[2] if len(sys.argv) > 2 else ''
sys.exit(launch(main, Resources(log_file=log)))
"""


def run(
    tmp_path: Path, case: str, n: int, *more: str,
) -> tuple[int, str]:
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), case, *more]
    if n > 1:
        command = ['mpirun', '-n', str(n), *command]
    done = subprocess.run(command, capture_output=True, text=True,
                          timeout=LIMIT_SECONDS, env=environment())
    return done.returncode, done.stdout + done.stderr


@needs_mpirun
@pytest.mark.parametrize('n', [1, 2])
@pytest.mark.parametrize('case, code, text', [
    ('done', 0, ''),
    ('code', 4, ''),
    ('raises', 1, 'broken heart'),
    ('exits', 7, 'exit code 7'),
    ('thread', 1, 'ZeroDivisionError'),
    ('input', 2, 'error: no such thing'),
    ('agreed', 1, 'agreed trouble'),
])
def test_the_job_ends_with_its_code(
    tmp_path: Path, case: str, code: int, text: str, n: int,
) -> None:
    returned, output = run(tmp_path, case, n)
    assert returned == code, output
    assert text in output


@needs_mpirun
def test_a_killed_rank_ends_the_job(tmp_path: Path) -> None:
    returned, _ = run(tmp_path, 'killed', 2)
    assert returned != 0


@needs_mpirun
def test_an_input_error_is_said_once(tmp_path: Path) -> None:
    _, output = run(tmp_path, 'input', 2)
    assert output.count('no such thing') == 1
    assert 'Traceback' not in output


@needs_mpirun
def test_a_log_file_that_one_rank_cannot_open_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / 'log.1').mkdir()
    returned, output = run(tmp_path, 'done', 2, str(tmp_path / 'log'))
    assert returned == 2
    assert '--log-file' in output and 'Traceback' not in output


def test_a_log_file_that_cannot_be_written_is_given_up(
    tmp_path: Path,
) -> None:
    script = """
import logging, sys
from mpiapp.parallel.launch import Resources, launch
def main(world):
    for i in range(3):
        logging.getLogger('mpiapp').info('line %d', i)
    return 0
sys.exit(launch(main, Resources(log_file='/dev/full')))
"""
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True,
        timeout=LIMIT_SECONDS, env=environment())
    assert done.returncode == 0
    assert done.stderr.count('--log-file /dev/full cannot be written') == 1
    assert 'Traceback' not in done.stderr


def test_a_signal_during_the_start_is_noted(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from mpiapp.parallel import launch
enter = launch._start_mpi
def slow():
    os.kill(os.getpid(), signal.SIGUSR1)
    return enter()
launch._start_mpi = slow
sys.exit(launch.launch(lambda world: world.watch.check() + 40,
                       launch.Resources()))
"""
    done = subprocess.run([sys.executable, '-c', script],
                          timeout=LIMIT_SECONDS, env=environment())
    assert done.returncode == 42


@needs_mpirun
def test_a_script_that_starts_twice_gets_the_same_places(
    tmp_path: Path,
) -> None:
    script = tmp_path / 'twice.py'
    script.write_text("""
import sys
from mpiapp.parallel.launch import Resources, launch
places = []
def main(world):
    places.append(world.placements)
    assert [p.device for p in world.placements] == ['cuda:0', 'cuda:1']
    return 0
codes = [launch(main, Resources(device='cuda')) for _ in range(2)]
sys.exit(codes != [0, 0] or places[0] != places[1])
""")
    done = subprocess.run(
        ['mpirun', '-n', '2', sys.executable, str(script)], text=True,
        capture_output=True, timeout=LIMIT_SECONDS,
        env=environment(CUDA_VISIBLE_DEVICES='0,1'))
    assert done.returncode == 0, done.stdout + done.stderr
