"""What a measurement leaves behind: rows and all they depend on, as JSON."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.benchmarks.context import machine, versions
from mpiapp.errors import InputError
from mpiapp.json_text import parsed

#: version of the layout of the JSON file
SCHEMA = 1
#: environment that changes times
VARIABLES = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS',
             'CUDA_VISIBLE_DEVICES', 'CUDA_MPS_PIPE_DIRECTORY')
GOVERNOR = Path('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')
#: where Linux tells the energy that the processor took, if it may be read
RAPL = Path('/sys/class/powercap/intel-rapl:0/energy_uj')


def surroundings() -> dict[str, Any]:
    """Return machine, versions, source revision and environment."""
    return {
        'machine': machine(), 'versions': versions(),
        'revision': revision(),
        'environment': {n: os.environ[n] for n in VARIABLES
                        if n in os.environ},
        'affinity': sorted(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity') else [],
        'governor': read_text(GOVERNOR) or 'unknown',
        'energy_counter': 'readable' if read_text(RAPL) else 'not readable',
        'gpu': gpu_state(),
    }


def read_text(path: Path) -> str:
    """Return the content of a small file of the system, '' if none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ''


def gpu_state() -> dict[str, str]:
    """Return clocks, power, temperature and throttling of the GPU, if any."""
    names = ('clocks.sm', 'power.draw', 'temperature.gpu',
             'clocks_throttle_reasons.active')
    try:
        done = subprocess.run(
            ['nvidia-smi', f'--query-gpu={",".join(names)}',
             '--format=csv,noheader'],
            capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode:
        return {}
    return dict(zip(names, done.stdout.splitlines()[0].split(', ')))


def revision() -> str:
    """Return the git revision of the source, 'unknown' without one."""
    try:
        done = subprocess.run(
            ['git', 'describe', '--always', '--dirty'],
            cwd=Path(__file__).parent, capture_output=True, text=True,
            timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 'unknown'
    return done.stdout.strip() if done.returncode == 0 else 'unknown'


def document(
    command: str, rows: Sequence[Mapping[str, Any]], **more: Any,
) -> dict[str, Any]:
    """Return the content of a result file."""
    return {'schema': SCHEMA, 'command': command,
            'words': ' '.join(sys.argv), **surroundings(), **more,
            'rows': [dict(r) for r in rows]}


class Results:
    """The result file of a command, written anew with every row.

    A run that is interrupted leaves what it has: `complete` is false then.
    Without a path nothing is written.
    """

    def __init__(self, command: str, path: str | None) -> None:
        self.path, self.rows = path, list[dict[str, Any]]()
        self._head = document(command, [])

    def add(self, *rows: Mapping[str, Any], **more: Any) -> None:
        """Take rows that are done, and `more` beside them."""
        self.rows += [dict(r) for r in rows]
        self._head |= more
        self._write(False)

    def close(self, **more: Any) -> dict[str, Any]:
        """Write the whole result and return it."""
        self._head |= more
        return self._write(True)

    def _write(self, complete: bool) -> dict[str, Any]:
        content = {**self._head, 'complete': complete, 'rows': self.rows}
        if self.path:
            write_json(self.path, content)
        return content


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a result file, whole or not at all.

    Raises:
        StoreError: it can't be written.
    """
    from mpiapp.store.files import replacing
    with replacing(Path(path)) as part:
        part.write_text(json.dumps(
            content, indent=1, default=plain, allow_nan=True))


def check_targets(
    *paths: str | None, read: Iterable[str] = (), create: bool = True,
) -> None:
    """Check that files which are to be written can be, before any work.

    Makes their folders if `create`.  `read` are the files that are read.

    Raises:
        InputError: a folder can't be made or written, a file is read.
    """
    from mpiapp.store.output import check_output, check_written
    check_written([Path(p) for p in paths if p], read, True)
    for path in map(Path, filter(None, paths)):
        if path.is_dir():
            raise InputError(f'{path} is a folder, not a file to write')
        check_output(path, create)


def plain(value: Any) -> Any:
    """Return NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f'{type(value).__name__} is no JSON data')


def read_document(path: str | Path) -> dict[str, Any]:
    """Return a result file of any command of bench.

    Takes JSON, and the HDF5 file of `inference`.

    Raises:
        InputError: unreadable, or another kind of file.
    """
    if str(path).endswith('.h5'):
        return from_campaign(Path(path))
    try:
        found = parsed(Path(path).read_text())
    except OSError as error:
        raise InputError(f'{path}: {error.strerror}') from error
    except ValueError as error:
        raise InputError(f'{path}: not JSON ({error})') from error
    if not isinstance(found, dict) or 'rows' not in found:
        raise InputError(f'{path}: not a result of mpiapp.bench')
    if found.get('schema') != SCHEMA:
        raise InputError(f'{path} has schema {found.get("schema")!r}; this '
                         f'program reads {SCHEMA}')
    return found


def from_campaign(path: Path) -> dict[str, Any]:
    """Return the rows of a result file of `inference`."""
    from mpiapp.benchmarks.harness.worker import rows_from
    from mpiapp.store.reader import load
    campaign = load(path)
    if campaign.meta.get('program') != 'bench inference':
        raise InputError(f'{path}: not a result of bench inference')
    rows = [row for i in range(campaign.n_records)
            for row in rows_from(campaign.ragged('rows_json', i))]
    return {'schema': SCHEMA, 'command': 'inference',
            **campaign.meta.get('surroundings', {}), 'rows': rows}
