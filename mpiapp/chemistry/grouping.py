"""Which records are conformers of one molecule?

Records of one name, as given by the molecule table, the title, a tag or
`mseq`.  A record that has none of these is named by its number in the file;
such records of one file belong together.  Charge and number of atoms must
agree in any case, and what has another graph is split off by
`split_by_graph`.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.skeleton import Skeleton
from mpiapp.records import Ints

#: name: of one name; stereo: and with equal CIP labels; graph: of one graph,
#: whatever their names
WAYS = ('name', 'stereo', 'graph')


@dataclass(frozen=True)
class Identities:
    """What grouping needs to know of each record [n].

    `numbered` marks names that are made of the file and the record number,
    `n_atoms` is 0 for a record without geometry.
    """

    names: Sequence[str]
    numbered: NDArray[np.bool_]
    file_numbers: Ints
    charges: Ints
    n_atoms: Ints
    cip: Sequence[str]


def group_records(
    records: Identities, rows: Ints, how: str = 'name',
) -> list[Ints]:
    """Return the rows of each group, in the order of their first rows.

    `rows` [n] ascend and tell which records take part.  Those without
    geometry go to the only group of their name, if there is just one.
    """
    if how not in WAYS:
        raise ValueError(f'no way to group {how!r} in {WAYS}')
    whole: dict[object, list[int]] = {}
    parts: dict[tuple[object, ...], list[int]] = {}
    for row in rows.tolist():
        base = _base(records, row, how)
        whole.setdefault(base, []).append(row)
        parts.setdefault(_key(records, row, base, how), []).append(row)
    n_parts: dict[object, int] = {}
    for base, *_, n_atoms in parts:
        n_parts[base] = n_parts.get(base, 0) + bool(n_atoms)
    split = [members for key, members in parts.items()
             if n_parts[key[0]] != 1]
    joined = [whole[base] for base, n in n_parts.items() if n == 1]
    groups = [np.array(group, np.int64) for group in [*split, *joined]]
    return sorted(groups, key=lambda group: int(group[0]))


def _base(records: Identities, row: int, how: str) -> object:
    if how == 'graph':
        return ''
    if records.numbered[row]:
        return int(records.file_numbers[row])
    return records.names[row]


def _key(
    records: Identities, row: int, base: object, how: str,
) -> tuple[object, ...]:
    n_atoms = int(records.n_atoms[row])
    if not n_atoms:
        return base, '', 0, 0
    label = records.cip[row] if how == 'stereo' else ''
    return base, label, int(records.charges[row]), n_atoms


def split_by_graph(skeletons: Sequence[Skeleton]) -> list[Ints]:
    """Return the indices of equal graphs, in order of first appearance."""
    found: dict[int, list[int]] = {}
    for i, skeleton in enumerate(skeletons):
        found.setdefault(skeleton.key, []).append(i)
    return [np.array(members, np.int64) for members in found.values()]
