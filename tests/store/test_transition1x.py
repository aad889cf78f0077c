"""The HDF5 layout of Transition1x is read and written."""
from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mpiapp.records import InputError
from mpiapp.store.transition1x import is_hdf5, read
from mpiapp.workers.saddle_samples import SampleChoice, load_samples

NUMBERS = np.array([6, 7, 1])


def write(path: Path, *splits: str, without: str = '',
          numbers: dict[str, list[int]] | None = None) -> Path:
    """Write a file in the published layout, two reactions a split."""
    with h5py.File(path, 'w') as file:
        for split in splits:
            for k in range(2):
                group = file.create_group(f'{split}/CHN/rxn{k}')
                group['atomic_numbers'] = NUMBERS
                group['positions'] = np.zeros((5, 3, 3))
                group['wB97x_6-31G(d).energy'] = np.zeros(5)
                group['wB97x_6-31G(d).forces'] = np.zeros((5, 3, 3))
                for i, part in enumerate(
                        ('reactant', 'transition_state', 'product')):
                    if part == without:
                        continue
                    z = (numbers or {}).get(part, NUMBERS)
                    inner = group.create_group(part)
                    inner['atomic_numbers'] = z
                    inner['positions'] = np.arange(
                        3.0 * len(z)).reshape(1, -1, 3) + i + k
    return path


def test_reactions_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / 't1x.h5', 'data', 'test')
    assert is_hdf5(path)
    entries = read(path)
    assert [e.name for e in entries] == ['rxn0', 'rxn1']
    numbers, positions = entries[1].parts['product']
    assert np.array_equal(numbers, NUMBERS)
    assert positions[0, 0] == 3.0 and positions.shape == (3, 3)
    loaded = load_samples([path], SampleChoice('midpoint_rt'))
    assert loaded.samples[0].start[0, 0] == 0.5
    assert loaded.samples[0].name == 'CHN_rxn0'


def test_a_split_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / 't1x.h5', 'train')
    assert len(read(path)) == 2
    with pytest.raises(InputError, match="no split 'val'; it has train"):
        read(path, 'val')


def test_other_hdf5_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'other.h5'
    with h5py.File(path, 'w') as file:
        file['x'] = 1
    with pytest.raises(InputError, match='layout of Transition1x'):
        read(path)
    path.write_bytes(b'\x89HDF\r\n\x1a\n' + b'x' * 100)
    with pytest.raises(InputError):
        read(path)


def test_a_missing_product_is_no_fault_of_starts_without_it(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / 't1x.h5', 'data', without='product')
    loaded = load_samples([path], SampleChoice('midpoint_rt'))
    assert len(loaded.sound) == 2 and loaded.samples[0].product is None
    with pytest.raises(InputError, match='no product for a start'):
        load_samples([path], SampleChoice('interp'))


def test_other_atoms_of_a_product_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / 't1x.h5', 'data',
                 numbers={'product': [7, 6, 1]})
    with pytest.raises(InputError, match='another order'):
        load_samples([path], SampleChoice('midpoint_rt'))
