"""Going on when a rank is gone, where the MPI lets the others live.

Open MPI 5 under `mpirun --with-ft ulfm` reports a dead rank as an error of
the calls that needed it.  Elsewhere the launcher ends the job, and nothing
here ever runs.
"""
from __future__ import annotations

from typing import Any

#: after a death, before survivors read what its witness left: that takes
#: milliseconds on an idle machine
MOURNING_SECONDS = 0.5


def is_of_mpi(error: BaseException) -> bool:
    """Tell whether MPI raised an error: of other ranks, of the network."""
    try:
        from mpi4py import MPI
    except ImportError:
        return False
    return isinstance(error, MPI.Exception)


def is_loss(error: BaseException, comm: Any) -> bool:
    """Tell whether an error of MPI means that a rank of `comm` is gone.

    The class is not enough: a non-blocking barrier of Open MPI 5.0 fails
    with MPI_ERR_OTHER when a rank dies in it.
    """
    if not is_of_mpi(error):
        return False
    from mpi4py import MPI
    assert isinstance(error, MPI.Exception)
    if error.Get_error_class() in (
            MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING,
            MPI.ERR_REVOKED):
        return True
    try:
        return bool(comm.Is_revoked() or comm.Get_failed().size)
    except (MPI.Exception, NotImplementedError):
        return False


def revoke(comm: Any) -> None:
    """Let every pending and later call on `comm` fail, on all ranks."""
    comm.Revoke()


def survivors(comm: Any) -> tuple[Any, list[int]]:
    """Collective among those alive: the rest of a communicator.

    Returns a new communicator and the old rank of each of its ranks, in
    ascending order.
    """
    old = comm.rank
    revoke(comm)
    rest = comm.Shrink()
    return rest, list(rest.allgather(old))
