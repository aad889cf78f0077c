"""Wrong input of `conformers`: code 2 and a reason, or a status."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpiapp.records import Status
from mpiapp.store.reader import load
from tests.jobs import Ended, run

HEAD = 'name,r_group,screen_group,smiles\n'
#: a bridge from one face of a ring to the other
IMPOSSIBLE = 'O[C@@H]1C[C@@H]2CC[C@@H]1C2'


def attempt(out: Path, *words: object) -> Ended:
    ended = run('conformers', '--output', out / 'x.sdf', '--per-molecule',
                1, *words)
    assert 'Traceback' not in ended.output
    return ended


TABLES = {
    'no file': (None, 'cannot be read'),
    'empty file': ('', 'no column name'),
    'missing column': ('name,r_group,screen_group\nA,,\n',
                       'no column smiles'),
    'no rows': (HEAD, 'has no rows'),
    'invalid SMILES': (HEAD + 'A,,,C1CC\n', "the SMILES 'C1CC' can not"),
    'no SMILES': (HEAD + 'A,,,\n', 'can not be read'),
    'a name twice': (HEAD + 'A,,,C\nB,,,CC\nA,,,CCC\n',
                     "rows 1 and 3 have the same name 'A'"),
    'no name': (HEAD + ',,,C\n', 'has no name'),
    'all refused': (HEAD + 'A,,,C.C\nB,,,[Na+]\n', 'none of 2 molecules'),
}


@pytest.mark.parametrize('case', TABLES)
def test_a_bad_table_is_refused(tmp_path: Path, case: str) -> None:
    text, message = TABLES[case]
    path = tmp_path / 'in.csv'
    if text is not None:
        path.write_text(text)
    ended = attempt(tmp_path / 'out', '--smiles-csv', path)
    assert ended.code == 2, ended.output
    assert message in ended.output
    assert not list(tmp_path.glob('out/*'))


def test_a_smi_file_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / 'in.smi'
    path.write_text('C methane\n\nCC\n')
    ended = attempt(tmp_path / 'out', '--smi', path)
    assert ended.code == 0, ended.output
    assert load(tmp_path / 'out/x.h5').table['name'].tolist() == [
        'methane', 'in_2']
    for text, message in (('', 'has no rows'), ('C a\nC a\n', 'same name'),
                          ('hello\n', 'can not be read')):
        path.write_text(text)
        ended = attempt(tmp_path / 'bad', '--smi', path)
        assert ended.code == 2 and message in ended.output, ended.output


@pytest.mark.parametrize('words, message', [
    ((), 'give the molecules by one of'),
    (('--smiles', 'C', '--smi', 'x.smi'), 'give the molecules by one of'),
    (('--smiles', 'C', '--total', '3'), 'exclude each other'),
    (('--smiles', 'C', '--folded', '1.5'), 'must be from 0 to 1'),
    (('--smiles', 'C', '--oversample', '0.5'), 'must be 1 or more'),
    (('--smiles', 'C', '--window', '0'), 'must be greater than 0'),
    (('--smiles', 'C', '--stereo', 'all'), 'invalid choice'),
    (('--smiles', 'C', '--resume', '--overwrite'), 'exclude each other'),
])
def test_bad_options_are_refused(
    tmp_path: Path, words: tuple[str, ...], message: str,
) -> None:
    ended = attempt(tmp_path, *words)
    assert ended.code == 2, ended.output
    assert message in ended.output


def test_an_output_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name in ('x.xyz', 'x', '.sdf'):
        ended = run('conformers', '--smiles', 'C', '--output',
                    tmp_path / name)
        assert ended.code == 2
        assert 'must end in .sdf' in ended.output


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ended = attempt(tmp_path / 'out', '--smiles', 'C')
    assert ended.code == 2
    assert 'cannot be written' in ended.output


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'out').write_text('')
    ended = attempt(tmp_path / 'out', '--smiles', 'C')
    assert ended.code == 2
    assert 'is not a folder' in ended.output


def test_results_are_replaced_only_when_asked(tmp_path: Path) -> None:
    assert attempt(tmp_path, '--smiles', 'C').code == 0
    before = (tmp_path / 'x.sdf').read_bytes()
    ended = attempt(tmp_path, '--smiles', 'CC')
    assert ended.code == 2 and 'exist(s) already' in ended.output
    ended = attempt(tmp_path, '--smiles', 'CC', '--resume')
    assert ended.code == 2 and 'started differently' in ended.output
    assert (tmp_path / 'x.sdf').read_bytes() == before
    ended = attempt(tmp_path, '--smiles', 'CC', '--overwrite')
    assert ended.code == 0, ended.output
    assert (tmp_path / 'x.sdf').read_bytes() != before


def test_molecules_that_fail_are_reported_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    ended = attempt(
        tmp_path, '--smiles', 'CCO', IMPOSSIBLE, 'CC.O', 'C[NH3+]', 'C*',
        'CB(C)C', '[Og]C')
    assert ended.code == 3, ended.output
    rows = load(tmp_path / 'x.h5').table
    assert rows['reason'].tolist() == [
        '', 'not_embedded', 'fragments', 'charged', 'element', '',
        'force_field']
    assert rows['status'].tolist() == [
        Status.CONVERGED, Status.FAILED, *[Status.REJECTED] * 3,
        Status.CONVERGED, Status.REJECTED]
    assert rows['force_field'].tolist()[5] == 'UFF'
    assert rows['n_attempts'].tolist()[1] > 30
    assert (tmp_path / 'x.sdf').read_text().count('$$$$') == 2
    for line in ('not_embedded: no conformer', 'charged: the molecule'):
        assert line in ended.output


def test_failures_that_are_accepted_end_with_code_0(tmp_path: Path) -> None:
    ended = attempt(tmp_path, '--smiles', 'CCO', 'C.C', '--max-failed', 1)
    assert ended.code == 0, ended.output


def test_open_centres_can_be_refused(tmp_path: Path) -> None:
    ended = attempt(tmp_path, '--smiles', 'CC(F)Cl', 'C', '--stereo',
                    'refuse')
    assert ended.code == 3, ended.output
    assert 'stereo: the SMILES leaves open: 2' in ended.output


def test_fewer_conformers_than_asked_for_are_said(tmp_path: Path) -> None:
    ended = run('conformers', '--smiles', 'C', '--per-molecule', 5,
                '--output', tmp_path / 'x.sdf')
    assert ended.code == 0, ended.output
    assert '1 distinct conformers in' in ended.output
    row = load(tmp_path / 'x.h5').table.iloc[0]
    assert (row['status'], row['reason']) == (
        Status.UNCONVERGED, 'few_conformers')
    ended = run('conformers', '--smiles', 'C', '--total', 5,
                '--output', tmp_path / 'y.sdf')
    assert ended.code == 3, ended.output
    assert 'only 1 of 5 records' in ended.output


def test_a_run_without_any_conformer_leaves_no_sd_file(
    tmp_path: Path,
) -> None:
    ended = attempt(tmp_path, '--smiles', IMPOSSIBLE)
    assert ended.code == 3, ended.output
    assert not (tmp_path / 'x.sdf').exists()
    assert (tmp_path / 'x.h5').exists()


def test_blocks_that_run_out_of_time_end(tmp_path: Path) -> None:
    ended = run('conformers', '--smiles', 'CCCO', '--per-molecule', '3',
                '--max-attempts', '6', '--record-timeout', '1e-9',
                '--output', tmp_path / 'x.sdf')
    assert ended.code == 3, ended.output
    assert 'not_embedded: no conformer in 0 attempts' in ended.output
