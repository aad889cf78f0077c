"""The molecules: Boltzmann averages with error bars."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.reporting.blocks import (
    BLUE, ORANGE, RED, Bars, Block, Field, Series, Table
)
from mpiapp.reporting.subject import Subject, unique_labels

if TYPE_CHECKING:
    import pandas

ORDER = 10
TITLE = 'Molecules'
PROGRAMS: tuple[str, ...] = ()

#: bars that can be read side by side
MOST_BARS = 24

#: column of the table, label, decimals, unit, factor
MEANS = (
    ('frac_excimer', 'excimer', 1, '%', 100.0),
    ('frac_strong', 'strong', 1, '%', 100.0),
    ('frac_dark', 'dark', 1, '%', 100.0),
    ('vertical', 'vertical', 2, 'Å', 1.0),
    ('slip', 'slip', 2, 'Å', 1.0),
    ('twist', 'twist', 1, '°', 1.0),
    ('plane_angle', 'plane angle', 1, '°', 1.0),
    ('overlap_gated', 'overlap', 1, '%', 1.0),
    ('rel_energy', 'mean energy', 2, 'kcal/mol', 1.0),
)
#: those that a terminal has room for
BRIEF = ('frac_excimer', 'frac_strong', 'vertical', 'slip', 'twist')


def blocks(subject: Subject) -> list[Block]:
    """Return the Boltzmann table and the shares of excimers as bars."""
    shown = subject.boltzmann
    if shown is None or not len(shown):
        return []
    table = subject.results.ensembles['boltzmann']
    found: list[Block] = []
    if shown['frac_excimer'].notna().any():
        found.append(bars(shown[shown['n'] > 0], subject.temperature))
    return [*found, boltzmann_table(table, subject.temperature)]


def bars(shown: pandas.DataFrame, temperature: float) -> Bars:
    """Return the excimer share of the molecules, largest first."""
    top = shown.sort_values('frac_excimer', ascending=False, kind='stable',
                            na_position='last')[:MOST_BARS]
    return Bars(
        'excimer_share', f'Share of excimers at {temperature:g} K',
        'Boltzmann weight, %', top['label'].tolist(),
        [Series('strong or weak', 100 * _of(top, 'frac_excimer'), BLUE,
                100 * _of(top, 'frac_excimer_spread')),
         Series('strong', 100 * _of(top, 'frac_strong'), RED,
                100 * _of(top, 'frac_strong_spread')),
         Series('dark', 100 * _of(top, 'frac_dark'), ORANGE,
                100 * _of(top, 'frac_dark_spread'))],
        f'{len(top)} of {len(shown)} molecules, largest share first; errors: '
        'standard deviation over bootstrap samples of the conformers (none '
        'for a single conformer).')


def boltzmann_table(table: pandas.DataFrame, first: float) -> Table:
    """Return all molecules and temperatures, `first` first."""
    order = np.argsort(
        (table['temperature'] != first).to_numpy(), kind='stable')
    table = table.iloc[order]
    labels = {t: unique_labels(of['name'].tolist())
              for t, of in table.groupby('temperature')}
    seen = dict.fromkeys(labels, 0)
    names = []
    for t in table['temperature']:
        names.append(labels[t][seen[t]])
        seen[t] += 1
    fields = [
        Field('molecule', 'molecule', names),
        Field('temperature', 'T', table['temperature'].tolist(), 0, 'K',
              brief=3),
        *(Field(n, label, table[n].tolist(), brief=False) for n, label in (
            ('r_group', 'R group'), ('screen_group', 'substituent'))
          if table[n].astype(bool).any()),
        Field('charge', 'charge', table['charge'].tolist(), 0, 'e',
              brief=False),
        Field('n', 'n', table['n'].tolist(), 0, '',
              hint='conformers in the ensemble'),
        Field('n_unique', 'unique', table['n_unique'].tolist(), 0, '',
              hint='without duplicates'),
        Field('n_eff', 'n_eff', table['n_eff'].tolist(), 2, '',
              hint='how many conformers matter: exp(-sum w ln w)')]
    for name, label, digits, unit, factor in MEANS:
        if name in table and table[name].notna().any():
            fields.append(Field(
                name, label, factor * _of(table, name), digits, unit,
                factor * _of(table, f'{name}_spread'),
                brief=2 * (name in BRIEF)))
    if table['note'].astype(bool).any():
        fields.append(Field('note', 'note', table['note'].tolist(),
                            brief=False))
    return Table(
        'boltzmann', 'Boltzmann averages', fields,
        'Value ± standard deviation over bootstrap samples of the '
        'conformers. The filter below a heading takes text, or numbers as '
        '298, >50, <=3.6 or 3.3..3.7.',
        terminal=min(20, len(labels[first])))


def _of(table: pandas.DataFrame, name: str) -> Any:
    if name not in table:
        return np.full(len(table), np.nan)
    return table[name].to_numpy(np.float64)
