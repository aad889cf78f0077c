"""All inputs of `hameval` in a row: one number for each frame of them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mpiapp.errors import InputError
from mpiapp.hamiltonians.databases import LmdbRecords, SqliteRecords, data_of
from mpiapp.hamiltonians.frame import Frame, check_partners, description
from mpiapp.hamiltonians.pairs import PairFolder
from mpiapp.records import Floats, Rejection, Row
from mpiapp.store.hamiltonian_files import open_file

#: endings of HDF5 and of SQLite files
HDF5 = ('.h5', '.hdf5')
SQLITE = ('.db', '.sqlite')


class Input(Protocol):
    """One input: a folder or a file with frames."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each frame."""

    @property
    def sizes(self) -> Sequence[float]:
        """What grows as the square of the number of orbitals."""

    @property
    def about(self) -> Mapping[str, str]:
        """What all frames share: xc, basis."""

    def load(self, i: int) -> Frame:
        """Read a frame; raises Rejection."""

    def digest(self) -> str:
        """Return the sha256 of what is read."""


def open_input(
    path: Path, pred_prefix: str = 'pred_', gt_prefix: str = 'gt_',
    split: str = '',
) -> Input:
    """Open whatever a path is.

    Raises:
        InputError: it is not there, or of no kind that is read.
    """
    if not path.exists():
        raise InputError(f'{path} does not exist')
    if data_of(path).name == 'data.mdb' and data_of(path).exists() \
            or path.suffix in ('.lmdb', '.mdb'):
        return LmdbRecords.open(path)
    if path.is_dir():
        return PairFolder.open(path, pred_prefix, gt_prefix)
    if path.suffix in HDF5:
        return open_file(path, split)
    if path.suffix in SQLITE:
        return SqliteRecords.open(path)
    raise InputError(f'{path}: expected a folder of pairs, an LMDB folder, '
                     f'or a file that ends in {", ".join(HDF5 + SQLITE)}')


@dataclass(frozen=True)
class Inputs:
    """Inputs one after the other, with predictions from elsewhere if any."""

    inputs: tuple[Input, ...]
    predictions: Input | None = None
    _numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def open(
        cls, paths: Sequence[str], predictions: str = '',
        pred_prefix: str = 'pred_', gt_prefix: str = 'gt_', split: str = '',
    ) -> Inputs:
        """Open all inputs; raises InputError at the first bad one."""
        if not paths:
            raise InputError('no input: give --dir_path DIR')
        inputs = tuple(open_input(Path(p), pred_prefix, gt_prefix, split)
                       for p in paths)
        if not predictions:
            return cls(inputs)
        other = open_input(Path(predictions), pred_prefix, gt_prefix)
        return cls(inputs, other,
                   {name: i for i, name in enumerate(other.names)})

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @cached_property
    def _offsets(self) -> Any:
        return np.cumsum([0, *(len(one.names) for one in self.inputs)])

    def locate(self, row: int) -> tuple[int, int]:
        """Return (input number, number in it), both from 0."""
        number = int(np.searchsorted(self._offsets, row, 'right')) - 1
        return number, row - int(self._offsets[number])

    def load(self, row: int) -> Frame:
        """Read a frame, and its prediction from elsewhere if there is one.

        Raises:
            Rejection: something is wrong with it.
        """
        number, i = self.locate(row)
        frame = self.inputs[number].load(i)
        if self.predictions is None:
            return frame
        if frame.name not in self._numbers:
            raise Rejection('missing_partner', f'{self.predictions.path} '
                            f'has no frame {frame.name}')
        other = self.predictions.load(self._numbers[frame.name])
        check_partners(description(frame), description(other))
        made = other.reference if other.prediction is None \
            else other.prediction
        if made.shape != frame.reference.shape:
            raise Rejection('wrong_shape', f'the prediction has {len(made)} '
                            f'orbitals, the reference {frame.nao}')
        return replace(frame, prediction=made,
                       prediction_xc=other.prediction_xc or other.xc,
                       prediction_basis=other.prediction_basis
                       or other.basis)

    def known(self, row: int) -> Row:
        """Return what is known of a frame without reading it."""
        number, i = self.locate(row)
        return {'file_number': number, 'record': i,
                'name': self.inputs[number].names[i]}

    @property
    def about(self) -> list[Mapping[str, str]]:
        """What each input says of all its frames."""
        return [one.about for one in self.inputs]

    def described(self) -> list[dict[str, Any]]:
        """Return path, sha256 and number of frames of each input."""
        rows = [*self.inputs, *([self.predictions] if self.predictions
                                else [])]
        return [{'path': str(one.path), 'sha256': one.digest(),
                 'n_records': len(one.names)} for one in rows]

    def naos(self) -> Floats:
        """Estimate the orbitals of each frame, from the sizes of files.

        The first readable frame of each input is the measure.
        """
        return np.concatenate([_naos(one) for one in self.inputs])


def _naos(one: Input) -> Floats:
    sizes = np.maximum(np.asarray(one.sizes, np.float64), 1.0)
    for i in range(min(len(sizes), 20)):
        try:
            nao = one.load(i).nao
        except Rejection:
            continue
        return np.asarray(nao * np.sqrt(sizes / sizes[i]))
    return np.sqrt(sizes)
