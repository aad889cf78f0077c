"""Fixtures of the MPI tests: run with mpirun on 1, 2 and 4 ranks.

A test gets a duplicate of the world communicator and must be called by all
ranks; a failure on one rank says what it was and ends the job, so that it is
a failure and never a hang of the ranks that wait for it.
"""
from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """End the job at the first failure, where others would wait."""
    from mpi4py import MPI
    if report.failed and MPI.COMM_WORLD.size > 1:
        print(f'\nrank {MPI.COMM_WORLD.rank}: FAILED {report.nodeid}\n'
              f'{report.longreprtext}', file=sys.stderr, flush=True)
        MPI.COMM_WORLD.Abort(1)


@pytest.fixture
def comm() -> Iterator[Any]:
    """Give the test its own communicator over all ranks."""
    from mpi4py import MPI
    duplicate = MPI.COMM_WORLD.Dup()
    yield duplicate
    duplicate.Barrier()
    duplicate.Free()


@pytest.fixture
def shared_dir(comm: Any) -> Iterator[Path]:
    """Give all ranks the same new folder."""
    path = comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None)
    yield Path(path)
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(path)


@pytest.fixture(params=['one node', 'two nodes'])
def node_comm(comm: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give the ranks that share a node; two nodes are pretended."""
    color = 0 if request.param == 'one node' else comm.rank % 2
    node = comm.Split(color, comm.rank)
    yield node
    node.Free()
