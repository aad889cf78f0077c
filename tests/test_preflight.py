"""Preflight as its user calls it: in place of the job."""
from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mpiapp import preflight
from mpiapp.checks import computing
from mpiapp.checks.table import FAIL
from mpiapp.locks import take_lock
from mpiapp.parallel.serial import SerialComm
from tests.jobs import needs_mpirun, run


def words(data_dir: Path, tmp_path: Path, *more: object) -> list[object]:
    return ['--sdf', data_dir / 'dimers/library_sample.sdf',
            '--output-dir', tmp_path / 'runs', '--write-seconds', '0.2',
            *more]


@needs_mpirun
def test_a_job_that_would_run_is_told_so_and_nothing_is_left(
    data_dir: Path, tmp_path: Path,
) -> None:
    report = tmp_path / 'report.json'
    done = run('preflight', *words(data_dir, tmp_path, '--calculator', 'lj',
                                   '--json', report), n=2)
    assert done.code == 0, done.output
    assert 'exit code 0: the job would run' in done.output
    assert 'MPI ranks      2 on 1 node(s)' in done.output
    assert 'FAIL' not in done.output
    assert '\033' not in done.output
    data = json.loads(report.read_text())
    assert data['fit'] and len(data['ranks']) == 2
    names = [f['name'] for f in data['findings']]
    assert {'MPI library', 'HDF5', 'lj', 'input', 'time'} <= set(names)
    assert [p.name for p in tmp_path.iterdir()] == ['report.json']


def test_records_that_would_be_refused_are_a_warning(
    data_dir: Path, tmp_path: Path,
) -> None:
    some = data_dir / 'bad_inputs/good_bad_good_bad.sdf'
    for most, verdict in ((0, 'warn '), (9, 'ok   ')):
        done = run('preflight', *words(
            data_dir, tmp_path, '--calculator', 'lj', '--max-failed', most,
            '--sdf', some))
        assert done.code == 0, done.output
        line, = (line for line in done.output.splitlines()
                 if line[6:].startswith('records'))
        assert line.startswith(verdict) and 'are refused: ' in line
        assert ('exit code 3' in line) == (verdict == 'warn ')


@needs_mpirun
def test_a_missing_input_is_the_only_fault_and_exit_code_2(
    data_dir: Path, tmp_path: Path,
) -> None:
    done = run('preflight', '--sdf', tmp_path / 'none.sdf', '--calculator',
               'lj', '--write-seconds', '0.1', '--output-dir', tmp_path, n=2)
    assert done.code == 2, done.output
    failed = [line for line in done.output.splitlines() if 'FAIL ' in line]
    assert len(failed) == 1 and 'none.sdf' in failed[0]
    assert 'exit code 2: the job would not run' in done.output


@pytest.mark.parametrize('more, fault', [
    (('--model-path', '/none.model'), '/none.model'),
    (('--output-dir', '/proc'), 'cannot be written'),
    (('--start-index', '99'), 'the input has 4 records'),
    (('--smiles-csv', '/none.csv'), '/none.csv'),
    (('--calculator', 'pbe/no-such-basis'), 'no-such-basis'),
    (('--json', '/proc/none/x.json'), '/proc/none cannot be written'),
    (('--json', '/'), '--json /: it is a folder'),
])
def test_what_stops_the_job_is_found(
    data_dir: Path, tmp_path: Path, more: tuple[str, ...],
    fault: str,
) -> None:
    extra = () if '--model-path' in more or '--calculator' in more \
        else ('--calculator', 'lj')
    done = run('preflight', *words(data_dir, tmp_path, *more, *extra))
    assert done.code == 2, done.output
    assert fault in done.output
    assert 'Traceback' not in done.output


def test_results_that_are_there_stop_preflight_as_they_stop_the_job(
    data_dir: Path, tmp_path: Path,
) -> None:
    job = ['--sdf', data_dir / 'dimers/library_sample.sdf', '--calculator',
           'lj', '--output-prefix', tmp_path / 'x', '--max-steps', '1']
    assert run('reopt', *job).code == 0
    quick = (*job, '--write-seconds', '0')
    for more, code, words in (
        ((), 2, 'x.h5 exists: the job needs --resume, --overwrite'),
        (('--resume',), 0, 'the job would run'),
        (('--overwrite',), 0, 'the job would run'),
        (('--resume', '--fmax', '0.5'), 2, 'was started differently'),
    ):
        said = run('preflight', *quick, *more)
        assert said.code == code, said.output
        assert words in said.output
        assert ('the job needs' in said.output) == (not more)
        dry = run('reopt', *job, *more, '--dry-run')
        assert dry.code == code, dry.output


def test_a_campaign_that_another_job_works_on_is_refused(
    data_dir: Path, tmp_path: Path,
) -> None:
    lock = tmp_path / 'runs' / 'x.journal' / 'lock'
    lock.parent.mkdir(parents=True)
    held = take_lock(lock, tmp_path)
    owner = lock.read_bytes()
    said = run('preflight', *words(data_dir, tmp_path, '--calculator', 'lj'),
               '--output-prefix', 'x', '--resume')
    assert said.code == 2, said.output
    assert f'another job works on {lock.parent}: pid' in said.output
    assert lock.read_bytes() == owner
    os.close(held)


def test_a_method_that_fails_on_the_conformers_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        def evaluate(self, batch: Any) -> Any:
            raise RuntimeError('CUDA out of memory')
    one = SimpleNamespace(numbers=(1,), positions=np.zeros((1, 3)), charge=0,
                          unpaired=0)
    monkeypatch.setattr(computing, 'probes', lambda found: [one])
    world: Any = SimpleNamespace(comm=SerialComm())
    options: Any = SimpleNamespace(time_limit='')
    found: Any = object()
    told = preflight.check_time(world, options, found, cast(Any, Full()))
    assert told.verdict == FAIL and 'CUDA out of memory' in told.text


def test_wrong_options_are_refused_before_anything_starts() -> None:
    for words in (('--no-such-option',), ('--analyse', 'x.h5')):
        done = run('preflight', *words)
        assert done.code == 2
        assert words[0] in done.output
        assert 'MPI ranks' not in done.output


@pytest.mark.slow
@needs_mpirun
def test_the_bundled_model_passes(data_dir: Path, tmp_path: Path) -> None:
    done = run('preflight', *words(data_dir, tmp_path, '--model', 'student'),
               n=2)
    assert done.code == 0, done.output
    found = re.search(r'mace:student, float64: methane (-[0-9.]+) eV',
                      done.output)
    # GFN2's, by tblite alone
    assert found and float(found[1]) == pytest.approx(-113.609, abs=0.05)
