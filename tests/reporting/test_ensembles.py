"""The lines of molecules in the closing table."""
from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mpiapp.reporting.ensembles import molecule_lines


def tables(n: int, /, **changes: Any) -> dict[str, pd.DataFrame]:
    """Return the tables of n molecules at two temperatures."""
    lines = [{
        'name': f'mol{i:02d}', 'charge': 0, 'note': '', 'temperature': t,
        'n': 52, 'n_unique': 50 - i, 'n_eff': 7.25,
        'frac_excimer': (i * 7 % n) / n, 'frac_excimer_spread': 0.05,
        **changes} for i in range(n) for t in (200.0, 310.0)]
    return {'molecules': pd.DataFrame(lines[::2]),
            'boltzmann': pd.DataFrame(lines)}


def test_few_molecules_are_all_shown_in_order() -> None:
    lines = molecule_lines(tables(3))
    assert lines[0] == 'molecules     3, at 310 K'
    assert [line.split()[0] for line in lines[2:]] == [
        'mol00', 'mol01', 'mol02']
    assert lines[3].split() == [
        'mol01', '+0', '52', '49', '7.25', '33.3', '+-', '5.0']


def test_of_many_the_ten_with_most_excimers_are_shown() -> None:
    lines = molecule_lines(tables(64))
    assert len(lines) == 12
    assert 'the 10 with the largest share' in lines[0]
    shares = [float(line.split()[5]) for line in lines[2:]]
    assert shares == sorted(shares, reverse=True) and shares[0] == 98.4


def test_what_is_not_known_is_a_dash() -> None:
    empty = {'n': 0, 'n_unique': 0, 'n_eff': np.nan,
             'frac_excimer': np.nan, 'frac_excimer_spread': np.nan,
             'note': 'no converged conformer (52 calculator_error, 3 more)'}
    line = molecule_lines(tables(1, **empty))[2]
    assert line.split()[:6] == ['mol00', '+0', '0', '0', '-', '-']
    assert line.endswith('...') and len(line) < 130
    single = molecule_lines(tables(1, frac_excimer_spread=np.nan))[2]
    assert single.split()[-1] == '0.0'


def test_long_names_are_cut_and_lines_stay_aligned() -> None:
    lines = molecule_lines(tables(2, name='x' * 90, charge=-1))
    assert len({line.index('52') for line in lines[2:]}) == 1
    assert max(map(len, lines)) < 100


def test_no_ensembles_no_lines() -> None:
    assert molecule_lines({}) == []
    assert molecule_lines({'molecules': pd.DataFrame()}) == []


def test_names_that_may_number_conformers_are_told() -> None:
    assert '--group-by graph' in molecule_lines(tables(3), 2)[-1]
    assert not any('--group-by' in line for line in molecule_lines(tables(3)))
