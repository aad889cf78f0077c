"""The molecules of a campaign: named, mismatched, merged."""
from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mpiapp.store.reader import load
from tests.jobs import run

#: cheap relaxations of 13 atoms and more
WORDS = ('--calculator', 'lj', '--fmax', 1.0, '--max-failed', 99)


def library_without(data_dir: Path, out: Path, left_out: str) -> Path:
    """Copy the molecule table without a row; others keep their numbers."""
    with open(data_dir / 'dimers/binaph_dimer_smiles.csv',
              encoding='utf-8-sig', newline='') as file:
        rows = list(csv.DictReader(file))
    path = out / 'table.csv'
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row['name'] != left_out)
    return path


@pytest.mark.parametrize('words, name', [
    ([], 'DCV_Th_F'), (['--allow-mismatch'], 'mol_1')])
def test_a_molecule_missing_in_the_table_is_told(
    data_dir: Path, tmp_path: Path, words: list[str], name: str,
) -> None:
    table = library_without(data_dir, tmp_path, 'DCV_Th_F')
    ended = run('reopt', '--sdf', data_dir / 'dimers/library_sample.sdf',
                '--smiles-csv', table, '--output-dir', tmp_path, *WORDS,
                *words)
    assert ended.code == 0, ended.output
    molecules = load(tmp_path / 'moe_mace_reopt.h5').ensembles['molecules']
    assert molecules['name'].tolist() == [
        'DCV_Th_H', name, 'DCV_Th_CN', 'DCV_Th_Me']
    note = '' if words else 'no converged conformer (1 mismatch)'
    assert molecules['note'].tolist() == ['', note, '', '']
    assert molecules['n'].tolist() == [1, len(words), 1, 1]
    assert not note or note in ended.output


def test_a_structure_that_is_another_molecule_is_told(
    data_dir: Path, tmp_path: Path,
) -> None:
    """The ensembles of MOE have mseq 1, which is another molecule here."""
    ended = run('reopt', '--sdf', data_dir / 'dimers/moe_et_5.sdf',
                '--smiles-csv', data_dir / 'dimers/binaph_dimer_smiles.csv',
                '--output-dir', tmp_path, *WORDS)
    assert ended.code == 0, ended.output
    molecules = load(tmp_path / 'moe_mace_reopt.h5').ensembles['molecules']
    assert molecules['note'].tolist() == [
        'no converged conformer (5 mismatch)']
    assert molecules['n_records'].tolist() == [5]


def test_joined_files_have_their_ensembles_anew(
    data_dir: Path, tmp_path: Path,
) -> None:
    for i, window in enumerate((['--end-index', 2], ['--start-index', 2])):
        ended = run('reopt', '--sdf', data_dir / 'dimers/moe_et_5.sdf',
                    '--output-dir', tmp_path, '--output-prefix', f'w{i}',
                    '--temperatures', 250, *WORDS, *window)
        assert ended.code == 0, ended.output
    parts = [tmp_path / f'w{i}.h5' for i in (0, 1)]
    assert [load(p).ensembles['molecules']['n'][0] for p in parts] == [2, 3]
    ended = run('merge', *parts, '--output', tmp_path / 'all.h5')
    assert ended.code == 0, ended.output
    joined = load(tmp_path / 'all.h5')
    assert joined.ensembles['molecules']['n'].tolist() == [5]
    assert joined.ensembles['boltzmann']['temperature'].tolist() == [250]
    assert (tmp_path / 'all_boltzmann.csv').exists()
