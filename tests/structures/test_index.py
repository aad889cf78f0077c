"""Indexing: what is a record, what is no input, and what it costs."""
import gzip
import hashlib
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mpiapp.records import InputError, Rejection
from mpiapp.structures import (
    Collection, FileIndex, index_file, load, raw_record
)
from mpiapp.structures.index import CHUNK_BYTES

#: the arrays while they grow and once more when they are copied
MAX_BYTES_PER_RECORD = 3 * FileIndex.bytes_per_record
#: a chunk, the window with the part before it, the copy of a join
BUFFERS = 4 * CHUNK_BYTES


def _write(folder: Path, text: str | bytes, name: str = 'a.sdf') -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize('name, n_records, n_atoms', [
    ('library_sample.sdf', 4, [154, 154, 156, 160]),
    ('moe_binaph_H_10.sdf', 10, [109] * 10),
    ('moe_et_5.sdf', 5, [117] * 5),
])
def test_counts_of_real_files(dimers, name, n_records, n_atoms):
    index = index_file(dimers / name)
    assert len(index) == n_records
    assert index.n_atoms.tolist() == n_atoms
    data = (dimers / name).read_bytes()
    assert index.sha256 == hashlib.sha256(data).hexdigest()
    assert index.n_bytes == len(data)


def test_records_are_the_bytes_of_the_file(dimers):
    path = dimers / 'moe_et_5.sdf'
    index = index_file(path)
    parts = path.read_bytes().split(b'$$$$\n')[:-1]
    assert [raw_record(index, i) for i in range(5)] == [
        part + b'$$$$' for part in parts]


def test_reading_does_not_depend_on_chunk_borders(
        water, tmp_path, monkeypatch):
    path = _write(tmp_path, water * 3 + '$$$$\n' + water)
    whole = index_file(path)
    frames = _write(tmp_path, '2\n7\nH 0 0 0\nH 0 0 .7\n' * 3, 'a.xyz')
    whole_frames = index_file(frames)
    for size in range(1, 60):
        monkeypatch.setattr('mpiapp.structures.index.CHUNK_BYTES', size)
        for file, expected in ((path, whole), (frames, whole_frames)):
            index = index_file(file)
            assert index.starts.tolist() == expected.starts.tolist()
            assert index.sizes.tolist() == expected.sizes.tolist()
            assert index.n_atoms.tolist() == expected.n_atoms.tolist()


@pytest.mark.parametrize('ending', ['\n', '\r\n', '\r'])
def test_line_ends_of_all_systems_are_read(water, tmp_path, ending):
    path = _write(tmp_path, (water * 2).replace('\n', ending))
    index = index_file(path)
    assert index.n_atoms.tolist() == [3, 3]
    structure = load(index, 1)
    assert structure.numbers.tolist() == [8, 1, 1]
    assert structure.tags == {'E': '-1.5'}
    assert structure.title == 'water'


def test_trailing_white_space_is_no_record(water, tmp_path):
    assert len(index_file(_write(tmp_path, water + '\n \r\n\t\n'))) == 1


def test_last_record_needs_no_delimiter(water, tmp_path):
    text = (water * 2).removesuffix('$$$$\n')
    index = index_file(_write(tmp_path, text))
    assert len(index) == 2
    assert load(index, 1).tags == {'E': '-1.5'}


def test_an_empty_record_between_delimiters_counts(water, tmp_path):
    index = index_file(_write(tmp_path, water + '$$$$\n' + water))
    assert index.n_atoms.tolist() == [3, 0, 3]
    with pytest.raises(Rejection, match='empty'):
        load(index, 1)
    assert load(index, 2).record == 2


def test_a_delimiter_inside_a_line_ends_nothing(water, tmp_path):
    text = water.replace('-1.5', 'costs $$$$ much')
    index = index_file(_write(tmp_path, text))
    assert len(index) == 1
    assert load(index, 0).tags == {'E': 'costs $$$$ much'}


@pytest.mark.parametrize('name, content, message', [
    ('a.sdf', b'', 'empty'),
    ('a.xyz', b'', 'empty'),
    ('a.sdf', b'\r\n\r\n  \n', 'white space'),
    ('a.xyz', b'\n \n', 'white space'),
    ('a.sdf', b'<html>\n<head>\n<title>404</title>\n</head>\n</html>\n',
     'not an sdf file'),
    ('a.xyz', b'<html>\n<head>\n<title>404</title>\n</head>\n</html>\n',
     'not an xyz file'),
    ('a.sdf', bytes(range(256)) * 40, 'not an sdf file'),
    ('a.xyz', bytes(range(256)) * 40, 'not an xyz file'),
    ('a.sdf', b'\x89PNG\r\n\x1a\n' + bytes(1000), 'not an sdf file'),
    ('a.pdb', b'ATOM', 'unknown kind of file'),
    ('noname', b'', 'unknown kind of file'),
    ('a.sdf.gz', b'not compressed at all', 'damaged gzip'),
    ('a.sdf.gz', gzip.compress(b'x\n' * 9999, mtime=0)[:-9], 'damaged gzip'),
    ('a.gz', gzip.compress(b'', mtime=0), 'unknown kind of file'),
])
def test_what_is_no_input_is_refused(tmp_path, name, content, message):
    path = _write(tmp_path, content, name)
    with pytest.raises(InputError, match=message) as error:
        index_file(path, tmp_path / 'spool')
    assert str(path) in str(error.value)


def test_another_format_in_an_sdf_is_refused(bad_inputs, tmp_path):
    content = (bad_inputs / 'benzene.mae').read_bytes()
    with pytest.raises(InputError, match='not an sdf file'):
        index_file(_write(tmp_path, content))


def test_missing_files_and_folders_and_pipes_are_refused(tmp_path):
    with pytest.raises(InputError, match='no such file'):
        index_file(tmp_path / 'no.sdf')
    (tmp_path / 'folder.sdf').mkdir()
    with pytest.raises(InputError, match='directory'):
        index_file(tmp_path / 'folder.sdf')
    os.mkfifo(tmp_path / 'pipe.sdf')
    with pytest.raises(InputError, match='regular'):
        index_file(tmp_path / 'pipe.sdf')


def test_a_file_that_shrinks_after_indexing_rejects_records(
        water, tmp_path):
    path = _write(tmp_path, water * 2)
    index = index_file(path)
    _write(tmp_path, water)
    with pytest.raises(Rejection, match='shorter'):
        load(index, 1)


def test_a_record_that_does_not_exist_is_an_error(water, tmp_path):
    index = index_file(_write(tmp_path, water))
    for record in (-1, 1):
        with pytest.raises(IndexError):
            raw_record(index, record)


def test_compressed_files_are_decompressed_once(water, tmp_path):
    packed = gzip.compress(water.encode()) + gzip.compress(water.encode())
    path = _write(tmp_path, packed, 'w.SDF.gz')
    spool = tmp_path / 'spool'
    index = index_file(path, spool)
    assert index.n_atoms.tolist() == [3, 3]
    assert index.path == str(path)
    assert index.sha256 == hashlib.sha256(packed).hexdigest()
    assert index.n_bytes == len(packed)
    assert [p.name for p in spool.iterdir()] == [Path(index.data_path).name]
    assert Path(index.data_path).read_text() == water * 2
    assert load(index, 1).title == 'water'


def test_a_compressed_file_needs_a_folder(water, tmp_path):
    path = _write(tmp_path, gzip.compress(water.encode()), 'w.sdf.gz')
    with pytest.raises(InputError, match='compressed'):
        index_file(path)


def test_memory_is_16_bytes_for_a_record(water, tmp_path):
    n_records = 100_000
    path = tmp_path / 'many.sdf'
    with open(path, 'w') as output:
        for _ in range(n_records // 100):
            output.write(water * 100)
    assert path.stat().st_size > BUFFERS + n_records * 48
    tracemalloc.start()
    index = index_file(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == n_records
    n_bytes = sum(a.nbytes for a in (index.starts, index.sizes,
                                     index.n_atoms))
    assert n_bytes == n_records * FileIndex.bytes_per_record
    assert held < n_bytes + CHUNK_BYTES
    assert peak < BUFFERS + n_records * MAX_BYTES_PER_RECORD
    assert load(index, n_records - 1).title == 'water'


def test_rows_run_over_several_files(dimers, bad_inputs, tmp_path):
    paths = [dimers / 'moe_et_5.sdf',
             bad_inputs / 'good_bad_good_bad.sdf',
             bad_inputs / 'acetate.xyz',
             dimers / 'moe_et_5.sdf']
    collection = Collection.open(paths, tmp_path)
    assert len(collection) == 5 + 4 + 1 + 5
    assert [collection.locate(row) for row in (0, 4, 5, 8, 9, 10, 14)] == [
        (0, 0), (0, 4), (1, 0), (1, 3), (2, 0), (3, 0), (3, 4)]
    for row in (-1, 15):
        with pytest.raises(IndexError):
            collection.locate(row)
    assert collection.n_atoms.tolist() == (
        [117] * 5 + [6, 6, 6, 6] + [7] + [117] * 5)
    structure = collection.load(9)
    assert (structure.row, structure.file_number, structure.record) == (
        9, 2, 0)
    with pytest.raises(Rejection):
        collection.load(8)
    assert np.array_equal(collection.load(10).positions,
                          collection.load(0).positions)


def test_a_collection_travels_small(dimers):
    collection = Collection.open([dimers / 'moe_binaph_H_10.sdf'])
    data = pickle.dumps(collection)
    assert len(data) < 2000
    copy = pickle.loads(data)
    assert copy.load(3).tags == collection.load(3).tags


def test_a_collection_needs_a_file():
    with pytest.raises(InputError, match='no input'):
        Collection.open([])
