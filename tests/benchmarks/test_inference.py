"""bench inference as a command: matrix to files, ranks, stop and resume."""
import json
import os
import signal

import numpy as np
import pytest

from mpiapp.benchmarks import inference
from mpiapp.benchmarks.harness import document
from mpiapp.benchmarks.harness.cells import Timing
from mpiapp.benchmarks.harness.worker import Job
from mpiapp.errors import InputError
from mpiapp.store.reader import load
from tests.jobs import needs_mpirun, run, run_and

MATRIX = '''
[timing]
rounds = 5
warm_up = 6
[[matrix]]
models = ['tiny']
molecules = ['water']
dtypes = ['float64', 'float32']
ways = ['reference', 'poly', 'cueq']
'''


def rows_of(path):
    return json.loads(path.read_text())['rows']


def counts(rows):
    return [(r['way'], r['dtype'], r['batch'], r['state'],
             r.get('operations'), r.get('flops')) for r in rows]


def journal_bytes(folder):
    """Return the size of the journals; their heads take 4 kB."""
    return sum(p.stat().st_size for p in folder.glob('**/*.jnl'))


def test_a_matrix_becomes_cells_in_json_hdf5_and_a_table(tmp_path):
    matrix = tmp_path / 'm.toml'
    matrix.write_text(MATRIX)
    ended = run('bench', 'inference', '--matrix', matrix, '--output-dir',
                tmp_path, '--json', tmp_path / 'r.json', '--plots')
    assert ended.code == 0, ended.output
    rows = rows_of(tmp_path / 'r.json')
    assert [r['state'] for r in rows] == 2 * ['ok', 'ok', 'skipped']
    assert 'not installed' in rows[2]['reason'] or 'GPU' in rows[2]['reason']
    for row in rows:
        if row['state'] == 'ok':
            assert len(row['samples']) == 5 and row['warm_calls'] >= 6
            assert {c['name'] for c in row['checks']} >= {
                'equal', 'repeated', 'rotation', 'far from the origin',
                'order of atoms', 'an atom alone', 'a pair at the cut-off',
                'sum of forces', 'finite differences', 'last timed call'}
            assert row['us_per_atom_step'] == pytest.approx(
                1e6 * np.median(row['samples']) / 3)
    content = json.loads((tmp_path / 'r.json').read_text())
    assert content['schema'] == 1
    for name in ('machine', 'versions', 'revision', 'environment',
                 'settings'):
        assert content[name], name
    campaign = load(tmp_path / 'bench_inference.h5')
    assert len(campaign.column('sample_s')) == 20
    assert document.read_document(tmp_path / 'bench_inference.h5')[
        'rows'] == rows
    assert '| tiny | water | 3 |' in ended.output
    assert (tmp_path / 'bench_inference_speed_up.png').stat().st_size > 5000


@needs_mpirun
def test_ci_counts_are_the_same_on_two_ranks(tmp_path):
    found = []
    for n in (0, 2):
        out = tmp_path / str(n)
        ended = run('bench', 'inference', '--ci', '--output-dir', out,
                    '--json', out / 'r.json', n=n)
        assert ended.code == 0, ended.output
        found.append(counts(rows_of(out / 'r.json')))
    assert found[0] == found[1]
    assert all(state == 'ok' for _, _, _, state, _, _ in found[0])
    flops = {way: f for way, dtype, batch, _, _, f in found[0]
             if (dtype, batch) == ('float64', 2)}
    # the polynomial's whole point, told without a stopwatch
    assert flops['poly'] < flops['reference'] / 5


@pytest.mark.timeout(600)
def test_a_run_is_interrupted_and_resumed(tmp_path):
    words = ('inference', '--ci', '--output-dir', tmp_path, '--json',
             tmp_path / 'r.json')
    ended = run_and(
        lambda pid, ranks: os.kill(pid, signal.SIGTERM),
        lambda: journal_bytes(tmp_path) > 8000,
        'bench', *words, marker=str(tmp_path), n=0)
    assert ended.code == 4, ended.output
    before = rows_of(tmp_path / 'r.json')
    assert {r['state'] for r in before} == {'ok', 'pending'}
    assert run('bench', *words).code == 2
    ended = run('bench', *words, '--resume')
    assert ended.code == 0, ended.output
    rows = rows_of(tmp_path / 'r.json')
    assert {r['state'] for r in rows} == {'ok'}
    kept = {i for i, r in enumerate(before) if r['state'] == 'ok'}
    for i in kept:
        assert rows[i]['build_s'] == before[i]['build_s']


@pytest.mark.parametrize('change', [
    {'machine': {'processor': 'another', 'cores': '2', 'gpu': 'none'}},
    {'machine': {'processor': 'one', 'cores': '2', 'gpu': 'H100'}},
    {'versions': {'torch': '1.0'}},
    {'environment': {'OMP_NUM_THREADS': '8'}}])
def test_a_run_does_not_go_on_elsewhere(change, tmp_path, monkeypatch):
    about = {'machine': {'processor': 'one', 'cores': '2', 'gpu': 'none'},
             'versions': {'torch': '2.0'},
             'environment': {'OMP_NUM_THREADS': '1'}}
    options = inference.settle(inference.Options(
        ci=True, output_dir=str(tmp_path), record_timeout=60.0))
    job = Job([], {}, {}, Timing(0, 0))
    settings = []
    for found in (about, about, about | change):
        monkeypatch.setattr(document, 'surroundings', lambda: found)
        plan = inference.make_plan(options, job)
        settings.append(plan.settings)
        assert plan.record_timeout == 60.0
    assert settings[0] == settings[1] != settings[2]


def test_an_unphysical_file_is_refused_and_the_exit_code_says_so(tmp_path):
    bad = tmp_path / 'no_hydrogens.xyz'
    bad.write_text('3\n\nC 0 0 0\nC 1.5 0 0\nO 2.1 1.2 0\n')
    ended = run('bench', 'inference', '--ci', '--molecules', bad, 'water',
                '--ways', 'reference', '--output-dir', tmp_path,
                '--json', tmp_path / 'r.json')
    assert ended.code == 3, ended.output
    assert 'lacks hydrogens' in ended.output
    states = {r['molecule']: r['state'] for r in rows_of(
        tmp_path / 'r.json')}
    assert states == {str(bad): 'refused', 'water': 'ok'}


@pytest.mark.parametrize('fields, text', [
    ({'quick': True, 'ci': True}, 'give one of'),
    ({'matrix': 'absent.toml'}, 'No such file'),
    ({'ways': ('magic',)}, "unknown way 'magic'"),
    ({'ci': True, 'ways': ('native',)}, 'no cell is left'),
    ({'ci': True, 'models': ('absent',)}, 'no model and no file'),
    ({'ci': True, 'molecules': ('absent',)}, 'no molecule and no file'),
    ({'resume': True, 'overwrite': True}, 'exclude each other'),
])
def test_wrong_options_are_refused_before_any_work(fields, text, tmp_path):
    with pytest.raises(InputError, match=text):
        options = inference.settle(inference.Options(
            output_dir=str(tmp_path), **fields))
        inference.prepare(options, 1)
    assert not list(tmp_path.glob('*.h5'))
