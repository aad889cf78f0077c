"""What did not work: by reason, and record by record with its message."""
from __future__ import annotations

import numpy as np

from mpiapp.records import Status
from mpiapp.reporting.blocks import Block, Field, Table, Text
from mpiapp.reporting.subject import Subject

ORDER = 60
TITLE = 'Failures'
PROGRAMS: tuple[str, ...] = ()

#: records that are listed one by one
MOST_LISTED = 5000
BAD = (Status.UNCONVERGED, Status.FAILED, Status.REJECTED, Status.BROKEN)


def blocks(subject: Subject) -> list[Block]:
    """Return the reasons with counts and examples, and all records."""
    rows = np.flatnonzero(np.isin(subject.status, BAD))
    if not len(rows):
        return [Text('No record failed, broke, was rejected or stayed '
                     'unconverged.')]
    return [by_reason(subject, rows), one_by_one(subject, rows)]


def by_reason(subject: Subject, rows: np.ndarray) -> Table:
    """Count records by status and reason, with the first message."""
    reasons, messages = subject.words('reason'), subject.words('message')
    groups: dict[tuple[str, str], list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(
            (subject.status_words[row], reasons[row]), []).append(row)
    ordered = sorted(groups.items(), key=lambda g: -len(g[1]))
    return Table(
        'failures_by_reason', 'By reason', [
            Field('status', 'status', [k[0] for k, _ in ordered]),
            Field('reason', 'reason', [k[1] for k, _ in ordered]),
            Field('records', 'records', [len(v) for _, v in ordered], 0),
            Field('example', 'first message',
                  [messages[v[0]] for _, v in ordered])],
        rows=[v[0] for _, v in ordered], terminal=20)


def one_by_one(subject: Subject, rows: np.ndarray) -> Table:
    """List the records."""
    listed = rows[:MOST_LISTED].tolist()

    def of(words: list[str]) -> list[str]:
        return [words[r] for r in listed]

    caption = '' if len(rows) <= MOST_LISTED else \
        f'The first {MOST_LISTED} of {len(rows)}.'
    fields = [
        Field('row', 'row', listed, 0, hint='position in all input files'),
        Field('name', 'name', of(subject.names)),
        Field('status', 'status', of(subject.status_words)),
        Field('reason', 'reason', of(subject.words('reason'))),
        Field('message', 'message', of(subject.words('message')))]
    return Table('failed_records', 'Record by record', fields, caption,
                 listed, 10)
