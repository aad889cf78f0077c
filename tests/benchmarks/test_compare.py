"""bench compare: what is a regression, and what may not be compared."""
import json

import numpy as np
import pytest

from mpiapp import bench
from mpiapp.benchmarks import compare

ROW = {'model': 'm', 'molecule': 'water', 'device': 'cpu', 'quantity': 'e',
       'batch': 1, 'threads': 1, 'dtype': 'float64', 'way': 'poly',
       'neighbours': 'tree', 'ranks': 1, 'state': 'ok', 'reason': '',
       'model_sha256': 'a', 'inputs_sha256': 'b',
       'operations': 100, 'flops': 1000}
NOISE = 1 + 0.02 * np.sin(np.arange(20.0))


def result(path, *changes, processor='one'):
    rows = [ROW | {'samples': NOISE.tolist()} | c for c in changes]
    path.write_text(json.dumps({
        'schema': 1, 'command': 'inference', 'rows': rows,
        'machine': {'processor': processor, 'cores': '2', 'gpu': 'none'}}))
    return str(path)


def compared(tmp_path, before, after, *words, **more):
    a = result(tmp_path / 'a.json', before)
    b = result(tmp_path / 'b.json', after, **more)
    out = tmp_path / 'out.json'
    code = bench.main(['compare', a, b, '--json', str(out), *words])
    return code, json.loads(out.read_text())['rows'][0]


def test_equal_results_are_the_same(tmp_path):
    code, row = compared(tmp_path, {}, {})
    assert code == 0 and row['verdict'] == 'same'
    assert 'no difference shown' in row['told']


def test_a_slower_cell_is_a_regression(tmp_path, capsys):
    code, row = compared(tmp_path, {}, {'samples': (1.3 * NOISE).tolist()})
    assert code == 1 and row['verdict'] == 'slower'
    assert '0.77x' in row['told']
    assert '1 regressed' in capsys.readouterr().out


def test_a_faster_cell_is_none(tmp_path):
    code, row = compared(tmp_path, {}, {'samples': (0.5 * NOISE).tolist()})
    assert code == 0 and row['verdict'] == 'faster'


def test_the_threshold_decides(tmp_path):
    slower = {'samples': (1.3 * NOISE).tolist()}
    assert compared(tmp_path, {}, slower, '--threshold', '0.5')[0] == 0


@pytest.mark.parametrize('after', [
    {'state': 'refused', 'reason': 'wrong'}, {'batch': 2}])
def test_a_cell_that_is_lost_is_a_regression(tmp_path, after):
    if 'batch' in after:
        a = result(tmp_path / 'a.json', {}, after)
        b = result(tmp_path / 'b.json', after)
        assert bench.main(['compare', a, b]) == 1
    else:
        code, row = compared(tmp_path, {}, after)
        assert code == 1 and row['verdict'] == 'lost'


def test_counts_are_judged_without_times(tmp_path):
    slow = {'samples': (9 * NOISE).tolist()}
    assert compared(tmp_path, {}, slow, '--counts')[0] == 0
    code, row = compared(tmp_path, {}, {'flops': 1001}, '--counts')
    assert code == 1 and 'flops 1000 -> 1001' in row['told']
    assert compared(tmp_path, {}, {'operations': 99}, '--counts')[1][
        'verdict'] == 'faster'


def test_times_of_unlike_machines_have_no_ratio(tmp_path, capsys):
    slow = {'samples': (9 * NOISE).tolist()}
    code, row = compared(tmp_path, {}, slow, processor='another')
    assert code == 0 and row['verdict'] == 'no ratio'
    assert 'note: processor' in capsys.readouterr().out
    assert compared(tmp_path, {}, slow, '--any-machine',
                    processor='another')[0] == 1


def test_other_molecules_under_the_same_name_have_no_ratio(tmp_path):
    code, row = compared(tmp_path, {}, {'inputs_sha256': 'c'})
    assert row['verdict'] == 'no ratio' and 'inputs_sha256' in row['told']


def test_history_of_several_files(tmp_path, capsys):
    steady = {'steady': {'median': 1.0}}
    files = [result(tmp_path / f'{i}.json', steady) for i in range(3)]
    assert bench.main(['compare', *files]) == 0
    assert '1000.00, 1000.00, 1000.00' in capsys.readouterr().out


@pytest.mark.parametrize('content, text', [
    ('{', 'not JSON'), ('{}', 'not a result'),
    ('{"rows": [], "schema": 99}', 'schema 99')])
def test_wrong_files_are_refused(tmp_path, content, text, capsys):
    path = tmp_path / 'x.json'
    path.write_text(content)
    assert bench.main(['compare', str(path), str(path)]) == 2
    assert text in capsys.readouterr().err


def test_one_file_or_no_common_cell_is_refused(tmp_path, capsys):
    a = result(tmp_path / 'a.json', {})
    assert bench.main(['compare', a]) == 2
    b = result(tmp_path / 'b.json', {'batch': 7})
    assert bench.main(['compare', a, b]) == 2
    assert 'no cell in common' in capsys.readouterr().err
    assert compare.REGRESSIONS
