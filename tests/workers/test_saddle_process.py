"""The helper process: hangs and crashes cost one sample alone."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions
from mpiapp.records import InputError
from mpiapp.saddle.base import Sample, SearchSettings, Stopped
from mpiapp.workers import saddle_process
from mpiapp.workers.saddle_process import Searcher, environment
from mpiapp.workers.saddle_search import SurfaceChoice

#: a potential that hangs in native code, dies or raises, by element
FAULTY = '''
from ctypes import CDLL, PyDLL
import os, signal
import numpy as np
from mpiapp.potentials.lj import LennardJones, build as plain

class Faulty(LennardJones):
    def evaluate(self, batch):
        first = int(batch.numbers[0])
        if first == 8:
            PyDLL(None).sleep(3600)  # holds the interpreter lock
        if first == 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        if first == 9:
            raise OSError('the disk is full')
        return super().evaluate(batch)

def build(options, structures_sample=()):
    return Faulty()
'''
TRIANGLE = np.array([[0.0, 0, 0], [1.4, 0, 0], [0.7, 1.2, 0.1]])


def sample(first: int) -> Sample:
    return Sample(0, 0, 'x', np.array([first, 6, 6], np.int32), TRIANGLE)


@pytest.fixture
def searcher(tmp_path: Path) -> Iterator[Searcher]:
    path = tmp_path / 'faulty.py'
    path.write_text(FAULTY)
    made = Searcher(SurfaceChoice(PotentialOptions(str(path))))
    yield made
    made.close()


def settings(timeout: float | None = None) -> SearchSettings:
    return SearchSettings('gad', max_steps=2, timeout=timeout)


def test_a_hang_in_native_code_is_given_up(searcher: Searcher) -> None:
    assert searcher.about['name'] == 'lj'
    began = time.perf_counter()
    found = searcher.search(sample(8), settings(0.5))
    assert time.perf_counter() - began < 20
    assert found.reason == 'timeout' and '0.5 s' in found.message
    # and the next sample is searched as if nothing had been
    again = searcher.search(sample(6), settings(30.0))
    assert again.reason not in ('timeout', 'calculator_error')
    assert again.n_calls > 0


def test_settings_that_the_helper_refuses_are_told(
    searcher: Searcher,
) -> None:
    wrong = SearchSettings('gad', {'dt': 0.5, 'dt_max': 0.1}, max_steps=2)
    with pytest.raises(InputError, match='dt must lie between'):
        searcher.search(sample(6), wrong)
    assert searcher.search(sample(6), settings()).n_calls > 0


def test_a_crash_fails_one_sample(searcher: Searcher) -> None:
    found = searcher.search(sample(7), settings())
    assert found.reason == 'calculator_error'
    assert 'crashed, by signal 11' in found.message
    assert searcher.search(sample(6), settings()).n_calls > 0


@pytest.mark.parametrize('number, reason', [
    (signal.SIGKILL, 'calculator_error'), (signal.SIGSTOP, 'timeout')])
def test_a_helper_that_dies_before_its_first_search_fails_one_sample(
    number: signal.Signals, reason: str, searcher: Searcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saddle_process, 'WARM_SECONDS', 0.5)
    assert searcher.about and searcher._process is not None
    os.kill(searcher._process.pid, number)
    assert searcher.search(sample(6), settings()).reason == reason
    monkeypatch.undo()
    assert searcher.search(sample(6), settings()).n_calls > 0


def test_an_unforeseen_error_fails_one_sample(searcher: Searcher) -> None:
    found = searcher.search(sample(9), settings())
    assert found.reason == 'calculator_error'
    assert 'OSError: the disk is full' in found.message
    assert searcher.search(sample(6), settings()).n_calls > 0


def test_a_stop_does_not_wait_for_a_hang(searcher: Searcher) -> None:
    began = time.perf_counter()
    assert searcher.about
    with pytest.raises(Stopped):
        searcher.search(sample(8), settings(), lambda: True)
    assert time.perf_counter() - began < 20


def test_the_helper_gives_what_this_process_gives(tmp_path: Path) -> None:
    choice = SurfaceChoice(PotentialOptions('lj7'))
    here, there = Searcher(choice, helper=False), Searcher(choice)
    start = SearchSettings('multimode', max_steps=20)
    one, other = (s.search(sample(18), start) for s in (here, there))
    there.close()
    assert np.array_equal(one.positions, other.positions)
    assert (one.reason, one.n_calls) == (other.reason, other.n_calls)


def test_a_calculator_that_can_not_be_loaded_is_told(tmp_path: Path) -> None:
    path = tmp_path / 'broken.py'
    path.write_text('import no_such_package\n')
    broken = Searcher(SurfaceChoice(PotentialOptions(str(path))))
    with pytest.raises(InputError, match='no_such_package'):
        broken.about
    with pytest.raises(InputError, match='no function build'):
        path.write_text('x = 1\n')
        Searcher(SurfaceChoice(PotentialOptions(str(path)))).about


def test_a_helper_is_no_rank_and_has_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('OMPI_COMM_WORLD_RANK', '1')
    monkeypatch.setenv('PMIX_RANK', '1')
    env = environment(3)
    assert not any(k.startswith(('OMPI', 'PMI')) for k in env)
    assert env['OMP_NUM_THREADS'] == '3'


@pytest.mark.skipif(sys.platform != 'linux', reason='prctl is of Linux')
def test_a_killed_rank_leaves_no_helper_behind(tmp_path: Path) -> None:
    path = tmp_path / 'faulty.py'
    path.write_text(FAULTY)
    code = (
        'import numpy as np, os\n'
        'from mpiapp.potentials import PotentialOptions\n'
        'from mpiapp.workers.saddle_process import Searcher\n'
        'from mpiapp.workers.saddle_search import SurfaceChoice\n'
        f's = Searcher(SurfaceChoice(PotentialOptions({str(path)!r})))\n'
        's.about\nprint(s._process.pid, flush=True)\n'
        'os.kill(os.getpid(), 9)\n')
    done = subprocess.run([sys.executable, '-c', code], text=True,
                          stdout=subprocess.PIPE, timeout=60)
    helper = int(done.stdout)
    for _ in range(200):
        try:
            state = Path(f'/proc/{helper}/stat').read_text().split()[2]
        except OSError:
            return
        if state == 'Z':
            return
        time.sleep(0.02)
    os.kill(helper, 9)
    raise AssertionError('the helper lives on')
