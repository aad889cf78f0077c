"""Distances are called what they are, and judged by their own limits."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpiapp.chemistry.descriptors import DescriptorSettings
from mpiapp.reporting.blocks import Text
from mpiapp.reporting.comparing import report_of_two
from mpiapp.reporting.registry import report_of
from mpiapp.reporting.sections.geometry import band
from mpiapp.reporting.subject import Subject
from mpiapp.store.reader import Campaign, load
from tests.reporting.pages import campaign
from tests.reporting.test_sections import block

MADE_UP = {'compat_distance': 3.4, 'compat_overlap': 60.0,
           'compat_classification': 'weak'}


def of_mode(results: Campaign, mode: str) -> Campaign:
    """Return the results as if they were judged in that mode."""
    return replace(results, meta={**results.meta, 'descriptors': {
        'mode': mode, **DescriptorSettings().described()}})


@pytest.mark.parametrize('names, wanted', [
    (('pyrene-pyrene',), (3.3, 3.7)), (('anthracene-anthracene',),
                                       (3.4, 3.93)),
    (('pyrene-pyrene', 'fused14-fused14'), (3.3, 3.7)),
    (('pyrene-pyrene', 'perylene-perylene'), None),
    (('anthracene-pyrene',), None)])
def test_the_band_is_that_of_the_systems(
    names: tuple[str, ...], wanted: Any, tmp_path: Path,
) -> None:
    results = of_mode(load(campaign(
        tmp_path / 'x.h5', 4,
        best_names=lambda row, _: names[row % len(names)])), 'full')
    found = band(Subject(results))
    assert [b[:2] for b in found] == ([wanted] if wanted else [])


def test_compatibility_mode_has_its_own_words_and_limits(
    small: Campaign,
) -> None:
    results = of_mode(small, 'compat')
    # as if the run had measured the original's ring sets
    results.__dict__['table'] = small.table.assign(**MADE_UP)
    report = report_of(results)
    distance = block(report, 'geometry_vertical')
    assert distance.x_label == 'one-sided distance, Å'
    assert [b[:2] for b in distance.bands] == [(3.0, 3.6)]
    assert block(report, 'energy_vertical').x_label == 'one-sided distance, Å'
    labels = {f.name: f.label for f in block(report, 'records').fields}
    assert labels['vertical'] == 'one-sided distance'
    assert labels['overlap_gated'] == 'overlap at any distance'


def test_measures_of_two_modes_are_not_compared(small: Campaign) -> None:
    report = report_of_two(small, of_mode(small, 'compat'))
    geometry = next(s for s in report.sections if s.name == 'geometry')
    text, = geometry.blocks
    assert isinstance(text, Text) and 'different definitions' in text.text
