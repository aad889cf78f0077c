"""Forces a file to disk in the background, soon after it was written."""
from __future__ import annotations

import os
import threading
from pathlib import Path

from mpiapp.store.files import StoreError, explain


class Syncer:
    """A daemon thread that calls fsync within `seconds` of a write.

    fsync takes milliseconds and more, which the computing thread should
    not wait for; an error of it is raised by the next `check` or `sync`.
    """

    def __init__(self, fd: int, path: Path, seconds: float) -> None:
        self._fd = fd
        self._path = path
        self._seconds = seconds
        self._dirty = threading.Event()
        self._urgent = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._error: StoreError | None = None
        self._thread = threading.Thread(
            target=self._run, name='journal sync', daemon=True)
        self._thread.start()

    def touched(self, urgent: bool) -> None:
        """Take note of a write; `urgent` asks for fsync at once."""
        if not self._dirty.is_set():
            self._dirty.set()
        if urgent:
            self._urgent.set()

    def check(self) -> None:
        """Raise what the thread ran into."""
        if self._error is not None:
            raise self._error

    def sync(self) -> None:
        """Force everything written so far to disk."""
        self._force()
        self.check()

    def stop(self) -> None:
        """End the thread and force the rest to disk."""
        self._stopping = True
        self._urgent.set()
        self._dirty.set()
        self._thread.join()
        self.sync()

    def _run(self) -> None:
        while True:
            self._dirty.wait()
            self._urgent.wait(self._seconds)
            if self._stopping:
                return
            self._force()

    def _force(self) -> None:
        with self._lock:
            # cleared before: a write that comes meanwhile asks anew
            self._dirty.clear()
            self._urgent.clear()
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._error = explain(error, self._path, 'write')
