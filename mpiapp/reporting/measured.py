"""Results of `bench`, which are JSON, as a report of tables."""
from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpiapp.errors import InputError
from mpiapp.reporting.blocks import Block, Field, Report, Section, Table
from mpiapp.reporting.sections.settings import flat

#: items of a list that are shown
MOST_ITEMS = 6


def report_of_json(path: Path) -> Report:
    """Return lists of mappings as tables, and all other values by name.

    Raises:
        InputError: no such file, or not the JSON of `bench`.
    """
    try:
        data = json.loads(path.read_text('utf-8'))
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file') from error
    except (OSError, ValueError) as error:
        raise InputError(f'{path}: no JSON ({error})') from error
    if not isinstance(data, Mapping):
        raise InputError(f'{path}: not the JSON of bench, which is an object')
    tables = list(tables_of(data))
    rest = [(n, v) for n, v in flat(data) if not v.startswith('{')]
    if rest:
        tables.append(Table('values', 'All other values', [
            Field('name', 'name', [n for n, _ in rest]),
            Field('value', 'value', [v for _, v in rest])], lines=25,
            terminal=40))
    return Report(path.stem, f'measured · {path.name}', [
        Section('measured', 'Measured', tables)])


def tables_of(data: Mapping[str, Any], prefix: str = '') -> Iterator[Block]:
    """Yield a table for each list of mappings, wherever it stands."""
    for key, value in data.items():
        name = f'{prefix}{key}'
        if isinstance(value, Mapping):
            yield from tables_of(value, f'{name}.')
        elif isinstance(value, Sequence) and value and all(
                isinstance(v, Mapping) for v in value):
            yield table_of(name, value)


def table_of(name: str, lines: Sequence[Mapping[str, Any]]) -> Table:
    """Return mappings as the lines of a table; nested ones flat."""
    rows = [dict(flat_values(line)) for line in lines]
    keys = list(dict.fromkeys(k for row in rows for k in row))
    fields = []
    for key in keys:
        values = [row.get(key) for row in rows]
        known = [v for v in values if v is not None]
        brief = importance(key, values)
        if known and all(isinstance(v, (int, float))
                         and not isinstance(v, bool) for v in known):
            fields.append(Field(key, key, [
                math.nan if v is None else float(v) for v in values], -1,
                brief=brief))
        else:
            fields.append(Field(key, key, [
                '' if v is None else short(v) for v in values],
                brief=brief))
    # what lines share, hashes and lists stand last
    fields.sort(key=lambda f: f.brief == 0)
    return Table(name.replace('.', '_'), name, fields, terminal=40)


def importance(key: str, values: Sequence[Any]) -> int:
    """Return how much a column says to someone at a terminal; 0: nothing.

    What all lines share tells them not apart; medians are the result.
    """
    same = len(values) > 1 and all(v == values[0] for v in values)
    if same or key.endswith(('sha256', 'traceback')) or any(
            isinstance(v, list) for v in values):
        return 0
    return 2 if key.endswith('median') else 1


def short(value: Any) -> str:
    """Return a value as text; of a list the first few."""
    if isinstance(value, float):
        return f'{value:.5g}'
    if not isinstance(value, list):
        return str(value)
    words = ', '.join(map(short, value[:MOST_ITEMS]))
    return f'{words}, ...' if len(value) > MOST_ITEMS else words


def flat_values(
    line: Mapping[str, Any], prefix: str = '',
) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each leaf."""
    for key, value in line.items():
        if isinstance(value, Mapping):
            yield from flat_values(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value
