"""What a dry run says of the molecules, against what the run makes."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpiapp.store.reader import Campaign
from mpiapp.workers.preview import BARE, molecules
from tests.workers.campaigns import META, conformers, record, write


def rows_of(campaign: Campaign) -> list[dict[str, Any]]:
    return [{**BARE, **campaign.table.loc[i], **{
        name: campaign.ragged(name, i)
        for name in ('numbers', 'x_start', 'bonds')}}
        for i in range(campaign.n_records)]


@pytest.mark.parametrize('group_by', ['name', 'graph'])
def test_a_dry_run_counts_molecules_as_the_run_does(
    tmp_path: Path, group_by: str,
) -> None:
    ether, alcohol = (conformers(1, s)[0] for s in ('CCOC', 'CCCO'))
    campaign = write(tmp_path / 'x.h5', [
        *(record(i, c, f'a_{i}', mseq=-1)
          for i, c in enumerate(conformers(3))),
        record(3, alcohol, 'b'), record(4, ether, 'b'),
        record(5, alcohol, 'b', charge=-1), record(6, alcohol, 'c')],
        meta=META | {'options': {'group_by': group_by}}, ensembles=False)
    expected = [('a_0', 3), ('b', 1), ('b', 1), ('b', 1), ('c', 1)]
    if group_by == 'graph':
        expected = [('a_0', 3), ('b', 2), ('b', 1), ('b', 1)]
    assert molecules(rows_of(campaign), META['inputs'],
                     group_by) == expected
