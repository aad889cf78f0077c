"""Energies are subtracted within one molecule and one method alone."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.records import RUN, Column, Schema
from mpiapp.reporting.comparing import report_of_two
from mpiapp.reporting.subject import Subject, unique_labels
from mpiapp.store.reader import Campaign, load
from mpiapp.units import KCAL_PER_EV
from tests.reporting.pages import campaign, other_kind
from tests.reporting.test_sections import block, column

DIMERS = Schema((*RUN, *(Column(name, 'records', 'S16', '', name) for name in (
    'benchmark', 'method', 'potential', 'start')),
    Column('e_total', 'energies', 'f8', 'eV', 'energy')))


def two_methods(path: Path, second: str = 'student') -> Campaign:
    """Write a dimer by two methods 800 eV apart, three starts each."""
    rows = {i: {'status': 1, 'benchmark': 'pd', 'start': f's{i % 3}',
                'method': ('MMFF94s', second)[i // 3],
                'potential': ('mmff94s', 'student')[i // 3],
                'e_total': -800.0 * (i // 3) + 0.1 * (i % 3)}
            for i in range(6)}
    return load(other_kind(path, DIMERS, rows, 'x'))


def test_energies_of_two_methods_are_not_subtracted(tmp_path: Path) -> None:
    subject = Subject(two_methods(tmp_path / 'x.h5'))
    assert np.allclose(subject.rel_energy, KCAL_PER_EV * np.array(
        [0, 0.1, 0.2] * 2))
    assert subject.molecule == ['pd, MMFF94s'] * 3 + ['pd, student'] * 3
    both: Any = report_of_two(subject.results, subject.results)
    ranking = block(both, 'ranking')
    assert column(ranking, 'n') == [3, 3]
    assert max(column(ranking, 'loss')) == 0


def test_methods_of_one_title_are_told_apart(tmp_path: Path) -> None:
    subject = Subject(two_methods(tmp_path / 'x.h5', 'MMFF94s'))
    assert subject.molecule == ['pd, mmff94s'] * 3 + ['pd, student'] * 3


def test_labels_differ_from_all_names() -> None:
    assert unique_labels(['a', 'a', 'a (2)', 'a', 'a (2)', 'b']) == [
        'a', 'a (3)', 'a (2)', 'a (4)', 'a (2) (2)', 'b']


def test_molecules_whose_labels_look_alike_stay_apart(
    tmp_path: Path,
) -> None:
    # a chain and a branched one named a, and a chain named a (2)
    names = ('a', 'a', 'a', 'a', 'a (2)', 'a (2)')
    subject = Subject(load(campaign(
        tmp_path / 'x.h5', 6, name=lambda row, _: names[row],
        r_group=lambda *_: '', screen_group=lambda *_: '',
        mseq=lambda row, _: 1 + row // 2,
        bonds=lambda row, bonds: np.vstack([bonds[:-1], [5, 11]])
        if row in (2, 3) else bonds,
        e_total=lambda row, _: -100.0 * (row // 2) - 0.1 * (row % 2))))
    assert len(set(subject.molecule)) == 3
    assert np.allclose(subject.rel_energy, [0.1 * KCAL_PER_EV, 0] * 3)
