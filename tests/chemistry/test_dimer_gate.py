"""The gate: like is compared with like, and every criterion can fail."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.chemistry.dimer_forms import distance_error, like, lowest_forms
from mpiapp.chemistry.dimer_gate import (
    Gate, compat, judge, overall, read_gate, row_verdict
)
from mpiapp.chemistry.dimer_references import Reference, read_references
from mpiapp.chemistry.dimer_sets import RECIPES
from mpiapp.data_files import data_file
from mpiapp.records import InputError, Status

NAN = np.nan


def row(benchmark: str = 'benzene_pd', **changes: Any) -> dict[str, Any]:
    """Return a row of a slipped stack that is as it should be."""
    after = {f'{name}_after': NAN for name in (
        'vertical', 'slip', 'twist', 'plane_angle', 'contact', 'centroid')}
    return {
        'benchmark': benchmark, 'method': 'toy', 'potential': 'toy',
        'start': 'pd_long', 'kick': 0, 'data_set': '', 'status': 1,
        'reason': '', 'message': '', 'structure': 'stacked',
        'plane_angle': 1.0, 'twist': NAN, 'contact': 3.5, 'vertical': 3.45,
        'slip': 1.7, 'centroid': 3.85, 'binding_kcal': -2.7,
        'interaction_kcal': -2.7, 'binding_after_kcal': NAN,
        'energy_change': 1e-6, 'ref_kind': 'stacked', 'ref_vertical': 3.5,
        'ref_slip': 1.75, 'ref_centroid': 3.913, 'ref_energy_kcal': -2.75,
        'ref_confirmed': 1, **after, **changes}


SANDWICH = {
    'start': 'sandwich', 'structure': 'saddle', 'slip': 0.0,
    'vertical': 3.9, 'centroid': 3.9, 'binding_kcal': -1.7,
    'ref_kind': 'sandwich', 'ref_vertical': 3.89, 'ref_slip': 0.0,
    'ref_energy_kcal': -1.72}
#: a saddle that leads to the slipped form
LEFT = {'structure': 'saddle', 'slip': 0.1, 'binding_kcal': -1.7,
        'vertical_after': 3.52, 'slip_after': 1.6, 'contact_after': 3.5,
        'plane_angle_after': 0.5, 'binding_after_kcal': -2.6}


def good() -> list[dict[str, Any]]:
    """Return rows that pass the default gate."""
    return [
        row(), row('naphthalene_pd', ref_confirmed=0, ref_vertical=3.45),
        row('pyrene_pd', ref_confirmed=0, ref_vertical=3.43),
        row('benzene_sandwich', **SANDWICH),
        row('naphthalene_sandwich', **SANDWICH),
        row(start='single_point', ref_energy_kcal=-2.6)]


def words(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {j.criterion: j.verdict for j in judge(rows, Gate())}


def test_what_is_as_it_should_be_passes() -> None:
    judgements = judge(good(), Gate())
    assert overall(judgements) == 'pass'
    assert words(good())['naphthalene_pd vertical'] == 'ungated'
    assert words(good())['benzene_pd vertical'] == 'pass'


@pytest.mark.parametrize('i, changes, criterion, verdict', [
    (0, {'vertical': 3.71}, 'benzene_pd vertical', 'marginal'),
    (0, {'vertical': 3.85}, 'benzene_pd vertical', 'fail'),
    (0, {'slip': 2.3}, 'benzene_pd slip', 'fail'),
    (1, {'slip': 0.8}, 'naphthalene_pd slip', 'fail'),
    (2, {'plane_angle': 80.0}, 'pyrene_pd found', 'fail'),
    (2, {'status': 2}, 'pyrene_pd found', 'fail'),
    (2, {'slip': 0.1}, 'pyrene_pd found', 'fail'),
    (3, {'binding_kcal': -3.0}, 'benzene order', 'fail'),
    (4, {'binding_kcal': -3.0}, 'naphthalene order', 'fail'),
    (5, {'interaction_kcal': -3.2}, 'interaction energies', 'fail'),
    (5, {'interaction_kcal': NAN}, 'interaction energies', 'fail'),
    (0, {'energy_change': 2e-4}, 'sound', 'fail'),
    (0, {'binding_kcal': NAN}, 'sound', 'fail'),
    (3, {'status': 5, 'reason': 'bonds_changed'}, 'sound', 'fail'),
    (3, {'status': 3, 'reason': 'nan'}, 'sound', 'fail'),
    (3, {'status': 2, 'reason': 'step_limit'}, 'sound', 'fail'),
])
def test_every_criterion_can_fail(
    i: int, changes: dict[str, Any], criterion: str, verdict: str,
) -> None:
    rows = good()
    rows[i].update(changes)
    assert words(rows)[criterion] == verdict
    assert overall(judge(rows, Gate())) == verdict


def test_a_refused_start_is_no_failure() -> None:
    rows = [*good(), row(status=4, reason='beyond_cutoff')]
    assert words(rows)['sound'] == 'pass'


@pytest.mark.parametrize('changes, text', [
    ({'status': 2, 'reason': 'step_limit'}, '1 not converged'),
    ({'status': 4, 'reason': 'beyond_cutoff'}, 'none of 1 optimisations')])
def test_a_method_that_finds_nothing_does_not_pass(
    changes: dict[str, Any], text: str,
) -> None:
    # a dimer that is not required, so nothing else is gated
    judgements = judge([row('benzene_t', **changes)], Gate())
    assert overall(judgements) == 'fail'
    assert any(text in j.text for j in judgements)


def test_what_was_not_computed_is_ungated() -> None:
    assert overall(judge([row(start='original')], Gate())) == 'ungated'
    assert words(good()[:1])['naphthalene_pd found'] == 'ungated'


def test_a_method_that_is_missing_is_not_run() -> None:
    rows = [row(status=int(Status.SKIPPED), message='no file')]
    judgement, = judge(rows, Gate())
    assert (judgement.verdict, judgement.text) == ('not_run', 'no file')
    assert row_verdict(rows[0]) == 'not_run'


def test_one_good_start_is_enough() -> None:
    rows = [*good(), row(plane_angle=40.0)]
    assert overall(judge(rows, Gate())) == 'pass'


def test_a_saddle_counts_as_what_it_leads_to() -> None:
    end = like(row(**LEFT))
    assert end is not None and end.slip == 1.6
    assert distance_error(row(**LEFT)) == pytest.approx(0.02)
    assert lowest_forms([row(**LEFT)], 'benzene') == {
        'sandwich': -1.7, 'slipped': -2.6}


def test_a_saddle_is_like_a_sandwich() -> None:
    assert distance_error(row('benzene_sandwich', **SANDWICH)) \
        == pytest.approx(0.01)


def test_another_structure_is_not_compared() -> None:
    assert like(row(ref_kind='t')) is None
    assert np.isnan(distance_error(row(slip=0.1)))
    assert row_verdict(row(slip=0.1)) == 'ungated'


def test_a_reference_without_slip_accepts_what_is_not_slipped() -> None:
    assert like(row('adenine_thymine', slip=0.3, ref_slip=0.27)) is not None


def test_t_shapes_are_measured_by_their_centroids() -> None:
    t = row('benzene_t', plane_angle=89.0, vertical=NAN, slip=NAN,
            centroid=5.1, ref_kind='t', ref_centroid=4.96, structure='t')
    assert distance_error(t) == pytest.approx(0.14)
    assert row_verdict(t) == 'pass'


@pytest.mark.parametrize('changes, verdict', [
    ({}, 'pass'), ({'vertical': 3.25}, 'marginal'),
    ({'vertical': 3.1}, 'fail'), ({'status': 2}, 'fail'),
    ({'ref_confirmed': 0}, 'ungated'), ({'start': 'original'}, 'ungated'),
    ({'start': 'single_point', 'interaction_kcal': -2.3}, 'pass'),
    ({'start': 'single_point', 'interaction_kcal': -2.2}, 'fail'),
    ({'start': 'single_point', 'data_set': 's22'}, 'ungated')])
def test_verdicts_of_rows(changes: dict[str, Any], verdict: str) -> None:
    assert row_verdict(row(**changes)) == verdict


def test_the_old_gate_looks_at_one_row() -> None:
    old = row('pyrene_pd', method='MACE-OFF23', start='original',
              centroid=3.384, ref_centroid=3.43)
    assert compat([row(), old]).verdict == 'pass'
    # the verdict of the original on its medium model, 3.632
    assert compat([{**old, 'centroid': 3.632}]).verdict == 'marginal'
    assert compat([row()]).verdict == 'not_run'


def test_a_crossed_form_below_the_slipped_one_is_told() -> None:
    rows = [row('naphthalene_pd', ref_energy_kcal=-5.73),
            row('naphthalene_cross', twist=85.0, binding_kcal=-2.9,
                ref_kind='crossed', ref_energy_kcal=-5.28)]
    texts = {j.criterion: j.text for j in judge(rows, Gate())}
    assert texts['naphthalene all forms'] \
        == 'crossed < slipped; reference slipped < crossed'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / 'given.toml'
    path.write_text(text)
    return path


def test_a_gate_file_replaces_fields(tmp_path: Path) -> None:
    gate = read_gate(written(
        tmp_path, 'required = ["benzene_pd"]\nslip = [0.5, 2]\n'
        'energy_error = 1\norder = []\n'))
    assert gate == Gate(('benzene_pd',), slip=(0.5, 2.0), order=(),
                        energy_error=1.0)


@pytest.mark.parametrize('text, fault', [
    ('required = ["benzene"]', 'unknown dimer'),
    ('order = ["water"]', 'unknown molecule'),
    ('required = "benzene_pd"', 'must be a list'),
    ('required = [1]', 'must be names'),
    ('slip = [2.0, 1.0]', 'ascending'), ('distance = -1', 'above 0'),
    ('distance = "far"', 'above 0'), ('distanse = 1.0', 'unknown field'),
    ('distance = ', 'given.toml')])
def test_a_bad_gate_file_is_refused(
    tmp_path: Path, text: str, fault: str,
) -> None:
    with pytest.raises(InputError, match=fault):
        read_gate(written(tmp_path, text))


def test_bundled_references_are_of_named_dimers_and_complete() -> None:
    found = read_references(data_file('benchmarks/references.toml'), RECIPES)
    assert set(found) == set(RECIPES)
    for reference in found.values():
        assert reference.kind and reference.source
        assert len(reference.source.encode()) <= 96
        if reference.confirmed:
            assert np.isfinite([reference.distance, reference.energy]).all()


def test_a_file_replaces_fields_of_references(tmp_path: Path) -> None:
    known = {'pyrene_pd': Reference('stacked', 3.43, energy=-9.0)}
    path = written(tmp_path, '[pyrene_pd]\nvertical = 3.5\n'
                             'confirmed = true\n')
    found = read_references(path, RECIPES, known)['pyrene_pd']
    assert (found.vertical, found.energy, found.confirmed) == (3.5, -9, True)


@pytest.mark.parametrize('text, fault', [
    ('[benzen]\nvertical = 3.5', 'unknown dimer'),
    ('[benzene_pd]\nheight = 3.5', 'unknown field'),
    ('[benzene_pd]\nvertical = "3.5"', 'is no float'),
    ('[benzene_pd]\nvertical = nan', 'is no float'),
    ('[benzene_pd]\nconfirmed = 1', 'is no bool'),
    ('[benzene_pd]\nkind = "heap"', 'kind'),
    ('benzene_pd = 3.5', 'is not a table'), ('[', 'given.toml')])
def test_a_bad_file_of_references_is_refused(
    tmp_path: Path, text: str, fault: str,
) -> None:
    with pytest.raises(InputError, match=fault):
        read_references(written(tmp_path, text), RECIPES)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='No such file'):
        read_gate(tmp_path / 'none.toml')
