"""Hamiltonians in HDF5: our own layout, and the one of rMD17 files."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.errors import InputError, Rejection
from mpiapp.hamiltonians.frame import Frame, frame_from
from mpiapp.hamiltonians.pairs import file_digest, natural
from mpiapp.store.files import replacing
from mpiapp.store.hdf5 import load_h5py, open_serial

FORMAT = 'mpiapp hamiltonian frames'
VERSION = 1
#: matrices of a frame, by their names in the file and in a frame
MATRICES = {'hamiltonian': 'reference', 'pred_hamiltonian': 'prediction',
            'init_ham': 'initial', 'overlap': 'overlap'}
#: a group of the other layout
SAMPLE = 'sample_'


def open_file(path: Path, split: str = '') -> FrameFile | SampleFile:
    """Open either layout.

    Raises:
        InputError: no HDF5 of these kinds, or damaged.
    """
    try:
        with open_serial(path, 'r') as file:
            if file.attrs.get('format') == FORMAT:
                version = int(file.attrs['format_version'])
                if version != VERSION:
                    raise InputError(f'{path} has format version {version}; '
                                     f'this program reads {VERSION}')
                if split:
                    raise InputError(f'{path} has no splits')
                return FrameFile.of(path, file)
            if any(name.startswith(SAMPLE) for name in file):
                return SampleFile.of(path, file, split)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f'{path} cannot be read as HDF5 ({error})'
                         ) from error
    raise InputError(f'{path} holds neither frames of mpiapp nor groups '
                     f'{SAMPLE}0, {SAMPLE}1, ...')


@dataclass(frozen=True)
class FrameFile:
    """Our own layout: flat arrays with offsets, one description for all."""

    path: Path
    names: tuple[str, ...]
    naos: tuple[int, ...]
    about: Mapping[str, str]

    @classmethod
    def of(cls, path: Path, file: Any) -> FrameFile:
        """Read what all frames share from an open file."""
        about = {key: str(value) for key, value in
                 file['meta'].attrs.items()}
        naos = np.diff(file['frames/orbital_offsets'][:])
        names = [v.decode('utf-8', 'replace')
                 for v in file['frames/name'][:]]
        if len(names) != len(naos) or not names:
            raise InputError(f'{path} is damaged: {len(names)} names, '
                             f'{len(naos)} frames')
        return cls(path, tuple(names), tuple(map(int, naos)), about)

    @property
    def sizes(self) -> list[float]:
        """The square of the number of orbitals."""
        return [float(n * n) for n in self.naos]

    def load(self, i: int) -> Frame:
        """Read a frame; raises Rejection."""
        try:
            with open_serial(self.path, 'r') as file:
                values = _frame_values(file['frames'], i)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise Rejection('unreadable', f'{self.names[i]}: {error}'
                            ) from error
        return frame_from(self.names[i], {**self.about, **values})

    def digest(self) -> str:
        """Return the sha256 of the file."""
        return file_digest(self.path)


def _frame_values(group: Any, i: int) -> dict[str, Any]:
    """Return what the file holds of one frame."""
    def part(name: str, offsets: str) -> Any:
        first, last = group[offsets][i:i + 2]
        return group[name][first:last]
    values = {name: part(name, 'atom_offsets')
              for name in ('numbers', 'positions')}
    for name in MATRICES:
        if name in group:
            entries = part(name, 'matrix_offsets')
            if not np.isnan(entries).all():
                values[name] = entries
    for name in ('energy', 'charge', 'delta'):
        value = group[name][i]
        if np.isfinite(value):
            values[name] = value
    forces = part('forces', 'atom_offsets')
    if np.isfinite(forces).all():
        values['forces'] = forces
    return values


@dataclass(frozen=True)
class SampleFile:
    """The layout of rMD17 files: a group for each sample."""

    path: Path
    names: tuple[str, ...]
    naos: tuple[int, ...]
    about: Mapping[str, str]

    @classmethod
    def of(cls, path: Path, file: Any, split: str) -> SampleFile:
        """List the samples, those of a split alone if one is named."""
        names = sorted((n for n in file if n.startswith(SAMPLE)),
                       key=natural)
        if split:
            key = f'splits/{split}_indices'
            if key not in file:
                raise InputError(f'{path} has no {key}')
            names = [f'{SAMPLE}{int(i)}' for i in file[key][:]]
        meta = dict(file['metadata'].attrs) if 'metadata' in file else {}
        about = {'basis': _text(meta.get('basis', '')),
                 'xc': _text(meta.get('functional', meta.get('xc', ''))),
                 'length_unit': _text(meta.get('length_unit', '')),
                 'format': _text(meta.get('ao_order', ''))}
        naos = [_nao(file[name]) if name in file else 0 for name in names]
        return cls(path, tuple(names), tuple(naos),
                   {k: v for k, v in about.items() if v})

    @property
    def sizes(self) -> list[float]:
        """The square of the number of orbitals."""
        return [float(n * n) for n in self.naos]

    def load(self, i: int) -> Frame:
        """Read a sample; raises Rejection."""
        try:
            with open_serial(self.path, 'r') as file:
                if self.names[i] not in file:
                    raise Rejection('missing_key', f'no {self.names[i]}')
                group = file[self.names[i]]
                values = {**self.about, **dict(group.attrs),
                          **{k: group[k][()] for k in group}}
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise Rejection('unreadable', f'{self.names[i]}: {error}'
                            ) from error
        # eV/angstrom stands under forces_*_ev, in other units than ours
        values.setdefault('remove_init', 0)
        return frame_from(self.names[i], values)

    def digest(self) -> str:
        """Return the sha256 of the file."""
        return file_digest(self.path)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _nao(group: Any) -> int:
    if 'nbasis' in group.attrs:
        return int(group.attrs['nbasis'])
    return int(round(group['hamiltonian'].size ** 0.5)) \
        if 'hamiltonian' in group else 0


def write_frames(
    path: Path, frames: Sequence[Frame], about: Mapping[str, str],
) -> None:
    """Write frames in our own layout; `about`: xc, basis, order, unit.

    Raises:
        StoreError: the file can't be written.
    """
    with replacing(path) as part, open_serial(part, 'w') as file:
        file.attrs['format'] = FORMAT
        file.attrs['format_version'] = VERSION
        file.create_group('meta').attrs.update(about)
        group = file.create_group('frames')
        width = max(len(f.name.encode()) for f in frames)
        group.create_dataset(
            'name', data=np.array([f.name.encode() for f in frames],
                                  f'S{width}').view(
                load_h5py().string_dtype('utf-8', width)))
        for name, values in _columns(frames).items():
            group.create_dataset(name, data=values)


def _columns(frames: Sequence[Frame]) -> dict[str, Any]:
    """Return the flat arrays of the file by name."""
    naos = [f.nao for f in frames]
    columns: dict[str, Any] = {
        'atom_offsets': _offsets([len(f.numbers) for f in frames]),
        'orbital_offsets': _offsets(naos),
        'matrix_offsets': _offsets([n * n for n in naos]),
        'numbers': np.concatenate([f.numbers for f in frames]),
        'positions': np.concatenate([f.positions for f in frames]),
        'forces': np.concatenate([
            np.full_like(f.positions, np.nan) if f.forces is None
            else f.forces for f in frames]),
        'energy': np.array([f.energy for f in frames]),
        'charge': np.array([f.charge for f in frames], np.int32),
        'delta': np.array([-1 if f.delta is None else int(f.delta)
                           for f in frames], np.int8)}
    for name, attribute in MATRICES.items():
        present = [getattr(f, attribute) for f in frames]
        if any(m is not None for m in present):
            columns[name] = np.concatenate([
                np.full(f.nao**2, np.nan) if m is None else m.ravel()
                for f, m in zip(frames, present, strict=True)])
    return columns


def _offsets(lengths: Sequence[int]) -> Any:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
