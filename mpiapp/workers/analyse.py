"""Rows of a finished file anew: the same results, descriptors computed.

Nothing is relaxed and no input file is read; what a row lacks because its
file is of an earlier format (bonds) is found from its start geometry.
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mpiapp.chemistry.descriptors import (
    DescriptorSettings, connectivity, descriptor_columns, stored_structure
)
from mpiapp.records import (
    RELAX, Finished, Floats, Row, Schema, Status, Stream, Structure, Suspended
)
from mpiapp.store.reader import Campaign, RowReader

#: not copied: made anew
GROUP = 'descriptors'
#: what tells the bonds of a record
BONDS = ('bonds', 'bond_orders', 'formal_charges')
#: of these no final geometry is described; rejected records have none at all
INVALID = (Status.FAILED, Status.BROKEN)


class AnalyseWorker:
    """A worker of the engine; call it with the stream of this rank."""

    def __init__(
        self, campaign: Campaign, settings: DescriptorSettings,
        schema: Schema = RELAX,
    ) -> None:
        self.campaign = campaign
        self.settings = settings
        known = {c.name for c in schema.columns if c.group != GROUP}
        self.fixed = [c.name for c in campaign.schema.fixed
                      if c.name in known]
        self.ragged = [c.name for c in campaign.schema.ragged
                       if c.name in known]
        self.records = campaign.table[self.fixed]

    def __call__(self, stream: Stream) -> Iterator[Finished | Suspended]:
        """Yield a `Finished` for each record."""
        with self.campaign.row_reader() as read:
            while items := stream.take(1):
                for item in items:
                    began = time.perf_counter()
                    row = self.row(item.row, read)
                    yield Finished(item.row, row, 0,
                                   time.perf_counter() - began)

    def known(self, number: int) -> Row:
        """Return the columns of a record with one entry."""
        values: Row = self.records.loc[number].to_dict()
        return values

    def row(self, number: int, read: RowReader) -> Row:
        """Return a record as it is in the file, descriptors made anew."""
        row = self.known(number)
        rows = np.array([number])
        row.update({name: read(name, rows)[0] for name in self.ragged})
        if not len(row['numbers']):
            return row
        if not len(row.get('bonds', ())):
            row.update(connectivity(bare_structure(row)))
        if row['status'] == Status.REJECTED:
            return row
        structure = stored_structure(row)
        row.update(descriptor_columns(
            structure, structure.positions, self.final(row), self.settings))
        return row

    def final(self, row: Row) -> Floats | None:
        """Return the final positions [n_atoms, 3] A of a valid result."""
        return None if row['status'] in INVALID else row['x_final']


def bare_structure(row: Row) -> Structure:
    """Return the atoms of a record without bonds, at its start geometry."""
    empty: Row = {name: [] for name in BONDS}
    return replace(stored_structure({'unpaired': 0, **row, **empty}),
                   formal_charges=np.empty(0, np.int32))
