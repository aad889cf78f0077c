"""Wrong input of `hpo`: code 2 and a reason before any work, or a status."""
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpiapp.comparing import read_hard
from mpiapp.config import read_options
from mpiapp.errors import InputError
from mpiapp.hpo import begin
from mpiapp.store.reader import load
from mpiapp.tuner import Options, prepare, settle
from tests.jobs import Ended, needs_mpirun, run

PLANE = ('--calculator', 'muller-brown', '--start-from', 'ts_noise0.3A',
         '--n-steps', 40, '--plots', 'none', '--draws', 3)

#: a calculator that does what its name says for some positions
PLUGIN = '''
"""A potential whose energy is that of a spring, with faults."""
import time

import numpy as np

from mpiapp.records import Evaluation
from mpiapp.potentials.lj import build as build_lj


class Faulty:
    name = 'faulty'
    elements = None
    accepts_charge = False
    topology_guards = False
    bytes_per_atom = 1.0

    def __init__(self, inner):
        self._inner = inner
        self.finisher = None

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def evaluate(self, batch):
        {fault}
        return self._inner.evaluate(batch)


def resolve(options):
    return options


def build(options, structures_sample=()):
    import dataclasses
    inner = build_lj(dataclasses.replace(options, calculator='lj'))
    return Faulty(inner)
'''


def words_of(data_dir: Path, tmp: Path, *words: object) -> list[str]:
    return [str(w) for w in (
        '--data', data_dir / 'saddles' / 'muller_brown.extxyz', *PLANE,
        '--output', tmp / 'x.h5', *words)]


def refused(data_dir: Path, tmp: Path, *words: object) -> str:
    """Return why a start is refused; all checks of a start are made."""
    with pytest.raises(InputError) as caught:
        start(data_dir, tmp, *words)
    return str(caught.value)


def start(data_dir: Path, tmp: Path, *words: object) -> None:
    """Do all that `run` does before its first trial."""
    options = settle(read_options(
        Options, 'hpo', '', words_of(data_dir, tmp, *words)))
    begun = begin(options, prepare(options, 'run'), 1)
    begun.opened.close()


def tune(data_dir: Path, tmp: Path, *words: object, n: int = 0) -> Ended:
    return run('hpo', *words_of(data_dir, tmp, *words), n=n)


REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    'reversed bounds': (('--range', 'dt=0.005:0.0005'),
                        'bounds of dt are reversed: 0.005 is above 0.0005'),
    'equal bounds': (('--range', 'dt=0.001:0.001'), '--fix dt=0.001'),
    'bounds without meaning': (('--range', 'dt=-1:1'), 'dt'),
    'an unknown parameter': (('--range', 'dtt=1:2'), "no parameter 'dtt'"),
    'one fixed and ranged': (('--fix', 'dt=0.001', '--range',
                              'dt=0.001:0.002'), '--fix and by --range'),
    'the baseline outside': (('--range', 'dt=0.002:0.005'),
                             'dt = 0.001 is outside'),
    'steps out of order': (('--range', 'dt_max=0.002:0.1', '--no-baseline'),
                           'dt must lie between'),
    'a rung above the samples': (('--rungs', 9), 'a trial has 6 samples'),
    'a pruner for two values': (('--objective', 'two', '--pruner',
                                 'median'), 'two values'),
    'a test of scores that there are not': (
        ('--objective', 'original_sella', '--pruner', 'wilcoxon'),
        'no score of single samples'),
    'nsga2 for one value': (('--sampler', 'nsga2'), '--objective two'),
    'noise without a number': (('--start-from', 'ts_noise'),
                               'number of angstrom'),
    'negative noise': (('--start-from', 'ts_noise-1A'), 'noise'),
    'an unknown calculator': (('--calculator', 'dftb9'),
                              "unknown calculator 'dftb9'"),
    'a missing file': (('--data', 'no.extxyz'), 'no.extxyz'),
    'hold out each': (('--held-out', 1), '0 or 2 and more'),
    'a grid too large': (('--sampler', 'grid'), 'points'),
    'no parameter file': (('--enqueue', 'no.json'), 'no.json'),
    'an output of another kind': (('--output', 'x.csv'), 'ends with .h5'),
    'too many to screen': (('--prescreen', 101), '100 at most'),
    'an unknown objective': (('--objective', 'best'), 'objective'),
    'zero trials': (('--n-trials', 0), 'greater than 0'),
    'a bad database': (('--storage', 'nosql://x:secret@y/z'),
                       'cannot be opened'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_a_wrong_start_is_refused_with_a_reason(
    data_dir: Path, tmp_path: Path, case: str,
) -> None:
    words, message = REFUSED[case]
    text = refused(data_dir, tmp_path, *words)
    assert message in text and 'secret' not in text
    assert not list(tmp_path.glob('*.h5'))


def test_a_refusal_is_exit_code_2_on_all_ranks(
    data_dir: Path, tmp_path: Path,
) -> None:
    ended = tune(data_dir, tmp_path, '--range', 'dt=0.005:0.0005')
    assert ended.code == 2 and 'reversed' in ended.output
    assert 'Traceback' not in ended.output
    assert not list(tmp_path.iterdir())


def test_a_name_in_use_is_refused_and_other_names_are_not(
    data_dir: Path, tmp_path: Path,
) -> None:
    start(data_dir, tmp_path)
    text = refused(data_dir, tmp_path)
    assert 'tssearch-multimode' in text and '--resume' in text
    start(data_dir, tmp_path, '--study-name', 'other')
    start(data_dir, tmp_path, '--resume')
    start(data_dir, tmp_path, '--overwrite')


CHANGES: dict[str, tuple[tuple[object, ...], str]] = {
    'another space': (('--range', 'dt=0.0004:0.005'), 'space.dt'),
    'another fixed parameter': (('--fix', 'dt_min=1e-7'),
                                'space.fixed.dt_min'),
    'another sampler': (('--sampler', 'random'), 'sampler: was "tpe"'),
    'another seed': (('--seed', 7), 'seed: was 42, now 7'),
    'another pruner': (('--pruner', 'median'), 'pruner'),
    'other rungs': (('--rungs', 3), 'rungs'),
    'other samples': (('--draws', 2), 'samples.n: was 6, now 4'),
    'another noise': (('--noise-seed', 1), 'samples.sha256'),
    'another mode': (('--mode', 'async'), 'mode: was "exact"'),
    'another objective': (('--objective', 'original_sella'), 'objective'),
    'another fmax': (('--fmax', 0.05), 'search.fmax: was 0.03, now 0.05'),
    'more steps': (('--n-steps', 50), 'search.max_steps'),
}


@pytest.fixture(scope='module')
def begun(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('begun')
    start(data_dir, folder)
    return folder


@pytest.mark.parametrize('case', CHANGES)
def test_resuming_with_other_settings_names_the_difference(
    data_dir: Path, begun: Path, case: str,
) -> None:
    words, message = CHANGES[case]
    before = (begun / 'x.log').read_bytes()
    text = refused(data_dir, begun, '--resume', *words)
    assert 'begun with other settings' in text and message in text
    assert (begun / 'x.log').read_bytes() == before


def test_a_measured_deviation_of_the_hessian_does_not_forbid_resuming(
    data_dir: Path, tmp_path: Path,
) -> None:
    for share, words in (('1.2e-06', ()), ('1.3e-06', ('--resume',))):
        options = settle(read_options(
            Options, 'hpo', '', words_of(data_dir, tmp_path, *words)))
        prepared = prepare(options, 'run')
        begin(options, replace(prepared, about={
            **prepared.about, 'hessian_guard': f'within {share}'}),
            1).opened.close()


def test_a_corrupt_journal_is_refused_and_left_as_it_is(
    data_dir: Path, tmp_path: Path,
) -> None:
    start(data_dir, tmp_path)
    journal = tmp_path / 'x.log'
    sound = journal.read_bytes()
    lines = sound.splitlines(keepends=True)
    for bad, message in (
            (lines[0] + b'garbage\n' + lines[1], 'line 2'),
            (b'\x00\xff' * 200 + b'\n', 'line 1'),
            (b'{"a": 1}\n', 'line 1'),
            (b'{"op_code": 99, "worker_id": "x"}\n', 'not the journal')):
        journal.write_bytes(bad)
        assert message in refused(data_dir, tmp_path, '--resume')
        assert journal.read_bytes() == bad
    # a line that a kill cut in two is no damage
    journal.write_bytes(sound + lines[-1][:-5])
    start(data_dir, tmp_path, '--resume')
    assert journal.read_bytes().startswith(sound)


@pytest.mark.parametrize('storage', ['{}/x.log', 'sqlite:///{}/x.sqlite'])
def test_two_jobs_do_not_write_to_one_storage(
    data_dir: Path, tmp_path: Path, storage: str,
) -> None:
    from mpiapp.tuning.storage import open_for_writing
    where = ('--storage', storage.format(tmp_path))
    opened = open_for_writing(where[1])
    assert 'another job works on' in refused(data_dir, tmp_path, *where)
    assert 'another job works on' in refused(data_dir, tmp_path, *where,
                                             '--resume')
    opened.close()
    start(data_dir, tmp_path, *where)


@pytest.mark.parametrize('text', ['{"samp', '[]', '{"samples": [3]}'])
def test_a_corrupt_list_of_hard_samples_is_refused(
    tmp_path: Path, text: str,
) -> None:
    path = tmp_path / 'x_hard.json'
    path.write_text(text)
    with pytest.raises(InputError, match='x_hard.json: not written by'):
        read_hard(path)


def test_a_result_is_never_written_over_by_chance(
    data_dir: Path, tmp_path: Path,
) -> None:
    (tmp_path / 'x.h5').write_bytes(b'mine')
    assert 'exist(s) already' in refused(data_dir, tmp_path)
    assert (tmp_path / 'x.h5').read_bytes() == b'mine'


def test_no_sound_sample_is_left(data_dir: Path, tmp_path: Path) -> None:
    one = tmp_path / 'one.xyz'
    one.write_text('1\n\nH 0 0 0\n')
    text = refused(data_dir, tmp_path, '--data', one, '--calculator', 'lj7',
                   '--start-from', 'reactant')
    assert 'reactant' in text or 'searched' in text


def test_export_and_validate_say_what_is_missing(
    data_dir: Path, tmp_path: Path,
) -> None:
    for storage in (tmp_path / 'no.log', f'sqlite:///{tmp_path}/no.sqlite'):
        ended = run('hpo', 'export', '--storage', storage)
        assert ended.code == 2 and 'no such file' in ended.output
    assert not list(tmp_path.iterdir())
    start(data_dir, tmp_path)
    ended = run('hpo', 'export', '--storage', tmp_path / 'x.log',
                '--study-name', 'other')
    assert ended.code == 2 and 'tssearch-multimode' in ended.output
    ended = tune(data_dir, tmp_path, '--dry-run', '--resume')
    assert ended.code == 0 and 'predicted' in ended.output
    ended = run('hpo', 'validate', *words_of(data_dir, tmp_path),
                '--held-out', 2)
    assert ended.code == 2 and 'no complete trial' in ended.output


def plugin(tmp: Path, fault: str) -> Path:
    path = tmp / 'faulty.py'
    path.write_text(PLUGIN.replace('{fault}', fault))
    return path


def cluster(data_dir: Path, tmp: Path, *words: object) -> list[Any]:
    return ['--data', data_dir / 'saddles' / 'lj7.extxyz', '--start-from',
            'ts_noise0.05A', '--draws', 3, '--n-steps', 5, '--plots',
            'none', '--output', tmp / 'f.h5', *words]


def test_failing_samples_are_recorded_and_without_any_there_is_no_best(
    data_dir: Path, tmp_path: Path,
) -> None:
    path = plugin(tmp_path, 'raise RuntimeError("no SCF")')
    ended = run('hpo', *cluster(data_dir, tmp_path, '--calculator', path,
                                '--n-trials', 2))
    assert ended.code == 3, ended.output
    assert 'there is no best' in ended.output
    table = load(tmp_path / 'f.h5').table
    assert (table['n_errors'] == 3).all()
    assert (table['value'] == table['value'][0]).all()
    assert not (tmp_path / 'f_best_config.json').exists()
    results = json.loads((tmp_path / 'f_results.json').read_text())
    assert results['best_trial'] is None


@needs_mpirun
@pytest.mark.parametrize('mode, state', [('exact', 'failed'),
                                         ('async', 'complete')])
def test_a_hanging_calculation_ends_at_its_limit(
    data_dir: Path, tmp_path: Path, mode: str, state: str,
) -> None:
    hang = 'import ctypes; ctypes.PyDLL(None).sleep(100000)'
    path = plugin(tmp_path, hang)
    ended = run('hpo', *cluster(
        data_dir, tmp_path, '--calculator', path, '--n-trials', 2,
        '--hessian', 'fd', '--sample-timeout', 1, '--mode', mode), n=2)
    assert ended.code == 3, ended.output
    table = load(tmp_path / 'f.h5').table
    assert (table['state'] == state).all(), table
    if mode == 'exact':
        assert table['note'].str.contains('longer than its limit').all()


@needs_mpirun
def test_more_ranks_than_samples_work_and_are_told(
    data_dir: Path, tmp_path: Path,
) -> None:
    ended = tune(data_dir, tmp_path, '--draws', 1, '--n-trials', 2, n=4)
    assert ended.code == 0, ended.output
    assert '4 ranks, but 2 samples' in ended.output
