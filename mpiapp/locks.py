"""One job at a time: a file that is locked while a job works somewhere."""
from __future__ import annotations

import fcntl
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

from mpiapp.errors import InputError

log = logging.getLogger('mpiapp')


def take_lock(path: Path, where: Path) -> int:
    """Return a locked descriptor; the kernel unlocks it when we die.

    `path` is the lock file, made if it is not there; it names the owner.
    `where` is what is owned, for the message.

    Raises:
        InputError: another job holds the lock.
        OSError: the file can't be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        error = _taken(fd, where)
        os.close(fd)
        raise error from None
    except OSError as error:
        log.warning('%s: the file system has no locks (%s); make sure that '
                    'no other job works here', path, error.strerror)
        return fd
    os.ftruncate(fd, 0)
    os.pwrite(fd, f'pid {os.getpid()} on {socket.gethostname()}\n'.encode(),
              0)
    return fd


def check_free(path: Path, where: Path) -> None:
    """See that nobody holds a lock; changes nothing.

    Raises:
        InputError: another job holds it.
    """
    if not path.exists():
        return
    with open(path, 'rb') as file, suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(file.fileno(), where) from None


def _taken(fd: int, where: Path) -> InputError:
    owner = os.read(fd, 200).decode('utf-8', 'replace').strip()
    return InputError(f'another job works on {where}: {owner or "unknown"}')
