"""The benchmark of descriptors counts and adds up."""
import json

import pytest

from mpiapp.benchmarks.descriptors import USAGE, main


def test_every_record_is_described_and_relaxed(tmp_path, capsys, data_dir):
    path = tmp_path / 'result.json'
    code = main(['--calculator', 'lj', '--max-steps', '5', '--json',
                 str(path), '--sdf',
                 str(data_dir / 'dimers/library_sample.sdf')])
    result = json.loads(path.read_text())
    assert code == 0
    assert [case['n_pairs'] for case in result['cases']] == [6] * 4
    assert all(case['described'] > 0 and case['evaluations'] > 1
               for case in result['cases'])
    described, relaxed = (sum(case[name] for case in result['cases'])
                          for name in ('described', 'relaxed'))
    assert result['share'] == pytest.approx(described / relaxed)
    assert '4 records' in capsys.readouterr().out


def test_a_missing_file_is_wrong_usage(tmp_path):
    assert main(['--calculator', 'lj', '--sdf',
                 str(tmp_path / 'absent.sdf')]) == USAGE
