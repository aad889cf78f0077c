"""Whatever the bytes: an InputError, or structures and rejections."""
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiapp.records import InputError, Rejection, Structure
from mpiapp.structures import index_file, load, raw_record

DATA = Path(__file__).parents[2] / 'data'
ODD_FILES = sorted(p.name for p in (DATA / 'bad_inputs').iterdir())
#: words reasons of step 1 are made of
REASONS = {'unparsable', 'no_coordinates'}

PIECES = [
    b'$$$$\n', b'$$$$', b'\n', b'\r', b'\r\n', b'M  END\n', b'M  END',
    b'  2  1  0  0  0  0            999 V2000\n',
    b'  0  0  0     0  0            999 V3000\n',
    b'    0.0000    0.0000    0.0000 C   0  0\n',
    b'    0.0000       nan    1.1000 O   0  0\n', b'  1  2  3  0\n',
    b'M  V30 BEGIN CTAB\n', b'M  V30 COUNTS 2 1 0 0 0\n',
    b'M  V30 BEGIN ATOM\n', b'M  V30 1 C 0 0 0 0\n',
    b'M  V30 2 O 0 0 1.1 0 CHG=-1\n', b'M  V30 END ATOM\n',
    b'M  V30 BEGIN BOND\n', b'M  V30 1 1 1 2\n', b'M  V30 END BOND\n',
    b'M  V30 END CTAB\n', b'M  CHG  1   1  -1\n', b'M  RAD  1   2   2\n',
    b'> <E>\n1\n\n', b'>', b'2\n', b'1\n', b'0\n', b'99999\n', b'H 0 0 0\n',
    b'6 0 0 1\n', b'Properties=species:S:1:pos:R:3 charge=1\n',
    b'charge=x spin=2\n', b'\xff\xfe', b'\x00', 'Å°'.encode(), b' ', b'-',
]


def _read_all(path: Path) -> list[Structure | Rejection]:
    """Return every record; anything but a rejection is a failed test."""
    index = index_file(path, path.parent)
    found: list[Structure | Rejection] = []
    for record in range(len(index)):
        try:
            found.append(load(index, record))
        except Rejection as rejection:
            assert rejection.reason in REASONS
            assert rejection.message
            found.append(rejection)
    assert sum(len(raw_record(index, i)) for i in range(len(index))) <= (
        Path(index.data_path).stat().st_size)
    return found


def _check_bytes(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f'a{suffix}'
        path.write_bytes(data)
        try:
            found = _read_all(path)
        except InputError:
            return
    for structure in found:
        if isinstance(structure, Structure):
            n_atoms = len(structure.numbers)
            assert structure.positions.shape == (n_atoms, 3)
            assert len(structure.bonds) == len(structure.orders)
            assert np.all(structure.bonds < n_atoms)


@pytest.mark.parametrize('name', ODD_FILES)
def test_odd_files_end_in_records_or_a_message(name, tmp_path):
    data = (DATA / 'bad_inputs' / name).read_bytes()
    for suffix in (Path(name).suffix, '.sdf', '.xyz'):
        path = tmp_path / f'a{suffix}'
        path.write_bytes(data)
        try:
            found = _read_all(path)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map(b''.join),
       st.sampled_from(['.sdf', '.xyz']))
def test_pieces_of_the_formats_in_any_order_are_no_crash(data, suffix):
    _check_bytes(data, suffix)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=400), st.sampled_from(['.sdf', '.xyz', '.sdf.gz']))
def test_any_bytes_are_no_crash(data, suffix):
    _check_bytes(data, suffix)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_real_record_is_no_crash(data):
    name = data.draw(st.sampled_from([
        'good_bad_good_bad.sdf', 'precision.v3k.mol', 'Cubane.sdf',
        'ethane.xyz', 'radical.mol']))
    content = bytearray((DATA / 'bad_inputs' / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 40))
        content[at:at + length] = data.draw(st.one_of(
            st.sampled_from(PIECES), st.binary(max_size=8)))
    _check_bytes(bytes(content), Path(name).suffix)
