"""`tssearch` as its users start it: ranks, resume, known answers."""
from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from mpiapp.records import Status
from mpiapp.store.digest import content_digest, differences
from mpiapp.store.following import Follower
from mpiapp.store.reader import load
from tests.jobs import Ended, needs_mpirun, run, run_and

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / 'data' / 'saddles'
#: a cluster whose samples take 0.1 s each
TOY = ['--data', DATA / 'lj7.extxyz', '--calculator', 'lj7',
       '--start-from', 'ts_noise0.1A', '--n-steps', 60]
SMALL = DATA / 'small_reactions.extxyz'


def search(out: Path, *words: object, n: int = 0, **extra: str) -> Ended:
    ended = run('tssearch', *words, '--output', out, n=n, **extra)
    assert 'Traceback' not in ended.output
    return ended


def table(path: Path) -> list[dict[str, str]]:
    with open(path.with_suffix('.csv'), newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the result of an undisturbed run on one rank."""
    path = tmp_path_factory.mktemp('reference') / 'x.h5'
    ended = search(path, *TOY, '--draws', 8)
    assert ended.code == 0, ended.output
    return path


def test_a_row_for_each_draw_and_files_beside_it(reference: Path) -> None:
    rows = table(reference)
    assert [r['draw'] for r in rows] == [str(k) for k in range(8)]
    assert {r['reason'] for r in rows} >= {'ts'}
    found = [r for r in rows if r['reason'] == 'ts']
    for row in found:
        assert row['n_neg'] == '1' and float(row['fmax']) < 0.03
        assert float(row['lambda0']) < 0 < float(row['lambda1'])
        assert int(row['n_hess']) > 0 and row['status'] == 'converged'
    campaign = load(reference)
    assert campaign.meta['program'] == 'tssearch'
    with h5py.File(reference) as file:
        assert {'samples', 'results', 'final_coords', 'meta'} <= set(file)
    frames = reference.with_suffix('.xyz').read_text().count('Properties')
    assert frames == 8


def test_who_follows_is_told_of_draws_and_not_of_inputs(
    reference: Path,
) -> None:
    now = Follower(reference).look()
    assert load(reference).meta['inputs'][0]['n_records'] != 8
    assert (now.n_done, now.n_wanted) == (8, 8)


@needs_mpirun
@pytest.mark.parametrize(
    'n', [2, pytest.param(4, marks=pytest.mark.slow)])
def test_same_rows_on_any_number_of_ranks(
    reference: Path, n: int, tmp_path: Path,
) -> None:
    path = tmp_path / 'x.h5'
    ended = search(path, *TOY, '--draws', 8, n=n)
    assert ended.code == 0, ended.output
    assert not differences(reference, path)
    assert content_digest(reference) == content_digest(path)


@needs_mpirun
def test_a_killed_run_goes_on(reference: Path, tmp_path: Path) -> None:
    path = tmp_path / 'x.h5'

    def kill(pid: int, ranks: list[int]) -> None:
        for rank in ranks:
            os.kill(rank, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    def some_done() -> bool:
        return sum(p.stat().st_size for p in tmp_path.glob('**/*.jnl')) \
            > 12_000
    words = (*TOY, '--draws', 8, '--output', path)
    ended = run_and(kill, some_done, 'tssearch', *words, marker=str(path))
    assert ended.code != 0
    again = search(path, *TOY, '--draws', 8, '--resume', n=2)
    assert again.code == 0, again.output
    assert not differences(reference, path)


@needs_mpirun
def test_a_stopped_run_is_resumable(tmp_path: Path) -> None:
    path = tmp_path / 'x.h5'
    hang = tmp_path / 'slow.py'
    hang.write_text(SLOW)
    words = ('--data', SMALL, '--calculator', hang, '--start-from', 'ts',
             '--method', 'gad', '--n-steps', 400, '--no-early-stop')
    ended = run_and(
        lambda pid, ranks: [os.kill(r, signal.SIGTERM) for r in ranks[:1]],
        lambda: bool(list(tmp_path.glob('**/*.jnl'))), 'tssearch', *words,
        '--output', path, marker=str(path))
    assert ended.code == 4, ended.output
    assert 'go on with --resume' in ended.output
    statuses = load(path).table['status']
    assert (statuses == Status.PENDING).any()


#: sleeps for 20 ms a time, so that something is running when it is stopped
SLOW = '''
import time
from mpiapp.potentials.lj import LennardJones
class Slow(LennardJones):
    def evaluate(self, batch):
        time.sleep(0.02)
        return super().evaluate(batch)
def build(options, structures_sample=()):
    return Slow()
'''


@needs_mpirun
def test_known_saddles_are_found_with_gfn2_and_sella(tmp_path: Path) -> None:
    """HCN/HNC and the inversion of NH3: barriers, ends, one mode."""
    path = tmp_path / 'x.h5'
    ended = search(path, '--data', SMALL, '--max-samples', 2,
                   '--start-from', 'ts_noise0.05A', '--calculator', 'gfn2',
                   '--method', 'sella', '--irc', n=2)
    assert ended.code == 0, ended.output
    rows = {r['name']: r for r in table(path)}
    # energies of the file less those of its reactants, eV
    for name, energy in (('hcn_hnc', -146.597900),
                         ('nh3_inversion', -120.179272)):
        row = rows[name]
        assert row['reason'] == 'ts' and row['ends'] == 'ok', row
        assert float(row['energy']) == pytest.approx(energy, abs=2e-3)
        assert float(row['rmsd_to_reference']) < 0.05
        assert row['n_neg'] == '1' and float(row['fmax']) < 0.03
        assert int(row['n_displaced']) > 0
    assert 'ends          2 ok' in ended.output


def test_known_saddles_are_found_with_dftb0_from_noise(
    tmp_path: Path,
) -> None:
    for method in ('multimode', 'gad'):
        path = tmp_path / f'{method}.h5'
        ended = search(
            path, '--data', SMALL, '--skip-samples', 1, '--max-samples', 2,
            '--start-from', 'ts_noise0.1A', '--calculator', 'sparrow',
            '--functional', 'DFTB0', '--method', method, '--max-failed', 2)
        assert ended.code == 0, ended.output
        rows = table(path)
        assert [r['reason'] for r in rows] == ['ts', 'ts'], rows


def test_exported_parameters_are_used(tmp_path: Path) -> None:
    best = tmp_path / 'best.json'
    best.write_text(json.dumps(
        {'method': 'gad', 'params': {'dt': 0.002, 'dt_max': 0.02}}))
    path = tmp_path / 'x.h5'
    ended = search(path, *TOY, '--params', best)
    assert ended.code == 0, ended.output
    assert 'method       gad' in ended.output
    settings = load(path).meta['settings']['search']
    assert settings['method'] == 'gad'
    assert settings['params']['dt'] == 0.002
    assert settings['params']['plateau_patience'] == 5


def test_other_settings_are_refused_on_resume(
    reference: Path, tmp_path: Path,
) -> None:
    path = tmp_path / 'x.h5'
    assert search(path, *TOY).code == 0
    for words in (['--fmax', 0.01], ['--noise-seed', 1],
                  ['--start-from', 'ts_noise0.2A'], ['--method', 'gad']):
        ended = search(path, *TOY, '--resume', *words)
        assert ended.code == 2, ended.output
    assert search(path, *TOY).code == 2
    # a sample's time limit decides nothing that was found in time
    assert search(path, *TOY, '--resume', '--sample-timeout', 5).code == 0


def test_a_dry_run_computes_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / 'out' / 'x.h5'
    ended = search(path, *TOY, '--dry-run')
    assert ended.code == 0 and 'method       multimode' in ended.output
    assert not path.parent.exists()


def test_small_reactions_are_made(tmp_path: Path) -> None:
    path = tmp_path / 'made.h5'
    ended = run('tssearch', 'make-data', '--calculator', 'sparrow',
                '--functional', 'PM6', '--reactions', 'nh3_inversion',
                '--method', 'multimode', '--output', path)
    assert ended.code == 0, ended.output
    with h5py.File(path) as file:
        group = file['data/H3N/nh3_inversion']
        energies = [float(group[part]['wB97x_6-31G(d).energy'][0])
                    for part in ('reactant', 'transition_state', 'product')]
        forces = group['transition_state/wB97x_6-31G(d).forces'][0]
    assert energies[1] > energies[0] + 0.1
    assert energies[0] == pytest.approx(energies[2], abs=1e-3)
    assert np.linalg.norm(forces, axis=1).max() < 0.005
    again = run('tssearch', 'make-data', '--output', path)
    assert again.code == 2 and 'there already' in again.output
