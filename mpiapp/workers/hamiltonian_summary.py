"""Means and intervals over the frames of a campaign, added at its end."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.hamiltonians.aggregates import (
    RESAMPLES, SEED, groups_of, summarise
)
from mpiapp.hamiltonians.original import means
from mpiapp.parallel.agree import agree
from mpiapp.records import FAILURES, Column, Status
from mpiapp.store.ensembles import Table, add_tables
from mpiapp.store.reader import Campaign, load, load_unsealed
from mpiapp.units import EV_PER_HARTREE, KCAL_PER_EV

GROUP = 'summary'
#: groups whose columns of real numbers are summarised
SUMMARISED = ('metrics', 'scf')
#: columns of cycles, by start: those of converged runs are summarised
CYCLES = ('cycles_', 'loose_cycles_')


def columns_of(table: str) -> tuple[Column, ...]:
    """Return the columns of a table of the summary."""
    def real(name: str, text: str, unit: str = 'of the metric') -> Column:
        return Column(name, table, 'f8', unit, text)
    return (
        Column('molecule', table, 'S48', '', 'formula, all: of all frames'),
        Column('pair', table, 'S24', '', 'states compared, or scf'),
        Column('metric', table, 'S40', '', 'name of the metric'),
        Column('unit', table, 'S16', '', 'unit of the metric'),
        Column('n', table, 'i8', '1', 'frames with a value'),
        Column('n_nan', table, 'i8', '1', 'converged frames without one'),
        real('mean', 'mean'),
        real('mean_abs', 'mean of the absolute values: the mean absolute '
             'error, where a metric has a sign'),
        real('std', 'standard deviation, n - 1'),
        real('median', 'median'),
        real('p95', '95th percentile, of signed errors that of their '
             'absolute values'),
        real('max', 'largest value, of signed errors the largest absolute '
             'one'),
        real('ci_low', 'lower end of the 95 % bootstrap interval of the '
             'mean'),
        real('ci_high', 'its upper end'),
        real('abs_ci_low', 'lower end of the 95 % bootstrap interval of '
             'mean_abs'),
        real('abs_ci_high', 'its upper end'),
        real('mean_ev', 'the mean in eV, of energies', 'eV'),
        real('mean_kcal', 'the mean in kcal/mol, of energies', 'kcal/mol'),
    )


def add_summary(comm: Any, path: Path) -> None:
    """Collective: write `/summary` into a file whose rows are in."""
    comm.barrier()
    with agree(comm, 'writing the summary'):
        if comm.rank == 0:
            campaign = load_unsealed(path)
            settings = {'resamples': RESAMPLES, 'seed': SEED,
                        'interval': '95 %, percentiles of the resampled '
                        'means'}
            add_tables(path, settings, tables_of(campaign), GROUP)


def tables_of(campaign: Campaign) -> list[Table]:
    """Return the tables over all frames and for each molecule."""
    table = campaign.table
    good = np.flatnonzero(table['status'].to_numpy() == Status.CONVERGED)
    names = [table['molecule'][i] for i in good.tolist()]
    lines = lines_of(campaign, good, 'all')
    made = [Table.of_lines(columns_of('overall'), lines)]
    by_molecule = [
        line for name, rows in groups_of(names).items()
        for line in lines_of(campaign, good[rows], name)]
    made.append(Table.of_lines(columns_of('molecules'), by_molecule))
    return made


def lines_of(
    campaign: Campaign, rows: Any, molecule: str,
) -> list[dict[str, Any]]:
    """Return a line for each metric that any of the rows has."""
    columns = [c for c in campaign.schema.fixed
               if c.group in SUMMARISED and not c.volatile and not c.shape]
    values = {}
    for c in columns:
        column = campaign.table[c.name].to_numpy(np.float64)[rows]
        if c.dtype.startswith('i'):
            column = np.where(column < 0, np.nan, column)
        converged = f'converged_{c.name.rpartition("cycles_")[2]}'
        if c.name.startswith(CYCLES) and converged in campaign.table:
            # where the SCF gave up they tell nothing of its length
            column = np.where(
                campaign.table[converged].to_numpy()[rows] == 1, column,
                np.nan)
        if np.isfinite(column).any():
            values[c.name] = column
    units = {c.name: c.unit for c in columns}
    return [described(molecule, name, units[name], figures)
            for name, figures in summarise(values).items()]


def described(
    molecule: str, name: str, unit: str, figures: dict[str, float],
) -> dict[str, Any]:
    """Return a line of a table."""
    pair, _, metric = name.rpartition('/')
    line: dict[str, Any] = {
        'molecule': molecule, 'pair': pair or 'scf', 'metric': metric,
        'unit': unit, **figures}
    if unit == 'Hartree':
        line['mean_ev'] = figures['mean'] * EV_PER_HARTREE
        line['mean_kcal'] = line['mean_ev'] * KCAL_PER_EV
    return line


def original_means(path: Path) -> dict[str, Any]:
    """Return what the original would have written of a result file."""
    table = load(path).table
    status = table['status'].to_numpy()
    good = status == Status.CONVERGED
    bad = np.isin(status, [int(s) for s in FAILURES | {Status.UNCONVERGED}])

    def column(name: str) -> Sequence[float]:
        return table[name].to_numpy(np.float64)[good].tolist()
    return means(column, int(bad.sum()))
