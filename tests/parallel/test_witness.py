"""The witness of a rank's death, seen from beside."""
from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: the shell needs a moment after the death
PATIENCE_SECONDS = 10

SCRIPT = '''
import os, signal, sys
from pathlib import Path
from mpiapp.parallel.witness import Witness
from mpiapp.parallel.stop import StopWatch
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may be under nohup
StopWatch().__enter__()
witness = Witness('rank 3 of 5')
print(witness._shell.pid, flush=True)
witness.watch(Path(sys.argv[1]))
{act}
os.kill(os.getpid(), signal.SIGKILL)
'''


def lived(act: str, path: Path) -> tuple[str, bool]:
    """Let a process do something and die; what was told, whether noted."""
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT.format(act=act), str(path)],
        text=True, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    shell = Path('/proc') / done.stdout.strip()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while shell.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not shell.exists(), 'the witness outlives its rank'
    return done.stderr, path.exists()


def test_a_death_is_noted_and_told(tmp_path: Path) -> None:
    told, noted = lived('', tmp_path / 'died at work')
    assert noted
    assert 'mpiapp: rank 3 of 5 died at work; what is finished' in told


def test_a_signal_to_all_processes_leaves_the_witness_in_place(
    tmp_path: Path,
) -> None:
    # as Slurm does; the rank itself has not been sent it
    act = ("import time; time.sleep(0.3); "
           "os.kill(witness._shell.pid, signal.SIGUSR1); "
           "os.kill(witness._shell.pid, signal.SIGTERM); time.sleep(0.1)")
    told, noted = lived(act, tmp_path / 'died')
    assert noted


def test_an_error_goes_into_the_note(tmp_path: Path) -> None:
    path = tmp_path / 'died'
    told, noted = lived("witness.tell(ValueError('odd'))", path)
    assert path.read_text() == 'ValueError: odd\n'
    assert 'died at work: ValueError: odd;' in told


@pytest.mark.parametrize('act', [
    'witness.farewell()',
    'witness.close()',
    *(f'os.kill(os.getpid(), signal.{name})' for name in (
        'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU')),
    'os.kill(os.getpid(), signal.SIGUSR1); '
    'witness.watch(Path(sys.argv[1] + "2"))',
])
def test_after_a_farewell_or_a_signal_a_death_is_nobodys_fault(
    act: str, tmp_path: Path,
) -> None:
    assert lived(act, tmp_path / 'died') == ('', False)
    assert not list(tmp_path.iterdir())


def test_a_child_that_holds_the_pipe_does_not_hold_the_end_up(
    tmp_path: Path,
) -> None:
    act = ('from mpiapp.parallel import witness as w; '
           'w.PATIENCE_SECONDS = 0.1; import time; child = os.fork(); '
           'child or time.sleep(60); witness.close(); '
           'os.kill(child, signal.SIGKILL)')
    assert lived(act, tmp_path / 'died') == ('', False)


def test_a_place_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    told, noted = lived('', tmp_path / 'none' / 'died')
    assert not noted
    assert 'died at work' in told
