"""The results of `validate` as CSV and XYZ."""
from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.records import Status
from mpiapp.store.files import replacing
from mpiapp.store.reader import Campaign
from mpiapp.units import KCAL_PER_EV

Row = Mapping[str, Any]
Value = Callable[[Row], str]


def number(value: float, digits: int = 4) -> str:
    """Format a number; NaN is written out."""
    return f'{value:.{digits}f}' if math.isfinite(value) else 'NaN'


def _of(name: str, digits: int = 4) -> Value:
    return lambda row: number(float(row[name]), digits)


def _text(name: str) -> Value:
    return lambda row: str(row[name])


def _error(row: Row) -> float:
    return float(row['centroid'] - row['ref_centroid'])


def _yes(value: bool) -> str:
    return 'yes' if value else 'no'


#: names in the table and how a row gives their values; the first nine are
#: those of the original, in its order
COLUMNS: Mapping[str, Value] = {
    'benchmark': _text('benchmark'),
    'method': _text('method'),
    'distance_A': _of('centroid'),
    'reference_A': _of('ref_centroid'),
    'error_A': lambda row: number(_error(row)),
    'abs_error_A': lambda row: number(abs(_error(row))),
    'energy': lambda row: number(row['e_total'] * KCAL_PER_EV),
    'time_s': _of('seconds', 3),
    'n_aromatic_atoms': _text('n_aromatic_atoms'),
    'start': _text('start'),
    'structure': _text('structure'),
    'vertical_A': _of('vertical'),
    'slip_A': _of('slip'),
    'slip_long_A': _of('slip_long'),
    'slip_short_A': _of('slip_short'),
    'twist_deg': _of('twist', 2),
    'plane_angle_deg': _of('plane_angle', 2),
    'contact_A': _of('contact'),
    'd12_A': _of('d12'),
    'd21_A': _of('d21'),
    'binding_kcal': _of('binding_kcal'),
    'interaction_kcal': _of('interaction_kcal'),
    'ref_vertical_A': _of('ref_vertical'),
    'ref_energy_kcal': _of('ref_energy_kcal'),
    'ref_source': _text('ref_source'),
    'ref_confirmed': lambda row: _yes(bool(row['ref_confirmed'])),
    'energy_eV': _of('e_total', 8),
    'steps': _text('steps'),
    'fmax_final': lambda row: f'{row["fmax_final"]:.6g}'
    if math.isfinite(row['fmax_final']) else 'NaN',
    'converged': lambda row: _yes(row['status'] == Status.CONVERGED),
    'status': lambda row: Status(row['status']).name.lower(),
    'reason': lambda row: ': '.join(filter(None, (row['reason'],
                                                  row['message']))),
    'load_time_s': _of('load_seconds', 3),
    'verdict': _text('verdict'),
    'kick': _text('kick'),
    'data_set': _text('data_set'),
    'after_vertical_A': _of('vertical_after'),
    'after_slip_A': _of('slip_after'),
    'after_twist_deg': _of('twist_after', 2),
    'after_binding_kcal': _of('binding_after_kcal'),
}


def rows_of(campaign: Campaign) -> list[dict[str, Any]]:
    """Return the fixed columns of all records as mappings."""
    table = campaign.table
    columns = {name: table[name].tolist() for name in table.columns}
    return [dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one line for each item, in their order."""
    with replacing(path) as part, \
            open(part, 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([value(row) for value in COLUMNS.values()])


def write_xyz(
    path: Path, campaign: Campaign, rows: list[dict[str, Any]],
) -> None:
    """Write all final geometries, those after a saddle after it."""
    with replacing(path) as part, \
            open(part, 'w', encoding='utf-8', newline='\n') as file:
        for i, row in enumerate(rows):
            file.writelines(_frames(campaign, i, row))


def _frames(campaign: Campaign, i: int, row: Row) -> Iterator[str]:
    from ase.data import chemical_symbols
    numbers = campaign.ragged('numbers', i)
    for name, suffix in (('x_final', ''), ('x_after', '_after')):
        positions = campaign.ragged(name, i)
        if not len(positions) or not np.isfinite(positions).all():
            continue
        energy = row[f'binding{suffix}_kcal']
        yield (f'{len(numbers)}\nname={row["benchmark"]} '
               f'method="{row["method"]}" start={row["start"]}{suffix} '
               f'kick={row["kick"]} structure={row["structure"]} '
               f'first={row["n_first"]} binding_kcal={number(energy)}\n')
        for z, (x, y, w) in zip(numbers.tolist(), positions.tolist(),
                                strict=True):
            yield f'{chemical_symbols[z]:2s} {x:14.8f} {y:14.8f} {w:14.8f}\n'
