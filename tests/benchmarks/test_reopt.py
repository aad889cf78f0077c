"""The yardstick: what it compares, what it writes, what it refuses."""
import json

import numpy as np
import pytest

from mpiapp import bench
from mpiapp.benchmarks import reopt, shapes, summary, ways
from mpiapp.potentials import mace

# of TorchScript, which e3nn is made of, and of mace-torch's own torch.load
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]

METHANOL = """6
charge=0
C -0.36 0.01 0.02
O 0.96 -0.32 -0.25
H -0.64 0.92 -0.52
H -0.58 0.18 1.10
H -0.97 -0.80 -0.40
H 1.55 0.35 0.12
"""
#: a number that the file holds for each of these
RATIOS = ('evaluations_ratio', 'evaluation_ratio', 'conformer_ratio')


@pytest.fixture
def measured(monkeypatch, tmp_path, capsys):
    """Run the command on a small molecule, without optional packages."""
    monkeypatch.setattr(mace, 'find_spec', lambda name: None)
    monkeypatch.setattr(ways, 'find_spec', lambda name: None)
    monkeypatch.setattr(reopt, 'MORE_MODELS', ())
    monkeypatch.setattr(reopt, 'SHAPES', {
        'small': shapes.Shape('4x0e', 3.0)})
    monkeypatch.setattr(reopt, 'pyrene_dimer', lambda: shapes.Structure(
        0, 0, 0, *shapes.embedded('CO')))
    sdf = tmp_path / 'methanol.xyz'
    sdf.write_text(METHANOL)

    def run(*words):
        path = tmp_path / 'out.json'
        code = bench.main(['reopt', '--sdf', str(sdf), '--backend', 'poly',
                           '--json', str(path), *words])
        found = json.loads(path.read_text()) if path.exists() else {}
        return code, found, capsys.readouterr()

    return run


def test_ratios_agreement_and_context_are_in_the_file(measured):
    code, found, printed = measured('--quick')
    assert code == 0
    assert found['evaluations_ratio'] > 1.0
    by_dtype = found['evaluation_ratio']['small']
    assert set(by_dtype) == {'float64', 'float32'}
    ratio = found['conformer_ratio']
    assert ratio['end_to_end']['student'] > 0.0
    assert ratio['end_to_end_over_ase_native'] == {}
    assert ratio['product_mace_off_small']['float64'] == pytest.approx(
        found['evaluations_ratio'] * by_dtype['float64'])
    agreement = found['agreement']
    assert abs(agreement['energy_meV']['median']) < summary.APART
    assert agreement['rmsd_A']['median'] < 0.01
    assert agreement['differ'] == agreement['not_converged'] == []
    for name in ('machine', 'versions', 'command', 'n', 'spread'):
        assert found[name]
    assert found['n'] == {
        'conformers': 1, 'evaluation_rounds': reopt.QUICK_ROUNDS,
        'left_out': 0}
    assert 'evaluations, ASE L-BFGS / ours: median' in printed.out


def test_every_way_is_done_or_has_a_reason(measured):
    _, found, _ = measured('--skip-evaluations')
    state = {w['way']: w['state'] for w in found['ways']}
    assert state == {
        'ase-mace': 'ok', 'ase-native': 'skipped', 'torch-sim': 'skipped',
        'ours': 'ok'}
    reasons = [w['reason'] for w in found['ways'] if 'reason' in w]
    assert 'symmetrix-xl' in reasons[0]
    assert 'torch-sim-atomistic' in reasons[1]
    row = found['cases'][0]['ways']
    assert set(row) == {'ase-mace', 'ours'}
    for end in row.values():
        assert end['us_per_atom_step'] == pytest.approx(
            1e6 * end['cpu_s'] / (6 * end['evaluations']))
        assert end['outcome'] == 'converged'


def test_a_way_that_raises_is_failed_and_not_timed(measured, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError('no luck')

    monkeypatch.setattr(ways, 'drive', broken)
    code, found, _ = measured('--skip-evaluations')
    assert code == 1
    ours = next(w for w in found['ways'] if w['way'] == 'ours')
    assert ours['state'] == 'failed'
    assert ours['reason'] == 'ZeroDivisionError: no luck'
    assert 'ours' not in found['cases'][0]['ways']
    assert found['evaluations_ratio'] is None


def test_a_batch_repeats_the_conformers(measured, monkeypatch):
    seen = []
    right = ways.drive

    def drive(take, evaluate, method, limits, slots, stopping):
        def counted(batch):
            seen.append(len(batch))
            return evaluate(batch)
        return right(take, counted, method, limits, slots, stopping)

    monkeypatch.setattr(ways, 'drive', drive)
    code, found, _ = measured('--skip-evaluations', '--batch', '3')
    assert code == 0
    assert set(seen) == {3}
    case, = found['cases']
    assert set(case['ways']) == {'ours'}
    # six copies take two rounds of three
    assert len(seen) == 2 * case['ways']['ours']['evaluations']


def test_a_batch_on_the_device_ends_like_one_on_the_host(measured):
    ends = []
    for where in ('host', 'device'):
        code, found, _ = measured('--skip-evaluations', '--batch', 'auto',
                                  '--together', '3', '--relax-on', where)
        assert code == 0
        ours = next(w for w in found['ways'] if w['way'] == 'ours')
        assert ours['steps'] == where
        ends.append(found['cases'][0]['ways']['ours'])
    assert ends[0]['evaluations'] == ends[1]['evaluations']
    assert {e['outcome'] for e in ends} == {'converged'}


def test_the_models_of_a_plain_clone_are_measured():
    options = reopt.argparse.Namespace(model_path=[])
    names = [name for name, _ in reopt.chosen_models(options)]
    assert names == ['student', 'mace_spice_2022']


def test_a_quick_run_has_three_conformers_to_each_model():
    options = reopt.argparse.Namespace(sdf=[], every=None, quick=True)
    found = list(reopt.chosen_conformers(options))
    assert len(found) == 3
    assert {len(s.numbers) for _, s in found} == {110}


def test_time_that_is_up_leaves_conformers_out(monkeypatch):
    """The first is always done; no other is begun that would be late."""
    clock = iter([0.0, 50.0, 50.0, 90.0, 90.0])
    monkeypatch.setattr(reopt.time, 'perf_counter', lambda: next(clock))
    monkeypatch.setattr(reopt.summary, 'case_line', lambda case: '')
    end = ways.End('converged', 1, np.zeros((1, 3)), 1.0, 1.0)
    runner = reopt.Runner('ours', lambda s: [end], {'state': 'ok'})
    settings = ways.Settings(ways.Limits())
    found = list(reopt.relaxed(
        'm', [runner], [('a', None), ('b', None), ('c', None)], settings,
        end=100.0))
    assert [case.name for case in found] == ['a', 'b']


@pytest.mark.parametrize('words, message', [
    (['--batch', '0'], '--batch 0: must be greater than 0'),
    (['--fmax', 'nan'], '--fmax nan'),
    (['--max-steps', '-1'], '--max-steps -1'),
    (['--model-path', 'nowhere.model'], 'nowhere.model'),
    (['--sdf', 'nowhere.sdf'], 'nowhere.sdf')])
def test_wrong_options_are_refused_before_any_work(
        measured, words, message):
    code, found, printed = measured(*words)
    assert code == 2
    assert not found
    assert message in printed.err


def test_a_gpu_that_is_not_there_is_said(measured):
    import torch
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    code, _, printed = measured('--device', 'cuda', '--batch', '64')
    assert code == 2
    assert 'sees no CUDA device' in printed.err


def test_cases_that_differ_are_listed():
    rows = [{'model': 'm', 'name': name, 'energy_meV': de, 'rmsd_A': 0.1,
             'ways': {}} for name, de in (('a', 0.2), ('b', 5.0),
                                          ('c', -7.0))]
    found = summary.agreement(rows)
    assert [d['name'] for d in found['differ']] == ['b', 'c']
    assert (found['higher'], found['lower']) == (1, 1)
    assert found['energy_meV'] == {
        'median': 0.2, 'largest_same_minimum': 0.2}
