"""Every record in a table, its structure in the 3D view."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mpiapp.reporting.blocks import Block, Field, Table, Viewer
from mpiapp.reporting.packed import has_geometry
from mpiapp.reporting.subject import Subject

ORDER = 45
TITLE = 'Conformers'
PROGRAMS: tuple[str, ...] = ()

#: records that are listed
MOST_LISTED = 20_000

#: measure, label, decimals, unit
MEASURES = (
    ('vertical', 'vertical', 3, 'Å'), ('slip', 'slip', 2, 'Å'),
    ('twist', 'twist', 1, '°'), ('plane_angle', 'plane angle', 1, '°'),
    ('overlap_gated', 'overlap', 1, '%'), ('contact', 'contact', 2, 'Å'),
)


def blocks(subject: Subject) -> list[Block]:
    """Return the 3D view and the table of records."""
    if not has_geometry(subject.results):
        return []
    return [Viewer(), record_table(subject)]


def record_table(subject: Subject) -> Table:
    """List the records with what people sort and filter by."""
    n = min(len(subject.table), MOST_LISTED)
    caption = 'Click a line to see its structure.'
    if n < len(subject.table):
        caption += f' The first {n} of {len(subject.table)} records.'
    return Table('records', 'All records',
                 [f for f in fields(subject, n) if worth(f)], caption,
                 list(range(n)))


def worth(field: Field) -> bool:
    """Tell whether a column says anything."""
    if field.digits is None:
        return any(field.values)
    return bool(np.isfinite(np.asarray(field.values, np.float64)).any())


def fields(subject: Subject, n: int) -> Iterator[Field]:
    """Yield the columns of the table."""
    yield Field('row', 'row', list(range(n)), 0,
                hint='number of the record in the result file')
    yield Field('molecule', 'molecule', subject.molecule[:n])
    for name, label in (('r_group', 'R group'),
                        ('screen_group', 'substituent'),
                        ('method', 'method'), ('start', 'start')):
        yield Field(name, label, subject.words(name)[:n])
    if subject.has('record'):
        yield Field('record', 'record', subject.values('record')[:n], 0,
                    hint='number in its file')
    yield Field('status', 'status', subject.status_words[:n])
    yield Field('reason', 'reason', subject.words('reason')[:n])
    classes = subject.classes()[:n]
    yield Field('class', 'class',
                classes if set(classes) - {'none'} else [''] * n)
    yield Field('rel_energy', 'energy', subject.rel_energy[:n], 2,
                'kcal/mol', hint='above the lowest of its molecule')
    yield Field('weight', f'weight {subject.temperature:g} K',
                subject.weight[:n], 3,
                hint='Boltzmann weight; empty: not in the ensemble')
    for name, label, digits, unit in MEASURES:
        yield Field(name, subject.called(name, label),
                    subject.measure(name)[:n], digits, unit)
    for name, label, digits, unit in (
            ('rmsd_start_final', 'moved', 2, 'Å'),
            ('steps', 'steps', 0, ''),
            ('fmax_final', 'fmax', 4, 'eV/Å'),
            ('n_atoms', 'atoms', 0, ''), ('charge', 'charge', 0, 'e')):
        if subject.has(name):
            yield Field(name, label, subject.values(name)[:n], digits, unit)
