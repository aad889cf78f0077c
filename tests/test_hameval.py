"""`hameval` as its users start it, on small molecules."""
from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from mpiapp import evaluation, frame_actions, hameval
from mpiapp.config import parser, read_options
from mpiapp.errors import InputError
from mpiapp.parallel.binding import Placement, Seat
from mpiapp.parallel.launch import World
from mpiapp.parallel.serial import SerialComm
from mpiapp.store.digest import content_digest, differences
from mpiapp.store.reader import load
from mpiapp.workers.hamiltonian_columns import schema_of
from mpiapp.workers.hamiltonian_synth import rattled, write_mapping
from tests.jobs import Ended, bytes_of_results, needs_mpirun, run, run_and
from tests.workers.hamiltonian_frames import rmd17

ROOT = Path(__file__).resolve().parent.parent
SMALL = ROOT / 'data' / 'hamiltonians' / 'small.xyz'
#: cheap settings; the defaults are for real work
CHEAP = ['--basis', 'sto-3g', '--grid-level', '1']
N = 5


def call(action: str, *words: object, n: int = 0, **extra: str) -> Ended:
    ended = run('hameval', *(action.split()), *words, n=n, **extra)
    assert 'Traceback' not in ended.output, ended.output
    return ended


def synth(folder: Path, *words: object, n: int = 0) -> Path:
    # NumPy's files: PyTorch takes seconds to load in every process
    ended = call('synth', '--geometries', SMALL, '--count', N, '--rattle',
                 '0.03', *CHEAP, '--kind', 'npz', '--output', folder, *words,
                 n=n)
    assert ended.code == 0, ended.output
    return folder


def prepared(*options: object) -> hameval.Prepared:
    """Do in this process what comes before any work of `run`."""
    given = hameval.spelled(list(map(str, options)))
    return hameval.prepare(here(), evaluation.settle_run(
        read_options(evaluation.RunOptions, 'hameval', '', given)))


def here() -> World:
    """Return the world of one process without MPI."""
    seat = Placement(Seat(), 'here', (0,), 1, 'cpu')
    return World(SerialComm(), seat, (seat,))


def begun(*options: object) -> Any:
    """Do in this process what comes before any work of `synth`."""
    given = hameval.spelled(list(map(str, options)))
    return frame_actions.begin_synth(here(), evaluation.settle_synth(
        read_options(evaluation.SynthOptions, 'hameval', '', given)))


def words(pairs: Path, result: Path, *more: object) -> list[object]:
    return ['--dir_path', pairs, '--size_limit', '0', '--output', result,
            *CHEAP, *more]


@pytest.fixture(scope='module')
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give pairs of four molecules with noise in the predictions."""
    return synth(tmp_path_factory.mktemp('set') / 'noise', '--error',
                 'noise', '--error-size', '0.003')


@pytest.fixture(scope='module')
def reference(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the result of an undisturbed run on one rank."""
    path = tmp_path_factory.mktemp('reference') / 'x.h5'
    ended = call('run', *words(pairs, path))
    assert ended.code == 0, ended.output
    path.with_suffix('.log').write_text(ended.output)
    return path


def test_the_file_has_its_groups_units_and_summary(reference: Path) -> None:
    campaign = load(reference)
    assert campaign.complete and campaign.n_records == N
    assert campaign.meta['integrals'] == 'exact'
    with h5py.File(reference) as file:
        assert {'meta', 'records', 'results', 'energies', 'scf', 'metrics',
                'arrays', 'summary', 'timeline'} <= set(file)
        assert set(file['metrics']) >= {
            'pred-gt', 'pred-calc', 'gt-calc', 'init-gt', 'init-calc',
            'gt-data', 'calc-data'}
        energy = file['metrics/pred-gt/energy_diff']
        assert energy.shape == (N,) and energy.attrs['unit'] == 'Hartree'
    table = campaign.table
    assert set(table['molecule']) == {'H2O', 'HF', 'H3N', 'CH4'}
    assert table['proof'].tolist() == ['overlap'] * N
    assert (table['pred-gt/energy_diff'] > 0).all()


def test_frames_are_read_as_atoms_in_angstrom(reference: Path) -> None:
    campaign = load(reference)
    for row, molecule in enumerate(campaign.table['molecule']):
        atoms = campaign.atoms(row)
        assert atoms.get_chemical_formula() == molecule
        distances = atoms.get_all_distances()
        assert 0.8 < distances[distances > 0].min() < 1.2


def test_the_summary_is_that_of_the_rows(reference: Path) -> None:
    campaign = load(reference)
    overall = campaign.summary['overall'].set_index(['pair', 'metric'])
    values = campaign.table['pred-gt/energy_diff']
    line = overall.loc[('pred-gt', 'energy_diff')]
    assert line['n'] == N and line['n_nan'] == 0
    assert line['mean'] == pytest.approx(values.mean())
    assert line['ci_low'] < line['mean'] < line['ci_high']
    assert line['mean_kcal'] == pytest.approx(line['mean'] * 627.5095,
                                              rel=1e-5)
    assert overall.loc[('scf', 'cycles_minao'), 'n'] == N
    parts = campaign.summary['molecules']
    assert parts[(parts.pair == 'pred-gt') & (
        parts.metric == 'energy_diff')]['n'].tolist() == [2, 1, 1, 1]


def test_the_json_has_the_shape_of_the_original(
    pairs: Path, reference: Path,
) -> None:
    path = reference.with_name(
        f'{pairs.parent.name}_evaluation_results.json')
    made = json.loads(path.read_text())
    assert made['error_count'] == 0
    assert made['hamiltonian_diff (pred-gt)'] == pytest.approx(
        load(reference).table['pred-gt/hamiltonian_diff'].mean())
    assert len(made) == 26 - 3


def test_the_end_tells_means_cycles_and_speed(reference: Path) -> None:
    log = reference.with_suffix('.log').read_text()
    for text in ('converged           5', 'energy_diff [mHa]',
                 'SCF cycles from', 'frames/hour', 'exit code 0: done'):
        assert text in log


@needs_mpirun
@pytest.mark.timeout(600)
@pytest.mark.parametrize('n, more', [
    (4, []), pytest.param(2, [], marks=pytest.mark.slow),
    pytest.param(2, ['--writer', 'gather'], marks=pytest.mark.slow)])
def test_any_number_of_ranks_and_writer_gives_the_same_bytes(
    pairs: Path, reference: Path, tmp_path: Path, n: int, more: list[str],
) -> None:
    ended = call('run', *words(pairs, tmp_path / 'x.h5', *more), n=n)
    assert ended.code == 0, ended.output
    assert differences(reference, tmp_path / 'x.h5') == []


@needs_mpirun
@pytest.mark.timeout(600)
def test_killed_and_resumed_is_the_same(
    pairs: Path, reference: Path, tmp_path: Path,
) -> None:
    out = tmp_path / 'x.h5'

    def half_done() -> bool:
        return bytes_of_results(tmp_path, schema_of()) > 3000
    ended = run_and(
        lambda pid, ranks: [os.kill(r, signal.SIGKILL) for r in ranks[-1:]],
        half_done, 'hameval', 'run', *words(pairs, out), marker=str(out))
    assert ended.code not in (0, 4) and not out.exists()
    ended = call('run', *words(pairs, out, '--resume'))
    assert ended.code == 0, ended.output
    assert 'resuming' in ended.output
    assert differences(reference, out) == []


@needs_mpirun
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopped_by_a_signal_is_exit_4_and_resumable(
    pairs: Path, reference: Path, tmp_path: Path,
) -> None:
    out = tmp_path / 'x.h5'
    ended = run_and(
        lambda pid, ranks: [os.kill(r, signal.SIGTERM) for r in ranks[:1]],
        lambda: any(tmp_path.glob('**/*.jnl')), 'hameval', 'run',
        *words(pairs, out), marker=str(out))
    assert ended.code == 4, ended.output
    assert not load(out).complete
    ended = call('run', *words(pairs, out, '--resume'), n=2)
    assert ended.code == 0, ended.output
    assert content_digest(out) == content_digest(reference)


def test_a_time_limit_is_exit_4_and_resumable(
    pairs: Path, reference: Path, tmp_path: Path,
) -> None:
    out = tmp_path / 'x.h5'
    ended = call('run', *words(pairs, out, '--time-limit', '0.01'))
    assert ended.code == 4, ended.output
    assert not load(out).complete
    ended = call('run', *words(pairs, out, '--resume'))
    assert ended.code == 0, ended.output
    assert content_digest(out) == content_digest(reference)


@needs_mpirun
@pytest.mark.timeout(600)
def test_broken_pairs_are_rows_and_exit_3(
    pairs: Path, tmp_path: Path,
) -> None:
    folder = tmp_path / 'set' / 'broken'
    folder.mkdir(parents=True)
    for i in (0, 1, 3, 4):
        for path in pairs.glob(f'*_mol{i}.npz'):
            with np.load(path) as values:
                write_mapping(folder / f'{path.stem}.pt', {
                    k: v if v.dtype.kind == 'f' and v.ndim or k == 'atoms'
                    else v.item() for k, v in values.items()}, '.pt')
    (folder / 'gt_batch0_mol0.pt').unlink()
    torn = folder / 'pred_batch0_mol1.pt'
    torn.write_bytes(torn.read_bytes()[:300])
    ended = call('run', *words(folder, tmp_path / 'x.h5', '--no-forces'),
                 n=2)
    assert ended.code == 3, ended.output
    table = load(tmp_path / 'x.h5').table
    assert table['reason'].tolist() == [
        'missing_partner', 'unreadable', '', '']
    assert table['name'].tolist()[2] == 'batch0_mol3'
    made = json.loads(
        (tmp_path / 'set_evaluation_results.json').read_text())
    assert made['error_count'] == 2
    assert made['energy_diff (pred-gt)'] > 0


def test_errors_of_either_sign_do_not_cancel_in_the_closing_table() -> None:
    from mpiapp.reporting.hamiltonians import metric_lines
    summary = pd.DataFrame({
        'pair': ['pred-gt'], 'metric': ['gap_error'], 'mean': [0.0],
        'mean_abs': [0.002], 'n': [2]})
    line = metric_lines(summary)[-1]
    assert line.split()[:3] == ['gap_error', '[mHa]', '2']


def test_means_of_cycles_say_how_many_runs_converged() -> None:
    from mpiapp.reporting.hamiltonians import cycle_lines
    line, = cycle_lines(
        {('scf', 'cycles_pred'): 4.0},
        {('scf', 'cycles_pred'): 3, ('scf', 'converged_pred'): 5,
         ('scf', 'converged_atom'): 5})
    assert 'atom (converged 0/5), pred 4.00 (converged 3/5)' in line


def test_duplicates_are_told() -> None:
    from mpiapp.reporting.hamiltonians import duplicate_lines
    table = pd.DataFrame({
        'file_number': 0, 'index': [0, 1, 0, -1, -1, 1],
        'molecule': ['H2O', 'H2O', 'H2O', 'H2O', 'H2O', 'CH4'],
        'name': list('abcdef')})
    assert duplicate_lines(table) == [
        'warning: c has the idx 0 of a: counted twice']
    many = pd.concat([table] * 10)
    assert len(duplicate_lines(many)) == 6


def test_a_limit_takes_the_first_frames(pairs: Path, tmp_path: Path) -> None:
    ended = call('run', '--dir_path', pairs, '--limit', 2, *CHEAP,
                 '--output', tmp_path / 'x.h5', '--no-forces',
                 '--num_procs', 7, '--batch_size', 3, '--debug')
    assert ended.code == 0, ended.output
    assert '--num_procs 7 has no effect' in ended.output
    assert load(tmp_path / 'x.h5').table['status'].tolist() == [
        1, 1, 6, 6, 6]


def test_without_an_action_frames_are_evaluated(
    pairs: Path, tmp_path: Path,
) -> None:
    ended = run('hameval', *words(pairs, tmp_path / 'x.h5', '--dry-run'))
    assert ended.code == 0, ended.output
    assert '5 of 5 frame(s)' in ended.output and 'ranks    4' in ended.output
    assert not list(tmp_path.iterdir())


@needs_mpirun
def test_more_ranks_than_frames_are_no_trouble(
    pairs: Path, tmp_path: Path,
) -> None:
    found = []
    for n in (0, 3):
        path = tmp_path / f'{n}.h5'
        ended = call('run', *words(pairs, path), '--limit', 1, n=n)
        assert ended.code == 0, ended.output
        found.append(content_digest(path))
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cached_scf_is_used_for_the_same_settings_alone(
    pairs: Path, reference: Path, tmp_path: Path,
) -> None:
    def go(name: str, *more: object) -> list[int]:
        ended = call('run', '--dir_path', pairs, '--limit', 2, '--output',
                     tmp_path / name, '--calc-cache', tmp_path / 'cache',
                     *more)
        assert ended.code == 0, ended.output
        return load(tmp_path / name).table['cached'].tolist()[:2]
    assert go('a.h5', *CHEAP) == [0, 0]
    assert go('b.h5', *CHEAP) == [1, 1]
    assert go('c.h5', *CHEAP, '--conv-tol', '1e-6', '--no-forces') == [0, 0]
    one, other = (load(tmp_path / name).table for name in ('a.h5', 'b.h5'))
    full = load(reference).table
    for name in [c for c in one if '/' in c]:
        np.testing.assert_array_equal(one[name][:2], other[name][:2])
        np.testing.assert_array_equal(one[name][:2], full[name][:2])


def test_inputs_are_never_written(pairs: Path, reference: Path) -> None:
    newest = max(p.stat().st_mtime for p in pairs.iterdir())
    assert newest < reference.stat().st_mtime
    assert len(list(pairs.iterdir())) == 2 * N + 1


@pytest.mark.parametrize('change, fault', [
    (['--dir_path', 'none'], 'does not exist'),
    (['--xc', 'pbe99'], '--xc pbe99'),
    (['--xc', 'pbe0'], 'functional pbe, --xc is pbe0'),
    (['--basis', 'def2-svp'], 'basis sto-3g'),
    (['--basis', 'mybasis'], '--basis mybasis'),
    (['--output', 'x.csv'], '.h5'),
    (['--grid-level', '12'], '0 to 9'),
    (['--restart-scf', 'none', 'atom'], 'excludes'),
    (['--restart-scf', 'luck'], 'luck'),
    (['--size_limit', '-1'], 'negative'),
    (['--conv-tol', '0'], 'greater than 0'),
    (['--resume', '--overwrite'], 'exclude'),
    (['--pred_prefix', 'gt_'], 'must differ'),
    (['--pred_prefix', 'a_', '--gt_prefix', 'b_'], 'holds no'),
    (['--predictions', 'none.h5'], 'does not exist'),
    (['--time-limit', 'soon'], 'soon'),
    (['--json', 'file/x.json'], 'not a folder'),
    (['--unknown'], 'unrecognized'),
])
def test_bad_usage_is_refused_before_any_work(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    change: list[str], fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=re.escape(fault)):
        prepared(*words(pairs, tmp_path / 'x.h5'), *change)
    assert [p.name for p in tmp_path.glob('*')] == ['file']


@needs_mpirun
def test_what_is_refused_is_exit_2_on_all_ranks(
    pairs: Path, tmp_path: Path,
) -> None:
    ended = call('run', '--output', tmp_path / 'x.h5')
    assert ended.code == 2 and '--dir_path' in ended.output
    ended = call('run', *words(pairs, tmp_path / 'x.h5', '--xc', 'pbe0'),
                 n=2)
    assert ended.code == 2 and '--xc is pbe0' in ended.output
    ended = call('run', *words(pairs, tmp_path / 'x.h5'), '--device', 'gpu',
                 CUDA_VISIBLE_DEVICES='')
    assert ended.code == 2 and 'GPU' in ended.output
    assert not list(tmp_path.iterdir())


def test_results_are_not_overwritten_unasked(
    pairs: Path, tmp_path: Path,
) -> None:
    few = words(pairs, tmp_path / 'x.h5', '--no-forces', '--limit', 1)
    assert call('run', *few).code == 0
    with pytest.raises(InputError, match='--overwrite'):
        prepared(*few)
    with pytest.raises(InputError, match='conv_tol'):
        prepared(*few, '--resume', '--conv-tol', '1e-8')
    assert prepared(*few, '--overwrite').plan.overwrite


def test_a_resume_keeps_split_and_predictions(tmp_path: Path) -> None:
    for name in ('data.h5', 'pred.h5', 'other.h5'):
        rmd17(tmp_path / name, basis='sto-3g', functional='pbe')
    with h5py.File(tmp_path / 'other.h5', 'r+') as file:
        file['sample_1/hamiltonian'][...] *= 1.001
    given = ['--dir_path', tmp_path / 'data.h5', *CHEAP, '--split', 'test',
             '--output', tmp_path / 'x.h5']
    assert call('run', *given, '--no-forces', '--time-limit',
                '0.01').code == 4
    prepared(*given, '--no-forces', '--resume')
    for change, fault in ((('--split', 'val'), 'split'), *(
            (('--predictions', tmp_path / name), 'predictions')
            for name in ('pred.h5', 'other.h5'))):
        with pytest.raises(InputError, match=fault):
            prepared(*given, '--no-forces', '--resume', *change)
    one, other = (prepared(*given, '--overwrite', '--predictions',
                           tmp_path / name).plan.settings['predictions']
                  for name in ('pred.h5', 'other.h5'))
    assert one != other and len(one) == 64


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_an_output_that_cannot_be_written_is_refused(
    pairs: Path, tmp_path: Path,
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match='cannot be written'):
        prepared(*words(pairs, tmp_path / 'x.h5'))


def test_an_output_in_the_place_of_a_file_is_refused(
    pairs: Path, tmp_path: Path,
) -> None:
    (tmp_path / 'x').touch()
    with pytest.raises(InputError, match='not a folder'):
        prepared(*words(pairs, tmp_path / 'x' / 'y.h5'))


@needs_mpirun
def test_two_ranks_on_one_gpu_need_to_be_allowed(
    pairs: Path, tmp_path: Path,
) -> None:
    ended = call('run', *words(pairs, tmp_path / 'x.h5'), '--device', 'gpu',
                 n=2, CUDA_VISIBLE_DEVICES='0')
    assert ended.code == 2 and '--ranks-per-gpu' in ended.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('device, there, fault', [
    ('cuda', 'cuda:0', 'GPU4PySCF cannot run here'),
    ('cuda', 'cpu', 'GPU4PySCF cannot run here'),
    ('auto', 'cuda:0', ''), ('auto', 'cpu', ''), ('cpu', 'cuda:0', '')])
def test_a_gpu_is_never_silently_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    device: str, there: str, fault: str,
) -> None:
    monkeypatch.setitem(sys.modules, 'cupy', None)
    monkeypatch.setattr(evaluation.log, 'propagate', True)
    seat = Placement(Seat(), 'here', (0,), 1, there)
    world = World(SerialComm(), seat, (seat,))
    options = evaluation.RunOptions(device=device)
    if not fault:
        assert not evaluation.choose_device(options, world)
        told = 'there are GPUs, but' in caplog.text
        assert told == (device == 'auto' and there != 'cpu')
        return
    with pytest.raises(InputError, match=fault):
        evaluation.choose_device(options, world)


@needs_mpirun
def test_check_proves_without_an_scf(pairs: Path, tmp_path: Path) -> None:
    ended = call('check', '--dir_path', pairs, *CHEAP[:2], n=2)
    assert ended.code == 0, ended.output
    assert ended.output.count('bohr, order e3nn, overlap agrees') == N
    assert '5 frame(s), 0 refused' in ended.output
    ended = call('check', '--dir_path', pairs, '--basis', '6-31g')
    assert ended.code == 3 and ended.output.count('xc_mismatch') == N


def test_convert_keeps_every_metric(
    pairs: Path, reference: Path, tmp_path: Path,
) -> None:
    ended = call('convert', '--dir_path', pairs, *CHEAP[:2], '--output',
                 tmp_path / 'frames.h5')
    assert ended.code == 0, ended.output
    assert '5 frame(s) of' in ended.output
    with pytest.raises(InputError, match='--overwrite'):
        frame_actions.convert(evaluation.ConvertOptions(
            dir_path=(str(pairs),), basis='sto-3g',
            output=str(tmp_path / 'frames.h5')))
    ended = call('run', *words(tmp_path / 'frames.h5', tmp_path / 'x.h5'))
    assert ended.code == 0, ended.output
    one, other = load(reference).table, load(tmp_path / 'x.h5').table
    assert set(other['ao_order']) == {'pyscf'}
    for name in [c for c in one if '/' in c]:
        np.testing.assert_allclose(one[name], other[name], atol=1e-12,
                                   err_msg=name)


def test_one_file_has_one_functional() -> None:
    of = frame_actions.functional_of
    assert of(['', ''], 'pbe0') == 'pbe0'
    assert of(['pbe', '', 'PBE,PBE'], 'b3lyp') == 'pbe'
    with pytest.raises(InputError, match='pbe and of b3lyp.*one functional'):
        of(['pbe', 'b3lyp'], 'pbe')


@needs_mpirun
def test_synth_gives_the_same_files_on_any_number_of_ranks(
    pairs: Path, tmp_path: Path,
) -> None:
    made = synth(tmp_path / 'a', '--error', 'noise', '--error-size',
                 '0.003', n=2)
    for path in sorted(pairs.glob('*.npz')):
        with np.load(path) as one, np.load(made / path.name) as other:
            assert set(one) == set(other)
            for key, value in one.items():
                assert np.array_equal(value, other[key]), key


@pytest.mark.parametrize('change, fault', [
    ([], 'holds pairs already'),
    (['--output', 'new', '--rattle', '0'], 'there are 4'),
    (['--output', 'new', '--geometries', 'none.xyz'], 'none.xyz'),
    (['--output', 'new', '--error', 'luck'], 'luck'),
    (['--output', 'new', '--error', 'permuted', '--ao-order', 'pyscf'],
     'another --ao-order'),
    (['--resume', '--seed', '9'], r'other settings \(error, seed'),
    (['--output', 'new', '--xc', 'pbe99'], '--xc pbe99'),
])
def test_synth_refuses_what_cannot_be(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    change: list[str], fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=fault):
        begun('--geometries', SMALL, '--count', 5, '--rattle', '0.03',
              *CHEAP, '--output', pairs, *change)
    assert not list(tmp_path.iterdir())


def test_synth_shifts_what_it_uses_again_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    given = ('--geometries', SMALL, *CHEAP, '--output', tmp_path / 'new')
    collection, settings, n, missing = begun(*given, '--count', 7)
    assert (n, settings.rattle, settings.unshifted) == (7, 0.02, 4)
    assert missing == list(range(7))
    assert '7 frames of 4 given: the further 3 are shifted at random by ' \
        '0.02 A' in capsys.readouterr().out
    where = collection.load(0).positions
    assert (rattled(where, settings, 0) == where).all()
    moved = np.abs(rattled(where, settings, 4) - where)
    assert 0 < moved.max() < 0.1
    assert not begun(*given, '--count', 4)[1].rattle
    assert begun(*given, '--rattle', '0.1')[1].unshifted == 0
    assert not capsys.readouterr().out


def test_synth_stops_in_good_order_and_goes_on(
    pairs: Path, tmp_path: Path,
) -> None:
    given = ('--geometries', SMALL, '--count', 5, '--rattle', '0.03', *CHEAP,
             '--output', tmp_path)
    ended = call('synth', *given, '--time-limit', '0.001s', n=2)
    assert ended.code == 4, ended.output
    assert 'go on with --resume' in ended.output
    assert len(list(tmp_path.glob('pred_*'))) <= 2
    ended = call('synth', *given, '--resume')
    assert ended.code == 0, ended.output
    assert json.loads((tmp_path / 'synth.json').read_text())['complete']
    assert len(list(tmp_path.glob('pred_*'))) == 5
    # nothing is made twice
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob('*_*')}
    next(tmp_path.glob('pred_*')).unlink()
    assert call('synth', *given, '--resume').code == 0
    changed = [p for p in tmp_path.glob('*_*')
               if p.stat().st_mtime_ns != before[p]]
    assert len(changed) == 2


def test_check_stops_in_good_order(pairs: Path) -> None:
    ended = call('check', '--dir_path', pairs, '--basis', 'sto-3g',
                 '--time-limit', '0.001s')
    assert ended.code == 4, ended.output
    assert 'stopped early' in ended.output


def test_synth_never_deletes_pairs_of_others(tmp_path: Path) -> None:
    (tmp_path / 'gt_mine.pt').touch()
    with pytest.raises(InputError, match='has not made'):
        begun('--geometries', SMALL, '--output', tmp_path, '--overwrite')
    assert (tmp_path / 'gt_mine.pt').exists()


def test_synth_knows_a_folder_that_it_left_halfway(tmp_path: Path) -> None:
    given = ('--geometries', SMALL, *CHEAP, '--output', tmp_path)
    begun(*given)
    assert not json.loads((tmp_path / 'synth.json').read_text())['complete']
    (tmp_path / 'gt_batch0_mol0.pt').touch()
    with pytest.raises(InputError, match='--overwrite'):
        begun(*given)
    begun(*given, '--overwrite')
    assert not (tmp_path / 'gt_batch0_mol0.pt').exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_the_manual_work_on_ethanol(tmp_path: Path) -> None:
    ended = call('synth', '--geometries', ROOT / 'data' / 'hamiltonians' /
                 'ethanol_40.xyz', '--count', 4, '--error', 'zero',
                 '--output', tmp_path / 'DIR', n=2)
    assert ended.code == 0, ended.output
    ended = call('run', '--dir_path', tmp_path / 'DIR', '--size_limit', 0,
                 '--output', tmp_path / 'FILE.h5', n=2)
    assert ended.code == 0, ended.output
    table = load(tmp_path / 'FILE.h5').table
    assert set(table['nao']) == {72} and set(table['n_electrons']) == {26}
    assert (table['pred-gt/energy_diff'] == 0).all()
    assert (table['cycles_pred'] <= 2).all()
    # the data set's own energies, another program and grid: 10 meV
    text = (ROOT / 'data' / 'hamiltonians' / 'ethanol_40.xyz').read_text()
    labels = re.findall(r'energy=(\S+)', text)[:4]
    off = table['e_calc'].to_numpy() * 27.2113860 - np.array(
        labels, np.float64)
    assert np.abs(off).max() < 0.02


def pages() -> str:
    return ''.join((ROOT / name).read_text()
                   for name in ('docs/hameval.md', 'README.md'))


def test_commands_and_options_of_the_page_exist() -> None:
    lines = re.findall(r'mpiapp\.hameval ([^`\n]+)',
                       pages().replace('\\\n', ' '))
    assert len(lines) > 5
    for line in lines:
        given = hameval.spelled(shlex.split(line.partition('#')[0]))
        if '--help' in given or '...' in given:
            continue
        action = given.pop(0) if given[0] in hameval.ACTIONS else 'run'
        cls, settle, _ = hameval.PARTS[action]
        settle(read_options(cls, 'hameval', '', given))
    flags = set()
    for cls, _, _ in hameval.PARTS.values():
        flags |= set(parser(cls, 'hameval', '').format_help().split())
    described = {hameval.spelled([o])[0] for o in re.findall(
        r'`(--[a-z][a-z_0-9-]+)', (ROOT / 'docs/hameval.md').read_text())}
    known = {f.rstrip(',') for f in flags}
    assert not described - known
    assert described >= {
        f for f in known if f.startswith('--')
        and f[2:].replace('-', '_') in evaluation.RunOptions
        .__dataclass_fields__ and f[2:].replace('-', '_') not in
        evaluation.Shared.__dataclass_fields__}
