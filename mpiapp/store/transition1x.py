"""Read the HDF5 layout of Transition1x.

M. Schreiner, A. Bhowmik, T. Vegge, J. Busk, O. Winther, Sci. Data 9, 779
(2022): groups data, train, val, test hold a group for each formula, that one
for each reaction, with subgroups reactant, transition_state and product of
one geometry each (atomic_numbers [n], positions [1, n, 3] A).
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.errors import InputError
from mpiapp.records import Floats
from mpiapp.store.files import replacing
from mpiapp.store.hdf5 import open_serial

SPLITS = ('data', 'train', 'val', 'test')
#: prefix of energies and forces in that layout, whatever computed ours
LEVEL = 'wB97x_6-31G(d)'
PARTS = ('reactant', 'transition_state', 'product')


@dataclass(frozen=True, eq=False)
class Entry:
    """A reaction as the file has it; `fault` says why a part is missing."""

    name: str
    formula: str
    parts: dict[str, tuple[NDArray[np.int32], Floats]]
    fault: str = ''


def is_hdf5(path: Path) -> bool:
    """Tell whether a file begins as HDF5 files do."""
    with open(path, 'rb') as file:
        return file.read(8) == b'\x89HDF\r\n\x1a\n'


def read(path: Path, split: str = '', most: int | None = None
         ) -> list[Entry]:
    """Return the reactions of a split (default: test, else data).

    In the order of formulas and names, at most `most`.

    Raises:
        InputError: no such layout or split.
    """
    try:
        with open_serial(path, 'r') as file:
            group = _split(file, path, split)
            found: list[Entry] = []
            for entry in _entries(group):
                if most is not None and len(found) >= most:
                    break
                found.append(entry)
            return found
    except OSError as error:
        raise InputError(f'{path}: {error}') from error


def _split(file: Any, path: Path, split: str) -> Any:
    there = [name for name in SPLITS if name in file]
    if not there:
        raise InputError(f'{path}: no group {", ".join(SPLITS)}: this is not '
                         'the layout of Transition1x')
    name = split or ('test' if 'test' in there else there[0])
    if name not in there:
        raise InputError(f'{path} has no split {name!r}; it has '
                         f'{", ".join(there)}')
    return file[name]


def _entries(group: Any) -> Iterator[Entry]:
    for formula in sorted(group):
        for name in sorted(group[formula]):
            yield _entry(group[formula][name], name, formula)


def _entry(group: Any, name: str, formula: str) -> Entry:
    parts: dict[str, tuple[NDArray[np.int32], Floats]] = {}
    fault = ''
    for part in PARTS:
        if part not in group:
            continue
        inner = group[part]
        own = inner if 'atomic_numbers' in inner else group
        try:
            numbers = np.asarray(own['atomic_numbers'][()], np.int32)
            positions = np.asarray(inner['positions'][()], np.float64)
            parts[part] = numbers, positions.reshape(-1, len(numbers), 3)[0]
        except (KeyError, ValueError, IndexError) as error:
            fault = f'{part}: {error}'
    return Entry(name, formula, parts, fault)


class Geometries(Protocol):
    """What `write` needs of a reaction: values by name of the part."""

    @property
    def name(self) -> str:
        """Name of the reaction."""

    @property
    def numbers(self) -> Any:
        """Atomic numbers [n]."""

    @property
    def positions(self) -> Mapping[str, Floats]:
        """Geometries [n, 3] A."""

    @property
    def energies(self) -> Mapping[str, float]:
        """Energies, eV."""

    @property
    def forces(self) -> Mapping[str, Floats]:
        """Forces [n, 3], eV/A."""


def write(path: Path, reactions: Iterable[Geometries]) -> None:
    """Write reactions as the group `data` of such a file."""
    from ase.symbols import Symbols
    with replacing(path) as part, open_serial(part, 'w') as file:
        for one in reactions:
            formula = str(Symbols(one.numbers).get_chemical_formula())
            group = file.create_group(f'data/{formula}/{one.name}')
            for role, x in one.positions.items():
                inner = group.create_group(role)
                inner['atomic_numbers'] = one.numbers
                inner['positions'] = x[None]
                inner[f'{LEVEL}.energy'] = [one.energies[role]]
                inner[f'{LEVEL}.forces'] = one.forces[role][None]
