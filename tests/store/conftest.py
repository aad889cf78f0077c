"""Rows, journals and small campaign files for the tests of the store."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX, Status
from mpiapp.store.campaign import write_campaign
from mpiapp.store.journal import JournalWriter
from mpiapp.store.sources import MemorySource

META: dict[str, Any] = {
    'settings': {'fmax': 0.005, 'calculator': 'lj', 'sdf': ['a.sdf']},
    'inputs': [{'path': 'a.sdf', 'sha256': 'aa', 'n_records': 6}],
    'versions': {'mpiapp': '0.1.0'},
}


def row_values(row: int, n_atoms: int | None = None) -> dict[str, Any]:
    """Return a finished row, the same for the same number."""
    rng = np.random.default_rng(row)
    n = 2 + row % 4 if n_atoms is None else n_atoms
    return {
        'file_number': 0, 'record': row, 'mseq': row % 3 + 1,
        'name': f'mol{row % 2}', 'charge': 0, 'n_atoms': n,
        'status': int(Status.CONVERGED), 'steps': 10 + row,
        'fmax_final': rng.random(), 'seconds': rng.random(),
        'rank': row % 3, 'e_total': -1000.0 - rng.random(),
        'numbers': rng.integers(1, 18, n), 'rmsd_start_final': rng.random(),
        'x_start': rng.normal(size=(n, 3)),
        'x_final': rng.normal(size=(n, 3)),
    }


@pytest.fixture
def values() -> Callable[..., dict[str, Any]]:
    """Return the function that makes rows."""
    return row_values


@pytest.fixture
def write_journal(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a journal with some rows."""
    def write(
        name: str = 'run001-rank0000.jnl', rows: Any = range(3),
        run: int = 1, rank: int = 0, folder: Path = tmp_path, **changes: Any,
    ) -> Path:
        header = {'run': run, 'rank': rank, 'digest': 'd'}
        with JournalWriter(folder / name, RELAX, header) as journal:
            for row in rows:
                journal.append_row(row, {**row_values(row), **changes})
        return folder / name
    return write


@pytest.fixture
def write_result(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a campaign file in this process."""
    def write(
        name: str = 'x.h5', rows: Any = range(6), n_records: int = 6,
        meta: Any = None, blank: Any = None, **changes: Any,
    ) -> Path:
        made = {row: {**row_values(row), **changes} for row in rows}
        write_campaign(
            SerialComm(), tmp_path / name, RELAX, n_records,
            MemorySource(RELAX, made), meta or META, {'n_ranks': 1},
            blank=blank)
        return tmp_path / name
    return write
