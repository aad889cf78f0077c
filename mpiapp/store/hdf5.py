"""The one way to h5py: imported late, after MPI, and opened with care."""
from __future__ import annotations

from pathlib import Path
from typing import Any


def load_h5py() -> Any:
    """Return h5py.

    A parallel build must find the MPI of mpi4py in the process: imported
    first, h5py may load another one.
    """
    try:
        import mpi4py.MPI  # noqa: F401
    except (ImportError, RuntimeError) as error:
        import h5py
        if h5py.get_config().mpi:
            raise ImportError('this h5py is built for MPI, but mpi4py '
                              f'cannot be loaded: {error}') from error
        return h5py
    import h5py
    return h5py


def is_parallel() -> bool:
    """Tell whether this h5py can write with MPI-IO."""
    return bool(load_h5py().get_config().mpi)


def open_serial(path: Path, mode: str) -> Any:
    """Open a file in this process alone, also where locks don't work."""
    return load_h5py().File(path, mode, locking='best-effort')


def text_dtype(width: int) -> Any:
    """Return the dtype of UTF-8 text of fixed length."""
    return load_h5py().string_dtype('utf-8', max(1, width))
