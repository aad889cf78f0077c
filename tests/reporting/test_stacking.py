"""What counts as failed in the report of `validate`."""
from __future__ import annotations

import pytest

from mpiapp.records import Status
from mpiapp.reporting.stacking import n_failed, n_items


@pytest.mark.parametrize('status, reason, strict, expected', [
    (Status.CONVERGED, '', True, 0),
    (Status.FAILED, 'nan', False, 1),
    (Status.BROKEN, 'bonds_changed', False, 1),
    (Status.REJECTED, 'element', False, 1),
    (Status.REJECTED, 'beyond_cutoff', True, 0),
    (Status.UNCONVERGED, 'step_limit', False, 0),
    (Status.UNCONVERGED, 'step_limit', True, 1)])
def test_refused_starts_are_not_failed_items(
    status: Status, reason: str, strict: bool, expected: int,
) -> None:
    row = {'status': int(status), 'reason': reason}
    assert n_failed([row], strict) == expected


def test_items_that_did_not_run_are_not_counted() -> None:
    rows = [{'status': int(s)} for s in (
        Status.CONVERGED, Status.FAILED, Status.SKIPPED, Status.PENDING)]
    assert n_items(rows) == 2
