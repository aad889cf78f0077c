"""Checkpoints of a training: written whole, the best kept apart, mended.

mace-torch names a checkpoint by its epoch, and the one of a stop within an
epoch takes the same name as the one of its end.  Ours tell themselves
whether they were validated: then they hold the point of the learning curve.
The best of these is kept in a file of its own.
"""
from __future__ import annotations

import json
import logging
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

log = logging.getLogger('mpiapp')

#: checkpoints that are kept besides the best one
KEPT = 2
#: the epoch of a start as it was before any training
START = -1
#: what reading a damaged checkpoint raises
DAMAGED = (EOFError, RuntimeError, KeyError, TypeError, ValueError,
           pickle.UnpicklingError)


@dataclass(frozen=True)
class Job:
    """One training: its folder, the trainer's options, where it starts.

    `options` are those of mace_run_train.  `fast` computes on the CPU with
    the exact polynomial; there each of `threads` takes some of the structures
    of a step.
    """

    folder: Path
    name: str
    options: Mapping[str, Any]
    seed: int = 0
    max_epochs: int = 100
    device: str = 'cpu'
    start: Path | None = None
    fast: bool = True
    threads: int = 1

    @property
    def tag(self) -> str:
        """The trainer's name for its files."""
        return f'{self.name}_run-{self.seed}'

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / 'checkpoints'


def curve(job: Job) -> list[dict[str, float]]:
    """Return the validation errors by epoch, meV, A; the last of each.

    Those of a start, which some weights were taken from, are of epoch -1.
    """
    path = job.folder / 'results' / f'{job.tag}_train.txt'
    points: dict[int, dict[str, float]] = {}
    if path.exists():
        for line in path.read_text('utf-8', 'replace').splitlines():
            point = _point(line)
            if point is None or point['epoch'] == START and (
                    job.start is None or START in points):
                continue
            points[int(point['epoch'])] = point
    return [points[k] for k in sorted(points)]


def _point(line: str) -> dict[str, float] | None:
    """Return the point of a line; None of other lines and of torn ones."""
    try:
        values = json.loads(line)
        if values['mode'] != 'eval':
            return None
        epoch = START if values['epoch'] is None else values['epoch']
        return {'epoch': epoch, 'loss': values['loss'], **{
            k: 1e3 * values[k] for k in (
                'mae_e_per_atom', 'rmse_e_per_atom', 'mae_f', 'rmse_f')}}
    except (ValueError, KeyError, TypeError):
        return None  # the disk was full, or the process was killed


def saved(job: Job) -> dict[int, Path]:
    """Return the checkpoints by epoch."""
    pattern = re.compile(re.escape(job.tag) + r'_epoch-(\d+)\.pt')
    found = {}
    if job.checkpoints.is_dir():
        for path in job.checkpoints.iterdir():
            match = pattern.fullmatch(path.name)
            if match:
                found[int(match[1])] = path
    return found


def latest(job: Job) -> int | None:
    """Return the epoch of the latest checkpoint."""
    return max(saved(job), default=None)


def save(
    job: Job, state: Mapping[str, Any], epoch: int, validated: bool,
) -> None:
    """Write a checkpoint; a validated one may be the best.

    `state` are the trainer's states by name.
    """
    point = next((p for p in curve(job) if p['epoch'] == epoch), None) \
        if validated else None
    job.checkpoints.mkdir(parents=True, exist_ok=True)
    _write(job.checkpoints / f'{job.tag}_epoch-{epoch}.pt',
           {**state, 'point': point})
    propose(job, state['model'], point)


def propose(
    job: Job, weights: Mapping[str, Any], point: Mapping[str, float] | None,
) -> None:
    """Keep weights as the best if their validation loss is the least."""
    if point is None or not math.isfinite(point['loss']):
        return
    best = read_best(job)
    if best is None or point['loss'] < best['point']['loss']:
        job.checkpoints.mkdir(parents=True, exist_ok=True)
        _write(best_path(job), {'model': dict(weights), 'point': dict(point)})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint by way of memory.

    PyTorch's own writing hides why it fails, such as a full disk.
    """
    import torch

    from mpiapp.store.files import replacing
    packed = BytesIO()
    torch.save(dict(content), packed)
    with replacing(path) as part:
        part.write_bytes(packed.getvalue())


def load(job: Job, epoch: int) -> dict[str, Any]:
    """Return a checkpoint; `point` is None unless it was validated."""
    return _read(saved(job)[epoch])


def best_path(job: Job) -> Path:
    """Return the file of the best checkpoint."""
    return job.checkpoints / f'{job.tag}_best.pt'


def read_best(job: Job) -> dict[str, Any] | None:
    """Return weights and curve point of least validation loss, if any."""
    path = best_path(job)
    return _read(path) if path.exists() else None


def read_last(job: Job) -> dict[str, Any] | None:
    """Return weights and curve point of the last validated epoch, if any."""
    for epoch in sorted(saved(job), reverse=True):
        found = load(job, epoch)
        if found['point'] is not None:
            return found
    return None


def _read(path: Path) -> dict[str, Any]:
    import torch
    found: dict[str, Any] = torch.load(path, map_location='cpu',
                                       weights_only=True)
    found['model']
    # none in what mace-torch itself has written
    found.setdefault('point', None)
    return found


def mend(job: Job) -> None:
    """Remove checkpoints that can't be read, with a warning.

    In the place of a damaged best one comes the best that is left.
    """
    for path in saved(job).values():
        _drop_damaged(path, 'the training goes on from the one before')
    if _drop_damaged(best_path(job),
                     'the best of the epochs that are left takes its place'):
        for epoch in saved(job):
            found = load(job, epoch)
            propose(job, found['model'], found['point'])


def _drop_damaged(path: Path, then: str) -> bool:
    """Remove a checkpoint that can't be read; tells whether it was one."""
    if not path.exists():
        return False
    try:
        _read(path)
    except DAMAGED as error:
        path.unlink()
        log.warning('%s is damaged (%s) and was removed; %s', path,
                    type(error).__name__, then)
        return True
    return False


def prune(job: Job) -> None:
    """Delete all checkpoints but the latest two and the best."""
    there = saved(job)
    for epoch in sorted(there)[:-KEPT]:
        there[epoch].unlink()
