"""The files of MACE models: bundled, in mace-torch's cache, or named."""
from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

from mpiapp.data_files import data_file
from mpiapp.potentials.base import file_sha256
from mpiapp.potentials.mace.importing import import_mace
from mpiapp.records import InputError

log = logging.getLogger(__name__)

#: the bundled model and its file
BUNDLED = 'student'

#: MACE-OFF23, the sizes that mace-torch downloads
SIZES = ('small', 'medium', 'large')

#: seconds in which the server must answer before a download is tried
ANSWER_TIMEOUT = 15.0


def find(model: str) -> str | None:
    """Return the file of a named model; None if it isn't cached yet."""
    if model == BUNDLED:
        return str(bundled_path())
    if model not in SIZES:
        raise InputError(
            f'unknown model {model!r}; allowed: {BUNDLED}, '
            f'{", ".join(SIZES)}, or a file with --model-path')
    path = cached_path(model)
    return str(path) if path.exists() else None


def bundled_path() -> Path:
    """Return the file of the bundled model, there or not."""
    return data_file(f'models/{BUNDLED}.model')


def cached_path(size: str) -> Path:
    """Return where mace-torch keeps MACE-OFF23 of that size."""
    cache = os.environ.get('XDG_CACHE_HOME', str(Path.home() / '.cache'))
    return Path(cache) / 'mace' / f'MACE-OFF23_{size}.model'


def check(path: str) -> None:
    """Raise InputError if the file can't be a PyTorch model.

    Looks at its first and last bytes only; what is inside is checked when
    the model is loaded.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(
            f'model file {path}: {error.strerror or error}') from error
    fault = _fault(path, head)
    if fault:
        raise InputError(
            f'model file {path}: {fault}; delete it and fetch the model '
            'again, or name another file with --model-path')


def _fault(path: str, head: bytes) -> str:
    """Return what is wrong with a file that starts with `head`, or ''."""
    if not head:
        return 'the file is empty'
    if head.lstrip()[:1] == b'<':
        return 'this is an HTML or XML page, not a model'
    if head.startswith(b'version https://git-lfs'):
        return 'this is a Git LFS pointer, not the model itself'
    if head.startswith(b'PK'):
        # the directory of a zip archive is at its end
        whole = zipfile.is_zipfile(path)
        return '' if whole else 'the file is truncated'
    # PyTorch before 1.6 wrote bare pickles, protocol 2 and up
    return '' if head.startswith(b'\x80') else 'not a PyTorch file'


@lru_cache
def warn(path: str) -> None:
    """Warn of a model file that the user named, once, with its hash.

    To be called before it is loaded, by one rank.
    """
    own = [bundled_path(), *map(cached_path, SIZES)]
    if Path(path) not in own:
        log.warning('note: %s, sha256 %s: a model file is a Python pickle, '
                    'and loading one runs what is in it; use none that you '
                    'do not trust', path, file_sha256(path))


def download(size: str) -> str:
    """Fetch MACE-OFF23 with mace-torch, into its cache; return the path.

    Prints the licence notice to stderr.  Raises InputError naming the ways
    out where that fails.  One process at a time per job.
    """
    target = cached_path(size)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
                prefix='mpiapp-', dir=target.parent) as folder:
            # a folder of its own: jobs that start together would write to
            # the same partial file, and only a model that loads is moved on
            os.replace(_fetch(size, folder), target)
    except (OSError, RuntimeError, HTTPException, EOFError,
            pickle.PickleError) as error:
        cause = error.__cause__ or error
        raise InputError(how_to_get(size, str(cause))) from error
    print(f'MACE-OFF23 {size} is now in {target}', file=sys.stderr)
    return str(target)


def _fetch(size: str, folder: str) -> str:
    """Run mace-torch's download with `folder` as cache; return the file."""
    import urllib.request
    import_mace()
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from mace.calculators.foundations_models import mace_off, mace_off_urls
        url = mace_off_urls[size]
        # mace-torch waits 120 s at each read: ask first who is there
        request = urllib.request.Request(url, method='HEAD')
        urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT).close()
        with _cache_in(folder):
            path = cached_path(size)
            mace_off(model=size, device='cpu', return_raw_model=True)
    return str(path)


@contextlib.contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    """Let mace-torch's cache be in `folder` for a while."""
    before = os.environ.get('XDG_CACHE_HOME')
    os.environ['XDG_CACHE_HOME'] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ['XDG_CACHE_HOME']
        else:
            os.environ['XDG_CACHE_HOME'] = before


def how_to_get(size: str, reason: str) -> str:
    """Return the message for a model that is neither here nor fetchable."""
    return (
        f'MACE-OFF23 {size} is not in the cache and was not downloaded '
        f'({reason}). Ways out:\n'
        f'  --model-path FILE   a MACE model that is already on disk\n'
        f'  --model {BUNDLED}     the bundled model (no network needed)\n'
        f'  --calculator gfn2   GFN2-xTB instead (no model needed)\n'
        f'  or run this on a machine with network, in the same environment:\n'
        f'    python -c "from mace.calculators import mace_off; '
        f"mace_off(model='{size}', device='cpu', return_raw_model=True)\"\n"
        f'  and put the file where it is looked for (XDG_CACHE_HOME counts):\n'
        f'    {cached_path(size)}'
    )
