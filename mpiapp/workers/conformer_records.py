"""What `conformers` writes: the records of the SD file, a row a molecule."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mpiapp.chemistry.embedding import Facts, bare_structure
from mpiapp.chemistry.molecules import TableRow
from mpiapp.chemistry.stereo import stereo_labels
from mpiapp.records import (
    IDENTITY, RUN, Column, Floats, Ints, Row, Schema, Status, Structure, taken
)
from mpiapp.store.files import replacing
from mpiapp.store.reader import Campaign
from mpiapp.structures import write_sdf_record
from mpiapp.workers.choosing import Ensemble, choose
from mpiapp.workers.embed import BLOCK
from mpiapp.workers.pools import chosen_positions, faults_of

MOLECULES = Schema((
    *taken(IDENTITY, 'mseq', 'name', 'r_group', 'screen_group', 'cip',
           'charge', 'n_atoms'),
    Column('smiles', 'records', 'S512', '', 'as in the table'),
    Column('n_open', 'records', 'i4', '1', 'centres and double bonds that '
           'the SMILES leaves open', default=0),
    Column('left_open', 'records', 'S160', '', 'these, by atom number from '
           '1: 8 is a centre, 30=31 a double bond'),
    *taken(RUN, 'status', 'reason', 'message', 'seconds'),
    Column('force_field', 'conformers', 'S16', '', 'MMFF94s or UFF'),
    Column('n_asked', 'conformers', 'i4', '1', 'records asked of it',
           default=0),
    Column('n_isomers', 'conformers', 'i4', '1', 'stereoisomers among those '
           'written', default=0),
    Column('n_attempts', 'conformers', 'i4', '1', 'attempts', default=0),
    Column('n_embedded', 'conformers', 'i4', '1', 'attempts that gave a '
           'geometry', default=0),
    Column('n_minimised', 'conformers', 'i4', '1', 'conformers whose '
           'minimisation converged', default=0),
    Column('n_stereo_changed', 'conformers', 'i4', '1', 'geometries given '
           'up because a stereo label changed', default=0),
    Column('n_unsound', 'conformers', 'i4', '1', 'geometries given up with '
           'a bond through a ring, or with atoms on one another', default=0),
    Column('n_outside', 'conformers', 'i4', '1', 'distinct conformers above '
           'the energy window', default=0),
    Column('n_unique', 'conformers', 'i4', '1', 'distinct conformers within '
           'it', default=0),
    Column('n_written', 'conformers', 'i4', '1', 'records in the SD file',
           default=0),
    Column('n_folded', 'conformers', 'i4', '1', 'of these, from folded '
           'starts', default=0),
    Column('e_lowest', 'conformers', 'f8', 'kcal/mol', 'lowest energy that '
           'was written'),
    Column('e_highest', 'conformers', 'f8', 'kcal/mol', 'highest'),
    Column('record', 'written', 'i8', '1', 'record number in the SD file, '
           'from 0', ragged='conformer'),
    Column('attempt', 'written', 'i4', '1', 'number of the attempt',
           ragged='conformer'),
    Column('isomer', 'written', 'i4', '1', 'stereoisomer, from 0',
           ragged='conformer'),
    Column('folded', 'written', 'i1', '1', '1: the start was a stack',
           ragged='conformer'),
    Column('e_conformer', 'written', 'f8', 'kcal/mol', 'force field energy',
           ragged='conformer'),
))


@dataclass(frozen=True)
class Made:
    """One molecule at the end: what was asked, made and is to be written.

    `n_asked` is its even share, `n_wanted` what it is to give in the end;
    `ensemble` is None where nothing was attempted.  `n_attempts` were asked
    for; blocks that failed hold fewer.
    """

    number: int
    row: TableRow
    facts: Facts | None
    refused: tuple[str, str] | None
    n_asked: int
    n_wanted: int
    ensemble: Ensemble | None
    n_attempts: int = 0


def write_molecules(
    path: Path, molecules: Sequence[Made], campaign: Campaign, blocks: int,
) -> dict[int, Row]:
    """Write the SD file; return the row of each molecule for the result.

    `campaign` holds the attempts, `blocks` rows a molecule.  Without any
    conformer there is no file.

    Raises:
        StoreError: the file can't be written.
    """
    rows: dict[int, Row] = {}
    n_records = 0
    with replacing(path) as part:
        with open(part, 'w', encoding='utf-8', newline='\n') as file:
            for made in molecules:
                row, texts = _finished(made, campaign, blocks, n_records)
                file.writelines(texts)
                rows[made.number] = row
                n_records += len(texts)
    if not n_records:
        path.unlink()
    return rows


def _finished(
    made: Made, campaign: Campaign, blocks: int, first_record: int,
) -> tuple[Row, list[str]]:
    """Return the row of a molecule and its SD records."""
    row = identity(made)
    found = made.ensemble
    if made.refused is not None:
        reason, message = made.refused
        return row | {'status': int(Status.REJECTED), 'reason': reason,
                      'message': message}, []
    if found is None or made.facts is None:
        return row | {'status': int(Status.SKIPPED),
                      'reason': 'none_asked'}, []
    first, n_blocks = made.number * blocks, made.n_attempts // BLOCK
    chosen = choose(found, made.n_wanted)
    row |= counts_of(found, chosen, made.n_asked, first_record)
    row |= outcome_of(found, len(chosen), made.n_asked,
                      faults_of(campaign, first, n_blocks))
    row['seconds'] = float(campaign.table['seconds'].iloc[
        first:first + n_blocks].sum())
    positions = chosen_positions(
        campaign, first, n_blocks, made.facts.n_atoms, found.made[chosen])
    structure = bare_structure(made.row)
    row['cip'] = ';'.join(dict.fromkeys(
        stereo_labels(structure, x).cip for x in positions))
    return row, list(sd_records(
        structure, made.number + 1, made.facts.force_field,
        found.energy[chosen], found.attempt[chosen], positions))


def identity(made: Made) -> Row:
    """Return what is known of a molecule before any work."""
    row: Row = {'mseq': made.number + 1, 'name': made.row.name,
                'r_group': made.row.r_group, 'smiles': made.row.smiles,
                'screen_group': made.row.screen_group}
    if made.facts is not None:
        row.update(
            charge=made.facts.charge, n_atoms=made.facts.n_atoms,
            force_field=made.facts.force_field,
            n_open=len(made.facts.left_open),
            left_open=' '.join(made.facts.left_open))
    return row


def sd_records(
    structure: Structure, mseq: int, force_field: str, energies: Floats,
    attempts: Ints, positions: Floats,
) -> Iterator[str]:
    """Yield the SD records of a molecule, with the tags of MOE and ours.

    `energies` [n] kcal/mol, `positions` [n, n_atoms, 3] A; dE is relative to
    the lowest of them.
    """
    for energy, number, x in zip(energies, attempts, positions, strict=True):
        record = replace(structure, positions=x)
        tags = {
            'mseq': str(mseq), 'E': f'{energy:.6f}',
            'dE': f'{energy - energies.min():.6f}',
            'name': structure.title, 'cip': stereo_labels(record, x).cip,
            'force_field': force_field, 'attempt': str(number),
        }
        yield write_sdf_record(record, x, tags)


def outcome_of(
    ensemble: Ensemble, n_written: int, n_asked: int,
    faults: Sequence[tuple[int, str, str]],
) -> Row:
    """Return status, reason and message of a molecule that was worked on.

    `faults` are (status, reason, message) of its blocks that failed.
    """
    if not len(ensemble) and faults:
        status, reason, message = faults[0]
        return {'status': status, 'reason': reason, 'message': message}
    if not len(ensemble):
        return {'status': int(Status.FAILED), 'reason': 'not_embedded',
                'message': f'no conformer in {ensemble.n_attempts} attempts: '
                f'{ensemble.n_embedded} embedded, '
                f'{ensemble.n_stereo_changed} changed their stereo labels, '
                f'{ensemble.n_unsound} were unsound'}
    if n_written < n_asked:
        return {'status': int(Status.UNCONVERGED),
                'reason': 'few_conformers',
                'message': f'{len(ensemble)} distinct conformers in '
                f'{ensemble.n_attempts} attempts, {n_asked} were asked for'}
    return {'status': int(Status.CONVERGED),
            'reason': '' if n_written else 'none_asked'}


def counts_of(
    ensemble: Ensemble, chosen: Ints, n_asked: int, first_record: int,
) -> Row:
    """Return the counts, energies and written conformers of a molecule."""
    energies = ensemble.energy[chosen]
    return {
        'n_asked': n_asked, 'n_attempts': ensemble.n_attempts,
        'n_embedded': ensemble.n_embedded,
        'n_minimised': ensemble.n_minimised,
        'n_stereo_changed': ensemble.n_stereo_changed,
        'n_unsound': ensemble.n_unsound,
        'n_outside': ensemble.n_outside, 'n_unique': len(ensemble),
        'n_written': len(chosen),
        'n_isomers': len(set(ensemble.isomer[chosen].tolist())),
        'n_folded': int(ensemble.folded[chosen].sum()),
        'e_lowest': energies.min() if len(energies) else np.nan,
        'e_highest': energies.max() if len(energies) else np.nan,
        'record': first_record + np.arange(len(chosen)),
        'attempt': ensemble.attempt[chosen],
        'isomer': ensemble.isomer[chosen],
        'folded': ensemble.folded[chosen],
        'e_conformer': energies,
    }
