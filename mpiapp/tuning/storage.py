"""Where a study is kept: a journal file, or a database by its URL.

One process of one job writes: a lock file beside a journal or an SQLite
file keeps other jobs off; on a database server nothing does.  A journal cut
off in the middle of a line by a kill is mended, as Optuna itself would
append to the torn line; any other damage is refused.
"""
from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.locks import take_lock

#: seconds between two waits for the disk
SYNC_SECONDS = 5.0

log = logging.getLogger('mpiapp')


def is_url(where: str) -> bool:
    """Tell whether a storage is a database and not a file."""
    return '://' in where


def storage_of(url_or_path: str) -> str:
    """Return a storage's name with passwords left out."""
    if not is_url(url_or_path):
        return url_or_path
    scheme, _, rest = url_or_path.partition('://')
    user, at, host = rest.rpartition('@')
    return f'{scheme}://{user.partition(":")[0]}{at}{host}'


@dataclass
class Opened:
    """A storage and the lock that keeps other jobs off it."""

    storage: Any
    lock: int = -1

    def close(self) -> None:
        """Let another job write."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def open_for_writing(where: str) -> Opened:
    """Open a storage, made if it is not there.

    Raises:
        InputError: another job writes to it; damaged; not to be reached.
    """
    if is_url(where):
        return _database_for_writing(where)
    path = Path(where)
    lock = _own(path)
    try:
        if path.exists():
            mend(path)
        # a link that a killed process left; nobody else writes here
        Path(f'{path}.lock').unlink(missing_ok=True)
        return Opened(_journal(path), lock)
    except BaseException:
        os.close(lock)
        raise


def _database_for_writing(url: str) -> Opened:
    file = sqlite_file(url)
    if file is None:
        return Opened(_database(url))
    lock = _own(file)
    try:
        return Opened(_database(url), lock)
    except BaseException:
        os.close(lock)
        raise


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite database, None for others.

    An SQLite file in memory is none either.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError
    try:
        parts = make_url(url)
    except ArgumentError:
        # `_database` says what is wrong
        return None
    if parts.get_backend_name() != 'sqlite' \
            or parts.database in (None, '', ':memory:'):
        return None
    return Path(str(parts.database))


def open_for_reading(where: str) -> Any:
    """Open a storage that must exist; nothing in it is changed.

    Raises:
        InputError: missing, damaged, not to be reached.
    """
    path = sqlite_file(where) if is_url(where) else Path(where)
    if path is not None and not path.is_file():
        # SQLite would make an empty one
        raise InputError(f'--storage {storage_of(where)}: no such file')
    if path is None or is_url(where):
        return _database(where)
    lines_of(path)
    return _journal(path)


def _own(path: Path) -> int:
    """Return a locked descriptor beside a journal or SQLite file."""
    owner = path.with_name(path.name + '.owner')
    try:
        if path.is_dir():
            raise IsADirectoryError(21, 'is a folder')
        path.parent.mkdir(parents=True, exist_ok=True)
        return take_lock(owner, path)
    except OSError as error:
        raise InputError(f'--storage {path}: {error.strerror}') from error


def lines_of(path: Path) -> tuple[int, int]:
    """Check the journal; return its sound bytes and those of a torn end.

    Raises:
        InputError: a line that no Optuna journal has.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f'--storage {path}: {error.strerror}') from error
    sound = data.rfind(b'\n') + 1
    for number, line in enumerate(data[:sound].splitlines(), 1):
        try:
            entry = parsed(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or 'op_code' not in entry:
            raise InputError(
                f'--storage {path}: line {number} is not of an Optuna '
                'journal; the file is damaged, or another kind of file')
    return sound, len(data) - sound


def mend(path: Path) -> None:
    """Cut the torn last line off a journal.

    Raises:
        InputError: the journal is damaged elsewhere.
    """
    sound, torn = lines_of(path)
    if not torn:
        return
    log.warning('%s: %d bytes of a torn last line are cut off', path, torn)
    with open(path, 'r+b') as file:
        file.truncate(sound)
        os.fsync(file.fileno())


def _file(path: Path) -> Any:
    """Return the journal file, for its only writer.

    Optuna's own takes a lock and waits for the disk at every entry, some
    ten a trial.  One writer needs no lock; an entry is one `write`, which a
    killed process does not lose, and the disk is waited for every few
    seconds, against a fall of the machine.
    """
    from optuna.storages.journal import JournalFileBackend

    class OneWriter(JournalFileBackend):
        synced = 0.0

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            text = ''.join(json.dumps(entry, separators=(',', ':')) + '\n'
                           for entry in logs)
            with open(path, 'ab', buffering=0) as file:
                file.write(text.encode())
                now = time.monotonic()
                if now - self.synced > SYNC_SECONDS:
                    os.fsync(file.fileno())
                    self.synced = now

    return OneWriter(str(path))


def _journal(path: Path) -> Any:
    from optuna.storages import JournalStorage
    try:
        return JournalStorage(_file(path))
    except OSError as error:
        raise InputError(f'--storage {path}: {error.strerror}') from error
    except Exception as error:
        # whatever a journal of sound lines but wrong content leads to
        raise InputError(f'--storage {path}: not the journal of a study '
                         f'({type(error).__name__}: {error})') from error


def _database(url: str) -> Any:
    from optuna.storages import RDBStorage
    try:
        return RDBStorage(url)
    except Exception as error:
        # drivers of databases raise what they like
        text = str(error).partition('\n')[0]
        raise InputError(f'--storage {storage_of(url)}: cannot be opened '
                         f'({type(error).__name__}: {text})') from error
