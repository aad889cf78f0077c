"""The bare campaign file: groups, datasets, attributes, dimensions.

Laid down by one process, because under MPI-IO every change of the structure
is collective and text of variable length can't be written.  Datasets are
contiguous and allocated at once, so that ranks only have to fill them.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mpiapp
from mpiapp.records import Column, Schema, Status, status_codes
from mpiapp.store.hdf5 import load_h5py, open_serial, text_dtype
from mpiapp.store.metadata import write_dataset, write_metadata
from mpiapp.store.packing import little, schema_json

FORMAT = 'mpiapp campaign'
#: 2: descriptors, bonds, formal charges
VERSION = 2
#: what netCDF calls a dimension without values
NO_VALUES = 'This is a netCDF dimension but not a netCDF variable.%10d'


def offsets_name(group: str, axis: str) -> str:
    """Return the path of the offsets of a ragged axis in a group."""
    return f'/{group}/{axis}_offsets'


def column_path(column: Column) -> str:
    """Return the path of a column in the file."""
    return f'/{column.group}/{column.name}'


def ragged_groups(schema: Schema) -> list[tuple[str, str]]:
    """Return (group, axis) of all offsets datasets, in order."""
    return list(dict.fromkeys((c.group, c.ragged) for c in schema.ragged))


def data_paths(schema: Schema) -> list[str]:
    """Return the paths of all datasets that hold rows."""
    return [*map(column_path, schema.columns),
            *(offsets_name(*pair) for pair in ragged_groups(schema))]


def lay_down(
    path: Path, schema: Schema, n_records: int, totals: Mapping[str, int],
    meta: Mapping[str, Any], timeline: Mapping[str, Any],
) -> None:
    """Create the file with everything but the rows.

    `totals` maps a ragged axis to the entries of all rows.  Attribute
    `complete` is False until the rows are in.
    """
    path.unlink(missing_ok=True)
    with open_serial(path, 'w') as file:
        file.attrs['format'] = FORMAT
        file.attrs['format_version'] = VERSION
        file.attrs['mpiapp_version'] = mpiapp.__version__
        file.attrs['n_records'] = n_records
        file.attrs['complete'] = False
        lay_down_in(file, schema, n_records, totals, meta, timeline)


def lay_down_in(
    root: Any, schema: Schema, n_records: int, totals: Mapping[str, int],
    meta: Mapping[str, Any], timeline: Mapping[str, Any],
) -> None:
    """Create everything but the rows below an open HDF5 group."""
    scales = _Scales(root, n_records)
    for column in schema.columns:
        _column(root, scales, column, n_records, totals)
    for group, axis in ragged_groups(schema):
        _offsets(root, scales, group, axis, n_records)
    _metadata(root, schema, meta, timeline)


def _metadata(
    file: Any, schema: Schema, meta: Mapping[str, Any],
    timeline: Mapping[str, Any],
) -> None:
    group = file.create_group('meta')
    write_dataset(group, 'schema', schema_json(schema))
    write_metadata(group, meta)
    write_metadata(file.create_group('timeline'), timeline)


def _column(
    file: Any, scales: _Scales, column: Column, n_records: int,
    totals: Mapping[str, int],
) -> None:
    n = totals[column.ragged] if column.ragged else n_records
    dtype = little(column)
    if dtype.kind == 'S':
        dtype = text_dtype(dtype.itemsize)
    dataset = _dataset(
        file, column.group, column.name, (n, *column.shape), dtype)
    # xarray and the CF conventions look for `units`
    dataset.attrs['unit'] = dataset.attrs['units'] = column.unit
    dataset.attrs['description'] = column.description
    dataset.attrs['volatile'] = column.volatile
    if column.ragged:
        dataset.attrs['offsets'] = offsets_name(column.group, column.ragged)
    if column.name == 'status':
        _codes(dataset)
    first = scales.ragged(column.group, column.ragged, n) \
        if column.ragged else scales.record
    scales.attach(dataset, [first, *map(scales.width, column.shape)])


def _codes(dataset: Any) -> None:
    """Describe the vocabulary, in words and as the CF convention has it."""
    codes = status_codes()
    dataset.attrs['codes'] = ', '.join(
        f'{code} {word}' for word, code in codes.items())
    dataset.attrs['flag_values'] = np.array([int(s) for s in Status], 'i4')
    dataset.attrs['flag_meanings'] = ' '.join(codes)


def _offsets(
    file: Any, scales: _Scales, group: str, axis: str, n_records: int,
) -> None:
    dataset = _dataset(file, group, f'{axis}_offsets', (n_records + 1,),
                       np.dtype('<i8'))
    dataset[0] = 0
    dataset.attrs['unit'] = '1'
    dataset.attrs['description'] = (
        f'row i has the entries offsets[i]:offsets[i + 1] of axis {axis}')
    dataset.attrs['volatile'] = False
    scales.attach(dataset, [scales.edges()])


def _dataset(
    file: Any, group: str, name: str, shape: tuple[int, ...], dtype: Any,
) -> Any:
    """Create a contiguous dataset whose place in the file is reserved.

    A name may hold groups of its own, as pred-gt/energy_diff.
    """
    h5py = load_h5py()
    *folders, name = f'{group}/{name}'.split('/')
    parent = file.require_group('/'.join(folders))
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    # every entry gets written: filling first would double the work
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    made = h5py.h5d.create(
        parent.id, name.encode(), h5py.h5t.py_create(dtype, logical=True),
        h5py.h5s.create_simple(shape), creation)
    return h5py.Dataset(made)


class _Scales:
    """The named dimensions of a file, as HDF5 dimension scales."""

    def __init__(self, file: Any, n_records: int) -> None:
        self._file = file
        self._n_records = n_records
        # without values: a coordinate would clash with /records/record
        self.record = self._nameless('record', n_records)

    def ragged(self, group: str, axis: str, n: int) -> Any:
        """Return the scale of a ragged axis."""
        return self._nameless(f'{group}/{axis}', n)

    def width(self, n: int) -> Any:
        """Return the scale of a trailing dimension."""
        return self._nameless('xyz' if n == 3 else f'width_{n}', n)

    def edges(self) -> Any:
        """Return the scale of the borders between records."""
        return self._nameless('record_edge', self._n_records + 1)

    def attach(self, dataset: Any, scales: Iterable[Any]) -> None:
        """Name the dimensions of a dataset."""
        for i, scale in enumerate(scales):
            dataset.dims[i].label = scale.name.rsplit('/', 1)[-1]
            dataset.dims[i].attach_scale(scale)

    def _nameless(self, path: str, n: int) -> Any:
        """Return a scale without values; it takes no space on disk."""
        if path not in self._file:
            scale = self._file.create_dataset(path, (n,), '<i1')
            scale.make_scale(NO_VALUES % n)
        return self._file[path]
