"""Result files are read back, and damaged ones refused in words."""
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from zlib import crc32

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpiapp.errors import InputError
from mpiapp.records import RELAX
from mpiapp.store.digest import content_digest
from mpiapp.store.layout import data_paths
from mpiapp.store.reader import load
from mpiapp.store.seal import FOOT, MAGIC, seal


def test_the_table_has_all_fixed_columns(
    write_result: Any, values: Any,
) -> None:
    campaign = load(write_result())
    table = campaign.table
    assert list(table.columns) == [c.name for c in RELAX.fixed]
    assert table['name'].tolist() == [values(i)['name'] for i in range(6)]
    assert table['e_total'].tolist() == [
        values(i)['e_total'] for i in range(6)]
    assert campaign.schema == RELAX


def test_geometries_are_read_one_by_one(
    write_result: Any, values: Any,
) -> None:
    campaign = load(write_result())
    for row in range(6):
        made = values(row)
        assert (campaign.positions(row) == made['x_final']).all()
        atoms = campaign.atoms(row)
        assert (atoms.numbers == made['numbers']).all()
    with pytest.raises(IndexError):
        campaign.positions(6)
    span = campaign.ragged_span('numbers', 2, 5)
    assert [len(a) for a in span] == [values(r)['n_atoms'] for r in (2, 3, 4)]


@pytest.mark.parametrize('content', [
    b'', b'<!DOCTYPE html><html>', b'\x89HDF\r\n\x1a\n' + b'\0' * 600])
def test_what_is_no_result_is_refused(
    tmp_path: Path, content: bytes,
) -> None:
    path = tmp_path / 'x.h5'
    path.write_bytes(content)
    for read in (load, content_digest):
        with pytest.raises(InputError, match='not a campaign file'):
            read(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='no such file'):
        load(tmp_path / 'x.h5')
    with pytest.raises(InputError, match='cannot be read'):
        load(tmp_path)
    path = tmp_path / 'y.h5'
    with h5py.File(path, 'w') as file:
        file['a'] = 1
    with pytest.raises(InputError, match='not a campaign file'):
        load(path)
    seal(path, [])
    with pytest.raises(InputError, match='not a campaign file'):
        load(path)


def lose_column(file: h5py.File) -> None:
    """Delete a dataset."""
    del file['results/status']


def shorten(file: h5py.File) -> None:
    """Make a dataset shorter."""
    del file['geometry/x_final']
    file['geometry/x_final'] = np.zeros((1, 3))


def spoil_schema(file: h5py.File) -> None:
    """Replace the list of columns."""
    del file['meta/schema']
    file['meta'].create_dataset('schema', data='[{"a": 3}]')


def spoil_count(file: h5py.File) -> None:
    """Give another number of records."""
    file.attrs['n_records'] = 7


@pytest.mark.parametrize('damage', [
    lose_column, shorten, spoil_schema, spoil_count])
def test_an_inconsistent_file_is_refused(
    write_result: Any, damage: Any,
) -> None:
    path = write_result()
    with h5py.File(path, 'r+') as file:
        damage(file)
    seal(path, [])
    with pytest.raises(InputError, match=str(path)):
        load(path)


def test_a_newer_format_is_named(write_result: Any) -> None:
    path = write_result()
    with h5py.File(path, 'r+') as file:
        file.attrs['format_version'] = 99
    seal(path, [])
    with pytest.raises(InputError, match='format version 99'):
        load(path)


def spoil_offsets(file: h5py.File) -> None:
    """Make a row end before it begins."""
    file['geometry/atom_offsets'][2] = 10**6


def test_wrong_offsets_are_refused(write_result: Any) -> None:
    path = write_result()
    with h5py.File(path, 'r+') as file:
        spoil_offsets(file)
    seal(path, data_paths(RELAX))
    with pytest.raises(InputError, match='do not ascend'):
        load(path)


@pytest.mark.parametrize('name, value', [
    ('results/status', 99), ('results/status', -1),
    ('geometry/numbers', -7), ('geometry/numbers', 999),
    ('geometry/bonds', -9999), ('geometry/bonds', 9999)])
def test_values_that_there_cannot_be_are_refused(
    write_result: Any, name: str, value: int,
) -> None:
    path = write_result(bonds=[[0, 1]], bond_orders=[2])
    column = name.partition('/')[2]
    load(path).ragged('bonds', 0)
    with h5py.File(path, 'r+') as file:
        file[name][0] = value
    seal(path, data_paths(RELAX))
    with pytest.raises(InputError, match='damaged result file'):
        load(path).ragged(column, 0)
    if column != 'status':
        with pytest.raises(InputError, match=column), \
                load(path).row_reader() as read:
            read(column, np.arange(2))


def test_json_that_is_nested_without_end_is_damage(
    write_result: Any, tmp_path: Path,
) -> None:
    deep = '[' * 10**5
    path = write_result()
    with h5py.File(path, 'r+') as file:
        del file['meta/json']
        file['meta/json'] = deep
    seal(path, data_paths(RELAX))
    with pytest.raises(InputError, match='damaged result file'):
        load(path)
    forged = tmp_path / 'forged.h5'
    text = deep.encode()
    forged.write_bytes(text + FOOT.pack(len(text), crc32(text), MAGIC))
    with pytest.raises(InputError, match='damaged result file'):
        load(forged)


def test_a_change_by_another_program_is_noticed(write_result: Any) -> None:
    path = write_result()
    with h5py.File(path, 'r+') as file:
        file.attrs['note'] = 'mine'
    with pytest.raises(InputError, match='changed by another program'):
        load(path)
    seal(path, data_paths(RELAX))
    seal(path, data_paths(RELAX))
    assert load(path).n_records == 6


def test_the_seal_is_no_obstacle_to_hdf5(write_result: Any) -> None:
    path = write_result()
    end = path.stat().st_size
    with h5py.File(path, 'r') as file:
        assert file['results/status'].shape == (6,)
    assert path.stat().st_size == end


@settings(max_examples=80, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)),
                        min_size=1, max_size=8), cut=st.integers(0))
def test_fuzzed_files_are_read_or_refused(
    write_result: Any, changes: list[tuple[int, int]], cut: int,
) -> None:
    whole = bytearray(write_result().read_bytes())
    for at, byte in changes:
        whole[at % len(whole)] = byte
    end = len(whole) if cut % 2 else cut % len(whole)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'f.h5'
        path.write_bytes(whole[:end])
        for read in (lambda p: load(p).table, content_digest):
            try:
                read(path)
            except InputError:
                continue
