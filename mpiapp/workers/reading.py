"""Where a worker's structures come from: input files, or earlier results.

Both fill the row of a record as far as they come, so that a record that is
rejected keeps what is known of it.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mpiapp.chemistry.charge import apply_policy
from mpiapp.chemistry.checks import check_elements, check_structure
from mpiapp.chemistry.descriptors import connectivity, stored_structure
from mpiapp.chemistry.geometry import centred
from mpiapp.chemistry.molecules import MoleculeTable, default_name, mseq_of
from mpiapp.potentials.base import Potential
from mpiapp.records import IDENTITY, Row, Structure
from mpiapp.store.reader import Campaign
from mpiapp.structures import Collection

#: what a result file holds of each atom and bond
STORED = ('numbers', 'x_start', 'x_final', 'formal_charges', 'bonds',
          'bond_orders')


class Records(Protocol):
    """What a worker reads structures from."""

    def read(self, number: int, row: Row, potential: Potential) -> Structure:
        """Return record `number`, ready to compute; `row` is filled in.

        Raises:
            Rejection: the record is not to be computed.
        """


@dataclass(frozen=True)
class FileRecords:
    """Records of input files, checked, named and with their charge settled.

    `table` names molecules where one was given, `stems` [n_files] are the
    file names that stand in elsewhere.
    """

    collection: Collection
    table: MoleculeTable | None
    stems: Sequence[str]
    charge_policy: str = 'refuse'
    allow_mismatch: bool = False

    def read(self, number: int, row: Row, potential: Potential) -> Structure:
        """Return record `number`, ready to compute; `row` is filled in.

        Raises:
            Rejection: the record is not to be computed.
        """
        file_number, record = self.collection.locate(number)
        row.update(file_number=file_number, record=record,
                   name=f'{self.stems[file_number]}_{record}')
        structure = self.collection.load(number)
        row.update(read_tags(structure))
        row.update(input_charge=structure.charge, charge=structure.charge,
                   name=default_name(structure, self.stems[file_number]))
        row.update(start_geometry(structure))
        if self.table is not None:
            match = self.table.match(structure, self.allow_mismatch)
            row.update(name=match.name, r_group=match.r_group,
                       screen_group=match.screen_group, match=match.match)
        check_structure(structure)
        check_elements(structure, potential.elements, potential.name)
        prepared = apply_policy(structure, self.charge_policy,
                                potential.accepts_charge)
        structure = prepared.structure
        structure = replace(structure,
                            positions=centred(structure.positions))
        row.update(start_geometry(structure))
        row.update(connectivity(structure))
        row.update(charge=structure.charge,
                   charge_ignored=int(prepared.charge_ignored),
                   n_added_hydrogens=prepared.n_added_hydrogens)
        return structure


@dataclass(frozen=True)
class StageRecords:
    """Final geometries of a campaign, or of a stage of one.

    A stage may know no charge where the method before it did.
    """

    campaign: Campaign
    charge_policy: str = 'refuse'

    def read(self, number: int, row: Row, potential: Potential) -> Structure:
        """Return record `number`, ready to compute; `row` is filled in.

        Raises:
            Rejection: an element or a charge that the potential does not
                know.
        """
        known = self.campaign.table.loc[number]
        row.update({column.name: known[column.name] for column in IDENTITY})
        row.update(moe_energy_kcal=known['moe_energy_kcal'])
        stored = {**known, **{name: self.campaign.ragged(name, number)
                              for name in STORED}}
        structure = replace(stored_structure(stored), row=number,
                            positions=stored['x_final'])
        row.update(start_geometry(structure))
        check_elements(structure, potential.elements, potential.name)
        prepared = apply_policy(structure, self.charge_policy,
                                potential.accepts_charge)
        structure = prepared.structure
        row.update(start_geometry(structure))
        row.update(connectivity(structure))
        row.update(charge=structure.charge,
                   charge_ignored=int(prepared.charge_ignored),
                   n_added_hydrogens=(row['n_added_hydrogens']
                                      + prepared.n_added_hydrogens))
        return structure


def start_geometry(structure: Structure) -> Row:
    """Return the geometry columns of a structure before relaxation."""
    positions = structure.positions
    return {
        'n_atoms': len(structure.numbers),
        'numbers': np.asarray(structure.numbers, np.int32),
        'x_start': positions,
        'x_final': np.full_like(positions, np.nan),
    }


def read_tags(structure: Structure) -> Row:
    """Return what the file's tags say: mseq and the energy in kcal/mol."""
    try:
        energy = float(structure.tags.get('E', 'nan'))
    except ValueError:
        energy = np.nan
    return {'mseq': mseq_of(structure), 'moe_energy_kcal': energy}
