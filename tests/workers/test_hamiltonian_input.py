"""Everything that may be wrong with what `hameval` is given."""
from __future__ import annotations

import io
import pickle
import sqlite3
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mpiapp.errors import InputError
from mpiapp.evaluation import check_inputs
from mpiapp.hamiltonians.databases import plain
from mpiapp.hamiltonians.frame import frame_from
from mpiapp.hamiltonians.pairs import PairFolder
from mpiapp.records import Rejection
from mpiapp.store.hamiltonian_files import open_file, write_frames
from mpiapp.workers.hamiltonian_frames import Reading, made_ready
from mpiapp.workers.hamiltonian_input import Inputs, open_input
from mpiapp.workers.hamiltonian_synth import write_mapping, write_pair
from tests.workers.hamiltonian_frames import (
    AMMONIA, CHEAP, SVP, done, evaluation, frame, in_pyscf, pair, rmd17
)

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def put(key: str, value: Any) -> Change:
    """Return a change of both files."""
    def change(reference: dict[str, Any], prediction: dict[str, Any]) -> None:
        for part in (reference, prediction):
            if key in part:
                part[key] = value(part[key]) if callable(value) else value
    return change


def drop(key: str) -> Change:
    def change(reference: dict[str, Any], prediction: dict[str, Any]) -> None:
        reference.pop(key, None)
        prediction.pop(key, None)
    return change


def spoil(at: tuple[int, int], value: float) -> Callable[[Any], Any]:
    def spoiled(matrix: Any) -> Any:
        made = matrix.copy()
        made[at] = value
        return made
    return spoiled


def swapped(positions: Any) -> Any:
    made = positions.copy()
    made[1] = made[0]
    return made


WRONG: Mapping[str, tuple[Change, str]] = {
    'no prediction in its file': (drop('pred_hamiltonian'), 'missing_key'),
    'no reference in its file': (drop('hamiltonian'), 'missing_key'),
    'no atoms': (drop('atoms'), 'missing_key'),
    'matrix too small': (put('pred_hamiltonian', np.eye(3)), 'wrong_shape'),
    'all matrices too small': (lambda a, b: [
        put(k, np.eye(3))(a, b) for k in (
            'hamiltonian', 'pred_hamiltonian', 'overlap', 'init_ham')][0],
        'wrong_shape'),
    'no square': (put('hamiltonian', np.ones(10)), 'wrong_shape'),
    'text for numbers': (put('hamiltonian', 'words'), 'wrong_shape'),
    'not symmetric': (put('pred_hamiltonian', spoil((0, 1), 1.0)),
                      'not_symmetric'),
    'NaN in the prediction': (put('pred_hamiltonian', spoil(
        (1, 1), np.nan)), 'not_finite'),
    'infinity in the geometry': (put('pos', spoil((0, 1), np.inf)),
                                 'not_finite'),
    'element without basis': (put('atoms', np.array([92, 1, 1])),
                              'no_basis'),
    'no element at all': (put('atoms', np.array([0, 1, 1])), 'no_basis'),
    'huge number for an atom': (put('atoms', np.array([1e12, 1, 1])),
                                'wrong_shape'),
    'odd electrons': (put('charge', 1), 'odd_electrons'),
    'coinciding atoms': (put('pos', swapped), 'atoms_overlap'),
    'another geometry': (put('pos', lambda x: x * 1.01),
                         'overlap_mismatch'),
    'angstrom called bohr': (put('pos', lambda x: x * 0.529177),
                             'overlap_mismatch'),
    'bohr called angstrom': (put('length_unit', 'angstrom'),
                             'overlap_mismatch'),
    'unknown unit': (put('length_unit', 'furlong'), 'overlap_mismatch'),
    'wrong order': (put('format', 'psi4'), 'overlap_mismatch'),
    'another functional': (put('xc', 'b3lyp'), 'xc_mismatch'),
    'a prediction of another functional': (
        lambda a, b: b.update(xc='pbe0'), 'xc_mismatch'),
    'a prediction of another functional alone says so': (
        lambda a, b: (a.pop('xc'), b.update(xc='pbe0')), 'xc_mismatch'),
    'a prediction of another basis': (
        lambda a, b: b.update(basis='6-31g'), 'xc_mismatch'),
    'another basis': (put('basis', '6-31g'), 'xc_mismatch'),
    'delta against the file': (put('remove_init', 0), 'delta_unclear'),
    'reference of something else': (lambda a, b: a.update(
        hamiltonian=a['hamiltonian'] * 0 + np.eye(len(a['hamiltonian'])) * 9),
        'delta_unclear'),
    'atoms of the prediction differ': (
        lambda a, b: b.update(atoms=np.array([9, 1, 1])), 'wrong_partner'),
    'geometry of the prediction differs': (
        lambda a, b: b.update(pos=b['pos'] + 0.5), 'wrong_partner'),
    'idx of the prediction differs': (
        lambda a, b: b.update(idx=5), 'wrong_partner'),
    'order of the prediction differs': (
        lambda a, b: b.update(format='pyscf'), 'wrong_partner'),
    'unit of the prediction differs': (
        lambda a, b: b.update(length_unit='angstrom'), 'wrong_partner'),
    'overlap of the prediction is in another order': (
        lambda a, b: b.update(overlap=b['overlap'][::-1, ::-1]),
        'wrong_partner'),
    'prediction whole, reference a difference': (
        lambda a, b: b.update(remove_init=0), 'wrong_partner'),
    'complex matrix': (put('hamiltonian', lambda x: x + 0j), 'wrong_shape'),
    'half a charge': (put('charge', 0.5), 'wrong_shape'),
    'empty flag': (put('remove_init', np.array([])), 'wrong_shape'),
}


@pytest.mark.parametrize('change, word', WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_with_a_frame_is_its_status(
    change: Change, word: str,
) -> None:
    reference, prediction = pair()
    change(reference, prediction)
    row, = done(lambda: frame_from('x', reference, prediction))
    assert (row['status'], row['reason']) == (4, word), row['message']
    assert row['message'] and np.isnan(row['pred-gt/energy_diff'])


@pytest.mark.parametrize('error, hint', [
    ('permuted', 'fits as bohr in order pyscf'),
    ('unit', 'fits as angstrom in order e3nn')])
def test_a_mislabelled_set_is_refused_and_told_what_fits(
    error: str, hint: str,
) -> None:
    row, = done(frame(error=error))
    assert row['reason'] == 'overlap_mismatch' and hint in row['message']


def test_another_basis_of_the_same_size_is_refused() -> None:
    reference, prediction = pair(field=SVP)
    for part in (reference, prediction):
        del part['basis']
    row, = done(frame_from('x', reference, prediction),
                settings=evaluation(SVP.__class__(basis='cc-pvdz',
                                                  grid_level=0)))
    assert row['reason'] == 'overlap_mismatch'
    assert 'another basis' in row['message']


def test_another_functional_may_be_allowed() -> None:
    reference, prediction = pair()
    put('xc', 'b3lyp')(reference, prediction)
    row, = done(frame_from('x', reference, prediction),
                settings=evaluation(allow_xc_mismatch=True))
    assert row['status'] == 1


@pytest.mark.parametrize('stored, proof, flags', [
    ('e3nn', 'orbitals', ''), ('psi4', '', 'unproved')])
def test_without_an_overlap_only_orbitals_that_agree_prove_the_order(
    stored: str, proof: str, flags: str,
) -> None:
    reference, prediction = pair(order=stored)
    drop('overlap')(reference, prediction)
    put('format', 'e3nn')(reference, prediction)
    row, = done(frame_from('x', reference, prediction))
    assert (row['status'], row['proof'], row['flags']) == (1, proof, flags)


def test_numbers_that_numpy_lacks_are_read_as_they_are() -> None:
    torch = pytest.importorskip('torch')
    reference, prediction = pair()
    h = torch.from_numpy(reference['hamiltonian'])
    reference['hamiltonian'] = h.to(torch.bfloat16)
    made = frame_from('x', reference, prediction)
    np.testing.assert_allclose(made.reference, h.numpy(), rtol=0.01)
    reference['hamiltonian'] = h + 0j
    with pytest.raises(Rejection, match='complex'):
        frame_from('x', reference, prediction)


def test_names_of_one_functional_are_the_same() -> None:
    reference, prediction = pair()
    put('xc', 'PBE,PBE')(reference, prediction)
    put('basis', 'STO-3G')(reference, prediction)
    row, = done(frame_from('x', reference, prediction))
    assert row['status'] == 1


def test_a_nearly_singular_overlap_is_flagged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mpiapp.workers import hamiltonian
    monkeypatch.setattr(hamiltonian, 'NEAR_SINGULAR', 0.9)
    row, = done(frame())
    assert row['status'] == 1 and row['flags'] == 'near_singular'
    assert 0 < row['smallest_overlap'] < 0.9


def test_float32_and_flat_arrays_are_read() -> None:
    reference, prediction = pair()
    n = len(reference['hamiltonian'])
    for part in (reference, prediction):
        for key in part:
            if isinstance(part[key], np.ndarray) and part[key].dtype == float:
                part[key] = part[key].astype(np.float32).ravel()
    reference['hamiltonian'] = reference['hamiltonian'].reshape(1, n, n)
    row, = done(frame_from('x', reference, prediction))
    assert row['status'] == 1 and 1e-9 < row['overlap_error'] < 1e-5
    assert row['gt-calc/energy_diff'] < 1e-5


class Hostile:
    """A pickle that would run something."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path('/tmp/mpiapp-hostile-was-here'),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        write_pair(tmp_path, i, pair(), '.pt')
    return tmp_path


def outcome(folder: Path) -> list[str]:
    """Return 'ok' or the reason for each pair of a folder."""
    inputs = PairFolder.open(folder)
    found = []
    for i in range(len(inputs.names)):
        try:
            inputs.load(i)
            found.append('ok')
        except Rejection as error:
            found.append(error.reason)
    return found


def test_pairs_go_by_their_stem(folder: Path) -> None:
    assert outcome(folder) == ['ok'] * 4
    (folder / 'gt_batch0_mol1.pt').unlink()
    (folder / 'pred_batch0_mol2.pt').unlink()
    assert outcome(folder) == ['ok', 'missing_partner', 'missing_partner',
                               'ok']
    assert PairFolder.open(folder).load(3).name == 'batch0_mol3'


def test_a_prefix_may_begin_with_the_other(tmp_path: Path) -> None:
    for name in ('h_1.pt', 'h_gt_1.pt'):
        (tmp_path / name).touch()
    pair_, = PairFolder.open(tmp_path, 'h_', 'h_gt_').pairs
    assert pair_.stem == '1' and pair_.reference and pair_.prediction


def test_stems_are_counted_as_numbers(tmp_path: Path) -> None:
    for stem in ('batch0_mol10', 'batch0_mol9', 'x', 'batch10_mol0'):
        (tmp_path / f'gt_{stem}.pt').touch()
    assert PairFolder.open(tmp_path).names == [
        'batch0_mol9', 'batch0_mol10', 'batch10_mol0', 'x']


def test_torn_hostile_and_foreign_files_are_unreadable(folder: Path) -> None:
    import torch
    torn = folder / 'pred_batch0_mol0.pt'
    torn.write_bytes(torn.read_bytes()[:500])
    torch.save({'pred_hamiltonian': Hostile()},
               folder / 'pred_batch0_mol1.pt')
    (folder / 'gt_batch0_mol2.pt').write_bytes(b'')
    torch.save([1, 2], folder / 'gt_batch0_mol3.pt')
    assert outcome(folder) == ['unreadable'] * 4
    assert not Path('/tmp/mpiapp-hostile-was-here').exists()


def test_numpy_arrays_in_torch_files_are_read(folder: Path) -> None:
    import torch
    reference, _ = pair()
    torch.save(reference, folder / 'gt_batch0_mol0.pt')
    assert outcome(folder)[0] == 'ok'


def test_arrays_written_by_numpy_1_are_read(folder: Path) -> None:
    # NumPy 1 has other names for the same functions
    path = folder / 'gt_batch0_mol0.pt'
    import torch
    torch.save(pair()[0], path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, 'w') as file:
        for name, data in parts.items():
            file.writestr(name, data.replace(b'numpy._core', b'numpy.core'))
    assert outcome(folder)[0] == 'ok'


def test_a_stem_that_is_there_twice_is_a_duplicate(folder: Path) -> None:
    write_pair(folder, 2, pair(), '.npz')
    assert outcome(folder) == ['ok', 'ok', 'duplicate', 'ok']


def test_numpy_pairs_are_read_without_pickles(tmp_path: Path) -> None:
    write_pair(tmp_path, 0, pair(), '.npz')
    np.savez(tmp_path / 'gt_b.npz', hamiltonian=np.array([Hostile()]))
    np.savez(tmp_path / 'pred_b.npz', x=1)
    assert sorted(outcome(tmp_path)) == ['ok', 'unreadable']


@pytest.mark.parametrize('make, fault', [
    (lambda p: p, 'holds no'),
    (lambda p: p / 'none', 'does not exist'),
    (lambda p: touched(p / 'x.txt'), 'expected a folder'),
    (lambda p: touched(p / 'x.h5'), 'cannot be read as HDF5'),
    (lambda p: touched(p / 'x.db', b'SQLite? no' * 100), 'no QH9 database'),
    (lambda p: touched(p / 'x.lmdb', b'x' * 99), 'no LMDB')])
def test_an_input_that_is_none_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], fault: str,
) -> None:
    with pytest.raises(InputError, match=fault):
        open_input(make(tmp_path))


def touched(path: Path, data: bytes = b'') -> Path:
    path.write_bytes(data)
    return path


def test_hdf5_of_another_kind_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / 'x.h5', 'w') as file:
        file['a'] = 1
    with pytest.raises(InputError, match='neither'):
        open_file(tmp_path / 'x.h5')


def test_our_file_gives_back_what_was_written(tmp_path: Path) -> None:
    from dataclasses import replace
    one = in_pyscf()
    other = replace(made_ready(frame(AMMONIA), Reading(CHEAP)).frame,
                    name='é', prediction=None, delta=None)
    write_frames(tmp_path / 'x.h5', [one, other], {
        'xc': 'pbe', 'basis': 'sto-3g', 'ao_order': 'pyscf',
        'length_unit': 'bohr'})
    file = open_file(tmp_path / 'x.h5')
    assert file.names == ('x', 'é')
    again = file.load(0)
    for name in ('numbers', 'positions', 'reference', 'prediction',
                 'initial', 'overlap', 'forces'):
        np.testing.assert_array_equal(getattr(again, name),
                                      getattr(one, name), name)
    assert (again.energy, again.delta, again.order) == (
        one.energy, True, 'pyscf')
    assert file.load(1).prediction is None and file.load(1).delta is None
    rows = done(again, file.load(1))
    assert [row['status'] for row in rows] == [1, 1]
    assert rows[0]['pred-gt/energy_diff'] == 0.0


def test_the_rmd17_layout_is_read_and_proved(tmp_path: Path) -> None:
    rmd17(tmp_path / 'data.h5', basis='sto-3g', functional='pbe')
    file = open_file(tmp_path / 'data.h5')
    row, = done(file.load(1))
    assert row['status'] == 1, row['message']
    assert (row['length_unit'], row['delta'], row['ao_order']) == (
        'angstrom', 0, 'pyscf')
    assert row['calc-data/energy_diff'] < 1e-7
    assert row['calc-data/force_mae'] < 1e-4
    assert open_file(tmp_path / 'data.h5', 'test').names == ('sample_1',)
    with pytest.raises(InputError, match='splits/train'):
        open_file(tmp_path / 'data.h5', 'train')


def test_predictions_may_lie_in_another_file(tmp_path: Path) -> None:
    rmd17(tmp_path / 'data.h5')
    rmd17(tmp_path / 'pred.h5')
    with h5py.File(tmp_path / 'pred.h5', 'r+') as file:
        del file['sample_0']
        file['sample_1/hamiltonian'][...] *= 1.001
    inputs = Inputs.open([str(tmp_path / 'data.h5')],
                         str(tmp_path / 'pred.h5'))
    rows = done(*(lambda i=i: inputs.load(i) for i in range(2)))
    assert [row['reason'] for row in rows] == ['missing_partner', '']
    assert rows[1]['pred-gt/hamiltonian_diff'] > 0


def test_predictions_of_another_description_are_refused(
    tmp_path: Path,
) -> None:
    rmd17(tmp_path / 'data.h5')
    pairs = tmp_path / 'pairs'
    pairs.mkdir()
    write_pair(pairs, 0, pair(), '.npz')
    for name in ('gt', 'pred'):
        (pairs / f'{name}_batch0_mol0.npz').rename(
            pairs / f'{name}_sample_0.npz')
    inputs = Inputs.open([str(tmp_path / 'data.h5')], str(pairs))
    with pytest.raises(Rejection, match='wrong_partner'):
        inputs.load(0)


@pytest.mark.parametrize('named, fault', [
    ({'functional': 'pbe0'}, 'functional pbe0'),
    ({'basis': '6-31g'}, 'basis 6-31g')])
def test_predictions_of_another_method_are_refused(
    tmp_path: Path, named: dict[str, str], fault: str,
) -> None:
    rmd17(tmp_path / 'data.h5', basis='sto-3g', functional='pbe')
    rmd17(tmp_path / 'pred.h5', **named)
    inputs = Inputs.open([str(tmp_path / 'data.h5')],
                         str(tmp_path / 'pred.h5'))
    with pytest.raises(InputError, match=f'pred.h5: .*{fault}'):
        check_inputs(inputs, Reading(CHEAP))
    row, = done(inputs.load(0))
    assert row['reason'] == 'xc_mismatch'
    assert f'the prediction is of {fault}' in row['message']
    if 'functional' in named:
        row, = done(inputs.load(0),
                    settings=evaluation(allow_xc_mismatch=True))
        assert row['status'] == 1, row['message']


def test_predictions_of_another_charge_are_refused(tmp_path: Path) -> None:
    for name in ('data.h5', 'pred.h5'):
        rmd17(tmp_path / name)
    for name, charge in (('data.h5', 0), ('pred.h5', 2)):
        with h5py.File(tmp_path / name, 'r+') as file:
            file['sample_0'].attrs['charge'] = charge
    inputs = Inputs.open([str(tmp_path / 'data.h5')],
                         str(tmp_path / 'pred.h5'))
    with pytest.raises(Rejection, match='charge of the reference is 0'):
        inputs.load(0)
    inputs.load(1)


def qh9(path: Path) -> None:
    """Write a record as QH9 does: no overlap, angstrom, B3LYP."""
    whole = made_ready(frame(delta=False), Reading(CHEAP)).frame
    base = sqlite3.connect(path)
    base.execute('create table data (id integer, N integer, Z blob, '
                 'R blob, Ham blob)')
    base.execute('insert into data values (?, ?, ?, ?, ?)', (
        7, 3, whole.numbers.astype(np.int32).tobytes(),
        (whole.positions * 0.5291772105638411).tobytes(),
        whole.reference.tobytes()))
    base.commit()
    base.close()


def test_qh9_records_are_proved_by_their_orbitals(tmp_path: Path) -> None:
    qh9(tmp_path / 'x.db')
    source = open_input(tmp_path / 'x.db')
    assert dict(source.about)['xc'] == 'b3lyp'
    settings = evaluation(allow_xc_mismatch=True)
    made = source.load(0)
    from dataclasses import replace
    row, = done(replace(made, basis='sto-3g'), settings=settings)
    assert row['status'] == 1, row['message']
    assert (row['proof'], row['delta']) == ('orbitals', 0)
    assert row['reference_orbital_mae'] < 1e-4


def test_a_qh9_record_of_endless_size_is_refused(tmp_path: Path) -> None:
    qh9(tmp_path / 'x.db')
    with closing(sqlite3.connect(tmp_path / 'x.db')) as base:
        base.execute('update data set N = 9e999')
        base.commit()
    with pytest.raises(InputError, match='no QH9 database'):
        open_input(tmp_path / 'x.db')


def lmdb_of(path: Path, *values: bytes) -> None:
    lmdb = pytest.importorskip('lmdb')
    with lmdb.open(str(path), map_size=2**24) as base, \
            base.begin(write=True) as writer:
        writer.put(b'length', pickle.dumps(len(values)))
        for i, value in enumerate(values):
            writer.put(i.to_bytes(4, 'big'), value)


def test_lmdb_records_are_read_and_hostile_ones_refused(
    tmp_path: Path,
) -> None:
    reference, _ = pair()
    reference = {**reference, 'Ham': reference.pop('hamiltonian'),
                 'Ham_init': reference.pop('init_ham'),
                 'atoms': reference['atoms'].astype(np.int32).tobytes()}
    lmdb_of(tmp_path / 'x', pickle.dumps(reference),
            pickle.dumps(Hostile()), b'torn')
    source = open_input(tmp_path / 'x')
    row, = done(source.load(0))
    assert row['status'] == 1, row['message']
    for i in (1, 2):
        with pytest.raises(Rejection, match='unreadable'):
            source.load(i)
    assert not Path('/tmp/mpiapp-hostile-was-here').exists()


@pytest.mark.parametrize('length', [b'torn', pickle.dumps(10**9)])
def test_an_lmdb_that_lies_of_its_length_is_refused(
    tmp_path: Path, length: bytes,
) -> None:
    lmdb = pytest.importorskip('lmdb')
    with lmdb.open(str(tmp_path / 'x'), map_size=2**20) as base, \
            base.begin(write=True) as writer:
        writer.put((0).to_bytes(4, 'big'), pickle.dumps({}))
        writer.put(b'length', length)
    with pytest.raises(InputError, match='length'):
        open_input(tmp_path / 'x')


def test_the_short_list_of_pickles_is_short() -> None:
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(plain(pickle.dumps(array)), array)
    for thing in (Hostile(), print, io.BytesIO):
        with pytest.raises(pickle.UnpicklingError, match='not allowed'):
            plain(pickle.dumps(thing))


def test_several_inputs_are_one_list(folder: Path, tmp_path: Path) -> None:
    rmd17(tmp_path / 'data.h5')
    inputs = Inputs.open([str(folder), str(tmp_path / 'data.h5')])
    assert len(inputs) == 6 and inputs.locate(4) == (1, 0)
    assert inputs.known(5) == {'file_number': 1, 'record': 1,
                               'name': 'sample_1'}
    assert np.allclose(inputs.naos(), 7)
    assert [d['n_records'] for d in inputs.described()] == [4, 2]


def test_the_digest_of_a_folder_sees_every_byte(folder: Path) -> None:
    before = PairFolder.open(folder).digest()
    path = folder / 'pred_batch0_mol3.pt'
    write_mapping(path, pair(error='noise')[1], '.pt')
    assert PairFolder.open(folder).digest() != before
