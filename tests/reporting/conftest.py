"""A small campaign with a finished report, made once."""
from __future__ import annotations

from pathlib import Path

import pytest

from mpiapp.reporting.blocks import Report
from mpiapp.reporting.registry import report_of
from mpiapp.store.reader import Campaign, load
from tests.reporting.pages import campaign


@pytest.fixture(scope='session')
def small_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a campaign of 130 records on 4 ranks."""
    return campaign(tmp_path_factory.mktemp('report') / 'small.h5', 130)


@pytest.fixture(scope='session')
def small(small_path: Path) -> Campaign:
    """Return it open."""
    return load(small_path)


@pytest.fixture(scope='session')
def small_report(small: Campaign) -> Report:
    """Return its report."""
    return report_of(small)
