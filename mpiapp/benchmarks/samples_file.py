"""Raw samples of all ranks in one HDF5 file, written together."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.records import Floats

#: version of the layout
SCHEMA = 1


def write_samples(
    comm: Any, path: Path, name: str, samples: Floats,
    about: Mapping[str, Any],
) -> None:
    """Collective: write a dataset [n_ranks, ...], a slab from each rank.

    `samples` have the same shape on all ranks.  By MPI-IO where h5py is
    parallel, else gathered to rank 0, with equal content.  The file appears
    by rename.

    Raises:
        AgreedExit: it can't be written.
    """
    from mpiapp.parallel.agree import agree
    from mpiapp.store.files import part_name, publish
    from mpiapp.store.hdf5 import is_parallel
    part = part_name(path)
    with agree(comm, f'writing {path}'):
        if comm.rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
    if is_parallel() and comm.size > 1:
        _together(comm, part, name, samples, about)
    else:
        _gathered(comm, part, name, samples, about)
    with agree(comm, f'writing {path}'):
        if comm.rank == 0:
            publish(part, path)


def _together(
    comm: Any, part: Path, name: str, samples: Floats,
    about: Mapping[str, Any],
) -> None:
    """Collective: every rank writes its slab with MPI-IO."""
    from mpiapp.store.hdf5 import load_h5py
    from mpiapp.store.writers import put
    h5py = load_h5py()
    mode = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    mode.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    with h5py.File(part, 'w', driver='mpio', comm=comm) as file:
        _describe(file, about)
        dataset = file.create_dataset(
            name, (comm.size, *samples.shape), '<f8')
        dataset.attrs['unit'] = 's'
        put(dataset.id, comm.rank, samples[None].astype('<f8'), mode)


def _gathered(
    comm: Any, part: Path, name: str, samples: Floats,
    about: Mapping[str, Any],
) -> None:
    """Collective: rank 0 writes what all have."""
    from mpiapp.parallel.agree import agree
    from mpiapp.store.hdf5 import open_serial
    found = comm.gather(samples)
    with agree(comm, f'writing {part}'):
        if comm.rank == 0:
            with open_serial(part, 'w') as file:
                _describe(file, about)
                dataset = file.create_dataset(
                    name, data=np.stack(found).astype('<f8'))
                dataset.attrs['unit'] = 's'


def _describe(file: Any, about: Mapping[str, Any]) -> None:
    file.attrs['format'] = 'mpiapp bench samples'
    file.attrs['schema'] = SCHEMA
    file.attrs['about'] = json.dumps(about)


def read_samples(path: Path, name: str) -> tuple[Floats, dict[str, Any]]:
    """Return the samples and what describes them."""
    from mpiapp.store.reader import reading
    with reading(path) as file:
        return file[name][:], json.loads(file.attrs['about'])
