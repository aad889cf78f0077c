"""How the stages of a refinement agree, as CSV files."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.chemistry.ranking import agreement
from mpiapp.records import Floats, Status
from mpiapp.store.files import replacing
from mpiapp.store.molecules import molecule_numbers
from mpiapp.store.reader import Campaign
from mpiapp.units import KCAL_PER_EV

if TYPE_CHECKING:
    import pandas

#: name of the relaxation that the stages follow
MAIN = 'main'
#: of kcal/mol; energies closer than that are a tie in a ranking
DECIMALS = 3
CLASSES = {'full': 'classification', 'compat': 'compat_classification'}


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
    paths = comparison_paths(Path(prefix))
    for path, table in zip(paths, (conformers(campaign), rankings(campaign)),
                           strict=True):
        with replacing(path) as part:
            table.to_csv(part, index=False, encoding='utf-8-sig',
                         lineterminator='\n', float_format='%.6f')
    return paths


def comparison_paths(prefix: Path) -> list[Path]:
    """Return the paths of what `write_comparison` writes."""
    return [prefix.with_name(f'{prefix.name}_{name}.csv')
            for name in ('refinement', 'rankings')]


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
    word = class_column(campaign)
    molecules = molecule_numbers(campaign)
    for name, stage in methods(campaign).items():
        table = stage.table
        found[f'{name}_status'] = [Status(s).name.lower()
                                   for s in table['status']]
        found[f'{name}_e_total_eV'] = table['e_total']
        found[f'{name}_rel_energy_kcal'] = relative(stage, molecules)
        if word in table:
            found[f'{name}_class'] = table[word]
        if name != MAIN:
            found[f'{name}_rmsd_A'] = table['rmsd_start_final']
            reached |= (table['status'] != Status.SKIPPED).to_numpy()
    return found[reached]


def class_column(campaign: Campaign) -> str:
    """Return the column of the classes that the tables of a run show."""
    mode = campaign.meta.get('descriptors', {}).get('mode', 'full')
    return CLASSES.get(mode, CLASSES['full'])


def relative(stage: Campaign, molecules: Any) -> Any:
    """Return kcal/mol [n_records] above the lowest of each molecule."""
    energy = stage.table['e_total'].where(
        stage.table['status'] == Status.CONVERGED)
    lowest = energy.groupby(molecules).transform('min')
    return (energy - lowest) * KCAL_PER_EV


def rankings(campaign: Campaign) -> pandas.DataFrame:
    """Return one line a molecule and stage: agreement with the one before.

    `n` conformers have an energy in both, `loss_kcal` is how far above the
    stage's lowest the lowest of the method before lies, `n_class_changed`
    counts conformers whose excimer class differs (-1: no classes).
    """
    import pandas
    named = list(methods(campaign).items())
    word = class_column(campaign)
    molecules = molecule_numbers(campaign)
    lines = []
    for (before_name, before), (name, stage) in zip(named, named[1:],
                                                    strict=False):
        done = (stage.table['status'] == Status.CONVERGED) & (
            before.table['status'] == Status.CONVERGED)
        for rows in stage.table[done].groupby(
                molecules[done], sort=False).groups.values():
            found = agreement(*(above_lowest(method, rows)
                                for method in (before, stage)))
            lines.append({
                'stage': name, 'before': before_name,
                'name': stage.table['name'][rows[0]],
                'n': found.n, 'kendall_tau': found.tau,
                'same_lowest': found.same_lowest, 'loss_kcal': found.loss,
                'n_class_changed': changed(before, stage, rows, word)})
    return pandas.DataFrame(lines, columns=[
        'stage', 'before', 'name', 'n', 'kendall_tau', 'same_lowest',
        'loss_kcal', 'n_class_changed'])


def above_lowest(method: Campaign, rows: Any) -> Floats:
    """Return kcal/mol above the lowest of these records.

    Mirror images differ by noise of the relaxation: they are made ties.
    """
    energies = method.table['e_total'][rows].to_numpy(np.float64)
    return np.asarray(np.round(
        (energies - energies.min()) * KCAL_PER_EV, DECIMALS))


def changed(
    before: Campaign, stage: Campaign, rows: Any, word: str,
) -> int:
    """Count the records whose class differs; -1 where there are none."""
    if word not in before.table or word not in stage.table:
        return -1
    return int((before.table[word][rows] != stage.table[word][rows]).sum())
