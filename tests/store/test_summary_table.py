"""The table of names against numbers worked out by hand."""
from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mpiapp.store.summary_table import HEADER, summary_lines
from mpiapp.units import KCAL_PER_EV

#: what six decimals leave of a number
ROUNDING = 1e-6
#: columns of the original, in its order
ORIGINAL = ('name', 'r_group', 'screen_group', 'n_conformers', 'n_excimer',
            'excimer_fraction', 'mean_distance_moe', 'mean_distance_mace',
            'mean_distance_delta', 'mean_angle', 'mean_overlap',
            'best_overlap', 'mean_energy')


def table(**columns: list[Any]) -> pd.DataFrame:
    """Return converged records of one name, changed in some columns."""
    n = len(next(iter(columns.values())))
    rows: dict[str, list[Any]] = {
        'name': ['a'] * n, 'r_group': ['Pyr'] * n, 'screen_group': ['H'] * n,
        'status': [1] * n, 'shown_class': ['monomer'] * n,
        'molecule': [0] * n, 'e_total': [-1.0] * n, 'steps': [5] * n,
        'rmsd_start_final': [.5] * n}
    for name in ('distance_start', 'distance', 'delta', 'angle', 'overlap'):
        rows[f'shown_{name}'] = [1.0] * n
    return pd.DataFrame(rows | columns)


def lines(frame: pd.DataFrame) -> list[dict[str, str]]:
    return [dict(zip(HEADER, values, strict=True))
            for values in summary_lines(frame)]


def test_the_columns_begin_with_those_of_the_original() -> None:
    assert HEADER[:len(ORIGINAL)] == ORIGINAL


def test_means_by_hand() -> None:
    line, = lines(table(
        shown_distance_start=[4.0, 5.0, 9.0], shown_distance=[3.0, 4.0, 9.0],
        shown_delta=[1.0, 1.0, 0.0], shown_overlap=[10.0, 60.0, 99.0],
        shown_angle=[5.0, np.nan, 9.0], status=[1, 2, 5],
        shown_class=['strong', 'monomer', 'none'],
        e_total=[-1.0, -2.0, -9.0]))
    assert [float(line[n]) for n in ORIGINAL[3:]] == pytest.approx([
        3, 1, 0.5, 4.5, 3.5, 1.0, 5.0, 35.0, 60.0, -1.5 * KCAL_PER_EV],
        abs=ROUNDING)
    assert (line['n_failed'], line['n_left_out']) == ('1', '1')


def test_the_most_excimers_come_first_then_the_order_of_records() -> None:
    found = lines(table(
        name=list('abcde'),
        shown_class=['monomer', 'weak', 'none', 'strong', 'monomer']))
    assert [line['name'] for line in found] == list('bdaec')
    assert found[-1]['excimer_fraction'] == ''


def test_weighted_values_are_over_unique_conformers() -> None:
    columns = {'shown_class': ['strong', 'monomer', 'strong'],
               'shown_distance': [3.5, 5.5, 3.5],
               'degeneracy': [1.0, 1.0, 0.0],
               'boltz_weight_200K': [0.9, 0.1, 0.0],
               'boltz_weight_310K': [0.75, 0.25, 0.0]}
    line, = lines(table(**columns))
    assert line['n_unique'] == '2'
    assert float(line['boltz_excimer_fraction']) == 0.75
    assert float(line['boltz_distance']) == 4.0


def test_two_molecules_of_one_name_have_no_weighted_value() -> None:
    line, = lines(table(degeneracy=[1.0, 1.0],
                        boltz_weight_298K=[1.0, 1.0]))
    assert line['n_unique'] == '2'
    assert line['boltz_excimer_fraction'] == line['boltz_angle'] == ''


def test_two_molecules_of_one_name_have_no_energies_in_common() -> None:
    line, = lines(table(molecule=[0, 1], e_total=[-1.0, -9.0]))
    assert line['mean_energy'] == line['energy_spread_kcal'] == ''
    assert line['min_energy_kcal'] == ''
    assert float(line['mean_steps']) == 5.0
    # a record without a result brings in no energy
    line, = lines(table(molecule=[0, -1], status=[1, 4],
                        e_total=[-1.0, np.nan]))
    assert float(line['energy_spread_kcal']) == 0.0
