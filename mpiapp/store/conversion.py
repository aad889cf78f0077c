"""Results as objects and files of other programs: RDKit, xarray, SDF, xyz."""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.chemistry.descriptors import stored_structure
from mpiapp.records import Status, Structure
from mpiapp.store.files import replacing
from mpiapp.structures import write_sdf_record

if TYPE_CHECKING:
    import xarray

    from mpiapp.store.reader import Campaign

#: ragged columns that a structure is made of
GRAPH = ('numbers', 'x_start', 'bonds', 'bond_orders', 'formal_charges')


def structure(campaign: Campaign, row: int) -> Structure:
    """Return a record as it was computed, at its start geometry.

    Raises:
        KeyError: the campaign has no structures.
        ValueError: this record has none.
    """
    names = {c.name for c in campaign.schema.ragged}
    if not len(campaign.ragged('numbers', row)):
        raise ValueError(f'record {row} has no structure')
    values: dict[str, Any] = {
        'bonds': np.empty((0, 2)), 'bond_orders': np.empty(0),
        'formal_charges': np.empty(0), 'file_number': 0, 'record': row,
        'charge': 0, 'unpaired': 0, 'name': f'record {row}',
        **campaign.table.loc[row].to_dict()}
    values |= {n: campaign.ragged(n, row) for n in GRAPH if n in names}
    if 'x_start' not in values:
        values['x_start'] = campaign.positions(row)
    return stored_structure(values)


def molecule(campaign: Campaign, row: int) -> Any:
    """Return a record as an RDKit molecule with its final conformer.

    All hydrogens are there; the columns of the table are its properties.
    Bonds without orders are single ones, and such a molecule is not
    sanitised.

    Raises:
        KeyError: the campaign has no structures.
        ValueError: this record has none.
    """
    from rdkit import Chem
    one = structure(campaign, row)
    final = final_positions(campaign, row)
    block = write_sdf_record(one, final, {}).partition('M  END')[0]
    found = Chem.MolFromMolBlock(
        f'{block}M  END\n', sanitize=len(one.orders) > 0, removeHs=False)
    if found is None:
        found = Chem.MolFromMolBlock(
            f'{block}M  END\n', sanitize=False, removeHs=False)
    # the block has four decimals
    found.GetConformer().SetPositions(final)
    for name, value in campaign.table.loc[row].items():
        _set(found, str(name), value)
    return found


def _set(found: Any, name: str, value: Any) -> None:
    if isinstance(value, str):
        found.SetProp(name, value)
    elif isinstance(value, (float, np.floating)):
        found.SetDoubleProp(name, float(value))
    else:
        found.SetIntProp(name, int(value))


def final_positions(campaign: Campaign, row: int) -> Any:
    """Return the final positions [n_atoms, 3] A, else those of the start."""
    final = campaign.positions(row)
    return final if len(final) and np.isfinite(final).all() \
        else campaign.ragged('x_start', row)


def dataset(campaign: Campaign) -> xarray.Dataset:
    """Return all columns as one dataset.

    Dimension `record`, and for ragged columns one a group and axis, as
    `geometry_atom`, with the record of each entry as coordinate
    (`geometry_atom_record`).  Each variable has unit and description.

    Raises:
        ImportError: the package xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        raise ImportError('dataset() needs the package xarray, which is not '
                          'installed') from error
    table = campaign.table
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {'record': np.arange(campaign.n_records)}
    for column in campaign.schema.columns:
        about = {'units': column.unit, 'description': column.description}
        name = f'{column.name}_' if column.name == 'record' else column.name
        more = [f'width_{n}' for n in column.shape]
        if not column.ragged:
            values = campaign.column(column.name) if column.shape else \
                table[column.name].to_numpy()
            variables[name] = (['record', *more], values, about)
            continue
        axis = f'{column.group}_{column.ragged}'
        variables[name] = ([axis, *more], campaign.column(column.name),
                           about)
        counts = np.diff(campaign.offsets(column.name))
        coordinates[f'{axis}_record'] = (axis, np.repeat(
            np.arange(campaign.n_records), counts))
    return xarray.Dataset(variables, coordinates, {
        'program': str(campaign.meta.get('program', '')),
        'settings': json.dumps(campaign.meta.get('settings', {}))})


def write_csv(campaign: Campaign, path: Path | str) -> Path:
    """Write all columns with one entry a record; numbers in full."""
    path = Path(path)
    with replacing(path) as part:
        campaign.table.to_csv(part, float_format='%.17g')
    return path


def chosen(campaign: Campaign, rows: Iterable[int] | None) -> Sequence[int]:
    """Return the rows that are asked for; None: all converged ones."""
    if rows is not None:
        return [int(r) for r in rows]
    done = campaign.table['status'] == Status.CONVERGED
    return [int(r) for r in campaign.table.index[done]]


def write_sdf(
    campaign: Campaign, path: Path | str, rows: Iterable[int] | None = None,
) -> Path:
    """Write final geometries as SD records, the columns as data items.

    Of all converged records, or of `rows` in their order.

    Raises:
        ValueError: a row without a structure.
    """
    return _write(path, (
        write_sdf_record(structure(campaign, row),
                         final_positions(campaign, row),
                         {'row': str(row), **_tags(campaign, row)})
        for row in chosen(campaign, rows)))


def write_extxyz(
    campaign: Campaign, path: Path | str, rows: Iterable[int] | None = None,
) -> Path:
    """Write final geometries as extended XYZ, the columns as keys.

    Of all converged records, or of `rows` in their order; `energy` is the
    total energy, eV.

    Raises:
        ValueError: a row without a structure.
    """
    return _write(path, (_frame(campaign, row)
                         for row in chosen(campaign, rows)))


def _write(path: Path | str, records: Iterator[str]) -> Path:
    path = Path(path)
    with replacing(path) as part, \
            open(part, 'w', encoding='utf-8', newline='\n') as file:
        file.writelines(records)
    return path


def _tags(campaign: Campaign, row: int) -> dict[str, str]:
    """Return the columns that have a value, as text."""
    return {str(name): f'{value:.17g}' if isinstance(value, float)
            else str(value)
            for name, value in campaign.table.loc[row].items()
            if value != '' and value == value}


def _frame(campaign: Campaign, row: int) -> str:
    from ase.data import chemical_symbols
    one = structure(campaign, row)
    tags = _tags(campaign, row)
    energy = {'energy': tags['e_total']} if 'e_total' in tags else {}
    words = {'Properties': 'species:S:1:pos:R:3', **energy, 'row': str(row),
             **tags, 'pbc': 'F F F'}
    comment = ' '.join(f'{k}={_quoted(v)}' for k, v in words.items())
    lines = [str(len(one.numbers)), comment]
    lines += [f'{chemical_symbols[z]:2s} {x:.10f} {y:.10f} {w:.10f}'
              for z, (x, y, w) in zip(
                  one.numbers.tolist(),
                  final_positions(campaign, row).tolist(), strict=True)]
    return '\n'.join(lines) + '\n'


def _quoted(text: str) -> str:
    """Return a value of a comment line; there is no way to write a quote."""
    text = ' '.join(text.split()).replace('"', "'")
    plain = text and all(c.isalnum() or c in '+-._' for c in text)
    return text if plain else f'"{text}"'
