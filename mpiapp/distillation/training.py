"""`distill train`: data, recipe and start checked; the trainer; the result."""
from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.chemistry.checks import symbols
from mpiapp.data_files import data_file
from mpiapp.distillation import frames as labelled
from mpiapp.distillation.frames import Frame
from mpiapp.errors import InputError
from mpiapp.locks import take_lock
from mpiapp.store.files import replacing
from mpiapp.store.folder import differences
from mpiapp.store.output import check_output, check_written, in_the_way

if TYPE_CHECKING:
    from mpiapp.distillation.checkpoints import Job

#: options of the trainer that are ours to set
OURS = frozenset({
    'name', 'seed', 'device', 'train_file', 'valid_file', 'test_file',
    'work_dir', 'log_dir', 'model_dir', 'checkpoints_dir', 'results_dir',
    'energy_key', 'forces_key', 'max_num_epochs', 'patience',
    'eval_interval', 'restart_latest', 'save_all_checkpoints', 'E0s',
    'atomic_numbers', 'swa', 'start_swa', 'foundation_model'})
#: file of what decides a training
SETTINGS = 'settings.json'
#: folders that the trainer writes
WORK = ('checkpoints', 'results', 'logs')
#: ... and the names of the trainer's files there; others are not ours
OF_TRAINER = '*_run-*'
#: eV; more than any molecule's energy of atomisation by its atoms
TOO_FAR = 10.0
#: batch_size of mace_run_train where the recipe has none
BATCH_SIZE = 10


@dataclass(frozen=True)
class TrainSettings:
    """What `distill train` is asked for; names as the options."""

    data: tuple[str, ...]
    valid: tuple[str, ...]
    recipe: str
    start: str
    folder: Path
    name: str
    elements: tuple[str, ...]
    valid_share: float
    seed: int
    max_epochs: int
    device: str
    max_atoms: int | None
    fast: bool
    threads: int = 1
    choose: str = 'best'


@dataclass(frozen=True)
class Prepared:
    """Checked data and options of one training.

    `left_out` counts frames of --data with molecules of --valid.
    """

    train: Sequence[Frame]
    valid: Sequence[Frame]
    left_out: int
    options: Mapping[str, Any]
    settings: Mapping[str, Any]


def read_recipe(name: str) -> dict[str, Any]:
    """Return a stored recipe (cpu, gpu, bundled_1 ...) or that of a TOML file.

    Raises:
        InputError: no such file, no TOML, or an option that is ours.
    """
    stored = data_file(f'distill/{name}.toml')
    path = stored if stored.exists() else Path(name)
    try:
        found = tomllib.loads(path.read_text('utf-8'))
    except OSError as error:
        raise InputError(f'--recipe {name}: neither a recipe of data/distill '
                         f'nor a file ({error.strerror})') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'--recipe {name}: {error}') from error
    taken = sorted(OURS & set(found))
    if taken:
        raise InputError(f'--recipe {name}: {", ".join(taken)} cannot be '
                         'set there: `distill train` sets it')
    return found


def prepare(asked: TrainSettings) -> Prepared:
    """Read and check everything before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    recipe = read_recipe(asked.recipe)
    train, valid, left_out = data_of(asked)
    numbers = check_elements(asked, train, valid)
    at_once = int(recipe.get('batch_size', BATCH_SIZE))
    if len(train) < at_once:
        raise InputError(
            f'{len(train)} structures to train on are fewer than the '
            f'batch_size {at_once} of the recipe: label more, or write a '
            'recipe with a smaller one')
    options = dict(recipe, atomic_numbers=str(sorted(numbers)))
    digest = {'data': labelled.digest(train),
              'valid': labelled.digest(valid)}
    if asked.start:
        energies = energies_of(asked.start)
        missing = numbers - set(energies)
        if missing:
            raise InputError(f'--start {asked.start}: the model does not '
                             f'know {symbols(missing)}')
        check_zero(asked.start, energies, train)
        options['E0s'] = str(energies)
        options['atomic_numbers'] = str(sorted(energies))
        digest['start'] = hashlib.sha256(
            Path(asked.start).read_bytes()).hexdigest()
    else:
        options['E0s'] = 'average'
    from mpiapp.distillation import trainer
    trainer.parsed(job_of(asked, options))
    settings = {'recipe': options, 'seed': asked.seed, **digest}
    return Prepared(train, valid, left_out, options, settings)


def check_zero(
    start: str, energies: Mapping[int, float], frames: Sequence[Frame],
) -> None:
    """Check that labels count energies from the zero of a start.

    Raises:
        InputError: they are of another teacher.
    """
    import numpy as np
    off = float(np.median([
        (f.energy - sum(energies[int(z)] for z in f.numbers))
        / len(f.numbers) for f in frames]))
    if abs(off) > TOO_FAR:
        raise InputError(
            f'--start {start}: beyond the energies of its atoms the labels '
            f'are {off:.1f} eV an atom: they are of another teacher than '
            'its own; train without --start')


def data_of(
    asked: TrainSettings,
) -> tuple[list[Frame], list[Frame], int]:
    """Return the frames for training and validation, apart by molecule.

    A frame of --data with a molecule of --valid is left out; they are
    counted.

    Raises:
        InputError: unreadable, or none left.
    """
    files = [labelled.read(path) for path in asked.data]
    found = [f for file in files for f in file]
    valid = [f for path in asked.valid for f in labelled.read(path)]
    teachers = labelled.teachers_of([*found, *valid])
    if len(teachers) > 1:
        raise InputError('the labels are of different teachers: '
                         f'{", ".join(teachers)}')
    if asked.valid:
        held = {p for f in valid for p in f.parts}
        train, out = labelled.apart(found, held)
    else:
        held = {m for file in files for m in labelled.held_of(
            file, asked.valid_share, asked.seed)}
        train, valid = labelled.apart(found, held)
        out = []
    if asked.max_atoms:
        train = [f for f in train if len(f.numbers) <= asked.max_atoms]
    names = {p for f in found for p in f.parts}
    if not valid:
        raise InputError(
            f'no validation molecules: none of the {len(names)} molecules is '
            f'in the share --valid-share {asked.valid_share:g}; give more '
            'molecules, a larger share, or files by --valid')
    if not train:
        raise InputError('no training structure is left beside '
                         f'{len(valid)} for validation')
    return train, valid, len(out)


def check_elements(
    asked: TrainSettings, train: Sequence[Frame], valid: Sequence[Frame],
) -> set[int]:
    """Return the elements of the model.

    Raises:
        InputError: one of --elements, or of the validation set, does not
            occur in training.
    """
    from ase.data import atomic_numbers
    there = labelled.elements_of(train)
    for word in asked.elements:
        if word not in atomic_numbers:
            raise InputError(f'--elements {word}: no element')
    wanted = {atomic_numbers[word] for word in asked.elements}
    for what, needed in (('--elements asks for', wanted),
                         ('the validation set has',
                          labelled.elements_of(valid))):
        missing = needed - there
        if missing:
            raise InputError(
                f'{what} {symbols(missing)}, which no training structure '
                f'holds (these hold {symbols(there)}): label molecules with '
                'it, or leave it out')
    return there


def energies_of(path: str) -> dict[int, float]:
    """Return the isolated-atom energies, eV, of a model by element.

    Raises:
        InputError: no MACE model.
    """
    from mpiapp.potentials.mace import files
    from mpiapp.potentials.mace.loading import load
    files.check(path)
    files.warn(path)
    model = load(path, 'float64', 'cpu')
    return {int(z): float(e) for z, e in zip(model.numbers, model.e0)}


def files_of(asked: TrainSettings) -> list[Path]:
    """Return the files of a training that are no folders of the trainer.

    Raises:
        InputError: the name of the model is no name of a file.
    """
    name = asked.name
    if Path(name).name != name or f'{name}.json' == SETTINGS:
        raise InputError(f'--name {name}: must be the name of a file without '
                         'folder, and another than settings')
    return [asked.folder / each for each in (
        'train.xyz', 'valid.xyz', f'{name}.model', f'{name}.json')]


def check_folder(
    asked: TrainSettings, prepared: Prepared, resume: bool, overwrite: bool,
) -> None:
    """Check that a training may begin or go on; changes nothing.

    A training that was refused or stopped before its first checkpoint has
    nothing to lose: another one may begin there.

    Raises:
        InputError: files that are not ours are in the way, or a training is
            there and neither is asked for, or it differs from what is asked
            for.
    """
    path = asked.folder / SETTINGS
    check_output(path, create=False)
    check_written(
        [*files_of(asked), path],
        [*asked.data, *asked.valid, asked.start, asked.recipe],
        overwrite or is_ours(asked.folder))
    if overwrite or not has_begun(asked.folder):
        return
    if not resume:
        raise in_the_way([asked.folder])
    changed = differences(_settings(path), plain(prepared.settings))
    if changed:
        raise InputError(
            '--resume: the training there is another one\n' + '\n'.join(
                f'  {line}' for line in changed) + '\nstart in another '
            'folder, with --start for its weights')


def is_ours(folder: Path) -> bool:
    """Tell whether the settings in a folder are those of a training."""
    try:
        found = json.loads((folder / SETTINGS).read_text('utf-8'))
    except OSError:
        return False
    except ValueError:
        found = None
    if isinstance(found, dict):
        return {'recipe', 'seed', 'data'} <= set(found)
    # damaged: what lies beside them tells
    return _has_checkpoints(folder)


def has_begun(folder: Path) -> bool:
    """Tell whether a folder holds a training that is worth something."""
    return _has_checkpoints(folder) or \
        is_ours(folder) and any(folder.glob('*.model'))


def _has_checkpoints(folder: Path) -> bool:
    return any(folder.glob(f'checkpoints/{OF_TRAINER}'))


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are read from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


@contextmanager
def begun(
    asked: TrainSettings, prepared: Prepared, resume: bool, overwrite: bool,
) -> Iterator[None]:
    """Hold the folder of a training, made ready for it, during a block.

    Raises:
        InputError: see `check_folder`; another process works there.
    """
    check_folder(asked, prepared, resume, overwrite)
    asked.folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(take_lock(asked.folder / 'lock', asked.folder)):
        # again, under the lock: the other process may just have ended
        check_folder(asked, prepared, resume, overwrite)
        _make_ready(asked, prepared, overwrite)
        yield


def _make_ready(
    asked: TrainSettings, prepared: Prepared, overwrite: bool,
) -> None:
    """Clear away what was there, unless it goes on, and write the input."""
    path = asked.folder / SETTINGS
    if overwrite or not has_begun(asked.folder):
        work = [file for name in WORK
                for file in (asked.folder / name).glob(OF_TRAINER)]
        for file in (*work, *files_of(asked)):
            file.unlink(missing_ok=True)
        for name in WORK:
            with suppress(OSError):  # not there, or files of others in it
                (asked.folder / name).rmdir()
    # first of all: with it the other files are known as ours
    with replacing(path) as part:
        part.write_text(json.dumps(prepared.settings, indent=1,
                                   sort_keys=True), 'utf-8')
    labelled.write_xyz(asked.folder / 'train.xyz', prepared.train)
    labelled.write_xyz(asked.folder / 'valid.xyz', prepared.valid)


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text('utf-8'))
        if isinstance(found, dict):
            return found
        fault = 'no settings'
    except (OSError, ValueError) as error:
        fault = f'{type(error).__name__}: {error}'
    raise InputError(f'--resume: {path} is damaged ({fault}): restore it, or '
                     'begin anew with --overwrite')


def counts(frames: Sequence[Frame]) -> str:
    """Say in a line what a set holds."""
    kinds = Counter(f.kind for f in frames)
    text = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(6))
    return (f'{len(frames)} structures, '
            f'{sum(len(f.numbers) for f in frames)} atoms ({text}'
            f'{", ..." if len(kinds) > 6 else ""})')


def job_of(asked: TrainSettings, options: Mapping[str, Any]) -> Job:
    """Return what the trainer is to do."""
    from mpiapp.distillation.checkpoints import Job
    return Job(asked.folder, asked.name, options, asked.seed,
               asked.max_epochs, asked.device,
               Path(asked.start) if asked.start else None,
               asked.fast and asked.device == 'cpu', asked.threads)


def run(
    asked: TrainSettings, prepared: Prepared, stopping: Callable[[], bool],
    tell: Callable[[str], None],
) -> bool:
    """Train; write the model that is asked for and the learning curve.

    Returns whether all epochs are done.

    Raises:
        InputError: an option or a start does not fit, or all has diverged.
    """
    from mpiapp.distillation import trainer
    job = job_of(asked, prepared.options)
    progress = trainer.train(job, stopping)
    if progress.atom_steps:
        tell(f'{progress.steps} steps, '
             f'{1e3 * progress.cpu_seconds / progress.atom_steps:.2f} ms of '
             'CPU time an atom and step, start included')
    model, point = trainer.chosen_model(job, progress, asked.choose)
    if model is None:
        if not progress.stopped:
            raise InputError(
                f'no epoch in {asked.folder} has a finite validation loss: '
                'the recipe is at fault (lr?), or the data')
        tell('no epoch has been validated yet: no model is written')
        return False
    write_result(job, model, point, prepared, tell)
    return not progress.stopped


def write_result(
    job: Job, model: Any, point: Mapping[str, float], prepared: Prepared,
    tell: Callable[[str], None],
) -> None:
    """Write NAME.model and NAME.json beside one another."""
    import torch

    from mpiapp.distillation.checkpoints import START, curve
    from mpiapp.store.provenance import package_versions
    path = job.folder / f'{job.name}.model'
    # by way of memory: PyTorch's own writing hides why it fails
    content = BytesIO()
    torch.save(model, content)
    with replacing(path) as part:
        part.write_bytes(content.getvalue())
    points = curve(job)
    about = {
        'model': path.name, 'bytes': path.stat().st_size,
        'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
        'epoch': point['epoch'], 'validation': point,
        'units': {'mae_f': 'meV/angstrom', 'mae_e_per_atom': 'meV/atom'},
        'curve': points, 'settings': prepared.settings,
        'train': counts(prepared.train), 'valid': counts(prepared.valid),
        'packages': package_versions()}
    with replacing(job.folder / f'{job.name}.json') as part:
        part.write_text(json.dumps(about, indent=1), 'utf-8')
    n = sum(p['epoch'] != START for p in points)
    name = f'after epoch {point["epoch"]} (of 0 to {n - 1})'
    if point['epoch'] == START:
        name = f'the start, better than {n} epochs (a lower lr may help)'
    tell(f'weights {name}: validation MAE of forces {point["mae_f"]:.1f} '
         f'meV/A, of energies {point["mae_e_per_atom"]:.2f} meV/atom')
    tell(f'model {path} ({path.stat().st_size / 1e6:.2f} MB)')
