"""ASE without MPI: the only module that uses its readers or optimisers.

Once mpi4py is imported ASE takes COMM_WORLD by itself: `ase.io.read` hands
every rank the molecule of rank 0, `write` writes on rank 0 alone, and
optimisers wait for ranks that are elsewhere.
"""
from __future__ import annotations

from typing import Any


def read(path: Any, index: Any = -1, format: str | None = None) -> Any:
    """Read Atoms on this rank alone, from a name or a file that is open;
    see `ase.io.read`."""
    import ase.io
    return ase.io.read(path, index=index, format=format, parallel=False)


def write(path: str, images: Any, format: str | None = None) -> None:
    """Write Atoms from this rank alone; see `ase.io.write`."""
    import ase.io
    ase.io.write(path, images, format=format, parallel=False)


def optimizer(name: str, atoms: Any, **options: Any) -> Any:
    """Return an ASE optimiser (`LBFGS`, `BFGS`, `FIRE`) of this rank."""
    import ase.optimize
    from ase.parallel import DummyMPI
    options.setdefault('logfile', None)
    return getattr(ase.optimize, name)(atoms, comm=DummyMPI(), **options)
