"""Where it comes from: input, method, options, versions."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mpiapp.reporting.blocks import Block, Field, Table
from mpiapp.reporting.subject import Subject

ORDER = 90
TITLE = 'Provenance'
PROGRAMS: tuple[str, ...] = ()

#: what of /meta is shown, in this order
PARTS = ('potential', 'options', 'settings', 'descriptors', 'packages')


def blocks(subject: Subject) -> list[Block]:
    """Return the input files, and all settings by name."""
    meta = subject.results.meta
    found: list[Block] = []
    inputs = [i for i in meta.get('inputs') or () if isinstance(i, Mapping)]
    if inputs:
        found.append(Table('inputs', 'Input', [
            Field('path', 'file', [str(i.get('path', '')) for i in inputs]),
            Field('n_records', 'records',
                  [int(i.get('n_records') or 0) for i in inputs], 0),
            Field('sha256', 'sha256',
                  [str(i.get('sha256', '')) for i in inputs])]))
    lines = [(part, name, value) for part in PARTS
             for name, value in flat(meta.get(part))]
    lines += [('run', name, value) for name, value in flat({
        k: subject.results.timeline.get(k)
        for k in ('n_ranks', 'host', 'device', 'threads', 'cpus')})]
    if lines:
        found.append(Table('settings', 'Settings', [
            Field('part', 'part', [line[0] for line in lines]),
            Field('name', 'name', [line[1] for line in lines]),
            Field('value', 'value', [line[2] for line in lines])],
            'As stored with the results, defaults included.', lines=12))
    return found


def flat(value: Any, prefix: str = '') -> Iterator[tuple[str, str]]:
    """Yield name and text of each leaf of nested settings."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from flat(item, f'{prefix}.{name}' if prefix else str(name))
    elif isinstance(value, (list, tuple)):
        yield prefix, ', '.join(map(str, value))
    elif value is not None and value != '':
        yield prefix, str(value)
