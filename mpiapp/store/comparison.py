"""How the stages of a refinement agree, as CSV files."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.chemistry.ranking import agreement
from mpiapp.records import Status
from mpiapp.store.files import replacing
from mpiapp.store.reader import Campaign
from mpiapp.units import KCAL_PER_EV

if TYPE_CHECKING:
    import pandas

#: name of the relaxation that the stages follow
MAIN = 'main'
CLASS = 'class'


def write_comparison(campaign: Campaign, prefix: Path | str) -> list[Path]:
    """Write <prefix>_refinement.csv and <prefix>_rankings.csv.

    The first has a line for each record that a stage computed, the second
    one for each molecule and pair of consecutive stages.  None where the
    campaign has no stages.

    Raises:
        StoreError: a file can't be written.
    """
    if not campaign.stages:
        return []
    paths = []
    for name, table in (('refinement', conformers(campaign)),
                        ('rankings', rankings(campaign))):
        paths.append(Path(f'{prefix}_{name}.csv'))
        with replacing(paths[-1]) as part:
            table.to_csv(part, index=False, encoding='utf-8-sig',
                         lineterminator='\n', float_format='%.6f')
    return paths


def methods(campaign: Campaign) -> dict[str, Campaign]:
    """Return the main relaxation and its stages by name, in order."""
    return {MAIN: campaign, **campaign.stages}


def conformers(campaign: Campaign) -> pandas.DataFrame:
    """Return one line a refined record: what each stage says of it.

    Relative energies are kcal/mol above the lowest record of the same
    molecule among those that reached the same stage.
    """
    known = ['name', 'file_number', 'record']
    found = campaign.table[known].rename(columns={'record': 'conformer_id'})
    reached = np.zeros(len(found), bool)
    for name, stage in methods(campaign).items():
        table = stage.table
        found[f'{name}_status'] = [Status(s).name.lower()
                                   for s in table['status']]
        found[f'{name}_e_total_eV'] = table['e_total']
        found[f'{name}_rel_energy_kcal'] = relative(stage)
        if CLASS in table:
            found[f'{name}_class'] = table[CLASS]
        if name != MAIN:
            found[f'{name}_rmsd_A'] = table['rmsd_start_final']
            reached |= (table['status'] != Status.SKIPPED).to_numpy()
    return found[reached]


def relative(stage: Campaign) -> Any:
    """Return kcal/mol [n_records] above the lowest of each name."""
    energy = stage.table['e_total'].where(
        stage.table['status'] == Status.CONVERGED)
    lowest = energy.groupby(stage.table['name']).transform('min')
    return (energy - lowest) * KCAL_PER_EV


def rankings(campaign: Campaign) -> pandas.DataFrame:
    """Return one line a molecule and stage: agreement with the one before.

    `n` conformers have an energy in both, `loss_kcal` is how far above the
    stage's lowest the lowest of the method before lies, `n_class_changed`
    counts conformers whose excimer class differs (-1: no classes).
    """
    import pandas
    named = list(methods(campaign).items())
    lines = []
    for (before_name, before), (name, stage) in zip(named, named[1:],
                                                    strict=False):
        done = (stage.table['status'] == Status.CONVERGED) & (
            before.table['status'] == Status.CONVERGED)
        for molecule, rows in stage.table[done].groupby(
                'name', sort=False).groups.items():
            found = agreement(before.table['e_total'][rows].to_numpy(),
                              stage.table['e_total'][rows].to_numpy())
            lines.append({
                'stage': name, 'before': before_name, 'name': molecule,
                'n': found.n, 'kendall_tau': found.tau,
                'same_lowest': found.same_lowest,
                'loss_kcal': found.loss * KCAL_PER_EV,
                'n_class_changed': changed(before, stage, rows)})
    return pandas.DataFrame(lines, columns=[
        'stage', 'before', 'name', 'n', 'kendall_tau', 'same_lowest',
        'loss_kcal', 'n_class_changed'])


def changed(before: Campaign, stage: Campaign, rows: Any) -> int:
    """Count the records whose class differs; -1 where there are none."""
    if CLASS not in before.table or CLASS not in stage.table:
        return -1
    return int((before.table[CLASS][rows] != stage.table[CLASS][rows]).sum())
