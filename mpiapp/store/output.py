"""Is the place for the results fit for them, before any work is done."""
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from mpiapp.errors import InputError


def check_output(result: Path, create: bool = True) -> None:
    """Make the folder of a result file and try to write in it.

    With `create` false nothing is left behind.

    Raises:
        InputError: it can't be made or written, or is not a folder.
    """
    folder = result.parent
    try:
        there = _nearest(folder)
        if not there.is_dir():
            raise InputError(f'output folder {folder}: {there} is not a '
                             'folder')
        if create:
            folder.mkdir(parents=True, exist_ok=True)
            there = folder
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(13, 'no permission to write')
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b'x' * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f'output folder {folder} cannot be written: '
                         f'{error.strerror or error}') from error


def check_written(
    written: Sequence[Path], read: Iterable[Path | str], may_exist: bool,
) -> None:
    """Check that files which a run will write are nobody's.

    `read` are files that the run reads; what is no file is passed over.
    With `may_exist` files of an earlier run are replaced.

    Raises:
        InputError: one of them is a folder, is read, or is there already.
    """
    inputs = {_identity(path): path for path in read if os.path.isfile(path)}
    there = [path for path in written if os.path.lexists(path)]
    for path in there:
        if path.is_dir():
            raise InputError(f'{path} is a folder, and a file of this name '
                             'is to be written')
        known = inputs.get(_identity(path)) if path.exists() else None
        if known is not None:
            raise InputError(f'{path} would replace {known}, which is read: '
                             'choose another name for the output')
    if there and not may_exist:
        raise in_the_way(there)


def in_the_way(there: Iterable[Path]) -> InputError:
    """Return the error of results that a run would write over unasked."""
    return InputError(f'{" and ".join(map(str, there))} exist(s) already: '
                      'use --resume to continue, --overwrite to replace, or '
                      'another name for the output')


def _identity(path: Path | str) -> tuple[int, int]:
    """Return what two names of one file have in common."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def check_space(result: Path, need: int) -> None:
    """Compare the predicted size of journals and results with free space.

    Raises:
        InputError: less than `need` bytes are free.
    """
    free = shutil.disk_usage(_nearest(result.parent)).free
    if free < need:
        raise InputError(
            f'output folder {result.parent}: the results will take about '
            f'{need / 1e6:.1f} MB and {free / 1e6:.1f} MB are free')


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
