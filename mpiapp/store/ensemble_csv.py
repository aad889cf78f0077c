"""The tables of the ensembles as CSV files, made from the result file."""
from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.store.files import replacing
from mpiapp.store.formats import number
from mpiapp.store.reader import Campaign

if TYPE_CHECKING:
    import pandas

#: absolute energies of 200 keV have six decimals
_number = number('.12g')
#: how the files of these tables end
OURS = re.compile(r'(boltzmann(_[0-9.e+-]+K)?|ensembles|shortlist)\.csv')
#: columns of the compatible table that the original did not have
NOT_COMPAT = ('note', 'temperature')


def write_ensembles(campaign: Campaign, prefix: Path | str) -> list[Path]:
    """Write the tables of the ensembles; return their paths.

    <prefix>_boltzmann.csv (a line for each molecule and temperature),
    _boltzmann_<T>K.csv (as in the original), _ensembles.csv (counts and
    distributions) and _shortlist.csv.  None where the file has none.  Those
    of an earlier run that are not written now would be of other results:
    they are removed.

    Raises:
        StoreError: a file can't be written.
    """
    tables = made_tables(campaign)
    paths = [Path(f'{prefix}_{name}.csv') for name in tables]
    remove_stale(Path(prefix), paths)
    for path, table in zip(paths, tables.values(), strict=True):
        write_csv(path, table.columns, lines_of(table))
    return paths


def remove_stale(prefix: Path, kept: list[Path]) -> None:
    """Remove tables of ensembles beside `kept` that have the prefix."""
    for path in ensembles_beside(prefix):
        if path not in kept:
            path.unlink()


def ensembles_beside(prefix: Path) -> list[Path]:
    """Return the tables of ensembles that have the prefix."""
    start = f'{prefix.name}_'
    return sorted(path for path in prefix.parent.glob('*.csv')
                  if path.name.startswith(start)
                  and OURS.fullmatch(path.name.removeprefix(start)))


def made_tables(campaign: Campaign) -> dict[str, pandas.DataFrame]:
    """Return the tables by the end of their file names."""
    tables = campaign.ensembles
    if not tables:
        return {}
    made = {'boltzmann': tables['boltzmann']}
    compat = tables['compat'].drop(columns=list(NOT_COMPAT))
    for t in campaign.ensemble_settings['temperatures']:
        made[f'boltzmann_{t:g}K'] = compat[
            tables['compat']['temperature'] == t]
    made['ensembles'] = features(tables)
    made['shortlist'] = short(campaign)
    return made


def features(tables: dict[str, pandas.DataFrame]) -> pandas.DataFrame:
    """Join counts and distributions of the molecules, line by line."""
    left, right = tables['molecules'], tables['features']
    return left.join(right[[c for c in right if c not in left]])


def short(campaign: Campaign) -> pandas.DataFrame:
    """Return the shortlist with what identifies its conformers."""
    table = campaign.ensembles['shortlist']
    more = campaign.table.loc[table['row'], [
        'file_number', 'record', 'e_total', *(
            c for c in ('classification', 'plane_angle', 'vertical', 'overlap',
                        'twist', 'slip') if c in campaign.table)]]
    more = more.rename(columns={'record': 'conformer_id',
                                'e_total': 'e_total_eV'})
    found = table.join(more.reset_index(drop=True))
    found.insert(0, 'rank', np.arange(1, len(found) + 1))
    return found


def record_columns(campaign: Campaign) -> pandas.DataFrame | None:
    """Return what the table of conformers shows of the ensembles.

    `duplicate_of` is the representative as file_number:conformer_id; the
    index is the row.  None where the file has no ensembles.
    """
    if not campaign.ensembles:
        return None
    table = campaign.ensembles['records']
    of = table['duplicate_of'].to_numpy()
    file_numbers = campaign.table['file_number'].to_numpy()
    records = campaign.table['record'].to_numpy()
    named = ['' if row < 0 else f'{file_numbers[row]}:{records[row]}'
             for row in of.tolist()]
    return table.drop(columns='molecule').assign(duplicate_of=named)


def lines_of(table: pandas.DataFrame) -> Iterable[list[str]]:
    """Yield the lines of a table as texts; what is not finite is empty."""
    columns = [table[name].tolist() for name in table.columns]
    for values in zip(*columns, strict=True):
        yield [text_of(value) for value in values]


def text_of(value: Any) -> str:
    """Return a value as a field: twelve digits, empty where not finite."""
    return _number(value) if isinstance(value, float) else str(value)


def write_csv(
    path: Path, header: Iterable[str], lines: Iterable[list[str]],
) -> None:
    """Write a table that appears when it is complete.

    The byte order mark makes spreadsheets read UTF-8, as the original did.
    """
    with replacing(path) as part, \
            open(part, 'w', encoding='utf-8-sig', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(lines)
