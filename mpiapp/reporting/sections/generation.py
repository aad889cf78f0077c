"""`conformers`: what came of each molecule of the table."""
from __future__ import annotations

from mpiapp.reporting.blocks import (
    BLUE, GREEN, GREY, Bars, Block, Field, Series, Table
)
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Molecules'
PROGRAMS = ('conformers',)

COUNTS = (
    ('n_asked', 'asked'), ('n_attempts', 'attempts'),
    ('n_embedded', 'embedded'), ('n_minimised', 'minimised'),
    ('n_unique', 'distinct'), ('n_written', 'written'),
    ('n_folded', 'from folded starts'))


def blocks(subject: Subject) -> list[Block]:
    """Return a table of counts, and the first molecules as bars."""
    counts = [(n, label) for n, label in COUNTS if subject.has(n)]
    if not counts:
        # the attempts behind a result are no molecules
        return []
    names = subject.names
    fields = [Field('name', 'molecule', names),
              Field('status', 'status', subject.status_words),
              *(Field(n, label, subject.values(n), 0)
                for n, label in counts)]
    if subject.has('e_lowest', 'e_highest'):
        fields.append(Field(
            'spread', 'highest - lowest',
            subject.values('e_highest') - subject.values('e_lowest'), 2,
            'kcal/mol'))
    fields.append(Field('message', 'message', subject.words('message')))
    found: list[Block] = [Table('generated', 'Counts', fields,
                                terminal=20)]
    if subject.has('n_written', 'n_attempts', 'n_folded'):
        found.insert(0, Bars(
            'written', 'Attempts and written conformers', 'conformers',
            names[:24],
            [Series(label, subject.values(n)[:24], colour)
             for n, label, colour in (
                 ('n_attempts', 'attempts', GREY),
                 ('n_written', 'written', BLUE),
                 ('n_folded', 'from folded starts', GREEN))],
            'The first 24 molecules.' if len(names) > 24 else ''))
    return found
