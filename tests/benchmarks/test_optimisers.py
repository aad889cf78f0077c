"""The benchmark of the optimisers, on the fastest potential."""
import json

import pytest

from mpiapp.benchmarks.optimisers import (
    USAGE, Row, main, numbers_of, small_molecules, summary
)

SAME_PATH = 1e-6  # meV; both walk the same path, only rounding differs


@pytest.fixture
def measured(tmp_path, capsys):
    """Run the command with words and return what it wrote and printed."""
    def run(*words):
        path = tmp_path / 'result.json'
        code = main(['--calculator', 'lj', '--json', str(path), *words])
        assert code == 0
        return json.loads(path.read_text()), capsys.readouterr().out
    return run


def test_our_lbfgs_needs_what_ase_needs(measured):
    result, text = measured('--optimizer', 'lbfgs')
    assert len(result['cases']) == len(list(small_molecules()))
    for case in result['cases']:
        assert case['ase'] == case['ours'] > 5
        assert case['energy_difference'] == pytest.approx(0, abs=SAME_PATH)
        assert case['name'] in text
    assert result['evaluations_ratio'] == 1.0
    assert 'median 1.00' in text


def test_the_internal_optimiser_needs_fewer(measured):
    result, _ = measured()
    # only bonds and stiff ones, where L-BFGS is at its best: 1.7 measured
    assert result['evaluations_ratio'] > 1.3
    assert result['failed'] == []


def test_files_replace_the_default_set(measured):
    result, _ = measured('--sdf', 'data/dimers/moe_et_5.sdf', '--every', '3',
                         '--max-steps', '3')
    assert [c['name'] for c in result['cases']] == ['moe_et_5:0',
                                                    'moe_et_5:3']
    assert len(result['failed']) == 2


def test_a_missing_file_is_wrong_usage(capsys):
    assert main(['--calculator', 'lj', '--sdf', 'nowhere.sdf']) == USAGE
    assert 'nowhere.sdf' in capsys.readouterr().err


def test_the_totals_name_what_differs():
    def row(name, ours, difference, outcome='converged'):
        return Row(name, 9, 60, ours, 60 / ours, difference, 0.0, 1.0, 9.0,
                   outcome)
    rows = [row('a', 10, 0.5), row('b', 20, 3.0), row('c', 6, -2.0),
            row('d', 30, 0.0, 'ours: step_limit')]
    totals = numbers_of(rows)
    assert totals['evaluations_ratio'] == 4.5
    assert (totals['higher'], totals['lower'], totals['failed']) == (
        ['b'], ['c'], ['d'])
    assert 'median 4.50, 2.00 to 10.00' in summary(rows)
