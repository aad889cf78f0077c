"""Figures: page, CSV and pictures show the same, whatever the names."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mpiapp.reporting.blocks import (
    BLUE, Bars, Block, Heat, Histogram, Lines, Report, Section, Series
)
from mpiapp.reporting.exporting import export
from mpiapp.reporting.page import plain
from mpiapp.reporting.registry import report_of
from mpiapp.reporting.sections.convergence import nice_edges
from mpiapp.store.reader import load
from tests.reporting.pages import campaign

#: what floor((v - first) / (last - first) * n) sorts into other bins
STEPS = np.repeat(np.arange(5.0, 28.0), 10)
#: a spread far below seven digits of the values
CLOSE = 0.0123456 * (1 + 1e-9 * np.arange(11))


@pytest.mark.parametrize('values', [STEPS, CLOSE, STEPS / 10])
def test_the_page_has_the_counts_of_the_exported_file(
    values: np.ndarray, tmp_path: Path,
) -> None:
    figure = Histogram('h', 'h', 'x', [Series('a', values, BLUE)],
                       nice_edges(values))
    page = plain(figure)
    assert len(set(page['edges'])) == len(page['edges'])
    inside = [((values >= a) & (values < b)).sum() for a, b in zip(
        page['edges'][:-1], page['edges'][1:], strict=True)]
    assert page['series'][0]['values'] == inside
    assert max(inside) < len(values)
    export(tmp_path, Report('', '', [Section('s', 'S', [figure])]))
    lines = (tmp_path / 'h.csv').read_text().splitlines()[1:]
    assert [int(x.split(',')[2]) for x in lines] == inside


def test_a_campaign_without_a_converged_record_is_exported(
    tmp_path: Path,
) -> None:
    report = report_of(load(campaign(
        tmp_path / 'x.h5', 8, status=lambda *_: 2,
        r_group=lambda *_: '?', screen_group=lambda *_: '?')))
    assert not [b for s in report.sections for b in s.blocks
                if isinstance(b, Bars | Heat) and 'class' in b.name]
    parts = [s for s in report.sections if s.name in ('classes', 'summary')]
    export(tmp_path / 'out', Report('t', '', parts))


def test_names_are_no_formulas(tmp_path: Path) -> None:
    name = 'cost $5^{$ a'
    figures: list[Block] = [
        Bars('b', name, name, [name], [Series(name, [1.0], BLUE)]),
        Lines('l', name, name, name, [1.0, 2.0],
              [Series('a', [1.0, 10.0], BLUE)], log=True)]
    export(tmp_path, Report('', '', [Section('s', 'S', figures)]))
    # the comments of an SVG have the texts as they were drawn
    assert f'<!-- {name} -->' in (tmp_path / 'b.svg').read_text()
    assert '$\\mathdefault' not in (tmp_path / 'l.svg').read_text()
