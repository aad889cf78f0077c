"""Labelled structures: read, written, split by molecule."""
from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.distillation import frames
from mpiapp.errors import InputError
from mpiapp.workers.label_plan import drawn
from tests.distillation import small


@pytest.mark.parametrize('packed', [False, True])
def test_extxyz_keeps_structures_and_labels(
    tmp_path: Path, packed: bool,
) -> None:
    made = small.frames(4)
    path = tmp_path / 'a.xyz'
    frames.write_xyz(path, made)
    if packed:
        data = gzip.compress(path.read_bytes())
        path = tmp_path / 'a.xyz.gz'
        path.write_bytes(data)
    for old, new in zip(made, frames.read(path), strict=True):
        np.testing.assert_array_equal(old.numbers, new.numbers)
        np.testing.assert_allclose(old.positions, new.positions, atol=1e-8)
        np.testing.assert_allclose(old.forces, new.forces, atol=1e-8)
        assert (old.energy, old.molecule, old.kind) == (
            new.energy, new.molecule, new.kind)


@pytest.mark.parametrize('name', [
    '4"-ethanol', 'back\\slash', "5'-amine", 'a=b', '007', '1 2', 'T', 'nan',
    'two\nlines', ' ', '_JSON 1', 'γ-lactone', '{x} [y]+1,2-diol', ''])
def test_any_name_is_read_back(tmp_path: Path, name: str) -> None:
    made = [replace(f, molecule=name, kind=name, split=split)
            for f, split in zip(small.frames(2), ('valid', 'train'))]
    frames.write_xyz(tmp_path / 'a.xyz', made)
    found = frames.read(tmp_path / 'a.xyz')
    assert [(f.molecule, f.kind, f.split) for f in found] == [
        (name, name, 'valid'), (name, name, 'train')]


@pytest.mark.parametrize('change', [
    {'energy': 50.0}, {'molecule': 'x'}, {'kind': 'md'}])
def test_a_digest_tells_other_labels_and_names(
    change: dict[str, Any],
) -> None:
    made = small.frames(2)
    other = [made[0], replace(made[1], **change)]
    assert frames.digest(made) == frames.digest(list(made))
    assert frames.digest(made) != frames.digest(other)


def test_no_molecule_is_in_both_sets() -> None:
    made = [replace(f, molecule=f'm{i % 40}')
            for i, f in enumerate(small.frames(120))]
    made += [replace(f, molecule=f'm{i}+m{i + 1}')
             for i, f in enumerate(small.frames(30))]
    train, valid = frames.apart(made, frames.held_of(made, 0.2))
    assert len(train) + len(valid) == 150 and len(valid) > 10
    held = {p for f in valid if len(f.parts) == 1 for p in f.parts}
    assert held and not held & {p for f in train for p in f.parts}


def test_a_split_that_was_stored_is_kept(tmp_path: Path) -> None:
    marks = {'a': 'valid', 'a+b': 'valid', 'b': 'train', 'c': 'train',
             'd+a': 'valid'}
    made = [replace(f, molecule=m, split=marks[m])
            for f, m in zip(small.frames(5), marks)]
    frames.write_xyz(tmp_path / 'x.xyz', made)
    for found in (made, frames.read(tmp_path / 'x.xyz')):
        train, valid = frames.apart(found, frames.held_of(found, 0.9))
        assert {f.molecule for f in valid} == {'a', 'a+b', 'd+a'}
        assert {f.molecule for f in train} == {'b', 'c'}


def test_more_data_moves_no_molecule() -> None:
    some = [f'm{i}' for i in range(50)]
    before = {m for m in some if drawn(m, 0) < 0.2}
    assert before and before < {m for m in some
                                if drawn(m, 0) < 0.5}


@pytest.mark.parametrize('content, fault', [
    ('2\nProperties=species:S:1:pos:R:3\nH 0 0 0\nH 0 0 1\n', 'REF_energy'),
    ('nonsense', 'cannot be read'), ('', 'cannot be read|no labelled')])
def test_what_holds_no_labels_is_refused(
    tmp_path: Path, content: str, fault: str,
) -> None:
    path = tmp_path / 'a.xyz'
    path.write_text(content)
    with pytest.raises(InputError, match=fault):
        frames.read(path)


@pytest.mark.parametrize('change', [
    {'energy': float('nan')}, {'forces': np.full((3, 3), np.inf)}])
def test_labels_that_are_not_finite_are_refused(
    tmp_path: Path, change: dict[str, Any],
) -> None:
    frames.write_xyz(tmp_path / 'a.xyz',
                     [replace(small.frames(1)[0], **change)])
    with pytest.raises(InputError, match='structure 0 .water. has no finite'):
        frames.read(tmp_path / 'a.xyz')
    assert len(frames.read(tmp_path / 'a.xyz', labels=False)) == 1


def test_structures_alone_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / 'a.xyz'
    path.write_text('2\nProperties=species:S:1:pos:R:3\nH 0 0 0\nH 0 0 1\n')
    found = frames.read(path, labels=False)
    assert found[0].positions.shape == (2, 3) and np.isnan(found[0].energy)


def test_a_split_that_is_not_by_molecule_is_refused() -> None:
    made = [replace(f, molecule=m, split=s) for f, m, s in zip(
        small.frames(4), ('a', 'a', 'b', 'a+b'),
        ('train', 'valid', 'valid', 'valid'))]
    with pytest.raises(InputError, match='not by molecule: a occur'):
        frames.held_of(made, 0.1)
    assert frames.held_of([made[0], *made[2:]], 0.1) == {'b'}


def test_what_labelled_a_file_is_kept(tmp_path: Path) -> None:
    made = [replace(f, teacher='mace:my model:12ab') for f in small.frames(2)]
    frames.write_xyz(tmp_path / 'a.xyz', made)
    found = frames.read(tmp_path / 'a.xyz')
    assert frames.teachers_of(found) == ['mace:my model:12ab']


@pytest.mark.parametrize('old, new, fault', [
    ('pbc="F F F"', 'pbc="T T T" Lattice="9 0 0 0 9 0 0 0 9"', 'periodic'),
    ('REF_energy=', 'REF_energy="1 2" was=', 'TypeError')])
def test_what_is_no_molecule_with_an_energy_is_refused(
    tmp_path: Path, old: str, new: str, fault: str,
) -> None:
    path = tmp_path / 'a.xyz'
    frames.write_xyz(path, small.frames(2))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=fault):
        frames.read(path)


def test_forces_of_one_column_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'a.xyz'
    path.write_text('1\nProperties=species:S:1:pos:R:3:REF_forces:R:1 '
                    'REF_energy=1.0\nH 0 0 0 0.5\n')
    with pytest.raises(InputError, match='three columns'):
        frames.read(path)


@pytest.mark.parametrize('size', [40, -8])
def test_a_damaged_archive_is_refused(tmp_path: Path, size: int) -> None:
    frames.write_xyz(tmp_path / 'a.xyz', small.frames(2))
    packed = gzip.compress((tmp_path / 'a.xyz').read_bytes())
    for name, data in ('cut', packed[:size]), ('torn', packed[:40] + bytes(
            [packed[40] ^ 255]) + packed[41:]):
        path = tmp_path / f'{name}.xyz.gz'
        path.write_bytes(data)
        with pytest.raises(InputError, match='cannot be read'):
            frames.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='no such file'):
        frames.read(tmp_path / 'none.h5')
