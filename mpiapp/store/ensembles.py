"""The group /ensembles of a campaign file: small tables made from its rows.

A table is a group with one dataset a column, all of one length, text of
fixed length.  Written by one process before the file is sealed, so that the
checksum covers every byte of it.
"""
from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Column
from mpiapp.store.files import StoreError, explain
from mpiapp.store.hdf5 import open_serial, text_dtype
from mpiapp.store.layout import NO_VALUES
from mpiapp.store.metadata import plain, write_mapping
from mpiapp.store.packing import cut_text, little

if TYPE_CHECKING:
    import pandas

GROUP = 'ensembles'
#: the table with one line for each record of the campaign
RECORDS = 'records'
#: attribute of a table: its columns in their order, as JSON
COLUMNS = 'columns'
#: free space asked for beyond the values
MARGIN = 2**20


@dataclass(frozen=True)
class Table:
    """Columns of equal length; `Column.group` is the name of the table."""

    columns: tuple[Column, ...]
    values: Mapping[str, Sequence[Any] | NDArray[Any]]

    @property
    def name(self) -> str:
        """Return the name of the table."""
        return self.columns[0].group

    def __len__(self) -> int:
        return len(self.values[self.columns[0].name])

    @classmethod
    def of_lines(
        cls, columns: Sequence[Column], lines: Sequence[Mapping[str, Any]],
    ) -> Table:
        """Make a table of lines; what a line lacks is the fill value."""
        return cls(tuple(columns), {
            c.name: [line.get(c.name, c.fill) for line in lines]
            for c in columns})


def add_tables(
    path: Path, settings: Mapping[str, Any], tables: Sequence[Table],
    name: str = GROUP,
) -> None:
    """Write the group into a closed file that is not sealed yet.

    `settings` become attributes of the group, whose name is `name`.

    Raises:
        StoreError: the file can't be written, or there is no space.
    """
    need = MARGIN + sum(
        little(c).itemsize * len(table)
        for table in tables for c in table.columns)
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise StoreError(
            f'cannot write {path}: the tables need {need / 1e6:.1f} MB '
            f'and {free / 1e6:.1f} MB are free; free some space and '
            'continue with --resume')
    try:
        with open_serial(path, 'r+') as file:
            group = file.create_group(name)
            write_mapping(group, settings)
            for table in tables:
                _add(file, group.create_group(table.name), table)
    except OSError as error:
        raise explain(error, path, 'write') from error


def _add(file: Any, group: Any, table: Table) -> None:
    """Write one table; its lines are a named dimension."""
    group.attrs[COLUMNS] = json.dumps([c.name for c in table.columns])
    scale = file['record'] if table.name == RECORDS else None
    if scale is None:
        scale = group.create_dataset('line', (len(table),), '<i1')
        scale.make_scale(NO_VALUES % len(table))
    for column in table.columns:
        dataset = group.create_dataset(
            column.name, data=_array(column, table.values[column.name]))
        dataset.attrs['unit'] = dataset.attrs['units'] = column.unit
        dataset.attrs['description'] = column.description
        dataset.attrs['volatile'] = False
        dataset.dims[0].label = scale.name.rsplit('/', 1)[-1]
        dataset.dims[0].attach_scale(scale)


def _array(column: Column, values: Any) -> NDArray[Any]:
    dtype = little(column)
    if dtype.kind == 'S':
        data = [cut_text(str(v), dtype.itemsize) for v in values]
        return np.array(data, dtype).view(text_dtype(dtype.itemsize))
    return np.asarray(values, dtype)


def read_tables(
    file: Any, of: str = GROUP,
) -> dict[str, pandas.DataFrame]:
    """Return the tables of an open campaign file; {} where it has none."""
    import pandas
    found = {}
    for name, group in (file[of] if of in file else {}).items():
        columns = {}
        for key in json.loads(group.attrs[COLUMNS]):
            values = group[key][:]
            columns[key] = [v.decode('utf-8', 'replace') for v in values] \
                if values.dtype.kind == 'S' else values
        found[name] = pandas.DataFrame(columns)
    return found


def read_settings(file: Any) -> dict[str, Any]:
    """Return what the ensembles were made with; {} where there are none."""
    if GROUP not in file:
        return {}
    attributes = file[GROUP].attrs
    return {name: plain(attributes[name]) for name in attributes}
