"""Reads campaign files back, as tables and arrays."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.records import Column, Floats, Ints, Schema, Status
from mpiapp.store.ensembles import read_settings, read_tables
from mpiapp.store.hdf5 import open_serial
from mpiapp.store.layout import (
    FORMAT, VERSION, column_path, offsets_name, ragged_groups
)
from mpiapp.store.packing import RowPacker, little, schema_from_json
from mpiapp.store.seal import check_seal
from mpiapp.units import ANGSTROM_PER_BOHR

if TYPE_CHECKING:
    import pandas
    import xarray

#: the group that holds the stages of a refinement
STAGES = 'stages'
#: the largest atomic number that there is
MOST_ELEMENT = 118
#: columns that may hold where the atoms are, the first that is there
POSITIONS = ('x_final', 'positions', 'x')


RowReader = Callable[[str, Ints], list[NDArray[Any]]]


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Open a result for a block; what HDF5 can't read is an InputError."""
    try:
        with open_serial(path, 'r') as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError,
            TypeError) as error:
        raise InputError(f'{path}: damaged result file ({error})') from error


@dataclass(frozen=True)
class Campaign:
    """A result file; columns are read when they are asked for.

    `root` is the group of a stage of a refinement, empty for the main
    relaxation.
    """

    path: Path
    schema: Schema
    n_records: int
    complete: bool
    meta: dict[str, Any]
    timeline: dict[str, Any]
    root: str = ''

    @cached_property
    def table(self) -> pandas.DataFrame:
        """All columns with one entry a record; the index is the row."""
        import pandas
        columns = {}
        with reading(self.path) as file:
            for column in self.schema.fixed:
                if not column.shape:
                    columns[column.name] = _values(
                        column, file[self.root + column_path(column)][:])
        return pandas.DataFrame(
            columns, index=pandas.RangeIndex(self.n_records, name='row'))

    def __repr__(self) -> str:
        state = 'complete' if self.complete else 'not complete'
        return f'Campaign({self.path}: {self.n_records} records, {state})'

    def column(self, name: str) -> NDArray[Any]:
        """Return a column as it is stored; a ragged one flat.

        Raises:
            KeyError: no such column.
        """
        self._known(name)
        with reading(self.path) as file:
            return file[self.root + column_path(self.schema[name])][:]

    def offsets(self, name: str) -> Ints:
        """Return the offsets [n_records + 1] of a ragged column."""
        self._known(name)
        return self._offsets[self.schema[name].group,
                             self.schema[name].ragged]

    def ragged(self, name: str, row: int) -> NDArray[Any]:
        """Return the entries of a record in a ragged column.

        Raises:
            IndexError: no such row.
        """
        if not 0 <= row < self.n_records:
            raise IndexError(f'row {row} of {self.n_records}')
        return self.ragged_span(name, row, row + 1)[0]

    def ragged_span(
        self, name: str, first: int, last: int,
    ) -> list[NDArray[Any]]:
        """Return a ragged column of the records first:last, one by one."""
        offsets = self.offsets(name)[first:last + 1]
        with reading(self.path) as file:
            flat = file[self.root + column_path(self.schema[name])][
                offsets[0]:offsets[-1]]
        return np.split(self._checked(name, flat, offsets, first),
                        offsets[1:-1] - offsets[0])

    @cached_property
    def stages(self) -> dict[str, Campaign]:
        """The stages of the refinement by name, in their order."""
        with reading(self.path) as file:
            groups = file.get(STAGES, {})
            names = sorted(groups, key=lambda n: groups[n].attrs['number'])
            return {name: _opened(self.path, file, f'/{STAGES}/{name}')
                    for name in names}

    @contextmanager
    def row_reader(self) -> Iterator[RowReader]:
        """Open the file once and hand out a function that reads rows.

        It takes the name of a ragged column and row numbers, and returns
        their entries one by one.
        """
        with reading(self.path) as file:
            def read(name: str, rows: Ints) -> list[NDArray[Any]]:
                path = self.root + column_path(self.schema[name])
                data, at = file[path], self.offsets(name)
                found: list[NDArray[Any]] = []
                for run in np.split(
                        rows, np.flatnonzero(np.diff(rows) != 1) + 1):
                    if not len(run):
                        continue
                    cuts = at[run[0]:run[-1] + 2]
                    flat = self._checked(name, data[cuts[0]:cuts[-1]], cuts,
                                         run[0])
                    found += np.split(flat, cuts[1:-1] - cuts[0])
                return found
            yield read

    @cached_property
    def ensembles(self) -> dict[str, pandas.DataFrame]:
        """The tables of the ensembles by name; {} where there are none.

        `molecules`, `boltzmann`, `compat`, `features`, `shortlist` and
        `records`, whose index is the row.
        """
        with reading(self.path) as file:
            return read_tables(file[self.root or '/'])

    @cached_property
    def summary(self) -> dict[str, pandas.DataFrame]:
        """The tables of `/summary` by name; {} where there are none."""
        with reading(self.path) as file:
            return read_tables(file[self.root or '/'], 'summary')

    @cached_property
    def ensemble_settings(self) -> dict[str, Any]:
        """What the ensembles were made with; {} where there are none."""
        with reading(self.path) as file:
            return read_settings(file[self.root or '/'])

    def positions(self, row: int) -> Floats:
        """Return the final positions [n_atoms, 3] A of a record.

        Where nothing is moved (`hameval`, `distill label`) those it has.

        Raises:
            IndexError: no such row.
            KeyError: the records of this campaign have no positions.
        """
        name = next((name for name in POSITIONS if name in self.schema),
                    POSITIONS[0])
        found = self.ragged(name, row)
        return found * ANGSTROM_PER_BOHR \
            if self.schema[name].unit == 'bohr' else found

    def atoms(self, row: int) -> Any:
        """Return a record as `ase.Atoms` at its final positions.

        Its total energy [eV] is attached; `info` holds the columns of the
        table, so that it goes along when the atoms are written.
        """
        import ase
        from ase.calculators.singlepoint import SinglePointCalculator
        atoms = ase.Atoms(self.ragged('numbers', row), self.positions(row))
        atoms.info.update(self.table.loc[row].to_dict(), row=row)
        energy = atoms.info.get('e_total', np.nan)
        if np.isfinite(energy):
            atoms.calc = SinglePointCalculator(atoms, energy=energy)
        return atoms

    def molecule(self, row: int) -> Any:
        """Return a record as an RDKit molecule; see store.conversion."""
        from mpiapp.store.conversion import molecule
        return molecule(self, row)

    def dataset(self) -> xarray.Dataset:
        """Return all columns as an xarray dataset; see store.conversion."""
        from mpiapp.store.conversion import dataset
        return dataset(self)

    def to_csv(self, path: Path | str) -> Path:
        """Write the table, numbers in full."""
        from mpiapp.store.conversion import write_csv
        return write_csv(self, path)

    def to_sdf(self, path: Path | str,
               rows: Iterable[int] | None = None) -> Path:
        """Write final geometries and columns; None: all converged."""
        from mpiapp.store.conversion import write_sdf
        return write_sdf(self, path, rows)

    def to_extxyz(self, path: Path | str,
                  rows: Iterable[int] | None = None) -> Path:
        """Write final geometries and columns; None: all converged."""
        from mpiapp.store.conversion import write_extxyz
        return write_extxyz(self, path, rows)

    def _known(self, name: str) -> None:
        names = [c.name for c in self.schema.columns]
        if name not in names:
            raise KeyError(f'no column {name!r}; there are '
                           f'{", ".join(names)}')

    @cached_property
    def _offsets(self) -> dict[tuple[str, str], Ints]:
        with reading(self.path) as file:
            found = {(group, axis): file[
                self.root + offsets_name(group, axis)][:]
                     for group, axis in ragged_groups(self.schema)}
        return found

    def _checked(
        self, name: str, flat: NDArray[Any], cuts: Ints, first: int,
    ) -> NDArray[Any]:
        """Return entries of a column from row `first` on, cut into rows.

        Raises:
            InputError: elements or bonds that there can't be.
        """
        most: Any = MOST_ELEMENT
        if name == 'bonds':
            n_atoms = np.diff(self.offsets('numbers')[
                first:first + len(cuts)])
            most = np.repeat(n_atoms, np.diff(cuts))[:, None] - 1
        if name in ('bonds', 'numbers') \
                and ((flat < 0) | (flat > most)).any():
            raise InputError(f'{self.path}: damaged result file ({name} '
                             'that there can\'t be)')
        return flat


def _values(column: Column, array: NDArray[Any]) -> Any:
    if np.dtype(column.dtype).kind == 'S':
        return [v.decode('utf-8', 'replace') for v in array]
    return array.astype(bool) if np.dtype(column.dtype).kind == 'b' \
        else array


def load(path: Path | str) -> Campaign:
    """Open a result file.

    Raises:
        InputError: missing, damaged, another format or version.
    """
    check_seal(Path(path))
    return load_unsealed(Path(path))


def load_unsealed(path: Path) -> Campaign:
    """Open a result file that is being written, after its rows are in."""
    with reading(path) as file:
        name = file.attrs.get('format')
        if name != FORMAT:
            raise InputError(f'{path} is not a campaign file of mpiapp')
        version = file.attrs['format_version']
        if not 1 <= version <= VERSION:
            raise InputError(f'{path} has format version {version}; this '
                             f'program reads versions 1 to {VERSION}')
        return _opened(path, file, '')


def _opened(path: Path, file: Any, root: str) -> Campaign:
    """Return the campaign of a file, or the stage below `root`."""
    group = file[root or '/']
    schema = schema_from_json(group['meta/schema'].asstr()[()])
    n_records = int(file.attrs['n_records'])
    _check_shapes(path, group, schema, n_records)
    return Campaign(
        path, schema, n_records, bool(group.attrs['complete']),
        parsed(group['meta/json'].asstr()[()]),
        parsed(group['timeline/json'].asstr()[()]), root)


def _check_shapes(
    path: Path, root: Any, schema: Schema, n_records: int,
) -> None:
    """Refuse a file whose datasets are not what its schema says.

    Looks at what other columns are found by, and no further: the values of
    large columns are checked when they are read.
    """
    for group, axis in ragged_groups(schema):
        offsets = root[offsets_name(group, axis)[1:]]
        if offsets.shape != (n_records + 1,):
            raise InputError(f'{path}: {offsets.name} has a wrong length')
        if offsets[0] != 0 or (np.diff(offsets[:]) < 0).any():
            raise InputError(f'{path}: damaged result file (offsets do not '
                             'ascend)')
    for column in schema.columns:
        dataset = root[column_path(column)[1:]]
        n = int(root[offsets_name(column.group, column.ragged)[1:]][-1]) \
            if column.ragged else n_records
        if dataset.shape != (n, *column.shape) \
                or dataset.dtype != little(column):
            raise InputError(f'{path}: {dataset.name} is not as its '
                             'description says')
        if column.name == 'status' and not np.isin(
                dataset[:], list(Status)).all():
            raise InputError(f'{path}: damaged result file (a status that '
                             'there is not)')


class FileSource:
    """The rows of a result file, to be written into another one.

    `rows` are the row numbers in the new file for the records `records`
    of this one; both ascend.  `changes` maps a column to an amount that is
    added to it.
    """

    def __init__(
        self, campaign: Campaign, rows: Ints, records: Ints,
        changes: dict[str, int] | None = None,
    ) -> None:
        self.rows = rows
        self._records = records
        self._campaign = campaign
        self._changes = changes or {}
        self._packer = RowPacker(campaign.schema)
        axes = {c.ragged: c.name for c in campaign.schema.ragged}
        self.lengths = np.array(
            [np.diff(campaign.offsets(axes[axis]))[records]
             for axis in self._packer.axes], np.int64,
        ).reshape(len(self._packer.axes), len(rows)).T

    def fetch(self, rows: Ints) -> list[bytes]:
        """Return these rows, packed, in the given order."""
        wanted = self._records[np.searchsorted(self.rows, rows)].tolist()
        if not wanted:
            return []
        with reading(self._campaign.path) as file:
            return self._pack(file, wanted)

    def _pack(self, file: Any, wanted: list[int]) -> list[bytes]:
        """Read the span from the first to the last record and pack it."""
        first, last = min(wanted), max(wanted) + 1
        arrays, starts = {}, {}
        for column in self._campaign.schema.columns:
            a, b = first, last
            if column.ragged:
                offsets = self._campaign.offsets(column.name)
                a, b = int(offsets[first]), int(offsets[last])
                starts[column.name] = offsets[first:last + 1] - a
            arrays[column.name] = file[
                self._campaign.root + column_path(column)][a:b]
        return [self._packer.pack(self._row(arrays, starts, i - first))
                for i in wanted]

    def _row(self, arrays: dict[str, NDArray[Any]],
             starts: dict[str, Ints], i: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, array in arrays.items():
            if name in starts:
                row[name] = array[starts[name][i]:starts[name][i + 1]]
            else:
                row[name] = array[i] + self._changes[name] \
                    if name in self._changes else array[i]
        return row
