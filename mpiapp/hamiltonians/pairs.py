"""Folders of pairs of files, one for the reference, one for the prediction.

`gt_STEM.pt` belongs to `pred_STEM.pt` and to nothing else: a missing file
leaves the other pairs alone.  PyTorch files are read with weights only,
NumPy's without pickles: neither can run what a file holds.
"""
from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpiapp.errors import InputError
from mpiapp.hamiltonians.frame import Frame, frame_from
from mpiapp.records import Rejection

#: kinds of files that come in pairs
SUFFIXES = ('.pt', '.npz')


@dataclass(frozen=True)
class Pair:
    """The two files of a frame; None for one that is not there."""

    stem: str
    reference: Path | None
    prediction: Path | None
    double: bool = False

    @property
    def size(self) -> int:
        """Bytes of the larger file: grows with the matrix."""
        return max((p.stat().st_size for p in (self.reference,
                                               self.prediction)
                    if p is not None and p.exists()), default=0)


@dataclass(frozen=True)
class PairFolder:
    """All pairs of a folder, in the order of their stems."""

    path: Path
    pairs: tuple[Pair, ...]

    @classmethod
    def open(cls, path: Path, pred_prefix: str = 'pred_',
             gt_prefix: str = 'gt_') -> PairFolder:
        """List the pairs of a folder.

        Raises:
            InputError: no folder, or it holds no such files.
        """
        if not path.is_dir():
            raise InputError(f'{path} is not a folder')
        if not pred_prefix or not gt_prefix or pred_prefix == gt_prefix:
            raise InputError('--pred_prefix and --gt_prefix must differ, and '
                             'must not be empty')
        found: dict[str, dict[str, list[Path]]] = {}
        for item in sorted(path.iterdir()):
            if item.suffix not in SUFFIXES:
                continue
            for kind, prefix in (('gt', gt_prefix), ('pred', pred_prefix)):
                if item.name.startswith(prefix):
                    stem = item.name[len(prefix):-len(item.suffix)]
                    found.setdefault(stem, {'gt': [], 'pred': []})[
                        kind].append(item)
        if not found:
            raise InputError(
                f'{path} holds no {pred_prefix}*.pt or {gt_prefix}*.pt files '
                '(nor .npz)')
        return cls(path, tuple(
            Pair(stem, next(iter(kinds['gt']), None),
                 next(iter(kinds['pred']), None),
                 any(len(files) > 1 for files in kinds.values()))
            for stem, kinds in sorted(
                found.items(), key=lambda item: natural(item[0]))))

    @property
    def names(self) -> list[str]:
        """The stems."""
        return [pair.stem for pair in self.pairs]

    @property
    def sizes(self) -> list[float]:
        """What grows as the square of the number of orbitals."""
        return [float(pair.size) for pair in self.pairs]

    @property
    def about(self) -> dict[str, str]:
        """What the folder as a whole says: nothing."""
        return {}

    def load(self, i: int) -> Frame:
        """Read a pair.

        Raises:
            Rejection: missing_partner, unreadable, or what is wrong in it.
        """
        pair = self.pairs[i]
        for path, what in ((pair.reference, 'reference'),
                           (pair.prediction, 'prediction')):
            if path is None:
                raise Rejection('missing_partner', f'{pair.stem} has no '
                                f'{what}')
        if pair.double:
            raise Rejection('duplicate', f'{pair.stem} is there as .pt and '
                            'as .npz')
        assert pair.reference is not None and pair.prediction is not None
        return frame_from(pair.stem, read(pair.reference),
                          read(pair.prediction))

    def digest(self) -> str:
        """Return the sha256 of names and contents."""
        whole = hashlib.sha256()
        for pair in self.pairs:
            for path in (pair.reference, pair.prediction):
                if path is not None:
                    whole.update(f'{path.name}\n'.encode())
                    whole.update(file_digest(path).encode())
        return whole.hexdigest()


def natural(text: str) -> list[Any]:
    """Return a key that puts mol2 before mol10."""
    parts: list[Any] = []
    word = ''
    for c in text:
        if word and c.isdigit() != word[-1].isdigit():
            parts.append(word)
            word = ''
        word += c
    parts.append(word)
    return [(1, int(p), '') if p.isdigit() and p.isascii()
            else (0, 0, p) for p in parts] + [(0, 0, text)]


def file_digest(path: Path) -> str:
    """Return the sha256 of a file; of nothing if it cannot be read."""
    try:
        with open(path, 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError:
        return 'unreadable'


def read(path: Path) -> Mapping[str, Any]:
    """Read the mapping that a file holds.

    Raises:
        Rejection: unreadable.
    """
    try:
        made = read_numpy(path) if path.suffix == '.npz' else read_torch(path)
    except Exception as error:  # of torch, pickle, zip and the system
        first = (str(error).strip().splitlines() or [''])[0]
        raise Rejection('unreadable', f'{path.name}: '
                        f'{type(error).__name__}: {first}') from error
    if not isinstance(made, Mapping):
        raise Rejection('unreadable', f'{path.name} holds a '
                        f'{type(made).__name__}, not a dictionary')
    return made


def read_numpy(path: Path) -> dict[str, Any]:
    """Read an .npz file without pickles."""
    import numpy as np
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_torch(path: Path) -> Any:
    """Read a PyTorch file; tensors, numbers, text and NumPy arrays only."""
    import numpy as np
    import torch
    from numpy._core.multiarray import _reconstruct, scalar
    kinds = [type(np.dtype(code)) for code in
             ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4',
              'u8', '?', 'U1', 'S1')]
    named = [(made, f'numpy.core.multiarray.{made.__name__}')
             for made in (_reconstruct, scalar)]
    with torch.serialization.safe_globals(
            [np.ndarray, np.dtype, _reconstruct, scalar, *named, *kinds]):
        return torch.load(path, map_location='cpu', weights_only=True)
