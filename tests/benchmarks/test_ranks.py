"""One rank against two: the jobs, their comparison and their failure."""
import json
import sys

import pytest

from mpiapp import bench
from mpiapp.benchmarks import ranks
from tests.jobs import needs_mpirun

XYZ = """3

Ar 0 0 0
Ar 3.5 0 0
Ar 0 3.9 0
"""


@pytest.fixture
def ensemble(tmp_path):
    path = tmp_path / 'argon.xyz'
    path.write_text(6 * XYZ)
    return path


@needs_mpirun
def test_two_ranks_give_the_same_bytes(ensemble, tmp_path, capsys):
    out = tmp_path / 'out.json'
    code = bench.main(['ranks', '--rounds', '1', '--calculator', 'lj',
                       '--sdf', str(ensemble), '--json', str(out)])
    found = json.loads(out.read_text())
    assert code == 0, capsys.readouterr()
    assert found['equal']
    assert [run['ranks'] for run in found['runs']] == [1, 2]
    one, two = found['runs']
    assert found['ratios'] == {'2': [pytest.approx(
        two['wall_s'] / one['wall_s'])] * 3}
    assert len(two['work_s']) == 2
    assert 'results equal' in capsys.readouterr().out


def test_results_that_differ_are_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(ranks, 'job', lambda options, n, prefix: {
        'ranks': n, 'wall_s': 4.0 / n, 'command_s': 6.0 / n, 'load': 0.0,
        'idle_s': [0.0], 'work_s': [0.0], 'digest': str(n)})
    assert bench.main(['ranks', '--rounds', '2']) == 1
    assert '0.500 (0.500-0.500) of the time of one, results DIFFER' in \
        capsys.readouterr().out


@needs_mpirun
def test_more_ranks_than_cores_give_the_same_bytes(
    ensemble, tmp_path, capsys,
):
    out = tmp_path / 'out.json'
    code = bench.main(['ranks', '--ranks', '1', '4', '8', '--rounds', '1',
                       '--calculator', 'lj', '--sdf', str(ensemble),
                       '--json', str(out)])
    said = capsys.readouterr()
    assert code == 0, said
    found = json.loads(out.read_text())
    assert [run['ranks'] for run in found['runs']] == [1, 4, 8]
    assert found['equal'] and set(found['ratios']) == {'4', '8'}
    assert '8 ranks take' in said.out


def test_a_job_that_fails_shows_its_output(monkeypatch, capsys):
    monkeypatch.setattr(ranks, 'command', lambda *args: [
        sys.executable, '-c', 'print("no such file"); raise SystemExit(2)'])
    assert bench.main(['ranks', '--rounds', '1']) == 2
    err = capsys.readouterr().err
    assert 'exit code 2' in err and 'no such file' in err


def test_an_absent_launcher_is_said(monkeypatch, capsys):
    monkeypatch.setattr(ranks, 'command', lambda *args: ['no-such-mpirun'])
    assert bench.main(['ranks', '--rounds', '1']) == 2
    assert 'there is no mpirun' in capsys.readouterr().err


@pytest.mark.parametrize('words', [
    ['--rounds', '0'], ['--ranks', '1'], ['--ranks', '2', '0']])
def test_wrong_numbers_are_refused(words, capsys):
    assert bench.main(['ranks', *words]) == 2
    assert 'must be at least' in capsys.readouterr().err
