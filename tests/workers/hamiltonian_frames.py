"""Frames and workers that the tests of `hameval` share."""
from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mpiapp.hamiltonians.frame import Frame, frame_from
from mpiapp.potentials.kohn_sham import FieldSettings
from mpiapp.records import DONE, Item, Row, Structure
from mpiapp.workers.hamiltonian import Evaluation, HamiltonianWorker
from mpiapp.workers.hamiltonian_columns import schema_of
from mpiapp.workers.hamiltonian_frames import Reading, made_ready
from mpiapp.workers.hamiltonian_synth import Synthesis, made_pair

#: cheap, and coarse enough to be so
CHEAP = FieldSettings(basis='sto-3g', grid_level=1)
SVP = FieldSettings(grid_level=0)

WATER = (np.array([8, 1, 1], np.int32),
         np.array([[0.02, 0.0, 0.1173], [0.1, 0.7572, -0.4692],
                   [0.0, -0.7572, -0.4692]]))
AMMONIA = (np.array([7, 1, 1, 1], np.int32),
           np.array([[0, 0, 0.112], [0, 0.9377, -0.261],
                     [0.8121, -0.4688, -0.261],
                     [-0.8121, -0.4688, -0.261]]))


def structure(of: Any = WATER, charge: int = 0) -> Structure:
    return Structure(0, 0, 0, of[0], of[1], charge)


_PAIRS: dict[str, tuple[Any, Any]] = {}


def pair(of: Any = WATER, **changes: Any) -> tuple[Any, Any]:
    """Return contents of two files, made once, copied for each use."""
    settings = replace(Synthesis(CHEAP), **changes)
    key = f'{of[0].tolist()} {of[1].tolist()} {settings}'
    if key not in _PAIRS:
        _PAIRS[key] = made_pair(structure(of), 0, settings)
    return copy.deepcopy(_PAIRS[key])


def frame(of: Any = WATER, **changes: Any) -> Frame:
    return frame_from('x', *pair(of, **changes))


def in_pyscf() -> Any:
    """Return a frame in our order and unit."""
    return made_ready(frame(), Reading(CHEAP)).frame


def rmd17(path: Path, **metadata: str) -> None:
    """Write two samples in the layout of rMD17 files."""
    whole = in_pyscf()
    with h5py.File(path, 'w') as file:
        file.create_group('metadata').attrs.update(metadata)
        file['splits/test_indices'] = [1]
        file['splits/val_indices'] = [0]
        for i in range(2):
            group = file.create_group(f'sample_{i}')
            group['positions'] = whole.positions * 0.5291772105638411
            group['atomic_numbers'] = whole.numbers
            group['hamiltonian'] = whole.reference + whole.initial
            group['initial_hamiltonian'] = whole.initial
            group['overlap'] = whole.overlap
            group['forces_ha_bohr'] = whole.forces
            group.attrs['energy_ha'] = whole.energy
            group.attrs['nbasis'] = whole.nao


def evaluation(of: FieldSettings = CHEAP, **changes: Any) -> Evaluation:
    reading = {k: changes.pop(k) for k in (
        'order', 'unit', 'delta', 'charge', 'allow_xc_mismatch')
        if k in changes}
    return replace(Evaluation(Reading(of, **reading)), **changes)


@dataclass
class Given:
    """A source of frames that are there already."""

    frames: list[Any]

    def load(self, row: int) -> Frame:
        made = self.frames[row]
        return made() if callable(made) else made

    def known(self, row: int) -> Row:
        return {'name': f'frame{row}'}


class OneByOne:
    """A stream of all rows; stops after so many looks."""

    dry = False

    def __init__(self, n: int, looks: int | None = None,
                 state: bytes = b'') -> None:
        self.rows = [Item(i, state) for i in range(n)]
        self.looks = looks

    def take(self, n: int, wait: bool = True) -> list[Item]:
        taken, self.rows = self.rows[:n], self.rows[n:]
        return taken

    def stopping(self) -> bool:
        if self.looks is None:
            return False
        self.looks -= 1
        return self.looks < 0


def done(*frames: Any, settings: Evaluation | None = None) -> list[Row]:
    """Return complete rows of frames."""
    settings = settings or evaluation()
    worker = HamiltonianWorker(settings, Given(list(frames)))
    schema = schema_of(settings.matrices)
    rows = [item.values for item in worker(OneByOne(len(frames)))]
    assert all(row['status'] in [int(s) for s in DONE] or row['status'] == 3
               for row in rows)
    return [schema.complete(row) for row in rows]
