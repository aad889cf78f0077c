"""Bad input of `tssearch`: each has its stated answer."""
from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from mpiapp import tssearch as program
from mpiapp.config import read_options
from mpiapp.records import InputError
from tests.jobs import Ended, run

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / 'data' / 'saddles'
LJ7 = str(DATA / 'lj7.extxyz')


def frame(atoms: str, rows: str, comment: str = '') -> str:
    lines = [f'{a} {r}' for a, r in zip(atoms.split(), rows.split(','),
                                        strict=True)]
    return f'{len(lines)}\n{comment}\n' + '\n'.join(lines) + '\n'


WATER = frame('O H H', '0 0 0,0 -.757 .587,0 .757 .587')
#: linear, and a start that bends
LINEAR = frame('H C N', '0 0 -1.066,0 0 0,0 0 1.153')
BENT = frame('H C N', '0 .9 .6,0 0 0,0 0 1.19')
PAIR = frame('H H', '0 0 0,0 0 .74')
ATOM = frame('H', '0 0 0')
FUSED = frame('O H H', '0 0 0,0 0 .01,0 .757 .587')
HELIUM = frame('He H H', '0 0 0,0 0 1.4,0 .757 .587')
APART = frame('O H H', '0 0 0,0 0 6,0 6 0')


def write(folder: Path, *frames: str) -> Path:
    path = folder / 'in.xyz'
    path.write_text(''.join(frames))
    return path


def search(folder: Path, *words: object) -> tuple[Ended, list[dict[str, str]]]:
    out = folder / 'out.h5'
    ended = run('tssearch', *words, '--output', out)
    assert 'Traceback' not in ended.output, ended.output
    table = out.with_suffix('.csv')
    if not table.exists():
        return ended, []
    with open(table, newline='') as file:
        return ended, list(csv.DictReader(file))


def settled(*words: str) -> program.Options:
    return program.settle(
        read_options(program.Options, 'tssearch', '', list(words)))


@pytest.mark.parametrize('words, told', [
    ([], 'no input file'),
    (['--data', LJ7, '--output', 'x.csv'], 'ends with .h5'),
    (['--data', LJ7, '--method', 'newton'], 'invalid choice'),
    (['--data', LJ7, '--fmax', '0'], 'greater than 0'),
    (['--data', LJ7, '--fmax', 'nan'], 'not a number'),
    (['--data', LJ7, '--draws', '0'], 'greater than 0'),
    (['--data', LJ7, '--n-steps', '-5'], 'greater than 0'),
    (['--data', LJ7, '--sample-timeout', '0'], 'greater than 0'),
    (['--data', LJ7, '--resume', '--overwrite'], 'exclude'),
    (['--data', LJ7, '--model', 'student', '--calculator', 'gfn2'],
     'takes no MACE'),
    (['--data', LJ7, '--speed', '1'], 'unrecognized'),
])
def test_wrong_usage_is_told(words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        settled(*words)


@pytest.mark.parametrize('params', ['', 'sella.json'])
def test_a_missing_sella_is_told_before_any_work(
    params: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / 'sella.json').write_text('{"method": "sella", "params": {}}')
    words = ['--params', str(tmp_path / params)] if params \
        else ['--method', 'sella']
    options = settled('--data', LJ7, *words)
    monkeypatch.setitem(sys.modules, 'sella', None)
    with pytest.raises(InputError, match='needs the package sella'):
        program.prepare(options)


def test_what_computes_follows_from_what_is_named() -> None:
    assert settled('--data', LJ7).calculator == 'gfn2'
    assert settled('--data', LJ7, '--model', 'student').calculator == 'mace'
    assert settled('--data', LJ7, '--record-timeout',
                   '7').sample_timeout == 7.0


@pytest.mark.parametrize('words, told', [
    (['--data', 'no-such-file.xyz'], 'no-such-file'),
    (['--data', LJ7, '--start-from', 'midpoint_rt_noise'],
     'expected a number'),
    (['--data', LJ7, '--start-from', 'ts_noise-1A'], 'expected a number'),
    (['--data', LJ7, '--start-from', 'ts_noise0A'], 'above 0'),
    (['--data', LJ7, '--skip-samples', '5'], 'no samples'),
    (['--data', LJ7, '--calculator', 'b3lyp'], 'unknown calculator'),
    (['--data', LJ7, '--calculator', 'nowhere.py'], 'no such file'),
    (['--data', LJ7, '--calculator', 'sparrow', '--functional', 'B3LYP'],
     'no functional'),
    (['--data', LJ7, '--calculator', 'gfn2', '--functional', 'PM6'],
     'no functional to choose'),
    (['--data', LJ7, '--params', 'no-such.json'], 'No such file'),
    (['--data', str(DATA / 'muller_brown.extxyz'), '--calculator',
      'muller-brown', '--method', 'sella', '--start-from', 'ts'],
     'needs a molecule'),
    (['--data', str(DATA / 'baker')], 'no reactant for a start'),
])
def test_wrong_input_ends_before_any_work(
    words: list[str], told: str, tmp_path: Path,
) -> None:
    ended, rows = search(tmp_path, *words)
    assert ended.code == 2, ended.output
    assert told in ended.output
    assert not rows and not list(tmp_path.glob('**/*.jnl'))


def test_an_unwritable_place_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    ended = run('tssearch', '--data', LJ7, '--calculator', 'lj7',
                '--output', tmp_path / 'file' / 'x.h5')
    assert ended.code == 2 and 'not a folder' in ended.output


def test_small_fused_and_strange_molecules_have_their_reasons(
    tmp_path: Path,
) -> None:
    """Triples of frames; only the second of each is started from."""
    groups = {'atom': ATOM, 'pair': PAIR, 'fused': FUSED, 'helium': HELIUM}
    frames = [f for one in groups.values() for f in [one] * 3]
    ended, rows = search(
        tmp_path, '--data', write(tmp_path, *frames), '--start-from', 'ts',
        '--calculator', 'sparrow')
    assert ended.code == 3, ended.output
    found = {name: row['reason']
             for name, row in zip(groups, rows, strict=True)}
    assert found == {'atom': 'too_small', 'pair': 'too_small',
                     'fused': 'collapsed', 'helium': 'element'}
    statuses = [row['status'] for row in rows]
    assert statuses == ['rejected', 'rejected', 'broken', 'rejected']
    assert all(row['n_calls'] == '0' for row in rows)
    assert 'He' in rows[3]['message']
    accepted = run('tssearch', '--data', tmp_path / 'in.xyz', '--resume',
                   '--start-from', 'ts', '--calculator', 'sparrow',
                   '--output', tmp_path / 'out.h5', '--max-failed', 4)
    assert accepted.code == 0


def test_a_faulty_reaction_is_a_row_beside_sound_ones(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, WATER, WATER, WATER, WATER, BENT, WATER)
    ended, rows = search(tmp_path, '--data', path, '--start-from', 'ts',
                         '--calculator', 'lj', '--n-steps', 5)
    assert ended.code == 3
    assert rows[1]['reason'] == 'bad_input'
    assert 'another order' in rows[1]['message']
    assert rows[0]['reason'] not in ('bad_input', '')


@pytest.mark.parametrize('start, method', [
    pytest.param(LINEAR, 'sella', id='linear-sella'),
    pytest.param(BENT, 'sella', id='bent-sella', marks=pytest.mark.slow),
    pytest.param(BENT, 'multimode', id='bent-multimode')])
def test_a_linear_molecule_that_bends_is_no_fault(
    start: str, method: str, tmp_path: Path,
) -> None:
    path = write(tmp_path, LINEAR, start, LINEAR)
    ended, rows = search(
        tmp_path, '--data', path, '--start-from', 'ts_noise0.02A',
        '--calculator', 'gfn2', '--method', method, '--n-steps', 80)
    assert ended.code == 0, ended.output
    assert rows[0]['reason'] in ('ts', 'minimum', 'index_only',
                                 'step_limit', 'higher_order'), rows
    assert float(rows[0]['fmax']) < 100.0
    if start is BENT:
        assert rows[0]['reason'] == 'ts'


@pytest.mark.parametrize('frames', [1, 2])
def test_ends_are_unknown_without_a_product(
    frames: int, tmp_path: Path,
) -> None:
    """A TS alone, and one with a reactant."""
    planar = ('0 0 0,1.0 0 0,-.5 .866 0,-.5 -.866 0', 'transition_state')
    bent = ('0 0 .38,.94 0 0,-.47 .814 0,-.47 -.814 0', 'reactant')
    path = write(tmp_path, *(
        frame('N H H H', rows, f'rxn=nh3 role={role}')
        for rows, role in (planar, bent)[:frames]))
    ended, rows = search(
        tmp_path, '--data', path, '--start-from', 'ts_noise0.02A',
        '--calculator', 'sparrow', '--irc')
    assert ended.code == 0, ended.output
    assert (rows[0]['reason'], rows[0]['ends']) == ('ts', 'unknown')
    assert '0 ok, 0 half, 0 other, 1 unknown' in ended.output


def test_fragments_that_fly_apart_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, WATER, APART, WATER)
    ended, rows = search(
        tmp_path, '--data', path, '--start-from', 'three_quarter_rt',
        '--calculator', 'lj', '--method', 'gad', '--n-steps', 3)
    assert ended.code == 0, ended.output
    # they are apart in the transition state of the file too
    assert rows[0]['reason'] != 'dissociated'
    other = tmp_path / 'other'
    other.mkdir()
    path = write(other, WATER, WATER, WATER)
    words = ('--data', path, '--start-from', 'ts_noise5A',
             '--calculator', 'lj', '--method', 'gad', '--n-steps', 3)
    ended, rows = search(other, *words)
    assert ended.code == 3, ended.output
    assert rows[0]['reason'] == 'dissociated', rows
    assert '1 of 1 starts lie in more pieces' in ended.output
    allowed, _ = search(other, *words, '--resume', '--max-failed', 1)
    assert allowed.code == 0, allowed.output


#: fails as real methods do: by the number of the first atom
FAULTY = '''
import time
from ctypes import PyDLL
import numpy as np
from mpiapp.potentials.lj import LennardJones, energy_forces
from mpiapp.records import Evaluation
from mpiapp.saddle.finite import hessian
class Faulty(LennardJones):
    hessian_kind = 'analytic'
    calls = [0]
    def evaluate(self, batch):
        first = int(batch.numbers[0])
        self.calls[0] += first == 8
        if self.calls[0] > 1 and first == 8:
            return Evaluation(np.full(1, np.nan),
                              np.full_like(batch.positions, np.nan),
                              np.full(1, np.nan),
                              {0: ('calculator_error', 'SCF failed')})
        if first == 7:
            PyDLL(None).sleep(3600)
        return super().evaluate(batch)
    def hessian(self, numbers, positions, charge, unpaired):
        found = hessian(
            lambda x: energy_forces(numbers, x)[1], positions, 1e-4)
        return np.nan * found if int(numbers[0]) == 6 else found
def build(options, structures_sample=()):
    return Faulty()
'''


def test_failures_inside_a_step_and_hangs_are_rows(tmp_path: Path) -> None:
    plugin = tmp_path / 'faulty.py'
    plugin.write_text(FAULTY)
    frames = []
    for element in ('S', 'C', 'N', 'O'):
        frames += [frame(f'{element} H H',
                         '0 0 0,0 -.757 .587,0 .757 .587')] * 3
    ended, rows = search(
        tmp_path, '--data', write(tmp_path, *frames), '--start-from', 'ts',
        '--calculator', plugin, '--sample-timeout', 3, '--n-steps', 2)
    assert ended.code == 3, ended.output
    assert [row['reason'] for row in rows[1:3]] == ['nan_hessian', 'timeout']
    assert rows[3]['reason'] == 'calculator_error'
    assert 'SCF failed' in rows[3]['message']
    assert rows[0]['reason'] not in ('calculator_error', 'timeout')
    assert rows[2]['status'] == 'failed'
    assert 'record(s) failed, were rejected or broke' in ended.output


def test_more_ranks_than_samples_and_all_failed(tmp_path: Path) -> None:
    path = write(tmp_path, *[HELIUM] * 3)
    out = tmp_path / 'x.h5'
    ended = run('tssearch', '--data', path, '--start-from', 'ts',
                '--calculator', 'sparrow', '--output', out, n=2)
    assert ended.code == 3, ended.output
    assert 'found         0 of 1' in ended.output


def test_help_loads_nothing_heavy() -> None:
    import subprocess
    code = ('import sys\n'
            'from mpiapp import tssearch\n'
            'try:\n    tssearch.main(["--help"])\n'
            'except SystemExit:\n    pass\n'
            'heavy = {"numpy", "torch", "h5py", "ase", "sella", "jax"}\n'
            'sys.exit(len(heavy & set(sys.modules)))')
    done = subprocess.run([sys.executable, '-c', code], timeout=60,
                          stdout=subprocess.DEVNULL)
    assert done.returncode == 0


def test_commands_of_the_docs_have_options_that_exist() -> None:
    import re
    import shlex
    text = (ROOT / 'docs/tssearch.md').read_text().replace('\\\n', ' ')
    lines = re.findall(r'python -m mpiapp\.tssearch (--data[^\n]*)', text)
    assert len(lines) == 2
    for line in lines:
        settled(*shlex.split(line))
    described = set(re.findall(r'`(--[a-z][a-z-]+)', text))
    known = set(re.findall(r'--[a-z-]+', run('tssearch', '--help').output))
    assert not described - known


def test_every_reason_is_in_the_docs() -> None:
    from mpiapp.saddle.base import REASONS
    text = (ROOT / 'docs/tssearch.md').read_text()
    assert not [word for word in REASONS if f'`{word}`' not in text]
