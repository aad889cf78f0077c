"""MACE models converted for the native library, kept in the user's cache."""
from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mpiapp.potentials.base import file_sha256
from mpiapp.potentials.mace.loading import load
from mpiapp.records import InputError

#: distribution on PyPI and package of the native library
DISTRIBUTION, PACKAGE = 'symmetrix-xl', 'symmetrix'
#: Points of the radial splines: forces are off by 2e-6 eV/A with 1000, 2e-7
#: with 2000 and with 4000 (student, 154 atoms), but a process holds the
#: tables of all pairs of elements and makes them at its start: twice the
#: points are twice the memory (0.9 GB with 2000 and 6 elements) and time.
SPLINE_POINTS = 2000

log = logging.getLogger(__name__)


def converted(model_path: str) -> Path:
    """Return the converted model; convert it if the cache has none.

    Safe while other processes do the same: one converts, the others wait.
    A cached file that does not have its checksum is made anew.  Raises
    InputError, saying why, for models that can't be converted and where
    the cache can't be written.
    """
    target = cached_path(model_path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            if not intact(target):
                _write(target, convert(model_path))
    except OSError as error:
        raise InputError(f'back end native: cannot write {target}: '
                         f'{error.strerror or error}') from error
    return target


def cached_path(model_path: str) -> Path:
    """Return where the converted model belongs, there or not."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    name = (f'{file_sha256(model_path)}-{version(DISTRIBUTION)}-'
            f'{SPLINE_POINTS}.json')
    return Path(cache) / 'mpiapp' / 'native' / name


def intact(path: Path) -> bool:
    """Tell whether a file of the cache is there and has its checksum."""
    try:
        expected = _checksum_path(path).read_text('ascii').strip()
        found = file_sha256(path)
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    if found != expected:
        log.warning('%s is damaged; the model is converted anew', path)
    return found == expected


def convert(model_path: str) -> bytes:
    """Return the model in the native library's JSON.

    Without the isolated-atom energies, so that its atomic energies keep
    all their digits.  Raises InputError if the library can't do it.
    """
    import torch
    model = load(model_path, 'float64', 'cpu')
    several = len(getattr(model.module, 'heads', None) or []) > 1
    log.info('converting %s for the back end native', Path(model_path).name)
    with tempfile.TemporaryDirectory(prefix='mpiapp-') as folder:
        source = Path(folder) / 'without_e0.model'
        torch.save(model.module, source)
        with _quiet_torch():
            data = _extract(source, model.head_name if several else None)
    return json.dumps(data, separators=(',', ':')).encode()


def _extract(source: Path, head: str | None) -> Any:
    from symmetrix.extract_mace_data import extract_mace_data
    try:
        return extract_mace_data(
            str(source), head=head, num_spline_points=SPLINE_POINTS)
    except Exception as error:  # it checks little before it uses a model
        reason = str(error).strip().splitlines()
        raise InputError(
            'back end native: the model cannot be converted '
            f'({type(error).__name__}: {reason[0] if reason else ""})',
        ) from error


@contextlib.contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep what the library says to itself, and torch as it was."""
    import torch
    before = torch.get_default_dtype()
    printed = io.StringIO()
    # it speaks through the root logger
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)
        torch.set_default_dtype(before)
        log.debug('%s: %s', DISTRIBUTION, printed.getvalue().strip())


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock of a file; without one where there are no locks."""
    with open(target.with_suffix('.lock'), 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # renames are atomic: only work is doubled
            log.debug('%s: %s', file.name, error)
        yield


def _write(target: Path, content: bytes) -> None:
    """Put the content and its checksum in place, each at once."""
    import hashlib
    checksum = hashlib.sha256(content).hexdigest()
    for path, data in ((target, content),
                       (_checksum_path(target), checksum.encode())):
        with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, path)


def _checksum_path(path: Path) -> Path:
    return path.with_suffix('.sha256')
