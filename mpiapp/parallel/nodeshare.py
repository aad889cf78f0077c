"""Memory that the ranks of one node share, with a lock the kernel frees.

A small unlinked file mapped by every rank, locked by flock.  Nothing in it
needs MPI, another rank's attention or the interpreter lock of another
process: a rank deep inside a native call never delays the others, and a
rank that is killed while it holds the lock releases it by dying.
"""
from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mpiapp.records import Ints


class NodeShare:
    """`words`, an int64 array shared by the ranks of `comm`, and its lock.

    Collective to make.  All ranks of `comm` must be on one node.

    Raises:
        OSError: on every rank, if any rank cannot map the file.
    """

    def __init__(self, comm: Any, n_words: int) -> None:
        size = 8 * n_words
        path, fault, self._fd = '', '', -1
        if comm.rank == 0:
            try:
                path, self._fd = self._create(size)
            except OSError as error:
                fault = f'shared memory: {error}'
        path = comm.bcast(path)
        if comm.rank and path:
            try:
                self._fd = os.open(path, os.O_RDWR)
            except OSError as error:
                fault = f'{path}: {error}'
        faults = [f for f in comm.allgather(fault) if f]
        if comm.rank == 0 and path:
            os.unlink(path)
        if faults:
            if self._fd >= 0:
                os.close(self._fd)
            raise OSError('; '.join(faults))
        self._map = mmap.mmap(self._fd, size)
        self.words: Ints = np.frombuffer(self._map, np.int64)
        self._thread_lock = threading.Lock()

    @staticmethod
    def _create(size: int) -> tuple[str, int]:
        shm = '/dev/shm'
        fits = os.access(shm, os.W_OK) \
            and shutil.disk_usage(shm).free > 2 * size
        fd, path = tempfile.mkstemp('.share', 'mpiapp-', shm if fits
                                    else None)
        os.ftruncate(fd, size)
        return path, fd

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the node's lock; keep it for microseconds only."""
        with self._thread_lock:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
