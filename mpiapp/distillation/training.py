"""`distill train`: data, recipe and start checked; the trainer; the result."""
from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpiapp.data_files import data_file
from mpiapp.distillation import frames as labelled
from mpiapp.distillation.frames import Frame
from mpiapp.errors import InputError

#: options of the trainer that are ours to set
OURS = frozenset({
    'name', 'seed', 'device', 'train_file', 'valid_file', 'test_file',
    'work_dir', 'log_dir', 'model_dir', 'checkpoints_dir', 'results_dir',
    'energy_key', 'forces_key', 'max_num_epochs', 'patience',
    'eval_interval', 'restart_latest', 'save_all_checkpoints', 'E0s',
    'atomic_numbers', 'swa', 'start_swa', 'foundation_model'})
#: file of what decides a training
SETTINGS = 'settings.json'


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
    """Return a stored recipe (cpu, gpu) or that of a TOML file.

    Raises:
        InputError: no such file, no TOML, or an option that is ours.
    """
    stored = data_file(f'distill/{name}.toml')
    path = stored if stored.exists() else Path(name)
    try:
        found = tomllib.loads(path.read_text('utf-8'))
    except OSError as error:
        raise InputError(f'--recipe {name}: neither cpu, gpu nor a file '
                         f'({error.strerror})') from error
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
    options = dict(recipe, atomic_numbers=str(sorted(numbers)))
    digest = {'data': labelled.digest(train),
              'valid': labelled.digest(valid)}
    if asked.start:
        energies = energies_of(asked.start)
        missing = numbers - set(energies)
        if missing:
            raise InputError(f'--start {asked.start}: the model does not '
                             f'know {symbols(missing)}')
        options['E0s'] = str(energies)
        options['atomic_numbers'] = str(sorted(energies))
        digest['start'] = hashlib.sha256(
            Path(asked.start).read_bytes()).hexdigest()
    else:
        options['E0s'] = 'average'
    settings = {'recipe': options, 'seed': asked.seed, **digest}
    return Prepared(train, valid, left_out, options, settings)


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
    if asked.valid:
        valid = [f for path in asked.valid for f in labelled.read(path)]
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
    from mpiapp.potentials.mace.loading import load
    model = load(path, 'float64', 'cpu')
    return {int(z): float(e) for z, e in zip(model.numbers, model.e0)}


def symbols(numbers: set[int]) -> str:
    """Return elements in words."""
    from ase.data import chemical_symbols
    return ' '.join(chemical_symbols[z] for z in sorted(numbers))


def check_folder(
    asked: TrainSettings, prepared: Prepared, resume: bool, overwrite: bool,
) -> None:
    """Make the folder ready: new, to be gone on with, or replaced.

    Raises:
        InputError: a training is there and neither is asked for, or it
            differs from what is asked for.
    """
    from mpiapp.store.files import replacing
    path = asked.folder / SETTINGS
    text = json.dumps(prepared.settings, indent=1, sort_keys=True)
    if path.exists() and overwrite:
        for name in ('checkpoints', 'results', 'logs'):
            shutil.rmtree(asked.folder / name, ignore_errors=True)
        path.unlink()
    if path.exists():
        if not resume:
            raise InputError(f'{asked.folder} holds a training already: use '
                             '--resume to continue or --overwrite')
        before, now = _settings(path), json.loads(text)
        changed = differences(before, now)
        if changed:
            raise InputError(
                '--resume: the training there is another one\n' + '\n'.join(
                    f'  {line}' for line in changed) + '\nstart in another '
                'folder, with --start for its weights')
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    labelled.write_xyz(asked.folder / 'train.xyz', prepared.train)
    labelled.write_xyz(asked.folder / 'valid.xyz', prepared.valid)
    with replacing(path) as part:
        part.write_text(text, 'utf-8')


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


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], where: str = '',
) -> list[str]:
    """Return what differs in two mappings, a line each."""
    found = []
    for key in sorted(set(before) | set(now)):
        a, b = before.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f'{where}{key}.')
        elif a != b:
            found.append(f'{where}{key}: was {a!r}, is {b!r}')
    return found


def counts(frames: Sequence[Frame]) -> str:
    """Say in a line what a set holds."""
    kinds = Counter(f.kind for f in frames)
    text = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(6))
    return (f'{len(frames)} structures, '
            f'{sum(len(f.numbers) for f in frames)} atoms ({text}'
            f'{", ..." if len(kinds) > 6 else ""})')


def run(
    asked: TrainSettings, prepared: Prepared, stopping: Callable[[], bool],
    tell: Callable[[str], None],
) -> bool:
    """Train; write the best model and the learning curve.

    Returns whether all epochs are done.

    Raises:
        InputError: an option or a start does not fit, or all has diverged.
    """
    from mpiapp.distillation import checkpoints, trainer
    job = checkpoints.Job(
        asked.folder, asked.name, prepared.options, asked.seed,
        asked.max_epochs, asked.device,
        Path(asked.start) if asked.start else None,
        asked.fast and asked.device == 'cpu')
    progress = trainer.train(job, stopping)
    if progress.atom_steps:
        tell(f'{progress.steps} steps, '
             f'{1e3 * progress.cpu_seconds / progress.atom_steps:.2f} ms of '
             'CPU time an atom and step, start included')
    model, point = trainer.best_model(job, progress)
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
    job: Any, model: Any, best: Mapping[str, float], prepared: Prepared,
    tell: Callable[[str], None],
) -> None:
    """Write NAME.model and NAME.json beside one another."""
    import torch

    from mpiapp.distillation.checkpoints import curve
    from mpiapp.store.files import replacing
    from mpiapp.store.provenance import package_versions
    path = job.folder / f'{job.name}.model'
    with replacing(path) as part:
        torch.save(model, part)
    points = curve(job)
    about = {
        'model': path.name, 'bytes': path.stat().st_size,
        'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
        'best_epoch': best['epoch'], 'best': best,
        'units': {'mae_f': 'meV/angstrom', 'mae_e_per_atom': 'meV/atom'},
        'curve': points, 'settings': prepared.settings,
        'train': counts(prepared.train), 'valid': counts(prepared.valid),
        'packages': package_versions()}
    with replacing(path.with_suffix('.json')) as part:
        part.write_text(json.dumps(about, indent=1), 'utf-8')
    tell(f'best epoch {best["epoch"]} of {len(points)}: validation MAE of '
         f'forces {best["mae_f"]:.1f} meV/A, of energies '
         f'{best["mae_e_per_atom"]:.2f} meV/atom')
    tell(f'model {path} ({path.stat().st_size / 1e6:.2f} MB)')
