"""Labelled structures: read from HDF5 and extxyz, checked, split, written."""
from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpiapp.errors import InputError
from mpiapp.records import Floats, Status
from mpiapp.workers.label_plan import drawn

#: joins the names of the molecules of a dimer
PLUS = '+'
#: what a table of `label` has, among others
COLUMNS = frozenset({'status', 'energy', 'molecule', 'kind', 'split'})
#: begins a value that ASE reads as JSON
JSON = '_JSON '


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled structure.

    `energy` eV and `forces` [n_atoms, 3] eV/A are the teacher's; `molecule`
    names what it is made of (`a+b` for a dimer) and `kind` its source.
    `split` is train or valid where `label` has decided that, and `teacher`
    says what labelled it, if that is known.
    """

    numbers: NDArray[np.int32]
    positions: Floats
    energy: float
    forces: Floats
    molecule: str
    kind: str
    split: str = ''
    teacher: str = ''

    @property
    def parts(self) -> frozenset[str]:
        """Names of the molecules it is made of."""
        return frozenset(self.molecule.split(PLUS))


def read(path: str | Path, labels: bool = True) -> list[Frame]:
    """Read labelled frames: what `label` wrote (.h5), or extxyz (also .gz).

    extxyz has REF_energy, mol and config_type in its comments and the
    column REF_forces.  Without `labels` structures alone are wanted, and
    energies and forces may be NaN.

    Raises:
        InputError: unreadable, or a frame without finite labels.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'training data {path}: no such file')
    try:
        found = read_h5(path) if path.suffix == '.h5' else \
            read_xyz(path, labels)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError,
            zlib.error) as error:
        raise InputError(f'training data {path} cannot be read: '
                         f'{type(error).__name__}: {error}') from error
    if not found:
        raise InputError(f'training data {path}: no labelled structure')
    check_finite(path, found, labels)
    return found


def check_finite(path: Path, frames: Sequence[Frame], labels: bool) -> None:
    """Raise InputError where positions, energies or forces are not."""
    for i, f in enumerate(frames):
        if not np.isfinite(f.positions).all():
            raise InputError(f'training data {path}: structure {i} has '
                             'positions that are not finite')
        if labels and not (np.isfinite(f.energy)
                           and np.isfinite(f.forces).all()):
            raise InputError(
                f'training data {path}: structure {i} ({f.molecule}) has no '
                'finite energy and forces; the pool of `label --select` is '
                'not labelled')


def read_h5(path: Path) -> list[Frame]:
    """Return the labelled rows of a result file of `label`."""
    from mpiapp.store.reader import load
    campaign = load(path)
    table = campaign.table
    if not COLUMNS <= set(table.columns):
        raise ValueError('it is no result of `distill label`')
    rows = np.flatnonzero(table.status.to_numpy() == Status.CONVERGED)
    teacher = name_of(campaign.meta.get('teacher', {}))
    return [Frame(
        campaign.ragged('numbers', i), campaign.ragged('x', i),
        float(table.energy[i]), campaign.ragged('forces', i),
        str(table.molecule[i]), str(table.kind[i]), str(table.split[i]),
        teacher)
        for i in rows.tolist()]


def read_xyz(path: Path, labels: bool = True) -> list[Frame]:
    """Return the frames of an extxyz file; NaN where it has no labels."""
    from mpiapp.parallel.ase_serial import read as read_ase

    # unpacked first: ASE seeks to and fro, which gzip does not like
    packed = path.suffix == '.gz'
    data = path.read_bytes()
    text = io.StringIO((gzip.decompress(data) if packed else data).decode())
    frames = []
    for i, atoms in enumerate(read_ase(text, ':', 'extxyz')):
        info, arrays = atoms.info, atoms.arrays
        if labels and not ('REF_energy' in info and 'REF_forces' in arrays):
            raise ValueError(f'frame {i} lacks REF_energy or REF_forces')
        if atoms.pbc.any():
            raise ValueError(f'frame {i} is periodic, and only molecules are '
                             'trained on')
        forces = arrays.get('REF_forces', np.full((len(atoms), 3), np.nan))
        if forces.shape != (len(atoms), 3):
            raise ValueError(f'frame {i}: REF_forces must have three columns')
        frames.append(Frame(
            atoms.numbers.astype(np.int32), atoms.positions,
            float(info.get('REF_energy', np.nan)),
            forces, str(info.get('mol', f'{path.stem}_{i}')),
            str(info.get('config_type', 'Default')),
            str(info.get('split', '')), str(info.get('teacher', ''))))
    return frames


def write_xyz(path: Path, frames: Iterable[Frame]) -> None:
    """Write frames as extxyz, energies eV, forces eV/A, positions A."""
    from ase.data import chemical_symbols

    from mpiapp.store.files import replacing
    with replacing(path) as part, open(part, 'w', encoding='utf-8') as out:
        for frame in frames:
            more = ''.join(
                f'{key}={quoted(value)} ' for key, value in (
                    ('split', frame.split), ('teacher', frame.teacher))
                if value)
            out.write(
                f'{len(frame.numbers)}\nProperties=species:S:1:pos:R:3:'
                f'REF_forces:R:3 REF_energy={frame.energy!r} '
                f'config_type={quoted(frame.kind)} '
                f'mol={quoted(frame.molecule)} {more}'
                'energy_unit=eV force_unit=eV/Angstrom pbc="F F F"\n')
            for z, x, f in zip(frame.numbers, frame.positions, frame.forces):
                values = ' '.join(f'{v:.8f}' for v in (*x, *f))
                out.write(f'{chemical_symbols[z]:2s} {values}\n')


@lru_cache
def quoted(text: str) -> str:
    """Return a text as a value of an extxyz comment that ASE reads back.

    ASE takes quotes and backslashes away and makes numbers and truth values
    of what looks like some: such texts are written as its JSON.
    """
    looks = all(map(_converted, re.findall(r'[^\s,]+', text)))
    if looks or not text.isprintable() or set(text) & set('"\\') \
            or text.startswith(JSON):
        text = JSON + json.dumps(text)
    escaped = text.replace('\\', '\\\\').replace('"', '\\"')
    return f'"{escaped}"'


def _converted(word: str) -> bool:
    """Tell whether ASE makes something else of a word than a text."""
    if word in ('T', 'F') or word.lower() in ('true', 'false'):
        return True
    try:
        float(word)
    except ValueError:
        return False
    return True


def held_of(
    frames: Sequence[Frame], share: float, seed: int = 0,
) -> set[str]:
    """Return the molecules of one file that are for validation.

    Those by its own split if it has one, else by name and share.  A dimer is
    for validation if one of its molecules is: the other one is no reason,
    if it occurs in training.

    Raises:
        InputError: structures for validation are of molecules of training.
    """
    parts: dict[str, set[str]] = {}
    for f in frames:
        parts.setdefault(f.split, set()).update(f.parts)
    if 'valid' in parts:
        held = parts['valid'] - parts.get('train', set())
        both = {f.molecule for f in frames
                if f.split == 'valid' and not f.parts & held}
        if both:
            raise InputError(
                f'the split is not by molecule: {", ".join(sorted(both)[:5])}'
                ' occur(s) in training and validation; take the column split '
                'away, or give the validation structures by --valid')
        return held
    return {m for m in set().union(*parts.values())
            if drawn(m, seed) < share}


def apart(
    frames: Sequence[Frame], held: Set[str],
) -> tuple[list[Frame], list[Frame]]:
    """Return frames without and with a molecule that is held."""
    return ([f for f in frames if not f.parts & held],
            [f for f in frames if f.parts & held])


def name_of(teacher: Mapping[str, str]) -> str:
    """Return a word for what labelled a file, from what the file says."""
    name = teacher.get('calculator', '')
    if teacher.get('sha256'):
        name += f':{teacher["sha256"][:12]}'
    return name


def teachers_of(frames: Iterable[Frame]) -> list[str]:
    """Return the teachers that are known."""
    return sorted({f.teacher for f in frames if f.teacher})


def elements_of(frames: Iterable[Frame]) -> set[int]:
    """Return the atomic numbers that occur."""
    return {int(z) for f in frames for z in np.unique(f.numbers)}


def digest(frames: Iterable[Frame]) -> str:
    """Return a digest of names, structures and labels, in their order."""
    found = hashlib.sha256()
    for f in frames:
        found.update(f'{f.molecule}\n{f.kind}\n{float(f.energy)!r}\n'.encode())
        found.update(f.numbers.tobytes())
        found.update(f.positions.tobytes() + f.forces.tobytes())
    return found.hexdigest()
