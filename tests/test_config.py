"""Options: command line, TOML, checks."""
from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp import relaxation
from mpiapp.config import checked, read_options
from mpiapp.errors import InputError

#: CPU time of --help, which nothing waits for; the median of three is
#: judged
HELP_SECONDS = 0.5


def read(*words: str) -> relaxation.Options:
    return relaxation.settle(
        read_options(relaxation.Options, 'reopt', '', words))


def test_defaults_are_those_of_the_original_script() -> None:
    o = read('--sdf', 'x.sdf')
    assert (o.model, o.mace_dtype, o.max_steps, o.fmax, o.save_every) == (
        'small', 'float64', 500, 0.005, 25)
    assert o.backend == 'auto'
    assert (o.output_dir, o.output_prefix) == ('runs', 'moe_mace_reopt')


def test_called_bare_the_bundled_model_is_used() -> None:
    assert read().model == 'student'


def test_a_prefix_may_hold_the_folder() -> None:
    assert read('--output-prefix', 'here/x').output_dir == '.'
    both = read('--output-prefix', 'here/x', '--output-dir', 'there')
    assert both.output_dir == 'there'


def test_values_of_scripts_get_the_types_of_the_options() -> None:
    o = checked(relaxation.Options(
        temperatures=[250, np.float64(298)],  # type: ignore[arg-type]
        refine='all:calculator=lj',  # type: ignore[arg-type]
        fmax=1, batch=3, max_steps=np.int64(7),  # type: ignore[arg-type]
        smiles_csv=Path('a.csv'), energy_window=None,  # type: ignore
        gpu_ids=[0, '1']))  # type: ignore[arg-type, list-item]
    assert (o.temperatures, o.refine) == ((250.0, 298.0), (
        'all:calculator=lj',))
    assert type(o.fmax) is type(o.temperatures[1]) is float
    assert (o.batch, o.max_steps, type(o.max_steps)) == ('3', 7, int)
    assert (o.smiles_csv, o.gpu_ids) == ('a.csv', ('0', '1'))


@pytest.mark.parametrize('wrong', [
    {'fmax': '0.1'}, {'max_steps': 2.5}, {'charge_policy': None},
    {'temperatures': '298'}, {'temperatures': None}, {'boltzmann': 'no'},
    {'fmax': True}, {'strict': 1}, {'max_failed': None}, {'end_index': 1.0},
    {'refine': [3.5]}, {'model': b'small'}, {'calculator': object()}])
def test_wrong_types_of_scripts_are_refused(wrong: dict[str, Any]) -> None:
    flag = '--' + next(iter(wrong)).replace('_', '-')
    with pytest.raises(InputError, match=f'^{flag} = .*: expected '):
        checked(relaxation.Options(**wrong))


@pytest.mark.parametrize('words, fault', [
    (['--fmax', '-1'], '--fmax'),
    (['--fmax', 'nan'], '--fmax'),
    (['--max-steps', '0'], '--max-steps'),
    (['--max-steps', 'many'], 'invalid int'),
    (['--bogus'], 'unrecognized'),
    (['--charge-policy', 'guess'], 'invalid choice'),
    (['--start-index', '5', '--end-index', '5'], 'must exceed'),
    (['--start-index', '-1'], '--start-index'),
    (['--resume', '--overwrite'], 'exclude'),
    (['--time-limit', 'soon'], 'duration'),
    (['--model', 'small', '--model-path', 'x'], 'not both'),
    (['--calculator', 'lj', '--model', 'small'], 'no MACE'),
    (['--config', 'absent.toml'], 'absent.toml'),
    (['--output-prefix', '.'], 'must be a name'),
    (['--output-prefix', 'sub/'], 'must be a name'),
    (['--output-prefix', ''], 'must be a name'),
    (['--output-prefix', os.fsdecode(b'\xff\xfe')], 'not UTF-8'),
    (['--output-dir', 'zz', '--output-prefix', '/a/q'], 'names its folder'),
])
def test_wrong_options_are_refused(words: list[str], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        read(*words)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / 'x.toml'
    file.write_text('fmax = 1\nmax-steps = 7\nsdf = ["a.sdf", "b.xyz"]\n')
    o = read('--config', str(file), '--max-steps', '9')
    assert (o.fmax, o.max_steps, o.sdf) == (1.0, 9, ('a.sdf', 'b.xyz'))


@pytest.mark.parametrize('text', [
    'fmx = 1', 'fmax = "1"', 'fmax = -1', 'fmax = ', 'model = "x" y',
    'optimizer = "best"', 'test = 1',
])
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / 'x.toml'
    file.write_text(text)
    with pytest.raises(InputError):
        read('--config', str(file))


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = ('import sys, runpy\n'
            'sys.argv = ["reopt", "--help"]\n'
            'try:\n    runpy.run_module("mpiapp.reopt", '
            'run_name="__main__")\n'
            'except SystemExit:\n    pass\n'
            'heavy = {"torch", "mpi4py.MPI", "mace", "rdkit", "ase", '
            '"numpy", "scipy"}\n'
            'sys.exit(len(heavy & set(sys.modules)))')
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, '-c', code],
                              capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime
                       - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stdout + done.stderr
        assert '--charge-policy' in done.stdout
    assert sorted(seconds)[1] < HELP_SECONDS
