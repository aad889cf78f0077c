"""Scaling: schedules, effects, the law of batches."""
import argparse
import json
import os
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from mpiapp import bench
from mpiapp.benchmarks import scaling, scaling_law, windows
from mpiapp.benchmarks.samples_file import read_samples
from mpiapp.parallel.serial import SerialComm
from tests.jobs import needs_mpirun


@pytest.mark.parametrize('n_ranks', [1, 2, 3, 9])
@pytest.mark.parametrize('schedule', ['static', 'cost'])
def test_every_record_has_one_rank(schedule, n_ranks):
    costs = np.array([1.0, 9, 2, 8, 3, 7])
    shares = windows.shares_of(schedule, costs, n_ranks)
    assert len(shares) == n_ranks
    assert sorted(np.concatenate(shares)) == list(range(6))


def test_cost_shares_are_more_even_than_blocks():
    costs = np.sort(np.random.default_rng(0).lognormal(size=40))
    loads = {s: max(costs[p].sum() for p in windows.shares_of(s, costs, 4))
             for s in ('static', 'cost')}
    assert loads['cost'] < 1.1 * costs.sum() / 4 < loads['static']


def test_energies_that_differ_are_told():
    def row(energy):
        return {'energies': {'0': energy}, 'law': 'strong', 'ranks': 2,
                'schedule': 'static'}
    assert scaling.disagreements([row(1.0), row(1.0)]) == []
    assert len(scaling.disagreements([row(1.0), row(1.001)])) == 1
    assert scaling.disagreements([row(1.0), row(1.0) | {'energies': {}}])


def test_efficiency_of_strong_and_weak_scaling():
    def row(law, ranks, seconds):
        x = seconds * (1 + 0.01 * np.sin(np.arange(9.0)))
        return {'law': law, 'ranks': ranks, 'threads': 1, 'schedule':
                'dynamic', 'ranks_per_gpu': 1, 'samples': x.tolist()}
    rows = [row('strong', 1, 4.0), row('strong', 4, 1.25),
            row('weak', 1, 4.0), row('weak', 4, 5.0),
            row('strong', 4, 2.0) | {'schedule': 'static'},
            row('strong', 1, 4.0) | {'schedule': 'static'}]
    found = {(e['kind'], e['schedule']): e for e in scaling.laws(rows)}
    assert found['strong', 'dynamic']['efficiency'] == pytest.approx(0.8)
    assert found['weak', 'dynamic']['efficiency'] == pytest.approx(0.8)
    assert found['schedule', 'dynamic']['ratio'] == pytest.approx(1.6)


@needs_mpirun
@pytest.mark.timeout(600)
def test_schedules_give_the_same_energies_and_one_file(tmp_path, capsys):
    code = bench.main([
        'scaling', '--ranks', '2', '--repeats', '1', '--windows', '5',
        '--molecules', 'water', 'ethanol', 'water', '--output-dir',
        str(tmp_path), '--json', str(tmp_path / 's.json')])
    assert code == 0, capsys.readouterr()
    rows = json.loads((tmp_path / 's.json').read_text())['rows']
    assert {(r['law'], r['ranks'], r['schedule']) for r in rows} == {
        *(('strong', 2, s) for s in windows.SCHEDULES),
        ('weak', 2, 'dynamic')}
    for row in rows:
        done = 3 * (row['ranks'] if row['law'] == 'weak' else 1)
        assert sum(row['records']) == done
        assert sum(row['stragglers']) == 5
    samples, about = read_samples(
        tmp_path / 'scaling_strong_2x1_1.h5', 'seconds')
    # rank, schedule, window, (busy, communicating, waiting)
    assert samples.shape == (2, 3, 5, 3)
    static = next(r for r in rows if r['law'] == 'strong'
                  and r['ranks'] == 2 and r['schedule'] == 'static')
    np.testing.assert_allclose(
        samples[:, 0, :, 0].max(axis=0), static['samples'])
    assert about['axes'][0] == 'rank'


def options_of(*words):
    parser = argparse.ArgumentParser()
    scaling.add_options(parser)
    return parser.parse_args(words)


def test_r2_a_wrong_way_gets_no_windows(tmp_path, monkeypatch):
    from mpiapp.benchmarks import shapes
    from mpiapp.benchmarks.harness import variants

    class Wrong(variants.TorchWay):
        def fetched(self, built, found, forces):
            right = super().fetched(built, found, forces)
            return replace(right, energies=right.energies + 1e-3)
    model = tmp_path / 'tiny.model'
    shapes.write_model(shapes.TINY, model)
    task = windows.Task(str(model), ('water', 'water'),
                        str(tmp_path / 'x.json'), windows=1)
    assert windows.prepare(task)[-1] == ''
    monkeypatch.setattr(variants, 'make', lambda cell, path: Wrong(
        variants._built(cell, path)))
    windows.run(SimpleNamespace(comm=SerialComm()), task)
    found = json.loads((tmp_path / 'x.json').read_text())
    monkeypatch.setattr(scaling, 'job', lambda task, n: found)
    rows = scaling.measured(task, 1)
    assert [r['state'] for r in rows] == 3 * ['refused']
    assert 'equal: ' in rows[0]['reason'] and 'samples' not in rows[0]


def test_jobs_fit_on_the_gpus(monkeypatch):
    monkeypatch.setattr(scaling, 'visible_gpus', lambda env: ['0'])
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(16))
    found = {(n, t.ranks_per_gpu) for n, t in scaling.jobs(options_of(
        '--device', 'cuda', '--ranks-per-gpu', '1', '4'))}
    assert found == {(1, 1), (1, 4), (2, 4), (4, 4)}
    # ranks that were asked for are told, and not run
    (n, task), *_ = scaling.jobs(options_of(
        '--device', 'cuda', '--ranks', '2'))
    rows = scaling.measured(task, n)
    assert [r['state'] for r in rows] == 3 * ['skipped']
    assert '1 GPU(s) x 1' in scaling.line(rows[0])


def test_a_job_that_fails_is_a_row_and_the_others_go_on(
        tmp_path, monkeypatch, capsys):
    def job(task, n):
        if n == 2:
            raise scaling.JobFailed('the job with 2 ranks ended')
        got = {'samples': [1.0] * 5, 'imbalance': 1.0, 'stragglers': [5],
               'communication_share': 0.0, 'records': [1],
               'energies': {'0': -1.0}}
        return {'task': asdict(task), 'ranks': n, 'model_sha256': 'a',
                'inputs_sha256': 'b',
                'schedules': {s: got for s in task.schedules}}
    monkeypatch.setattr(scaling, 'job', job)
    path = tmp_path / 's.json'
    assert bench.main(['scaling', '--quick', '--ranks', '2', '1', '--json',
                       str(path), '--output-dir', str(tmp_path)]) == 1
    rows = json.loads(path.read_text())['rows']
    assert {(r['ranks'], r['state']) for r in rows} == {
        (2, 'failed'), (1, 'ok')}
    assert 'failed: the job with 2 ranks' in capsys.readouterr().out


@needs_mpirun
def test_a_job_that_cannot_run_has_its_output_as_the_reason(tmp_path):
    task = windows.Task('absent.model', ('water',),
                        str(tmp_path / 'x.json'))
    row, *_ = scaling.measured(task, 1)
    assert row['state'] == 'failed' and 'absent.model' in row['reason']


@pytest.mark.parametrize('words', [['--ranks', '0'], ['--windows', '0'],
                                   ['--model-path', 'absent']])
def test_wrong_options_are_refused(words):
    assert bench.main(['scaling', *words]) == 2


def test_the_law_of_batches_is_found_again():
    atoms = np.array([3, 9, 24, 58, 116, 232.0])
    edges = np.array([6, 72, 380, 1020, 2040, 4080.0])
    law = scaling_law.fit(atoms, edges, 5e-3 + 2e-5 * atoms + 1e-6 * edges)
    assert (law.a, law.b, law.c) == pytest.approx((5e-3, 2e-5, 1e-6))
    # at the knee half of the time is work, at the recommended batch 80 %
    assert law.share(100, 58, 1020) > 0.9
    knee = law.knee(58, 1020)
    assert knee == pytest.approx(5e-3 / (2e-5 * 58 + 1e-6 * 1020))
    batch = law.recommended(58, 1020)
    assert law.share(batch, 58, 1020) >= 0.8
    assert law.share(batch - 1, 58, 1020) < 0.8


def test_few_points_give_no_law():
    # three coefficients through three or four points fit anything
    assert scaling_law.fit(*np.ones((3, 4))) is None
    assert scaling_law.fit(*np.ones((3, 5))) is not None
