"""XYZ and extended XYZ: frames, columns, keys, and what is wrong."""
import gzip
from pathlib import Path

import numpy as np
import pytest

from mpiapp.records import InputError, Rejection
from mpiapp.structures import index_file, load
from mpiapp.structures.xyz import parse

HYDROGEN = '2\nplain comment\nH 0 0 0\nH 0 0 0.74\n'


def _index(folder: Path, text: str, name: str = 'a.xyz'):
    path = folder / name
    path.write_text(text)
    return index_file(path)


def _frame(comment: str, *atoms: str) -> bytes:
    return '\n'.join([str(len(atoms)), comment, *atoms, '']).encode()


def _rejection(data: bytes) -> Rejection:
    with pytest.raises(Rejection) as error:
        parse(data)
    return error.value


def test_frames_follow_each_other(tmp_path):
    index = _index(tmp_path, HYDROGEN * 3 + '\n  \n')
    assert index.n_atoms.tolist() == [2, 2, 2]
    structure = load(index, 2, row=7, file_number=1)
    assert (structure.row, structure.file_number, structure.record) == (
        7, 1, 2)
    assert structure.title == 'plain comment'
    assert structure.tags == {}
    assert structure.positions.tolist() == [[0, 0, 0], [0, 0, 0.74]]
    assert len(structure.bonds) == len(structure.orders) == 0


def test_a_comment_may_be_a_number(tmp_path):
    text = ''.join(HYDROGEN.replace('plain comment', str(i))
                   for i in range(5))
    index = _index(tmp_path, text)
    assert len(index) == 5
    assert [load(index, i).title for i in range(5)] == list('01234')


def test_a_wrong_count_spoils_only_its_frame(tmp_path):
    for wrong in (HYDROGEN.replace('2\n', '3\n', 1),
                  HYDROGEN.replace('2\n', '1\n', 1)):
        index = _index(tmp_path, HYDROGEN + wrong + HYDROGEN * 2)
        assert len(index) == 4
        with pytest.raises(Rejection) as error:
            load(index, 1)
        assert error.value.reason == 'unparsable'
        assert [len(load(index, i).numbers) for i in (0, 2, 3)] == [2, 2, 2]


def test_a_last_frame_cut_off_is_rejected(tmp_path):
    index = _index(tmp_path, HYDROGEN + HYDROGEN[:-12])
    assert len(index) == 2
    with pytest.raises(Rejection, match='2 atoms, there are 1'):
        load(index, 1)


def test_text_before_the_first_frame_is_a_broken_record(tmp_path):
    index = _index(tmp_path, 'no frame\nat all\n' + HYDROGEN)
    assert len(index) == 2
    with pytest.raises(Rejection):
        load(index, 0)
    assert load(index, 1).title == 'plain comment'


@pytest.mark.parametrize('ending', ['\r\n', '\r'])
def test_line_ends_of_all_systems_are_read(tmp_path, ending):
    path = tmp_path / 'a.xyz'
    path.write_bytes((HYDROGEN * 2).replace('\n', ending).encode())
    index = index_file(path)
    assert index.n_atoms.tolist() == [2, 2]
    assert load(index, 1).title == 'plain comment'


def test_properties_tell_the_columns():
    structure = parse(_frame(
        'Properties=forces:R:3:pos:R:3:species:S:1 energy=-1.5 '
        'name="two words" pbc="F F F" charge=1',
        '9 9 9 1 2 3 He', '9 9 9 4 5 6.5 H'))
    assert structure.numbers.tolist() == [2, 1]
    assert structure.positions.tolist() == [[1, 2, 3], [4, 5, 6.5]]
    assert structure.charge == 1
    assert structure.tags == {'energy': '-1.5', 'name': 'two words',
                              'pbc': 'F F F', 'charge': '1'}
    assert structure.title == ''


@pytest.mark.parametrize('properties', [
    'pos:R:3', 'species:S:1', 'species:S', 'species:S:x:pos:R:3'])
def test_unreadable_properties_are_rejected(properties):
    data = _frame(f'Properties={properties}', 'H 0 0 0')
    assert _rejection(data).reason == 'unparsable'


@pytest.mark.parametrize('comment, charge, unpaired', [
    ('', 0, 0),
    ('charge=-1', -1, 1),
    ('charge=-1=', -1, 1),
    ('total_charge="+2"', 2, 0),
    ('Charge=1.0 multiplicity=2', 1, 1),
    ('charge=0 multiplicity=3', 0, 2),
    ('charge=0 spin=2', 0, 2),
    ('charge=0 spin=3', 0, 2),
    ('charge=0 spin=1', 0, 0),
    ('charge=1 spin=1', 1, 1),
    ('uhf=2', 0, 2),
])
def test_charge_and_spin_come_from_the_comment(comment, charge, unpaired):
    structure = parse(_frame(comment, 'O 0 0 0', 'C 0 0 1.1'))
    assert (structure.charge, structure.unpaired) == (charge, unpaired)


@pytest.mark.parametrize('comment', [
    'charge=half', 'charge=0.5', 'multiplicity=2', 'multiplicity=0',
    'charge=nan', 'charge=1e999', 'charge=1e300'])
def test_impossible_charges_and_spins_are_rejected(comment):
    data = _frame(comment, 'O 0 0 0', 'C 0 0 1.1')
    assert _rejection(data).reason == 'unparsable'


@pytest.mark.parametrize('symbol, number', [
    ('cl', 17), ('BR', 35), ('D', 1), ('T', 1), ('6', 6)])
def test_elements_have_many_spellings(symbol, number):
    assert parse(_frame('', f'{symbol} 0 0 0')).numbers.tolist() == [number]


@pytest.mark.parametrize('atom, reason', [
    ('Qq 0 0 0', 'unparsable'),
    ('X 0 0 0', 'unparsable'),
    ('0 0 0 0', 'unparsable'),
    ('119 0 0 0', 'unparsable'),
    ('99999999999999999999 0 0 0', 'unparsable'),
    ('H 0 0', 'unparsable'),
    ('H 0 0 zero', 'unparsable'),
    ('H 0 0 1_0', 'unparsable'),
    ('', 'unparsable'),
    ('H 0 0 nan', 'no_coordinates'),
    ('H 0 0 -inf', 'no_coordinates'),
    ('H 0 0 1e999', 'no_coordinates'),
])
def test_wrong_atoms_are_rejected(atom, reason):
    assert _rejection(_frame('', 'H 1 1 1', atom)).reason == reason


def test_fortran_exponents_are_read():
    structure = parse(_frame('', 'H 1.5D-01 -2d0 3E1'))
    assert structure.positions.tolist() == [[0.15, -2.0, 30.0]]


@pytest.mark.parametrize('count', ['9' * 5000, '²', '-1', '1 1', '1.0'])
def test_wrong_atom_counts_are_rejected(count):
    assert _rejection(f'{count}\n\nH 0 0 0\n'.encode()).reason == (
        'unparsable')


def test_odd_real_files(bad_inputs):
    acetate = load(index_file(bad_inputs / 'acetate.xyz'), 0)
    assert acetate.charge == -1
    assert acetate.unpaired == 0
    ethane = load(index_file(bad_inputs / 'ethane.xyz'), 0)
    assert ethane.numbers.tolist() == [6, 6] + [1] * 6
    nothing = load(index_file(bad_inputs / 'nonexistant.xyz'), 0)
    assert len(nothing.numbers) == 0


def test_compressed_frames_are_read(tmp_path):
    path = tmp_path / 'a.extxyz.gz'
    path.write_bytes(gzip.compress((HYDROGEN * 4).encode()))
    index = index_file(path, tmp_path)
    assert len(index) == 4
    assert load(index, 3).title == 'plain comment'


def test_a_line_without_end_is_no_xyz(tmp_path, monkeypatch):
    monkeypatch.setattr('mpiapp.structures.xyz.MAX_LINE_BYTES', 1000)
    with pytest.raises(InputError, match='line'):
        _index(tmp_path, 'x' * 5000)


def test_positions_are_double_precision():
    text = '0.12345678901234567'
    structure = parse(_frame('', f'H {text} 0 0'))
    assert structure.positions.dtype == np.float64
    assert structure.positions[0, 0] == float(text)
