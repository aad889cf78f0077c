"""The results of `tssearch` as CSV and XYZ, distinct saddles numbered."""
from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.bonding import bond_list
from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.records import Status
from mpiapp.store.files import replacing
from mpiapp.store.reader import Campaign

#: saddles are the same within this RMSD, A, and with the same bonds
SAME_RMSD = 0.1
Row = Mapping[str, Any]

COLUMNS = (
    'sample', 'draw', 'name', 'n_atoms', 'charge', 'start_from', 'noise',
    'status', 'reason', 'message', 'steps', 'n_calls', 'n_hess',
    'n_displaced', 'n_escape', 'n_neg', 'lambda0', 'lambda1', 'fmax',
    'energy', 'rmsd_to_reference', 'same_connectivity', 'ends', 'group',
    'seconds', 'rank')


def rows_of(campaign: Campaign) -> list[dict[str, Any]]:
    """Return the fixed columns of all records, and `group`.

    The number of the distinct saddle point of its reaction, from 0; -1
    where there is none.
    """
    table = campaign.table
    columns = {name: table[name].tolist() for name in table.columns}
    rows = [dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)]
    seen: dict[int, list[tuple[Any, Any]]] = {}
    for i, row in enumerate(rows):
        row['group'] = -1
        if row['reason'] != 'ts':
            continue
        groups = seen.setdefault(row['sample'], [])
        x = campaign.ragged('x_final', i)
        row['group'] = _group_of(groups, campaign.ragged('numbers', i), x)
    return rows


def _group_of(groups: list[tuple[Any, Any]], numbers: Any, x: Any) -> int:
    """Return the number of the group a geometry belongs to, or a new one."""
    bonds = bond_list(numbers, x)
    for k, (other, its) in enumerate(groups):
        if np.array_equal(bonds, its) \
                and superposed_rmsd(x, other) < SAME_RMSD:
            return k
    groups.append((x, bonds))
    return len(groups) - 1


def _text(name: str, value: Any) -> str:
    if name == 'status':
        return Status(value).name.lower()
    if isinstance(value, float):
        return f'{value:.8g}' if math.isfinite(value) else 'NaN'
    return str(value)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one line for each sample, in their order."""
    with replacing(path) as part, \
            open(part, 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([_text(name, row[name]) for name in COLUMNS])


def write_xyz(path: Path, campaign: Campaign,
              rows: list[dict[str, Any]]) -> None:
    """Write the last geometry of every sample that has one."""
    with replacing(path) as part, \
            open(part, 'w', encoding='utf-8', newline='\n') as file:
        for i, row in enumerate(rows):
            file.writelines(_frame(campaign, i, row))


def _frame(campaign: Campaign, i: int, row: Row) -> Iterator[str]:
    from ase.data import chemical_symbols
    numbers = campaign.ragged('numbers', i)
    positions = campaign.ragged('x_final', i)
    if not len(positions) or not np.isfinite(positions).all():
        return
    name = str(row['name']).replace('"', '')
    yield (f'{len(numbers)}\nProperties=species:S:1:pos:R:3 rxn="{name}" '
           f'role=transition_state draw={row["draw"]} '
           f'reason={row["reason"]} n_neg={row["n_neg"]} '
           f'fmax={_text("", row["fmax"])} charge={row["charge"]} '
           f'energy={_text("", row["energy"])}\n')
    for z, (x, y, w) in zip(numbers.tolist(), positions.tolist(),
                            strict=True):
        yield f'{chemical_symbols[z]:2s} {x:16.10f} {y:16.10f} {w:16.10f}\n'
