"""bench tune and --profile: what is chosen, written and read."""
import argparse
import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mpiapp import bench, relaxation, validate
from mpiapp.benchmarks import scaling, tune
from mpiapp.benchmarks.harness import clock, molecules
from mpiapp.benchmarks.harness.variants import Native
from mpiapp.benchmarks.harness.worker import GroupWorker
from mpiapp.benchmarks.profiling import memory
from mpiapp.config import read_options
from mpiapp.errors import InputError
from mpiapp.potentials.mace.loading import load
from mpiapp.potentials.mace.native import (
    MaceNative, radial_functions, table_bytes
)

FAST = 1 + 0.01 * np.sin(np.arange(12.0))


def candidate(way, ms, batch=1, dtype='float64', **more):
    return {'molecule': 'water', 'way': way, 'dtype': dtype, 'batch': batch,
            'state': 'ok', 'reason': '', 'n_atoms': 3, 'n_edges': 6,
            'us_per_atom_step': 1000 * ms / 3 / batch, 'device': 'cpu',
            'samples': (1e-3 * ms * FAST).tolist(),
            'errors': {'d_force_max': 1e-6, 'd_energy_per_atom': 1e-8},
            'peak_bytes': 1e5 * batch,
            } | more


def chosen(*rows, limit=1e9):
    options = argparse.Namespace(max_force_error=2e-4,
                                 max_energy_error=2e-6)
    for row in rows:
        tune.judge(row, options, limit)
    best = tune.choose(rows)
    return best and (best['way'], best['dtype'], best['batch'])


def test_the_fastest_that_keeps_the_bounds_is_chosen():
    assert chosen(candidate('reference', 4), candidate('poly', 2)) == (
        'poly', 'float64', 1)
    wrong = candidate('poly', 1, errors={'d_force_max': 1e-3,
                                         'd_energy_per_atom': 0.0})
    assert chosen(candidate('reference', 4), wrong) == (
        'reference', 'float64', 1)
    assert '1.0e-03 eV/A, allowed' in wrong['excluded']


def test_refused_and_too_large_candidates_are_not_chosen():
    refused = candidate('native', 1, state='refused', reason='wrong')
    large = candidate('poly', 8, batch=64)
    assert chosen(candidate('poly', 4), refused, large, limit=1e6) == (
        'poly', 'float64', 1)
    assert '0.006 GB, allowed 0.001' in large['excluded']
    assert chosen(refused) is None


def test_noise_does_not_choose():
    noisy = candidate('poly', 3.99)
    noisy['samples'] = (4e-3 * FAST[::-1]).tolist()
    assert chosen(candidate('reference', 4), noisy)[0] == 'reference'


def test_a_profile_is_written_and_read_by_programs(tmp_path, capsys):
    path = tmp_path / 'profile.toml'
    code = bench.main([
        'tune', '--quick', '--molecules', 'water', '--backends', 'poly',
        '--batches', '1', '--rounds', '5', '--skip-ranks', '-o', str(path),
        '--json', str(tmp_path / 't.json')])
    assert code == 0, capsys.readouterr()
    words = ['--profile', str(path)]
    found = read_options(relaxation.Options, 'reopt', '', words)
    assert found.backend == 'poly' and found.batch == '1'
    assert found.mace_dtype in ('float64', 'float32')
    other = read_options(validate.Options, 'validate', '', words)
    assert other.backend == 'poly' and other.dtype == found.mace_dtype


def test_the_errors_of_a_profile_are_the_worst_of_all_molecules():
    rows = [candidate('poly', 1, molecule=name, errors={
        'd_force_max': force, 'd_energy_per_atom': energy}, excluded='')
        for name, force, energy in (('a', 1e-6, 3e-9), ('b', 5e-6, 1e-9))]
    assert tune.choose(rows)['errors'] == {
        'd_force_max': 5e-6, 'd_energy_per_atom': 3e-9}


def test_memory_is_measured_and_bounds_the_batch(tmp_path, capsys):
    from mpiapp.benchmarks import shapes
    model = tmp_path / 'tiny.model'
    shapes.write_model(shapes.TINY, model)
    options = argparse.Namespace(
        device='cpu', molecules=['water'], model_path=str(model), quick=True,
        batches=[1, 4], rounds=5, backends=['poly'])
    job = tune.prepare(options)
    rows = [r for g in job.groups for r in GroupWorker(job).measure(g)]
    peaks = {(r['dtype'], r['batch']): r['peak_bytes'] for r in rows}
    weights = model.stat().st_size / 10
    assert weights < peaks['float64', 1] < peaks['float64', 4]
    assert peaks['float32', 4] < peaks['float64', 4]


def test_tables_of_native_count(data_dir):
    """As it is loaded: without the module, which is given back."""
    loaded = load(str(data_dir / 'models/student.model'), 'float64', 'cpu')
    way = Native.__new__(Native)
    way.potential = MaceNative(
        'native', None, replace(loaded, module=None), 'float64', None,
        met={0, 1, 2}, bytes_per_atom=3e4,
        radial_functions=radial_functions(loaded))
    batch = clock.copies(molecules.molecule('water'), 4)
    # two layers, 64 channels, harmonics up to l = 3
    tables = table_bytes(512, 3)
    assert tables > 1e6 and way.potential.radial_functions == 512
    # molecule by molecule: a batch takes no more
    assert memory.of_way(way, batch, True) == tables + 3 * 3e4


def test_a_gpu_has_a_limit_of_its_own(monkeypatch):
    import torch
    monkeypatch.setattr(
        torch.cuda, 'get_device_properties',
        lambda i: SimpleNamespace(total_memory=80e9))
    options = argparse.Namespace(device='cuda', max_memory=None)
    assert tune.memory_limit(options) == 40e9
    options.max_memory = 10.0
    assert tune.memory_limit(options) == 10e9


def test_layouts_on_gpus_have_a_gpu_for_each_rank(monkeypatch):
    monkeypatch.setattr(tune, 'visible_gpus', lambda env: ['0'])
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(8))
    asked = []

    def measured(task, n):
        asked.append((n, task.threads, task.ranks_per_gpu))
        return scaling.without_times(task, n, 'failed', 'no')
    monkeypatch.setattr(scaling, 'measured', measured)
    options = argparse.Namespace(device='cuda', molecules=['water'],
                                 model_path='m', quick=True)
    found = tune.ranks_and_threads(options, candidate('poly', 1))
    assert asked == [(1, 8, 1)]
    assert tune.best_layout(found, (1, 1)) == (1, 1)


def test_a_profile_is_there_though_layouts_fail(tmp_path, monkeypatch):
    path, json_path = tmp_path / 'p.toml', tmp_path / 't.json'

    def job(task, n):
        # before the first of them
        assert 'backend = "reference"' in path.read_text()
        raise scaling.JobFailed('mpirun is broken')
    monkeypatch.setattr(scaling, 'job', job)
    monkeypatch.setattr(shutil, 'which', lambda name: name)
    assert bench.main([
        'tune', '--quick', '--molecules', 'water', '--backends',
        'reference', '--batches', '1', '--rounds', '5', '-o', str(path),
        '--json', str(json_path)]) == 1
    layouts = json.loads(json_path.read_text())['layouts']
    assert {r['state'] for r in layouts} == {'failed'}
    assert 'backend = "reference"' in path.read_text()


PROFILE = '[options]\nbackend = "native"\ndtype = "float32"\nbatch = 4\n'


def test_config_and_command_line_win_over_a_profile(tmp_path):
    profile, config = tmp_path / 'p.toml', tmp_path / 'c.toml'
    profile.write_text(PROFILE)
    config.write_text('batch = 8\n')
    found = read_options(relaxation.Options, 'reopt', '', [
        '--profile', str(profile), '--config', str(config),
        '--backend', 'poly'])
    assert (found.backend, found.mace_dtype, found.batch) == (
        'poly', 'float32', '8')


@pytest.mark.parametrize('text, fault', [
    ('', 'no table'), ('[options]\nspeed = 3\n', "unknown option 'speed'"),
    ('[options]\nthreads_per_rank = "4"\n', 'expected int'), ('[', 'p.toml'),
    ('[options]\nbatch = 0\n', 'greater than 0'),
    ('[options]\ndtype = "half"\n', 'allowed')])
def test_a_wrong_profile_is_refused(tmp_path, text, fault):
    path = tmp_path / 'p.toml'
    path.write_text(text)
    with pytest.raises(InputError, match=fault):
        read_options(relaxation.Options, 'reopt', '',
                     ['--profile', str(path)])
