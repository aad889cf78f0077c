"""bench compare: what is a regression, and what may not be compared."""
import json

import numpy as np
import pytest

from mpiapp import bench

ROW = {'model': 'm', 'molecule': 'water', 'device': 'cpu', 'quantity': 'e',
       'batch': 1, 'threads': 1, 'dtype': 'float64', 'way': 'poly',
       'neighbours': 'tree', 'ranks': 1, 'state': 'ok', 'reason': '',
       'model_sha256': 'a', 'inputs_sha256': 'b',
       'operations': 100, 'flops': 1000}
NOISE = 1 + 0.02 * np.sin(np.arange(20.0))


#: a row of each other command, by what names it and what it is about
OTHERS = {
    'neighbours': {'case': 'open', 'list': 'tree', 'n_atoms': 40},
    'precision': {'molecule': 'water', 'stage': 'all', 'device': 'cpu',
                  'precision': 'float32', 'model_sha256': 'a'},
    'md': {'molecule': 'water', 'backend': 'poly', 'dtype': 'float64'},
    'scaling': {'model': 'm', 'law': 'strong', 'way': 'poly', 'ranks': 2,
                'threads': 1, 'ranks_per_gpu': 1, 'schedule': 'static',
                'molecules': ['water'], 'repeats': 4},
    'tune': ROW, 'profiler': ROW,
}
#: per command, changes that make another row of the same file
FURTHER = {'neighbours': {'list': 'vesin'}, 'precision': {'stage': 'x'},
           'md': {'backend': 'native'}, 'scaling': {'schedule': 'cost'},
           'tune': {'way': 'native'}, 'profiler': {'way': 'reference'}}


def result(path, *changes, processor='one', gpu='none', command='inference'):
    base = {'state': 'ok', 'reason': '', 'samples': NOISE.tolist(),
            **OTHERS.get(command, ROW)}
    path.write_text(json.dumps({
        'schema': 1, 'command': command, 'rows': [base | c for c in changes],
        'machine': {'processor': processor, 'cores': '2', 'gpu': gpu}}))
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


@pytest.mark.parametrize('command', OTHERS)
def test_rows_of_every_command_are_compared_by_their_own_names(
        command, tmp_path):
    more = FURTHER[command]
    a = result(tmp_path / 'a.json', {}, more, command=command)
    out = tmp_path / 'out.json'
    worse = more | {'state': 'refused', 'reason': '3 pairs are missing'}
    b = result(tmp_path / 'b.json', {}, worse, command=command)
    assert bench.main(['compare', a, a, '--json', str(out)]) == 0
    assert bench.main(['compare', a, b, '--json', str(out)]) == 1
    rows = json.loads(out.read_text())['rows']
    assert [r['verdict'] for r in rows] == ['same', 'lost']
    assert str(*more.values()) in rows[1]['name']
    slow = result(tmp_path / 'c.json', {}, more | {
        'samples': (2 * NOISE).tolist()}, command=command)
    assert bench.main(['compare', a, slow]) == 1


@pytest.mark.parametrize('command, name', [
    ('inference', 'inputs_sha256'), ('inference', 'model_sha256'),
    ('scaling', 'repeats'), ('scaling', 'molecules'),
    ('scaling', 'model_sha256'), ('precision', 'inputs_sha256'),
    ('neighbours', 'inputs_sha256'), ('md', 'settings')])
@pytest.mark.parametrize('words', [(), ('--counts',)])
def test_cells_of_unlike_subjects_are_not_compared(
        command, name, words, tmp_path, capsys):
    other = {name: ['another']}
    a = result(tmp_path / 'a.json', {}, FURTHER.get(command, {'batch': 2}),
               command=command)
    b = result(tmp_path / 'b.json', other | {
        'flops': 1, 'samples': (9 * NOISE).tolist()},
        FURTHER.get(command, {'batch': 2}), command=command)
    assert bench.main(['compare', a, b, *words]) == 0
    printed = capsys.readouterr().out
    assert 'unequal  ' in printed and f'{name} ' in printed
    assert '1 unequal' in printed
    alone = [result(tmp_path / f'{i}.json', c, command=command)
             for i, c in enumerate(({}, other))]
    assert bench.main(['compare', *alone, *words]) == 2
    assert f'measured on the same: {name}' in capsys.readouterr().err


def test_unlike_commands_and_double_rows_are_refused(tmp_path, capsys):
    a = result(tmp_path / 'a.json', {})
    b = result(tmp_path / 'b.json', {}, command='scaling')
    assert bench.main(['compare', a, b]) == 2
    assert 'unlike commands' in capsys.readouterr().err
    twice = result(tmp_path / 'c.json', {}, {'state': 'failed'})
    assert bench.main(['compare', a, twice]) == 2
    assert 'is there twice' in capsys.readouterr().err
    odd = result(tmp_path / 'd.json', {}, command='soak')
    assert bench.main(['compare', odd, odd]) == 2
    assert 'of soak are not compared' in capsys.readouterr().err


def test_times_on_another_gpu_are_not_judged(tmp_path, capsys):
    cells = {'device': 'cuda'}, {'batch': 2}
    a = result(tmp_path / 'a.json', *cells, gpu='H100')
    slow = {'samples': (9 * NOISE).tolist()}
    b = result(tmp_path / 'b.json', cells[0] | slow, cells[1], gpu='H200')
    assert bench.main(['compare', a, b]) == 0
    assert 'same     m water e 2' in capsys.readouterr().out
    assert bench.main(['compare', a, b, '--any-machine']) == 1
    # the processor's own cells are judged all the same
    c = result(tmp_path / 'c.json', cells[0], cells[1] | slow, gpu='H200')
    assert bench.main(['compare', a, c]) == 1


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
