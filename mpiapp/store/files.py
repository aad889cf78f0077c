"""Files that appear complete or not at all, and errors of storing."""
from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpiapp.errors import StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def explain(error: OSError, path: Path | str, doing: str) -> StoreError:
    """Return a StoreError that says what failed and what helps."""
    # HDF5 fills its message with addresses; the number says it better
    reason = os.strerror(error.errno) if error.errno else str(error)
    text = f'cannot {doing} {path}: {reason}'
    if error.errno in FULL:
        text += (' (the disk is full or a quota is used up; free some space '
                 'and continue with --resume)')
    elif error.errno == errno.EIO:
        text += (' (the disk or network file system reports a fault; '
                 'continue with --resume when it works again)')
    return StoreError(text)


def sync_folder(folder: Path | str) -> None:
    """Force the entries of a folder to disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        # some network file systems refuse fsync on folders, and need none
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def sync_file(path: Path | str) -> None:
    """Force the content of a closed file to disk."""
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def reserve(path: Path) -> None:
    """Have the disk space of a sparse file set aside.

    Afterwards writing into it can't fail for want of space, which HDF5
    doesn't stand (1.10.8: a segmentation fault on closing).  Where the
    system or the file system has no such call, nothing is done.

    Raises:
        OSError: the disk is full or a quota used up.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), 'fallocate64', None)
    if call is None:
        return
    with open(path, 'r+b') as file:
        size = ctypes.c_int64(os.fstat(file.fileno()).st_size)
        failed = call(file.fileno(), 0, ctypes.c_int64(0), size)
    if failed and ctypes.get_errno() in FULL:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def part_name(path: Path) -> Path:
    """Return the name under which a file is written until it is whole."""
    return path.with_name(f'.{path.name}.part')


def publish(part: Path, path: Path) -> None:
    """Give a closed file its final name, durably."""
    sync_file(part)
    os.replace(part, path)
    sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a temporary name that becomes `path` at a clean end.

    Raises:
        StoreError: the file can't be written; `path` is as it was.
    """
    part = part_name(path)
    try:
        yield part
        publish(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if isinstance(error, StoreError):
            raise
        raise explain(error, path, 'write') from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
