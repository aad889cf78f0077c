"""Tables and structures for people, made from a finished campaign file."""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.chemistry.charge import apply_policy
from mpiapp.chemistry.descriptors import stored_structure
from mpiapp.errors import InputError
from mpiapp.records import Rejection, Status, Structure
from mpiapp.store import descriptor_table
from mpiapp.store.ensemble_csv import (
    ensembles_beside, record_columns, text_of, write_csv, write_ensembles
)
from mpiapp.store.files import replacing
from mpiapp.store.formats import flag as _flag
from mpiapp.store.formats import number as _number
from mpiapp.store.molecules import molecule_numbers
from mpiapp.store.reader import Campaign, load
from mpiapp.store.summary_table import HEADER, summary_lines
from mpiapp.structures import write_sdf_record
from mpiapp.units import KCAL_PER_EV

if TYPE_CHECKING:
    import pandas

    from mpiapp.structures import Collection

log = logging.getLogger('mpiapp')

#: what the tables show besides the columns of the result file
ADDED = frozenset({'row', 'method', 'file', 'molecule', 'rel_energy'}) \
    | descriptor_table.ADDED

#: what the result file knows of the atoms of a record
STRUCTURE = ('numbers', 'x_start', 'x_final', 'bonds', 'bond_orders',
             'formal_charges')

#: records that are held at a time
SPAN = 2000

Record = Mapping[str, Any]


def _kcal(value: float) -> str:
    return _number('.6f')(value * KCAL_PER_EV)


def _known(value: int) -> str:
    return str(value) if value >= 0 else ''


def _word(status: int) -> str:
    return Status(status).name.lower()


def _is_converged(status: int) -> str:
    return _flag(status == Status.CONVERGED)


#: (header, column of the file, formatter), in the order of the table
CONFORMER: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ('name', 'name', str),
    ('r_group', 'r_group', str),
    ('screen_group', 'screen_group', str),
    ('mseq', 'mseq', _known),
    ('conformer_id', 'record', str),
    ('moe_energy_kcal', 'moe_energy_kcal', _number('.10g')),
    ('mace_energy_kcal', 'e_total', _kcal),
    *descriptor_table.ORIGINAL,
    ('method', 'method', str),
    ('file', 'file', str),
    ('file_number', 'file_number', str),
    ('n_atoms', 'n_atoms', str),
    ('charge', 'charge', str),
    ('input_charge', 'input_charge', str),
    ('charge_ignored', 'charge_ignored', _flag),
    ('unpaired', 'unpaired', str),
    ('n_added_hydrogens', 'n_added_hydrogens', str),
    ('cip', 'cip', str),
    ('status', 'status', _word),
    ('reason', 'reason', str),
    ('message', 'message', str),
    ('converged', 'status', _is_converged),
    ('steps', 'steps', str),
    ('fmax_final', 'fmax_final', _number('.6g')),
    ('seconds', 'seconds', _number('.3f')),
    ('rmsd_A', 'rmsd_start_final', _number('.6f')),
    ('e_start_eV', 'e_start', _number('.8f')),
    ('e_total_eV', 'e_total', _number('.8f')),
    ('e_model_minus_e0_eV', 'e_model_minus_e0', _number('.8f')),
    ('rel_energy_kcal', 'rel_energy', _kcal),
    *descriptor_table.OURS,
)


def write_tables(
    result: Path | str, prefix: Path | str, collection: Collection | None,
) -> list[Path]:
    """Write <prefix>_all_conformers.csv, _summary.csv and _final.sdf.

    And the tables of the ensembles, where the file has them.

    `collection` are the input files of the campaign, whose tags the SDF
    keeps; without them (None), or where they are gone by now, its structures
    are those of the result file.
    Each file appears when it is complete.  Returns their paths.

    Raises:
        InputError: no result file, or one of another kind or other input.
        StoreError: a file can't be written.
    """
    campaign = load(result)
    if collection is not None and len(collection) != campaign.n_records:
        raise InputError(f'{result} has {campaign.n_records} records, the '
                         f'input {len(collection)}')
    paths = [Path(f'{prefix}_{end}') for end in (
        'all_conformers.csv', 'summary.csv', 'final.sdf')]
    table = worked_on(campaign)
    ours = record_columns(campaign)
    if ours is not None:
        table = table.join(ours)
    more = [] if ours is None else list(ours.columns)
    write_csv(paths[0], [*(c[0] for c in CONFORMER), *more],
              (conformer_line(r) + [text_of(r[name]) for name in more]
               for r in as_records(table)))
    write_csv(paths[1], HEADER, summary_lines(table))
    paths[2:2] = write_ensembles(campaign, prefix)
    with replacing(paths[-1]) as part, \
            open(part, 'w', encoding='utf-8', newline='\n') as file:
        file.writelines(final_records(campaign, collection, table))
    return paths


def tables_of(prefix: Path) -> list[Path]:
    """Return what `write_tables` and `write_comparison` may write or remove.

    Of the tables of ensembles those that are there.
    """
    ends = ('all_conformers.csv', 'summary.csv', 'final.sdf',
            'refinement.csv', 'rankings.csv')
    return [*(prefix.with_name(f'{prefix.name}_{end}') for end in ends),
            *ensembles_beside(prefix)]


def worked_on(campaign: Campaign) -> pandas.DataFrame:
    """Return the records not skipped, with the columns of `ADDED`.

    `rel_energy` [eV] is relative to the lowest converged record of the same
    `molecule`, a number; NaN where the record itself is not converged.

    Raises:
        InputError: the file lacks columns that the tables show.
    """
    table = campaign.table
    lacking = {c[1] for c in CONFORMER} - set(table.columns) - ADDED
    if lacking:
        raise InputError(f'{campaign.path} has no columns '
                         f'{", ".join(sorted(lacking))}: not of reopt')
    energy = table['e_total'].where(table['status'] == Status.CONVERGED)
    molecule = molecule_numbers(campaign)
    files = [str(f['path']) for f in campaign.meta.get('inputs', [])]
    table = table.assign(
        row=table.index,
        method=str(campaign.meta.get('potential', {}).get('name', '')),
        file=[files[n] if 0 <= n < len(files) else ''
              for n in table['file_number']],
        molecule=molecule,
        rel_energy=energy - energy.groupby(molecule).transform('min'))
    table = descriptor_table.with_shown(table, campaign.meta)
    return table[table['status'] != Status.SKIPPED]


def as_records(table: pandas.DataFrame) -> Iterator[Record]:
    """Yield the lines of a table as mappings, one at a time."""
    names = list(table.columns)
    for start in range(0, len(table), SPAN):
        part = table.iloc[start:start + SPAN]
        for values in zip(*(part[n].tolist() for n in names), strict=True):
            yield dict(zip(names, values, strict=True))


def conformer_line(record: Record) -> list[str]:
    """Format one record as the fields of the conformer table."""
    return [form(record[name]) for _, name, form in CONFORMER]


def final_records(
    campaign: Campaign, collection: Collection | None,
    table: pandas.DataFrame,
) -> Iterator[str]:
    """Yield the SD records of all records that have a final geometry."""
    given = None if collection is None else _Inputs(collection)
    for start in range(0, len(table), SPAN):
        part = table.iloc[start:start + SPAN]
        rows = part['row'].to_numpy()
        atoms = {name: campaign.ragged_span(name, rows[0], rows[-1] + 1)
                 for name in STRUCTURE}
        for record in as_records(part):
            i = record['row'] - rows[0]
            mine = {name: values[i] for name, values in atoms.items()}
            final = mine['x_final']
            if len(final) and np.isfinite(final).all():
                structure = stored_structure({**record, **mine})
                if given is not None:
                    structure = given(record, structure)
                tags = {**structure.tags, **final_tags(record)}
                structure = replace(
                    structure, title=structure.title or record['name'])
                yield write_sdf_record(structure, final, tags)


class _Inputs:
    """The input files, as far as they are still as they were read."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._lost: set[int] = set()

    def __call__(self, record: Record, stored: Structure) -> Structure:
        """Return a record with its tags, as it was computed.

        The `stored` one, without tags, where the file is gone or changed.
        """
        number = record['file_number']
        try:
            structure = self._collection.load(record['row'])
            if record['n_added_hydrogens'] > 0:
                structure = apply_policy(
                    structure, 'neutralise', False).structure
            if np.array_equal(structure.numbers, stored.numbers):
                return structure
            why = f'record {record["record"]} has other atoms'
        except (OSError, Rejection) as error:
            why = str(error)
        if number not in self._lost:
            self._lost.add(number)
            log.warning('warning: %s has changed since it was read (%s): the '
                        'SD file lacks its tags',
                        self._collection.files[number].path, why)
        return stored


def final_tags(record: Record) -> dict[str, str]:
    """Return the data items that we add to an SD record."""
    return {
        'mpiapp_name': record['name'],
        'mpiapp_method': record['method'],
        'mpiapp_status': _word(record['status']),
        'mpiapp_reason': record['reason'],
        'mpiapp_energy_eV': _number('.8f')(record['e_total']),
        'mpiapp_rel_energy_kcal': _kcal(record['rel_energy']),
        'mpiapp_rmsd_A': _number('.6f')(record['rmsd_start_final']),
        'mpiapp_steps': str(record['steps']),
        'mpiapp_fmax_eV_A': _number('.6g')(record['fmax_final']),
        'mpiapp_classification': record['shown_class'],
        'mpiapp_chromophores': record['best_names'],
    }
