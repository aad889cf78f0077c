"""The group /ensembles and the tables that are made from it."""
from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from mpiapp.errors import InputError
from mpiapp.records import RELAX, Column
from mpiapp.store.digest import content_digest, differences
from mpiapp.store.ensembles import Table, add_tables
from mpiapp.store.export import CONFORMER, write_tables
from mpiapp.store.files import StoreError
from mpiapp.store.layout import data_paths
from mpiapp.store.reader import Campaign, load
from mpiapp.store.seal import seal
from mpiapp.workers.molecule import EnsembleSettings
from tests.workers.campaigns import conformers, record, turned, write

SMALL = Table(
    (Column('name', 'small', 'S8', '', 'a text'),
     Column('n', 'small', 'i8', '1', 'a number', 0),
     Column('x', 'small', 'f8', 'eV', 'a value')),
    {'name': ['ä', 'much too long'], 'n': [1, 2], 'x': [0.5, np.nan]})


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """Return two molecules, one with a duplicate."""
    a, b = conformers(2)
    stacked = {'plane_angle': 5.0, 'vertical': 3.4, 'overlap_gated': 60.0,
               'classification': 'strong', 'dark': 0}
    return write(tmp_path / 'x.h5', [
        record(0, a, 'ä, "b"', **stacked), record(1, turned(a), 'ä, "b"'),
        record(2, b, 'ä, "b"', 1.0, **stacked),
        record(3, conformers(1, 'CCO')[0], 'c', record=0, file_number=1)],
        EnsembleSettings((250.0, 298.0)))


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding='utf-8-sig', newline='') as file:
        return list(csv.DictReader(file))


def test_tables_come_back_as_they_were_written(
    campaign: Campaign, tmp_path: Path,
) -> None:
    with h5py.File(campaign.path, 'r+') as file:
        del file['ensembles']
    add_tables(campaign.path, {'a': 1, 'b': 'x', 'c': [1.0, 2.0]}, [SMALL])
    seal(campaign.path, data_paths(RELAX))
    again = load(campaign.path)
    table = again.ensembles['small']
    assert list(table) == ['name', 'n', 'x']
    assert table['name'].tolist() == ['ä', 'much too']
    assert table['n'].tolist() == [1, 2]
    assert_array_equal(table['x'], [0.5, np.nan])
    assert again.ensemble_settings == {'a': 1, 'b': 'x', 'c': [1.0, 2.0]}
    with h5py.File(campaign.path) as file:
        dataset = file['ensembles/small/x']
        assert dataset.attrs['unit'] == 'eV'
        assert dataset.dims[0].label == 'line'
        assert file['ensembles/small/name'].dtype.itemsize == 8


def test_lines_that_lack_a_value_are_filled() -> None:
    table = Table.of_lines(SMALL.columns, [{'name': 'a'}, {'x': 1.0}])
    assert table.values['name'] == ['a', '']
    assert table.values['n'] == [0, 0]
    assert_array_equal(table.values['x'], [np.nan, 1.0])
    assert len(table) == 2 and table.name == 'small'


def test_the_seal_covers_every_value(campaign: Campaign) -> None:
    with h5py.File(campaign.path) as file:
        at = file['ensembles/boltzmann/n_eff'].id.get_offset()
    data = bytearray(campaign.path.read_bytes())
    data[at] ^= 1
    campaign.path.write_bytes(data)
    with pytest.raises(InputError, match='damaged'):
        load(campaign.path)


def test_the_digest_sees_the_ensembles(
    campaign: Campaign, tmp_path: Path,
) -> None:
    before = content_digest(campaign.path)
    with h5py.File(campaign.path, 'r+') as file:
        file['ensembles/boltzmann/n_eff'][0] = 7.0
    seal(campaign.path, data_paths(RELAX))
    assert content_digest(campaign.path) != before


def test_a_full_disk_is_told_before_anything_is_written(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Usage:
        free = 1000
    monkeypatch.setattr('shutil.disk_usage', lambda path: Usage())
    with pytest.raises(StoreError, match='the tables need'):
        add_tables(campaign.path, {}, [SMALL])


def test_csv_files_have_all_lines_and_their_names(
    campaign: Campaign, tmp_path: Path,
) -> None:
    paths = write_tables(campaign.path, tmp_path / 'x', None)
    assert [p.name for p in paths] == [
        'x_all_conformers.csv', 'x_summary.csv', 'x_boltzmann.csv',
        'x_boltzmann_250K.csv', 'x_boltzmann_298K.csv', 'x_ensembles.csv',
        'x_shortlist.csv', 'x_final.sdf']
    full = read(paths[2])
    assert [(line['name'], line['temperature']) for line in full] == [
        ('ä, "b"', '250'), ('ä, "b"', '298'), ('c', '250'), ('c', '298')]
    assert full[1]['n'] == '3' and full[1]['n_unique'] == '2'
    assert float(full[1]['frac_strong']) == 1.0
    # of the original: the name in every line, none for one conformer
    for path in paths[3:5]:
        compat = read(path)
        assert [line['name'] for line in compat] == ['ä, "b"']
        assert 'plane_angle_deg_boltz' in compat[0]
        assert 'boltz_excimer_fraction' in compat[0]
    features = read(paths[5])
    assert [line['n_unique'] for line in features] == ['2', '1']
    assert features[0]['plane_angle_mean'] == '5'
    assert features[1]['plane_angle_mean'] == ''
    short = read(paths[6])
    assert [line['conformer_id'] for line in short] == ['0', '2']
    assert [line['rank'] for line in short] == ['1', '2']
    assert short[0]['classification'] == 'strong'


def test_the_table_of_conformers_has_weights_and_duplicates(
    campaign: Campaign, tmp_path: Path,
) -> None:
    path = write_tables(campaign.path, tmp_path / 'x', None)[0]
    lines = read(path)
    assert list(lines[0])[len(CONFORMER):] == [
        'duplicate_of', 'duplicate_rmsd', 'degeneracy',
        'boltz_weight_250K', 'boltz_weight_298K']
    assert [line['duplicate_of'] for line in lines] == ['', '0:0', '', '']
    table = pd.read_csv(path, encoding='utf-8-sig')
    sums = table.groupby('name')['boltz_weight_298K'].sum()
    assert sums.to_numpy() == pytest.approx(1.0, abs=1e-8)


def test_tables_of_earlier_results_are_removed(
    campaign: Campaign, tmp_path: Path,
) -> None:
    ours = ['x_boltzmann_77K.csv', 'x_boltzmann_1e+06K.csv']
    others = ['y_boltzmann_77K.csv', 'x_boltzmann_mine.csv', 'x_x.csv',
              'x_y_shortlist.csv', 'boltzmann.csv']
    for name in ours + others:
        (tmp_path / name).write_text('')
    write_tables(campaign.path, tmp_path / 'x', None)
    there = {path.name for path in tmp_path.iterdir()}
    assert not there & set(ours) and set(others) <= there
    bare = write(tmp_path / 'bare.h5', [record(0, conformers(1)[0])])
    with h5py.File(bare.path, 'r+') as file:
        del file['ensembles']
    seal(bare.path, data_paths(RELAX))
    write_tables(bare.path, tmp_path / 'x', None)
    there = {path.name for path in tmp_path.iterdir()}
    assert 'x_shortlist.csv' not in there and set(others) <= there


def test_two_writings_are_equal(campaign: Campaign, tmp_path: Path) -> None:
    def again(path: Path) -> Any:
        a, b = conformers(2)
        return write(path, [record(0, a), record(1, b)])
    again(tmp_path / 'y.h5')
    again(tmp_path / 'z.h5')
    assert differences(tmp_path / 'y.h5', tmp_path / 'z.h5') == []
