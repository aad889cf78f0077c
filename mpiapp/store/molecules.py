"""Which records of a result file are conformers of one molecule.

The rules of `chemistry.grouping`, with what they need read from the file.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.bonding import bond_list
from mpiapp.chemistry.grouping import (
    WAYS, Identities, group_records, split_by_graph
)
from mpiapp.chemistry.skeleton import Skeleton, skeleton_of
from mpiapp.records import RELAX, Ints, Status
from mpiapp.store.packing import cut_text
from mpiapp.store.reader import Campaign, RowReader

if TYPE_CHECKING:
    import pandas

NAME_BYTES = np.dtype(RELAX['name'].dtype).itemsize


@dataclass(frozen=True, eq=False)
class Members:
    """The records of one molecule: their `rows` [n], ascending.

    `skeletons` are by the index of the record, where it has a geometry;
    `numbers` are the atomic numbers of the first one that has.
    """

    rows: Ints
    skeletons: Mapping[int, Skeleton] = field(default_factory=dict)
    numbers: NDArray[Any] = field(
        default_factory=lambda: np.empty(0, np.int32))


def groups_of(
    table: pandas.DataFrame, inputs: Sequence[Mapping[str, Any]],
    how: str = 'name',
) -> list[Ints]:
    """Return the rows of each group; `members_of` splits it by graph.

    Of all records of a table of results but those pending or skipped;
    `inputs` have the `path` of each input file.
    """
    status = table['status'].to_numpy()
    rows = np.flatnonzero(~np.isin(
        status, [Status.PENDING, Status.SKIPPED]))
    return group_records(identities(table, inputs), rows, how)


def identities(
    table: pandas.DataFrame, inputs: Sequence[Mapping[str, Any]],
) -> Identities:
    """Return what tells the molecules of the records apart."""
    stems = [Path(str(f['path'])).name.split('.')[0] for f in inputs]
    made = [f'{stems[f] if 0 <= f < len(stems) else ""}_{r}'
            for f, r in zip(table['file_number'], table['record'],
                            strict=True)]
    names = table['name'].tolist()
    # the file has names of limited length
    numbered = np.array([
        cut_text(name, NAME_BYTES) == cut_text(text, NAME_BYTES)
        for name, text in zip(names, made, strict=True)], bool)
    return Identities(
        names, numbered & (table['mseq'].to_numpy() < 0),
        table['file_number'].to_numpy(), table['charge'].to_numpy(),
        table['n_atoms'].to_numpy(), table['cip'].tolist())


def members_of(
    table: pandas.DataFrame, rows: Ints, read: RowReader,
) -> Iterator[Members]:
    """Yield the molecules of a group, one for each graph."""
    there = np.flatnonzero(table['n_atoms'].to_numpy()[rows] > 0)
    if not len(there):
        yield Members(rows)
        return
    numbers = read('numbers', rows[there])
    skeletons = [skeleton_of(*pair) for pair in zip(
        numbers, bonds_of(rows[there], numbers, read), strict=True)]
    parts = split_by_graph(skeletons)
    # records without geometry go with the only graph, if there is one
    rest = np.setdiff1d(np.arange(len(rows)), there)
    for part in parts:
        members = np.sort(np.concatenate(
            [there[part], rest if len(parts) == 1 else rest[:0]]))
        at = np.searchsorted(members, there[part]).tolist()
        yield Members(
            rows[members],
            {i: skeletons[p] for i, p in zip(at, part.tolist(),
                                             strict=True)},
            numbers[part[0]])
    if len(parts) > 1 and len(rest):
        yield Members(rows[rest])


def bonds_of(
    rows: Ints, numbers: Sequence[NDArray[Any]], read: RowReader,
) -> list[NDArray[Any]]:
    """Return the bonds of the records; by distance where none is told.

    At the start: what bonds the final geometry has was checked there.
    """
    try:
        stored = read('bonds', rows)
    except KeyError:  # a file of the first format
        stored = [np.empty((0, 2))] * len(rows)
    start = read('x_start', rows)
    return [b if len(b) else bond_list(z, x)
            for b, z, x in zip(stored, numbers, start, strict=True)]


def molecule_numbers(campaign: Campaign) -> Ints:
    """Return the molecule [n_records] of each record, -1 for none.

    That of the table of ensembles, where the file has one; else the records
    are grouped now, in the way that its options ask for.
    """
    if campaign.ensembles:
        return campaign.ensembles['records']['molecule'].to_numpy()
    how = campaign.meta.get('options', {}).get('group_by')
    groups = groups_of(campaign.table, campaign.meta.get('inputs', []),
                       how if how in WAYS else 'name')
    found = np.full(campaign.n_records, -1)
    with campaign.row_reader() as read:
        molecules = (
            one for rows in groups
            for one in members_of(campaign.table, rows, read))
        for i, one in enumerate(molecules):
            found[one.rows] = i
    return found
