"""Is the place for the results fit for them, before any work is done."""
from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from mpiapp.errors import InputError


def check_output(result: Path, create: bool = True) -> None:
    """Make the folder of a result file and try to write in it.

    With `create` false nothing is left behind.

    Raises:
        InputError: it can't be made or written, or is not a folder.
    """
    folder = result.parent
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise InputError(f'output folder {folder}: {there} is not a folder')
    try:
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


def check_space(result: Path, need: int) -> None:
    """Compare the predicted size of journals and results with free space.

    Raises:
        InputError: less than `need` bytes are free.
    """
    there = result.parent
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < need:
        raise InputError(
            f'output folder {result.parent}: the results will take about '
            f'{need / 1e6:.1f} MB and {free / 1e6:.1f} MB are free')
