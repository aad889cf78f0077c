"""The working folder of a campaign: its description, lock and journals."""
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpiapp
from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.locks import take_lock
from mpiapp.records import Schema
from mpiapp.store.files import replacing, sync_folder
from mpiapp.store.output import in_the_way
from mpiapp.store.packing import schema_digest

FORMAT = 'mpiapp campaign'
VERSION = 1
DESCRIPTION = 'campaign.json'
LOCK = 'lock'
JOURNAL = re.compile(r'run(\d{3,})-rank(\d{4,})\.jnl')


@dataclass
class CampaignFolder:
    """An open campaign: held by rank 0, locked until `close`.

    `run` counts the starts of the campaign from 1; `fresh` tells that
    nothing was there before.
    """

    path: Path
    run: int
    digest: str
    fresh: bool
    lock: int = -1

    def close(self) -> None:
        """Let another job work on the campaign."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def folder_of(result: Path) -> Path:
    """Return the working folder of a result file: x.h5 -> x.journal."""
    return result.with_suffix('.journal')


def journal_name(run: int, rank: int) -> str:
    """Return the name of the journal of a rank in a run."""
    return f'run{run:03d}-rank{rank:04d}.jnl'


def journal_names(folder: Path) -> list[str]:
    """Return the names of all journals, oldest run first."""
    names = [m for m in map(JOURNAL.fullmatch, os.listdir(folder)) if m]
    names.sort(key=lambda m: (int(m[1]), int(m[2])))
    return [m[0] for m in names]


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the sha256 of settings that are JSON data."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def open_campaign(
    result: Path, settings: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]], schema: Schema,
    resume: bool = False, overwrite: bool = False,
    rows: Mapping[str, Any] | None = None,
) -> CampaignFolder:
    """Start or continue the campaign whose result file is `result`.

    To be called by one process.  `settings` is JSON data that must not
    change between runs; `inputs` are mappings with `path`, `sha256` and
    `n_records`, to which files may be added at the end.  `rows` (JSON data)
    tells those who follow the campaign which it works on; never compared,
    as it may be others on resume.

    Raises:
        InputError: results are there and neither resume nor overwrite is
            asked for; other settings or inputs; another job works on it;
            the folder can't be written.
    """
    result = Path(result)
    folder = folder_of(result)
    described = describe(settings, inputs, schema)
    try:
        fresh = check_campaign(result, described, resume, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder / LOCK, folder)
        try:
            # again, under the lock: the other job may just have ended
            fresh = check_campaign(result, described, resume, overwrite)
            if overwrite:
                _clear(result, folder)
            run = 1 if fresh else int(_read(folder)['runs']) + 1
            _write(folder, {**described, 'runs': run,
                            **({'rows': dict(rows)} if rows else {})})
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise InputError(f'cannot write in {folder}: '
                         f'{error.strerror or error}') from error
    digest = settings_digest(described['settings'])
    return CampaignFolder(folder, run, digest, fresh, lock)


@contextmanager
def held(result: Path) -> Iterator[None]:
    """Keep other jobs off a campaign that was worked on, for a block.

    Raises:
        InputError: another job works on it.
    """
    folder = folder_of(result)
    lock = take_lock(folder / LOCK, folder)
    try:
        yield
    finally:
        os.close(lock)


def stages_of(result: Path) -> Path:
    """Return the folder of a refinement: x.h5 -> x.stages."""
    return result.with_suffix('.stages')


def stage_names(result: Path) -> list[str]:
    """Return the names of the stages that were begun, in order."""
    return sorted(p.stem for p in stages_of(result).glob('*.journal'))


def stage_tables(result: Path) -> list[Path]:
    """Return the tables that a refinement leaves beside its result.

    Those of each stage that was begun, and the comparison.
    """
    from mpiapp.store.comparison import comparison_paths
    from mpiapp.store.export import tables_of
    return [*comparison_paths(result.with_suffix('')), *(
        path for name in stage_names(result)
        for path in tables_of(result.with_name(f'{result.stem}_{name}')))]


def stored_settings(result: Path) -> dict[str, Any]:
    """Return the settings of a campaign that was started, {} if none was.

    Raises:
        InputError: its description is damaged.
    """
    folder = folder_of(Path(result))
    if not (folder / DESCRIPTION).exists():
        return {}
    return dict(_read(folder)['settings'])


def describe(
    settings: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]],
    schema: Schema,
) -> dict[str, Any]:
    """Return the content of the description, without the run counter."""
    return {
        'format': FORMAT, 'file_version': VERSION,
        'mpiapp_version': mpiapp.__version__,
        'schema_digest': schema_digest(schema),
        'settings': json.loads(json.dumps(settings)),
        'inputs': [dict(i) for i in inputs],
    }


def check_campaign(
    result: Path, described: Mapping[str, Any], resume: bool,
    overwrite: bool,
) -> bool:
    """Tell whether a start would be a fresh one; changes nothing.

    Raises:
        InputError: it would be refused.
    """
    folder = folder_of(result)
    if result.is_dir() or folder.exists() and not folder.is_dir():
        raise InputError(f'{result} or {folder} is in the way')
    started = (folder / DESCRIPTION).exists() \
        or folder.is_dir() and bool(journal_names(folder))
    stages = stages_of(result)
    there = [p for p, yes in ((result, result.exists()), (folder, started),
                              (stages, stages.exists())) if yes]
    if overwrite or not there:
        return True
    if not resume:
        raise in_the_way(there)
    if not started:
        raise InputError(
            f'cannot resume {result}: its journals ({folder}) are gone; use '
            '--overwrite to start anew')
    _compare(folder, _read(folder), described)
    return False


def _read(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        described = parsed(path.read_text(encoding='utf-8'))
        if described['format'] != FORMAT:
            raise ValueError('another format')
        version = described['file_version']
        ok = isinstance(described['settings'], dict) \
            and type(described['runs']) is int and described['runs'] > 0 \
            and isinstance(described['schema_digest'], str) \
            and isinstance(described['mpiapp_version'], str) and all(
                isinstance(i['sha256'], str) for i in described['inputs'])
    except OSError as error:
        raise InputError(f'cannot read {path}: {error.strerror}; use '
                         '--overwrite to start anew') from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path} is damaged ({error}); use --overwrite to '
                         'start anew') from error
    if version != VERSION:
        raise InputError(f'{path} has version {version}; this program reads '
                         f'version {VERSION}')
    if not ok:
        raise InputError(f'{path} is damaged; use --overwrite')
    return described


def _compare(
    folder: Path, old: Mapping[str, Any], new: Mapping[str, Any],
) -> None:
    """Refuse to continue with other settings, columns or inputs."""
    lines = differences(old['settings'], new['settings'])
    if old['schema_digest'] != new['schema_digest']:
        lines.append(f'columns of the results: were those of mpiapp '
                     f'{old["mpiapp_version"]}, now {new["mpiapp_version"]}')
    for i, was in enumerate(old['inputs']):
        now = new['inputs'][i] if i < len(new['inputs']) else None
        if now is None:
            lines.append(f'input {i + 1}: was {was.get("path")}, now missing')
        elif now['sha256'] != was['sha256']:
            lines.append(f'input {i + 1}: was {_file(was)}, '
                         f'now {_file(now)}')
    if lines:
        raise InputError(f'cannot resume {folder}, it was started '
                         'differently:\n  ' + '\n  '.join(lines))


def _file(item: Mapping[str, Any]) -> str:
    return f'{item.get("path")} (sha256 {item["sha256"][:12]})'


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any],
) -> list[str]:
    """Return one line for each setting that differs."""
    was, now = _flat(old), _flat(new)
    absent = 'absent'
    return [
        f'{name}: was {was.get(name, absent)}, now {now.get(name, absent)}'
        for name in sorted(was.keys() | now.keys())
        if was.get(name, absent) != now.get(name, absent)]


def _flat(settings: Mapping[str, Any], prefix: str = '') -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            result.update(_flat(value, f'{prefix}{name}.'))
        else:
            result[prefix + name] = json.dumps(value)
    return result


def _write(folder: Path, described: Mapping[str, Any]) -> None:
    with replacing(folder / DESCRIPTION) as part:
        text = json.dumps(described, indent=1, sort_keys=True)
        part.write_text(text + '\n', encoding='utf-8')


def _clear(result: Path, folder: Path) -> None:
    """Delete the results of earlier runs, the description first.

    A kill in between leaves journals without description, which --resume
    refuses and --overwrite deletes.
    """
    result.unlink(missing_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    if stages_of(result).is_dir():
        for path in stage_tables(result):
            path.unlink(missing_ok=True)
        shutil.rmtree(stages_of(result))
    for name in journal_names(folder):
        (folder / name).unlink()
    sync_folder(folder)
