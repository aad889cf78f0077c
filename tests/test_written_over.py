"""No program writes over what it reads, or over files unasked."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpiapp import (
    bench, conformers, evaluation, frame_actions, hameval, labelling, planning,
    preflight, relaxation, reopt, report, tssearch, tuner, validate
)
from mpiapp.config import read_options
from mpiapp.errors import InputError
from mpiapp.parallel.binding import Placement, Seat
from mpiapp.parallel.launch import World
from mpiapp.parallel.serial import SerialComm

ROOT = Path(__file__).resolve().parent.parent
SEAT = Placement(Seat(), 'here', (0,), 1, 'cpu')
HERE = World(SerialComm(), SEAT, (SEAT,))

#: what comes before any work: (options class, settle, prepare)
PARTS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    'tssearch': (tssearch.Options, tssearch.settle, tssearch.prepare),
    'reopt': (relaxation.Options, relaxation.settle,
              lambda o: planning.prepare(o, Path('.'))),
    'conformers': (conformers.Options, conformers.settle,
                   conformers.prepare),
    'label': (labelling.Options, labelling.settle, labelling.prepare),
    'validate': (validate.Options, validate.settle, validate.prepare),
    'hpo': (tuner.Options, lambda o: tuner.settle(o, 'run'),
            lambda o: tuner.prepare(o, 'run')),
    'hameval': (evaluation.RunOptions, evaluation.settle_run,
                lambda o: hameval.prepare(HERE, o)),
    'convert': (evaluation.ConvertOptions, evaluation.settle_convert,
                frame_actions.convert),
}
#: program, the file that its options would replace, options
READ = {
    'tssearch': ('in.xyz', '--data in.xyz --calculator lj7 --start-from ts '
                 '--output in.h5'),
    'hpo': ('x_best_config.json', f'--data {ROOT}/data/saddles/lj7.extxyz '
            '--calculator lj7 --start-from ts '
            '--enqueue x_best_config.json --output x.h5'),
    'reopt': ('x_final.sdf', '--calculator lj --sdf x_final.sdf '
              '--output-dir . --output-prefix x'),
    'label': ('in.xyz', '--smiles CCO --against in.xyz --output in.h5'),
    'validate': ('x.csv', '--references x.csv --output x.csv'),
    'conformers': ('x.sdf', '--smi x.sdf --per-molecule 1 --output x.sdf'),
    'hameval': ('x.h5', '--dir-path x.h5 --output x.h5'),
    'convert': ('x.h5', '--dir-path x.h5 --output x.h5'),
}
#: program, a file that is there, options
THERE = {
    'tssearch': ('x.csv', f'--data {ROOT}/data/saddles/lj7.extxyz '
                 '--calculator lj7 --start-from ts --output x.h5'),
    'hpo': ('x_results.json', f'--data {ROOT}/data/saddles/lj7.extxyz '
            '--calculator lj7 --start-from ts --output x.h5'),
    'reopt': ('x_boltzmann_298K.csv', '--calculator lj --sdf '
              f'{ROOT}/data/dimers/moe_et_5.sdf --output-dir . '
              '--output-prefix x'),
    'label': ('x.xyz', '--smiles CCO --total 4 --teacher lj --output x.h5'),
    'validate': ('x.png', '--methods mmff94s --dimers benzene_t --starts t '
                 '--output x.csv'),
    'conformers': ('x.sdf', '--smiles CCO --per-molecule 1 --output x.sdf'),
    'hameval': ('all.json', '--dir-path . --json all.json --output x.h5'),
    'convert': ('x.h5', '--dir-path . --output x.h5'),
}


def start(program: str, words: str, *more: str) -> None:
    """Do what comes before any work."""
    cls, settle, prepare = PARTS[program]
    prepare(settle(read_options(cls, program, '', [*words.split(), *more])))


def filled(name: str) -> Path:
    """Write a file whose loss would be noticed; a sound one to read."""
    path = Path(name)
    path.write_bytes((ROOT / 'data/saddles/lj7.extxyz').read_bytes()
                     if name == 'in.xyz' else b'mine')
    return path


@pytest.mark.parametrize('program', READ)
def test_what_is_read_is_not_replaced(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, words = READ[program]
    path = filled(name)
    before = path.read_bytes()
    for more in ([], ['--overwrite']):
        with pytest.raises(InputError, match='would replace'):
            start(program, words, *more)
    assert path.read_bytes() == before


@pytest.mark.parametrize('program', THERE)
def test_what_is_there_is_not_replaced_unasked(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, words = THERE[program]
    path = filled(name)
    with pytest.raises(InputError, match=r'exist\(s\) already'):
        start(program, words)
    assert path.read_bytes() == b'mine'


def test_a_page_does_not_replace_what_it_reports_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / 'bench.html'
    path.write_text('{}')
    assert report.main([str(path), '--html', str(path)]) == 2
    assert 'would replace' in capsys.readouterr().err
    assert path.read_text() == '{}'


@pytest.mark.parametrize('program, words', [
    (bench.main, 'queue --costs {} --json {}'),
    (bench.main, 'compare {} --json {}'),
    (reopt.main, '--sdf {} --calculator lj --log-file {}'),
    (validate.main, '--references {} --log-file {}'),
])
def test_reports_and_logs_are_not_written_into_what_is_read(
    program: Callable[[list[str]], int], words: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / 'mine'
    path.write_text('mine')
    try:
        code: Any = program(words.format(path, path).split())
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert 'would replace' in capsys.readouterr().err
    assert path.read_text() == 'mine'


def test_findings_are_not_written_into_the_input(tmp_path: Path) -> None:
    path = tmp_path / 'in.sdf'
    path.write_text('mine')
    options = preflight.Options(sdf=(str(path),), json=str(path))
    with pytest.raises(InputError, match='would replace'):
        preflight.check_report(path, options)
