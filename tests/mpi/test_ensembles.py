"""Ensembles on any number of ranks: the same file, and failures told."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.parallel.agree import AgreedExit
from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX
from mpiapp.store.campaign import write_campaign
from mpiapp.store.digest import differences
from mpiapp.store.sources import MemorySource
from mpiapp.workers import ensembles
from mpiapp.workers.ensembles import handed_out
from tests.workers.campaigns import META, conformers, record, turned, write

pytestmark = pytest.mark.mpi


def records() -> list[dict[str, Any]]:
    """Return three molecules in mixed order, with a duplicate and a fault."""
    made = []
    for i in range(12):
        molecule = conformers(4, ('CCCCO', 'CCCO', 'CCOC')[i % 3])[i // 3]
        made.append(record(
            i, molecule, 'abc'[i % 3], kcal=0.3 * (i // 3),
            plane_angle=7.0 * i, classification=('weak', 'monomer')[i % 2]))
    made.append(record(12, turned(conformers(4, 'CCCCO')[0]), 'a'))
    made.append(record(13, None, 'd', status=4, reason='unparsable'))
    return made


def test_the_file_does_not_depend_on_ranks(
    comm: Any, shared_dir: Path,
) -> None:
    campaign = write(shared_dir / 'x.h5', records(), comm=comm)
    assert campaign.ensembles['molecules']['n'].tolist() == [5, 4, 4, 0]
    assert campaign.ensembles['molecules']['n_unique'][0] == 4
    if comm.rank == 0:
        write(shared_dir / 'alone.h5', records())
        assert differences(shared_dir / 'x.h5',
                           shared_dir / 'alone.h5') == []


@pytest.mark.parametrize('n', [0, 1, 50])
def test_every_group_goes_to_one_rank(comm: Any, n: int) -> None:
    mine = list(handed_out(comm, n))
    everyone = sorted(i for part in comm.allgather(mine) for i in part)
    assert everyone == list(range(n))


def test_a_failure_of_one_rank_is_a_note_of_that_molecule(
    comm: Any, shared_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(conformers: Any, settings: Any) -> Any:
        if conformers.identity['name'] == 'b':
            raise ValueError('no')
        return real(conformers, settings)
    real = ensembles.tell
    monkeypatch.setattr(ensembles, 'tell', fail)
    campaign = write(shared_dir / 'x.h5', records(), comm=comm)
    notes = campaign.ensembles['molecules']['note'].tolist()
    assert notes[1] == 'not analysed: ValueError: no'
    assert notes[0] == notes[2] == ''


def test_where_extending_fails_no_file_appears(
    comm: Any, shared_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*words: Any) -> Any:
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(ensembles, 'add_tables', fail)
    with pytest.raises(AgreedExit, match='No space'):
        write(shared_dir / 'x.h5', records(), comm=comm)
    comm.Barrier()
    assert list(shared_dir.iterdir()) == []


def test_more_ranks_than_records(comm: Any, shared_dir: Path) -> None:
    campaign = write(shared_dir / 'x.h5', records()[:1], comm=comm)
    assert np.isclose(
        campaign.ensembles['boltzmann']['weight_sum'], 1).all()


def test_a_file_without_ensembles_has_none(
    comm: Any, shared_dir: Path,
) -> None:
    if comm.rank == 0:
        from mpiapp.store.reader import load
        write_campaign(SerialComm(), shared_dir / 'x.h5', RELAX, 1,
                       MemorySource(RELAX, {}), META, {})
        assert load(shared_dir / 'x.h5').ensembles == {}
        assert load(shared_dir / 'x.h5').ensemble_settings == {}
