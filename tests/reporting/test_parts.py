"""Reports say which part they show, and what failed in a stage."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mpiapp.reporting.blocks import Table
from mpiapp.reporting.registry import report_of
from mpiapp.reporting.sections import convergence, failures, timeline
from mpiapp.reporting.sections.refinement import stage_table
from mpiapp.reporting.subject import Subject
from mpiapp.store.reader import Campaign, load
from tests.reporting.pages import campaign
from tests.reporting.test_sections import block, column


def test_captions_tell_what_is_left_out(
    small: Campaign, monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name, most in ((timeline, 'MOST_RANKS', 2),
                               (timeline, 'MOST_SPANS', 30),
                               (convergence, 'MOST_POINTS', 100)):
        monkeypatch.setattr(module, name, most)
    report = report_of(small)
    spans = block(report, 'ranks')
    assert len(spans.rows) == 30 and len(spans.lanes) == 2
    assert spans.caption.endswith(
        ' The first 2 of 4 ranks. 30 of 130 records are drawn.')
    assert block(report, 'rank_seconds').caption.endswith(
        ' The first 2 of 4 ranks.')
    assert len(block(report, 'cost').rows) == 100
    # one of the 130 was refused
    assert block(report, 'cost').caption.endswith(
        ' The first 100 of 129 records.')


def test_nothing_is_said_where_all_is_shown(small: Campaign) -> None:
    report = report_of(small)
    for name in ('ranks', 'rank_seconds', 'cost'):
        assert 'first' not in block(report, name).caption


def test_what_fails_in_a_stage_is_told(tmp_path: Path) -> None:
    relaxed = load(campaign(tmp_path / 'x.h5', 6))
    stage = load(campaign(
        tmp_path / 'y.h5', 6, status=lambda row, _: 2 if row < 4 else 6))
    results = replace(relaxed)
    results.__dict__['stages'] = {'1_gfn2': stage}
    table = stage_table(Subject(results).stages)
    assert [column(table, name) for name in (
        'converged', 'unconverged', 'failed', 'not_chosen')] == [
        [6, 0], [0, 4], [0, 0], [0, 2]]
    by_reason, listed = failures.blocks(Subject(results))
    assert isinstance(by_reason, Table) and isinstance(listed, Table)
    assert column(by_reason, 'stage') == ['1_gfn2']
    assert column(by_reason, 'records') == [4]
    assert column(listed, 'row') == [0, 1, 2, 3]
