"""The benchmark of two stages, on the smallest of its molecules."""
import json

import pytest

from mpiapp.benchmarks import optimisers
from mpiapp.benchmarks.two_stages import DONE, USAGE, Row, line, main

# of TorchScript, which e3nn is made of
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]


def test_it_counts_both_stages_and_compares_the_ends(
    tmp_path, capsys, monkeypatch,
):
    monkeypatch.setattr(optimisers, 'SMALL', {'ethanol': 'CCO'})
    path = tmp_path / 'result.json'
    assert main(['--json', str(path)]) == DONE
    case, = json.loads(path.read_text())['cases']
    assert case['outcome'] == 'converged, converged'
    assert case['float32'] > 0 and case['float64'] > 0
    # the place of the change is evaluated by both
    assert case['float32'] + case['float64'] <= case['alone'] + 4
    assert abs(case['energy_difference']) < 1.0
    assert 0 < case['force_error'] < 1e-3
    assert 'ethanol' in capsys.readouterr().out


def test_a_missing_file_is_wrong_usage(capsys):
    assert main(['--sdf', 'nowhere.sdf']) == USAGE
    assert 'nowhere.sdf' in capsys.readouterr().err


def test_what_did_not_converge_is_said():
    row = Row('a', 9, 9, 9, 9, 0.5, 0.0, 0.0, 0.0, 0.0,
              'converged, step_limit')
    assert 'step_limit' in line(row)
