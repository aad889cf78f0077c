"""What did not work: by reason, and record by record with its message."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Bad:
    """A record that did not work, in a stage of a refinement or before."""

    stage: str
    row: int
    name: str
    status: str
    reason: str
    message: str


def blocks(subject: Subject) -> list[Block]:
    """Return the reasons with counts and examples, and all records."""
    bad = [one for stage, part in subject.stages.items()
           for one in bad_records(stage, part)]
    if not bad:
        return [Text('No record failed, broke, was rejected or stayed '
                     'unconverged.')]
    several = len(subject.stages) > 1
    return [by_reason(bad, several), one_by_one(bad, several)]


def bad_records(stage: str, part: Subject) -> list[Bad]:
    """Return the records of a stage that did not work."""
    rows = np.flatnonzero(np.isin(part.status, BAD)).tolist()
    reasons, messages = part.words('reason'), part.words('message')
    return [Bad(stage, r, part.names[r], part.status_words[r], reasons[r],
                messages[r]) for r in rows]


def columns(bad: Sequence[Bad], *names: str) -> list[Field]:
    """Return what is known of records as columns of text."""
    return [Field(name, name, [str(getattr(b, name)) for b in bad])
            for name in names]


def by_reason(bad: Sequence[Bad], several: bool) -> Table:
    """Count records by stage, status and reason, with the first message."""
    groups: dict[tuple[str, ...], list[Bad]] = {}
    for one in bad:
        groups.setdefault((one.stage, one.status, one.reason),
                          []).append(one)
    found = sorted(groups.values(), key=lambda g: -len(g))
    first = [g[0] for g in found]
    return Table(
        'failures_by_reason', 'By reason', [
            *columns(first, *(['stage'] if several else []), 'status',
                     'reason'),
            Field('records', 'records', [len(g) for g in found], 0),
            Field('example', 'first message', [b.message for b in first])],
        rows=[b.row for b in first], terminal=20)


def one_by_one(bad: Sequence[Bad], several: bool) -> Table:
    """List the records."""
    listed = bad[:MOST_LISTED]
    caption = '' if len(listed) == len(bad) else \
        f'The first {MOST_LISTED} of {len(bad)}.'
    rows = [b.row for b in listed]
    return Table('failed_records', 'Record by record', [
        Field('row', 'row', rows, 0,
              hint='number of the record in the result file'),
        *columns(listed, *(['stage'] if several else []), 'name', 'status',
                 'reason', 'message')], caption, rows, 10)
