"""Cells: what is measured, declared before any work, none dropped (R3)."""
from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mpiapp.errors import InputError

#: how a cell may end, in the order of the codes stored
OK, SKIPPED, FAILED, REFUSED = STATES = ('ok', 'skipped', 'failed', 'refused')
ENERGY, FORCES, STRESS = QUANTITIES = (
    'energy', 'energy+forces', 'energy+forces+stress')
#: the yardstick of each group
BASELINE = 'reference'
#: names of the axes in a matrix file, and the field that each fills
AXES = {
    'models': 'model', 'molecules': 'molecule', 'devices': 'device',
    'quantities': 'quantity', 'batches': 'batch', 'threads': 'threads',
    'dtypes': 'dtype', 'ways': 'way', 'neighbours': 'neighbours',
}
DEFAULTS: Mapping[str, Sequence[Any]] = {
    'devices': ['cpu'], 'quantities': [FORCES], 'batches': [1],
    'threads': [1], 'dtypes': ['float64'], 'neighbours': ['tree'],
}
#: what is the same in all cells of a group, which are measured in turns
SHARED = ('model', 'molecule', 'device', 'quantity', 'batch', 'threads')


@dataclass(frozen=True, order=True)
class Cell:
    """One thing to measure.

    `way` is how the model is computed, `neighbours` who finds the pairs of
    atoms, `batch` the copies of the molecule in one evaluation.
    """

    model: str
    molecule: str
    device: str
    quantity: str
    batch: int
    threads: int
    dtype: str
    way: str
    neighbours: str

    @property
    def group(self) -> tuple[Any, ...]:
        """What it shares with the cells that it takes turns with."""
        return tuple(getattr(self, name) for name in SHARED)

    @property
    def label(self) -> str:
        """Return what differs within a group, in words."""
        found = '' if self.neighbours == 'tree' else f' {self.neighbours}'
        return f'{self.way} {self.dtype}{found}'

    def as_row(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Timing:
    """How long a cell is measured.

    `rounds` are evaluations in turns, all at new coordinates (0: count
    only); `warm_up` is the most calls until the median is stable.
    """

    rounds: int = 20
    warm_up: int = 12


@dataclass(frozen=True)
class Matrix:
    """All declared cells, in their order, and how to time them."""

    cells: tuple[Cell, ...]
    timing: Timing

    @property
    def groups(self) -> list[tuple[Cell, ...]]:
        """The cells by group, in the order of first use."""
        found: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.group, []).append(cell)
        return [tuple(cells) for cells in found.values()]


def read_matrix(path: Path) -> Matrix:
    """Return the matrix that a TOML file declares.

    Raises:
        InputError: unreadable, unknown names, values of a wrong type.
    """
    try:
        with open(path, 'rb') as file:
            found = tomllib.load(file)
    except OSError as error:
        raise InputError(f'matrix {path}: {error.strerror}') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'matrix {path}: {error}') from error
    return matrix_of(found, str(path))


def matrix_of(found: Mapping[str, Any], where: str) -> Matrix:
    """Return the matrix of the content of a file; see `read_matrix`."""
    unknown = set(found) - {'timing', 'matrix'}
    if unknown:
        raise InputError(f'matrix {where}: unknown {sorted(unknown)}; '
                         'allowed: timing, matrix')
    tables = found.get('matrix', [])
    if not isinstance(tables, list) or not tables:
        raise InputError(f'matrix {where}: at least one [[matrix]] is needed')
    cells = dict.fromkeys(
        cell for i, table in enumerate(tables, 1)
        for cell in expanded(table, f'{where}, [[matrix]] number {i}'))
    return Matrix(tuple(cells), timing_of(found.get('timing', {}), where))


def timing_of(found: Mapping[str, Any], where: str) -> Timing:
    """Return the timing of a file."""
    names = [f.name for f in fields(Timing)]
    for name, value in found.items():
        if name not in names:
            raise InputError(f'matrix {where}: timing has no {name!r}; '
                             f'allowed: {", ".join(names)}')
        if type(value) is not int or value < 0:
            raise InputError(f'matrix {where}: timing {name} = {value!r}: '
                             'must be a whole number, not negative')
    return Timing(**found)


def expanded(table: Mapping[str, Any], where: str) -> Iterable[Cell]:
    """Yield the cells of one table: all combinations of its axes."""
    for name in table:
        if name not in AXES:
            raise InputError(f'matrix {where}: unknown axis {name!r}; '
                             f'allowed: {", ".join(AXES)}')
    lists = []
    for axis, field in AXES.items():
        values = table.get(axis, DEFAULTS.get(axis))
        if not isinstance(values, list) or not values:
            raise InputError(f'matrix {where}: {axis} must be a list that '
                             'is not empty')
        lists.append([checked(where, axis, field, v) for v in values])
    for values in itertools.product(*lists):
        yield Cell(**dict(zip(AXES.values(), values)))


def checked(where: str, axis: str, field: str, value: Any) -> Any:
    """Return a value of an axis if it can be one."""
    counted = field in ('batch', 'threads')
    wrong = type(value) is not (int if counted else str)
    if wrong or (counted and value < 1):
        raise InputError(f'matrix {where}: {axis} has {value!r}; expected '
                         f'{"numbers from 1" if counted else "names"}')
    allowed = {'quantity': QUANTITIES, 'device': ('cpu', 'cuda'),
               'dtype': ('float64', 'float32')}.get(field)
    if allowed and value not in allowed:
        raise InputError(f'matrix {where}: {axis} has {value!r}; allowed: '
                         f'{", ".join(allowed)}')
    return value


def undecided(
    declared: Iterable[Cell], rows: Iterable[Mapping[str, Any]],
) -> list[Cell]:
    """Return the declared cells that no row decides (R3)."""
    names = [f.name for f in fields(Cell)]
    decided = {tuple(row[n] for n in names) for row in rows
               if row['state'] in STATES}
    return [c for c in declared
            if tuple(getattr(c, n) for n in names) not in decided]
