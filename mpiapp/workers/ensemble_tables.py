"""The columns of the tables of ensembles, and the tables from their lines."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpiapp.chemistry.distribution import FRACTIONS, STATISTICS
from mpiapp.chemistry.shortlist import TEMPERATURE, shortlist
from mpiapp.records import Column, Floats
from mpiapp.store.ensembles import RECORDS, Table
from mpiapp.units import KCAL_PER_EV
from mpiapp.workers.molecule import (
    CHANGE, COMPAT, ORIGINAL, OURS, SPREAD, EnsembleSettings, Told, weight_name
)

#: (name, dtype, unit, description) of what identifies a molecule
IDENTITY = (
    ('name', 'S96', '', 'name of the molecule'),
    ('r_group', 'S32', '', 'R group of the library row'),
    ('screen_group', 'S32', '', 'substituent of the row'),
    ('charge', 'i4', 'e', 'total charge, the same for all conformers'),
    ('formula', 'S64', '', 'formula of what was computed'),
    ('note', 'S160', '', 'what must be known of the numbers'),
)
COUNTS = (
    ('n', 'i8', '1', 'conformers in the ensemble, duplicates included'),
    ('n_unique', 'i8', '1', 'without duplicates'),
)
MOLECULE = (
    ('first_row', 'i8', '1', 'lowest row of its records'),
    ('n_records', 'i8', '1', 'records of the molecule'),
    ('n_converged', 'i8', '1', 'of them converged'),
    ('n_left_out', 'i8', '1', 'of them failed, rejected or broken'),
    ('n_cip', 'i8', '1', 'different patterns of CIP labels in the ensemble'),
    ('n_close_pairs', 'i8', '1', 'pairs within the energy limit'),
    ('n_superposed', 'i8', '1', 'of them superposed atom by atom'),
    ('e_min', 'f8', 'eV', 'energy of the lowest conformer'),
)
#: 0 where nothing was counted
COUNTED = frozenset(name for name, *_ in (*COUNTS, *MOLECULE)
                    if name.startswith('n'))
AT_TEMPERATURE = (('temperature', 'f8', 'K', 'temperature'),)
WEIGHTED = (
    ('weight_sum', 'f8', '1', 'sum of the weights, 1 or 0'),
    ('n_eff', 'f8', '1', 'exp(-sum w ln w)'),
)
RECORD = (
    ('molecule', 'i8', '1', 'line of the table of molecules; -1: none'),
    ('duplicate_of', 'i8', '1', 'row of the conformer it equals; -1: none'),
    ('duplicate_rmsd', 'f8', 'angstrom', 'RMSD to it, heavy atoms'),
    ('degeneracy', 'f8', '1', 'factor of the weight; 0: a duplicate'),
)
SHORT = (
    ('row', 'i8', '1', 'row of the conformer'),
    ('score', 'f8', '1', 'the higher the better'),
    ('weight', 'f8', '1', f'Boltzmann weight at {TEMPERATURE:g} K'),
    ('rel_energy', 'f8', 'kcal/mol', 'above the lowest of its molecule'),
)


def columns_of(table: str, specs: Sequence[tuple[str, ...]]) -> list[Column]:
    """Return the columns of a table from their specifications."""
    return [Column(name, table, dtype, unit, text,
                   0 if name in COUNTED else None)
            for name, dtype, unit, text in specs]


def weighted_columns(
    table: str, descriptors: Sequence[Column],
) -> list[Column]:
    """Return mean, spread and change of each quantity that is weighted."""
    units = {name: '1' for name in OURS} | {'rel_energy': 'kcal/mol'}
    quantities = [(name, units[name], name) for name in OURS] + [
        (c.name, c.unit, c.description) for c in descriptors]
    return [Column(name + end, table, 'f8', unit, f'{what}{text}')
            for name, unit, text in quantities for end, what in (
                ('', 'weighted mean: '), (SPREAD, 'bootstrap spread: '),
                (CHANGE, 'change by an energy error of 0.5 kcal/mol: '))]


def compat_columns(descriptors: Sequence[Column]) -> list[Column]:
    """Return the columns of the original's table."""
    return [Column('boltz_excimer_fraction', 'compat', 'f8', '1',
                   'weight of strong and weak conformers')] + [
        Column(ORIGINAL[c.name], 'compat', 'f8', c.unit,
               f'weighted mean: {c.description}')
        for c in descriptors if c.name in ORIGINAL]


def feature_columns(descriptors: Sequence[Column]) -> list[Column]:
    """Return fractions, and the statistics of each descriptor."""
    return [Column(name, 'features', 'f8', '1',
                   'share of the unique conformers')
            for name in FRACTIONS] + [
        Column(f'{c.name}_{word}', 'features', 'f8', c.unit,
               f'{word}: {c.description}')
        for c in descriptors for word in STATISTICS]


def tables_of(
    told: Sequence[Told], n_records: int, energies: Floats,
    descriptors: Sequence[Column], settings: EnsembleSettings,
) -> list[Table]:
    """Return all tables; `told` has the molecules in order.

    `energies` [n_records] eV are for the shortlist.
    """
    own = [c for c in descriptors if not c.name.startswith(COMPAT)]
    original = [c for c in descriptors if c.name.startswith(COMPAT)]
    made = [
        ('molecules', [*COUNTS, *MOLECULE], [], [t.molecule for t in told]),
        ('boltzmann', [*AT_TEMPERATURE, *COUNTS, *WEIGHTED],
         weighted_columns('boltzmann', own),
         [line for t in told for line in t.boltzmann]),
        ('compat', [*AT_TEMPERATURE, COUNTS[0]], compat_columns(original),
         [line for t in told for line in t.compat]),
        ('features', COUNTS, feature_columns(own),
         [t.features for t in told]),
    ]
    records = record_table(told, n_records, settings)
    return [Table.of_lines([*columns_of(name, [*IDENTITY, *specs]), *more],
                           lines)
            for name, specs, more, lines in made] + [
        records, short_table(told, records, energies, settings)]


def record_table(
    told: Sequence[Told], n_records: int, settings: EnsembleSettings,
) -> Table:
    """Return the table with one line for each record of the campaign."""
    columns = columns_of(RECORDS, [*RECORD, *(
        (weight_name(t), 'f8', '1', f'Boltzmann weight at {t:g} K')
        for t in settings.temperatures)])
    values = {c.name: np.full(n_records, c.fill, c.dtype) for c in columns}
    for i, one in enumerate(told):
        values['molecule'][one.rows] = i
        for name, array in one.records.items():
            values[name][one.rows] = array
    return Table(tuple(columns), values)


def short_table(
    told: Sequence[Told], records: Table, energies: Floats,
    settings: EnsembleSettings,
) -> Table:
    """Return the conformers worth a better method, best first."""
    best = shortlist([t.shortlist for t in told], settings.shortlist)
    owner = np.asarray(records.values['molecule'])[best.rows]
    lines: list[dict[str, Any]] = []
    for row, points, i in zip(best.rows.tolist(), best.score.tolist(),
                              owner.tolist(), strict=True):
        lines.append({
            **_identity(told[i].molecule), 'row': row, 'score': points,
            'weight': told[i].short_weights[row],
            'rel_energy': float(energies[row] - told[i].molecule['e_min'])
            * KCAL_PER_EV})
    return Table.of_lines(
        columns_of('shortlist', [*IDENTITY[:-1], *SHORT]), lines)


def _identity(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name, *_ in IDENTITY[:-1]}
