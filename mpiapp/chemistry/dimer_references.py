"""What is known of benchmark dimers, as the project or a user states it."""
from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpiapp.records import InputError, Structure

NAN = float('nan')
KINDS = ('stacked', 'crossed', 't', 'sandwich')


@dataclass(frozen=True)
class Reference:
    """What is known of one stationary point, or of one fixed geometry.

    A and kcal/mol, NaN where nothing is known.  `confirmed`: the distance
    was checked in its source.  `original`: what the first version of this
    check compared centroid distances with.
    """

    kind: str = ''
    vertical: float = NAN
    slip: float = NAN
    centroid: float = NAN
    energy: float = NAN
    source: str = ''
    confirmed: bool = False
    original: float = NAN

    @property
    def distance(self) -> float:
        """The distance that is judged: T-shapes have no vertical one."""
        return self.centroid if self.kind == 't' else self.vertical


def read_references(
    path: Path, dimers: Collection[str],
    known: Mapping[str, Reference] | None = None,
) -> dict[str, Reference]:
    """Return references by dimer; a table of the file replaces its fields.

    `dimers` are the names that may occur, `known` what holds without the
    file.

    Raises:
        InputError: unreadable, unknown dimer or field, wrong type.
    """
    tables = read_toml(path)
    found = dict(known or {})
    for name, table in tables.items():
        if name not in dimers:
            raise InputError(f'{path}: unknown dimer {name!r}; there are '
                             f'{", ".join(dimers)}')
        if not isinstance(table, dict):
            raise InputError(f'{path}: [{name}] is not a table')
        found[name] = replace(found.get(name, Reference()),
                              **_fields(f'{path}: [{name}]', table))
    return found


def _fields(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    types = {f.name: type(getattr(Reference(), f.name))
             for f in dataclasses.fields(Reference)}
    values = {}
    for name, value in table.items():
        if name not in types:
            raise InputError(f'{where}: unknown field {name!r}; there are '
                             f'{", ".join(types)}')
        if types[name] is float and type(value) is int:
            value = float(value)
        if type(value) is not types[name] or (
                isinstance(value, float) and not math.isfinite(value)):
            raise InputError(f'{where}: {name} = {value!r} is no '
                             f'{types[name].__name__}')
        values[name] = value
    if values.get('kind', 'stacked') not in KINDS:
        raise InputError(f'{where}: kind {values["kind"]!r}; there are '
                         f'{", ".join(KINDS)}')
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        InputError: it can't be read.
    """
    try:
        with open(path, 'rb') as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: {error}') from error


def set_reference(structure: Structure) -> Reference:
    """Return the energy that a frame of a published set holds."""
    energy = float(structure.tags.get('energy_kcal', 'nan'))
    name = structure.tags.get('name', '')
    return Reference(energy=energy, confirmed=True,
                     source=f'{name}, CCSD(T)/CBS at the geometry of the file')
