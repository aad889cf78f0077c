"""`hpo` as its user runs it: on any ranks, killed, compared, exported."""
from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.store.digest import content_digest
from mpiapp.store.hdf5 import open_serial
from mpiapp.store.reader import load
from tests.jobs import Ended, needs_mpirun, run, run_and

PLANE = ('--calculator', 'muller-brown', '--start-from', 'ts_noise0.3A',
         '--n-steps', 80, '--plots', 'none')
N_TRIALS = 7


def plane(data_dir: Path) -> Path:
    return data_dir / 'saddles' / 'muller_brown.extxyz'


def tune(data_dir: Path, out: Path, *words: object, n: int = 0,
         n_trials: int = N_TRIALS, draws: int = 5) -> Ended:
    return run('hpo', '--data', plane(data_dir), *PLANE, '--draws', draws,
               '--n-trials', n_trials, '--output', out, '--pruner-startup',
               2, *words, n=n)


@pytest.fixture(scope='module')
def alone(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result of one rank, without mpirun."""
    out = tmp_path_factory.mktemp('hpo') / 'one.h5'
    ended = tune(data_dir, out, '--pruner', 'median', '--plots', 'both')
    assert ended.code == 0, ended.output
    return out


def test_the_result_file_holds_the_study(alone: Path) -> None:
    campaign = load(alone)
    table = campaign.table
    assert campaign.complete and len(table) == N_TRIALS
    assert table['source'][0] == 'baseline'
    assert table['param_dt'][0] == 0.001 and table['param_dt'].nunique() > 3
    assert set(table['state']) == {'complete', 'pruned'}
    done = table[table['state'] == 'complete']
    assert done['value'].notna().all() and (done['n_samples'] == 10).all()
    assert table['value'][table['state'] == 'pruned'].isna().all()
    with open_serial(alone, 'r') as file:
        success = file['results/success'][:]
        steps = file['results/steps'][:]
        assert success.shape == (N_TRIALS, 10)
        assert file['samples/draw'][:].tolist() == [0, 1, 2, 3, 4] * 2
        best = int(file['best'].attrs['number'][0])
        assert file['results/fmax'].attrs['unit'] == 'eV/angstrom'
    for i, row in table.iterrows():
        n = row['n_samples']
        assert success[i].sum() == row['n_success']
        assert (steps[i][n:] == -1).all()
    assert best == done['value'].idxmax()
    assert campaign.meta['settings']['space']['dt'][1:] == [
        0.0005, 0.005, 'log']


def test_json_tables_and_pictures_lie_beside_it(alone: Path) -> None:
    results = json.loads((alone.parent / 'one_results.json').read_text())
    config = json.loads((alone.parent / 'one_best_config.json').read_text())
    table = load(alone).table
    assert len(results['trials']) == N_TRIALS
    assert results['best_value'] == table['value'].max()
    assert config['params'].items() >= results['best_params'].items()
    assert config['params']['dt_min'] == 1e-6
    assert results['trials'][0]['user_attrs']['n_samples'] == 10
    assert set(results['param_importances']) <= set(config['params'])
    pictures = {p.name for p in (alone.parent / 'one_plots').iterdir()}
    assert {'history.html', 'history.png', 'rungs.html', 'slices.png',
            'plotly.min.js'} <= pictures
    for path in (alone.parent / 'one_plots').glob('*.png'):
        assert path.read_bytes()[:4] == b'\x89PNG'


@needs_mpirun
# a killed study goes on with three ranks, below
@pytest.mark.parametrize(
    'n', [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_study_is_the_same_on_any_number_of_ranks(
    data_dir: Path, alone: Path, tmp_path: Path, n: int,
) -> None:
    out = tmp_path / 'many.h5'
    ended = tune(data_dir, out, '--pruner', 'median', n=n)
    assert ended.code == 0, ended.output
    assert content_digest(out) == content_digest(alone)


def kill(pid: int, ranks: list[int]) -> None:
    for rank in ranks[-1:] if pid % 2 else ranks[:1]:
        os.kill(rank, signal.SIGKILL)


@needs_mpirun
# later and earlier kills, and any state between: tests/mpi/test_tune.py
@pytest.mark.parametrize('lines', [
    40, *(pytest.param(n, marks=pytest.mark.slow) for n in (12, 75))])
def test_a_killed_study_is_resumed_to_the_same_table(
    data_dir: Path, alone: Path, tmp_path: Path, lines: int,
) -> None:
    out, journal = tmp_path / 'k.h5', tmp_path / 'k.log'

    def far() -> bool:
        return journal.exists() \
            and journal.read_bytes().count(b'\n') >= lines
    words = ('--data', plane(data_dir), *PLANE, '--draws', 5, '--n-trials',
             N_TRIALS, '--output', out, '--pruner-startup', 2, '--pruner',
             'median')
    ended = run_and(kill, far, 'hpo', *words, marker=str(out))
    assert ended.code not in (0, 2, 3, 4), ended.output
    assert not out.exists()
    refused = run('hpo', *words)
    assert refused.code == 2 and '--resume' in refused.output
    again = run('hpo', *words, '--resume', n=3)
    assert again.code == 0, again.output
    assert content_digest(out) == content_digest(alone)


@needs_mpirun
def test_a_stop_writes_what_there_is_and_is_resumed(
    data_dir: Path, alone: Path, tmp_path: Path,
) -> None:
    out, journal = tmp_path / 's.h5', tmp_path / 's.log'

    def far() -> bool:
        return journal.exists() and journal.read_bytes().count(b'\n') > 20

    def stop(pid: int, ranks: list[int]) -> None:
        for rank in ranks:
            os.kill(rank, signal.SIGTERM)
    words = ('--data', plane(data_dir), *PLANE, '--draws', 5, '--output',
             out, '--pruner-startup', 2, '--pruner', 'median')
    ended = run_and(stop, far, 'hpo', *words, '--n-trials', 200,
                    marker=str(out))
    assert ended.code == 4, ended.output
    assert 'SIGTERM' in ended.output
    part = load(out)
    assert not part.complete and 'pending' in set(part.table['state'])
    again = run('hpo', *words, '--n-trials', 200, '--time-limit', '1s',
                '--resume')
    assert again.code == 4, again.output
    known = load(alone).table
    n = min(N_TRIALS, int((part.table['state'] != 'pending').sum()))
    for name in ('value', 'param_dt', 'n_success'):
        np.testing.assert_array_equal(part.table[name][:n], known[name][:n])


@needs_mpirun
def test_async_mode_and_random_search_end_all_trials(
    data_dir: Path, tmp_path: Path,
) -> None:
    out = tmp_path / 'a.h5'
    ended = tune(data_dir, out, '--mode', 'async', '--sampler', 'random',
                 '--pruner', 'none', n=2, n_trials=6)
    assert ended.code == 0, ended.output
    table = load(out).table
    assert (table['state'] == 'complete').all() and len(table) == 6
    assert sorted(table['number']) == list(range(6))


def test_two_objectives_give_a_front(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / 'two.h5'
    ended = tune(data_dir, out, '--objective', 'two', '--population', 4,
                 n_trials=8, draws=3)
    assert ended.code == 0, ended.output
    assert 'Pareto front' in ended.output
    results = json.loads((tmp_path / 'two_results.json').read_text())
    front = [t['value'] for t in results['pareto_front']] or [
        results['best_value']]
    assert front == sorted(front, key=lambda v: -v[0])
    assert not any(a[0] >= b[0] and a[1] <= b[1] and a != b
                   for a in front for b in front)


@pytest.mark.parametrize('objective', ['original_multimode',
                                       'original_sella'])
def test_the_original_objectives_run(
    data_dir: Path, tmp_path: Path, objective: str,
) -> None:
    ended = tune(data_dir, tmp_path / 'o.h5', '--objective', objective,
                 n_trials=2, draws=1)
    assert ended.code == 0, ended.output


def test_a_grid_visits_each_of_its_points_once(
    data_dir: Path, tmp_path: Path,
) -> None:
    names = ('dt', 'dt_max', 'max_atom_disp', 'plateau_patience',
             'plateau_boost', 'plateau_shrink', 'escape_disp_threshold',
             'escape_window', 'escape_neg_vib_std', 'min_interatomic_dist')
    fixed = (0.001, 0.05, 0.25, 5, 2.0, 0.5, 5e-4, 20, 0.5, 0.5)
    ended = run(
        'hpo', '--data', plane(data_dir), *PLANE, '--sampler', 'grid',
        '--output', tmp_path / 'g.h5', '--fix',
        *(f'{n}={v}' for n, v in zip(names, fixed, strict=True)))
    assert ended.code == 0, ended.output
    table = load(tmp_path / 'g.h5').table
    points = {(a, b) for a, b in zip(table['param_escape_delta'][1:],
                                     table['param_adaptive_delta'][1:])}
    assert len(table) == 7 and len(points) == 6


@pytest.mark.slow
def test_a_database_serves_as_storage(
    data_dir: Path, alone: Path, tmp_path: Path,
) -> None:
    out = tmp_path / 'db.h5'
    where = ('--storage', f'sqlite:///{tmp_path}/db.sqlite')
    ended = tune(data_dir, out, '--pruner', 'median', *where, n_trials=3)
    assert ended.code == 0, ended.output
    ended = tune(data_dir, out, '--pruner', 'median', *where, '--resume')
    assert ended.code == 0, ended.output
    assert content_digest(out) == content_digest(alone)


def test_the_best_is_exported_and_read_by_tssearch(
    data_dir: Path, alone: Path, tmp_path: Path,
) -> None:
    best = tmp_path / 'best.h5'
    ended = run('hpo', 'export', '--storage', alone.with_suffix('.log'),
                '--output', best)
    assert ended.code == 0, ended.output
    config = json.loads((tmp_path / 'best.json').read_text())
    beside = json.loads((alone.parent / 'one_best_config.json').read_text())
    assert config == beside
    found = run('tssearch', '--data', plane(data_dir), '--params',
                tmp_path / 'best.json', '--calculator', 'muller-brown',
                '--start-from', 'ts_noise0.3A', '--n-steps', 80,
                '--output', tmp_path / 't.h5', '--max-failed', 99)
    assert found.code == 0, found.output


@pytest.fixture(scope='module')
def half(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the result of a study on one reaction of the two."""
    out = tmp_path_factory.mktemp('half') / 'half.h5'
    ended = tune(data_dir, out, '--held-out', 2, n_trials=3)
    assert ended.code == 0, ended.output
    return out


def validate(data_dir: Path, out: Path, *words: object, n: int = 0) -> Ended:
    return run('hpo', 'validate', '--data', plane(data_dir), *PLANE,
               '--held-out', 2, '--draws', 4, '--output', out, *words, n=n)


@needs_mpirun
def test_the_best_is_validated_on_held_out_samples(
    data_dir: Path, half: Path, tmp_path: Path,
) -> None:
    told: list[Any] = []
    for n in (0, 2):
        ended = validate(data_dir, tmp_path / f'v{n}.h5', '--storage',
                         half.with_suffix('.log'), n=n)
        assert ended.code == 0, ended.output
        assert 'searches differ' not in ended.output
        data = json.loads((tmp_path / f'v{n}_validation.json').read_text())
        for results in data['results'].values():
            for one in results:
                del one['seconds']
        told.append(data)
    assert told[0] == told[1]
    assert {s['number'] for s in told[0]['samples']} == {1}
    # one reaction: no interval
    assert told[0]['intervals']['success_difference'][1:] == [None, None]
    assert 'verdict       none' in ended.output


def test_samples_that_were_tuned_on_are_not_called_held_out(
    data_dir: Path, alone: Path, tmp_path: Path,
) -> None:
    for words in (('--storage', alone.with_suffix('.log')),
                  ('--params', alone.parent / 'one_best_config.json')):
        ended = validate(data_dir, tmp_path / 'v.h5', *words)
        assert ended.code == 2, ended.output
        assert 'tuned on 1 of the 1 reaction(s) to be held out: lower' \
            in ended.output
    assert not (tmp_path / 'v_validation.json').exists()


def test_a_validation_by_other_searches_tells_the_differences(
    data_dir: Path, half: Path, tmp_path: Path,
) -> None:
    beside = half.parent / 'half_best_config.json'
    ended = validate(data_dir, tmp_path / 'v.h5', '--params', beside,
                     '--fmax', 0.05, '--n-steps', 70)
    assert ended.code == 0, ended.output
    data = json.loads((tmp_path / 'v_validation.json').read_text())
    for line in ('cost_cap: was 160.0, now 140.0',
                 'search.fmax: was 0.03, now 0.05',
                 'search.max_steps: was 80, now 70'):
        assert line in ended.output and line in data['differences']
    bare = tmp_path / 'bare.json'
    bare.write_text('{"method": "multimode", "params": {"dt": 0.002}}')
    ended = validate(data_dir, tmp_path / 'v.h5', '--params', bare)
    assert ended.code == 0 and 'does not tell what it was tuned on' \
        in ended.output


def test_verify_passes_or_fails_by_the_baseline(
    data_dir: Path, tmp_path: Path,
) -> None:
    words = ('verify', '--data', plane(data_dir), '--calculator',
             'muller-brown', '--draws', 5, '--output', tmp_path / 'v.h5')
    good = run('hpo', *words, '--start-from', 'ts_noise0.05A')
    assert good.code == 0 and 'passed' in good.output, good.output
    bad = run('hpo', *words, '--start-from', 'ts_noise0.3A', '--n-steps', 2)
    assert bad.code == 3 and 'finds' in bad.output, bad.output


def test_prescreening_tunes_on_the_hardest_half(
    data_dir: Path, tmp_path: Path,
) -> None:
    out = tmp_path / 'p.h5'
    ended = tune(data_dir, out, '--prescreen', 100, n_trials=2, draws=4)
    assert ended.code == 0, ended.output
    hard = json.loads((tmp_path / 'p_hard.json').read_text())
    assert len(hard['samples']) == 4
    with open_serial(out, 'r') as file:
        found = list(zip(file['samples/number'][:].tolist(),
                         file['samples/draw'][:].tolist(), strict=True))
    assert [list(pair) for pair in found] == hard['samples']
    again = tune(data_dir, out, '--prescreen', 100, '--resume', n_trials=3,
                 draws=4)
    assert again.code == 0, again.output
    # without --resume it is refused, also if some of it is gone
    for gone, why in (((), 'p.h5'), (('p.h5',), 'p_hard.json exist(s)'),
                      (tuple(p.name for p in tmp_path.glob('p_*.json')),
                       'has a study')):
        for name in gone:
            (tmp_path / name).unlink()
        before = {p: p.read_bytes() for p in tmp_path.iterdir()
                  if p.suffix in ('.json', '.log', '.h5')}
        again = tune(data_dir, out, '--prescreen', 100, n_trials=2, draws=3)
        assert again.code == 2 and why in again.output, again.output
        assert before == {p: p.read_bytes() for p in tmp_path.iterdir()
                          if p.suffix in ('.json', '.log', '.h5')}
