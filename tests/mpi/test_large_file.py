"""MPI-IO beyond 2 GiB a rank, written and read back (sparse)."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.store.hdf5 import is_parallel, load_h5py, open_serial
from mpiapp.store.writers import put

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

#: float64 entries of a rank: 2.5 GiB, of which only parts are written
N_OF_RANK = 5 * 2**26
#: entries of one write at the places that matter
N_PIECE = 4096


def test_offsets_beyond_2_gib_a_rank_come_back(
    comm: Any, shared_dir: Path,
) -> None:
    if not is_parallel():
        pytest.skip('this h5py is serial')
    h5py = load_h5py()
    mode = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    mode.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    path = shared_dir / 'large.h5'
    places = (0, 2**28 - N_PIECE // 2, N_OF_RANK - N_PIECE)
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, 'w', driver='mpio', comm=comm) as file:
        space = h5py.h5s.create_simple((comm.size * N_OF_RANK,))
        data = h5py.h5d.create(file.id, b'x', h5py.h5t.IEEE_F64LE, space,
                               create)
        for i, place in enumerate(places):
            values = np.arange(N_PIECE, dtype=np.float64) + 1e6 * (
                10 * comm.rank + i)
            put(data, comm.rank * N_OF_RANK + place, values, mode)
    comm.Barrier()
    # another rank's part, so that nothing comes from a cache of one's own
    other = (comm.rank + 1) % comm.size
    with open_serial(path, 'r') as file:
        for i, place in enumerate(places):
            start = other * N_OF_RANK + place
            found = file['x'][start:start + N_PIECE]
            assert np.array_equal(found, np.arange(N_PIECE) + 1e6 * (
                10 * other + i))
    comm.Barrier()
