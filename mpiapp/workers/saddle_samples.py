"""Reactions from files, and the samples that are searched.

Stable: `SampleChoice`, `Loaded` and `load_samples`.
"""
from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.potentials.base import file_sha256
from mpiapp.records import Floats, InputError, Rejection, Structure
from mpiapp.saddle.base import Sample
from mpiapp.saddle.samples import Reaction, parse_start, samples_of
from mpiapp.structures import Collection

#: names of the three geometries in files, by field of a Reaction
ROLES = {'reactant': 'reactant', 'r': 'reactant', 'product': 'product',
         'p': 'product', 'transition_state': 'ts', 'ts': 'ts'}
#: rxn000001_r.xyz, rxn000001_ts.xyz, rxn000001_p.xyz
_TRIPLE = re.compile(r'(.+)_(r|ts|p)\.xyz')


@dataclass(frozen=True)
class SampleChoice:
    """Which samples are made of the reactions of the files.

    `max_samples` and `draws` as the options of those names; `split` is that
    of a Transition1x file; `skip` reactions are left out at the start.
    """

    start_from: str = 'midpoint_rt_noise1.0A'
    noise_seed: int = 42
    draws: int = 1
    max_samples: int | None = 30
    skip: int = 0
    split: str = ''


@dataclass(frozen=True, eq=False)
class Loaded:
    """What was read: samples by reaction and draw, and the files."""

    samples: tuple[Sample, ...]
    inputs: tuple[Mapping[str, Any], ...]
    n_reactions: int

    @property
    def sound(self) -> tuple[Sample, ...]:
        """Those that can be searched."""
        return tuple(s for s in self.samples if not s.fault[0])


def load_samples(
    paths: Sequence[str | Path], choice: SampleChoice = SampleChoice(),
) -> Loaded:
    """Read the reactions of all files and make their samples.

    Files: extended XYZ with a key `role` (reactant, transition_state,
    product) and `rxn`, or without as triples of frames in this order; the
    HDF5 layout of Transition1x; folders of NAME_r.xyz, NAME_ts.xyz and
    NAME_p.xyz (RDB7) or of NAME.xyz with transition states alone and a
    table reference.csv of charges and multiplicities (Baker's set).

    Raises:
        InputError: no file, no reaction, or none that can be searched; the
            message names the first faults.
    """
    rule = parse_start(choice.start_from)
    if not paths:
        raise InputError('no input file: --data FILE')
    reactions: list[Reaction] = []
    inputs: list[Mapping[str, Any]] = []
    for path in paths:
        found, about = reactions_of(Path(path), choice.split)
        reactions += [replace(one, number=len(reactions) + k)
                      for k, one in enumerate(found)]
        inputs.append(about)
    last = None if choice.max_samples is None \
        else choice.skip + choice.max_samples
    chosen = reactions[choice.skip:last]
    samples = tuple(
        sample for one in chosen
        for sample in samples_of(checked(one), rule, choice.noise_seed,
                                 choice.draws))
    loaded = Loaded(samples, tuple(inputs), len(reactions))
    _require_some(loaded, paths)
    return loaded


def _require_some(loaded: Loaded, paths: Sequence[str | Path]) -> None:
    names = ', '.join(map(str, paths))
    if not loaded.samples:
        raise InputError(f'{names}: no samples')
    if not loaded.sound:
        faults = [f'  {s.name}: {s.fault[1]}' for s in loaded.samples[:5]]
        raise InputError(
            f'{names}: none of the {len(loaded.samples)} samples can be '
            'searched\n' + '\n'.join(faults))


def reactions_of(path: Path, split: str = ''
                 ) -> tuple[list[Reaction], Mapping[str, Any]]:
    """Return the reactions of a file or folder, and its identity.

    Raises:
        InputError: it can't be read.
    """
    if path.is_dir():
        files = sorted(path.glob('*.xyz'))
        if not files:
            raise InputError(f'{path}: no files *.xyz in this folder')
        found = list(_of_folder(path, files))
        digest = _joint_digest(files + [path / 'reference.csv'])
    elif path.is_file() and _is_hdf5(path):
        found, digest = _of_hdf5(path, split), file_sha256(path)
    else:
        collection = Collection.open([path])
        found, digest = _of_frames(collection), collection.files[0].sha256
    return found, {'path': str(path), 'sha256': digest,
                   'n_records': len(found)}


def _is_hdf5(path: Path) -> bool:
    from mpiapp.store.transition1x import is_hdf5
    return is_hdf5(path)


def _of_hdf5(path: Path, split: str) -> list[Reaction]:
    from mpiapp.store.transition1x import read
    found = []
    for entry in read(path, split):
        parts = {ROLES[name]: Structure(0, 0, 0, numbers, positions)
                 for name, (numbers, positions) in entry.parts.items()}
        made = _reaction(f'{entry.formula}_{entry.name}', parts)
        if entry.fault:
            made = replace(made, fault=('bad_input', entry.fault))
        found.append(made)
    return found


def _joint_digest(files: Sequence[Path]) -> str:
    from mpiapp.store.folder import settings_digest
    return settings_digest(
        {p.name: file_sha256(p) for p in files if p.exists()})


def _of_frames(collection: Collection) -> list[Reaction]:
    """Return the reactions of a file of frames, by role or in triples."""
    frames: list[Structure | Rejection] = []
    for row in range(len(collection)):
        try:
            frames.append(collection.load(row))
        except Rejection as error:
            frames.append(error)
    if any(isinstance(f, Structure) and 'role' in f.tags for f in frames):
        return _by_role(frames)
    stem = Path(collection.files[0].path).name.split('.')[0]
    if len(frames) == 1:
        return [_triple(stem, {'ts': frames[0]})]
    names = ('reactant', 'ts', 'product')
    return [_triple(f'{stem}_{k // 3}', dict(zip(names, frames[k:k + 3])))
            for k in range(0, len(frames), 3)]


def _by_role(frames: Sequence[Structure | Rejection]) -> list[Reaction]:
    groups: dict[str, dict[str, Structure | Rejection]] = {}
    twice: dict[str, str] = {}
    for i, frame in enumerate(frames):
        if isinstance(frame, Rejection):
            groups[f'frame_{i}'] = {'reactant': frame}
            continue
        name = frame.tags.get('rxn') or frame.title or f'frame_{i}'
        role = ROLES.get(frame.tags.get('role', ''))
        if role is None:
            continue
        if role in groups.setdefault(name, {}):
            twice[name] = role
        groups[name][role] = frame
    return [replace(_triple(name, parts), fault=(
        'bad_input', f'two frames have rxn={name} and are its {twice[name]}'))
            if name in twice else _triple(name, parts)
            for name, parts in groups.items()]


def _of_folder(folder: Path, files: Sequence[Path]) -> Iterator[Reaction]:
    triples: dict[str, dict[str, Path]] = {}
    for file in files:
        found = _TRIPLE.fullmatch(file.name)
        if found:
            triples.setdefault(found[1], {})[found[2]] = file
        elif not file.stem.endswith('_downhill'):
            triples[file.stem] = {'ts': file}
    states = _states(folder / 'reference.csv')
    for name, parts in triples.items():
        frames = {ROLES[role]: _single(path) for role, path in parts.items()}
        made = _triple(name, frames)
        if name in states:
            charge, unpaired = states[name]
            made = replace(made, charge=charge, unpaired=unpaired)
        yield made


def _states(path: Path) -> dict[str, tuple[int, int]]:
    """Return charge and unpaired electrons by name, from a table."""
    if not path.exists():
        return {}
    with open(path, encoding='utf-8', newline='') as file:
        try:
            return {Path(row['file']).stem:
                    (int(row['charge']), int(row['multiplicity']) - 1)
                    for row in csv.DictReader(file)}
        except (KeyError, ValueError) as error:
            raise InputError(f'{path}: expected columns file, charge, '
                             f'multiplicity: {error}') from error


def _single(path: Path) -> Structure | Rejection:
    try:
        return Collection.open([path]).load(0)
    except Rejection as error:
        return error


def _triple(name: str, frames: Mapping[str, Structure | Rejection]
            ) -> Reaction:
    """Return a reaction; frames that could not be read are its fault."""
    bad = [f'{role}: {frame.message}' for role, frame in frames.items()
           if isinstance(frame, Rejection)]
    sound = {role: frame for role, frame in frames.items()
             if isinstance(frame, Structure)}
    made = _reaction(name, sound)
    return replace(made, fault=('bad_input', '; '.join(bad))) if bad else made


def _reaction(name: str, parts: Mapping[str, Structure]) -> Reaction:
    """Return a reaction of structures that must have the same atoms."""
    if not parts:
        return Reaction(0, name, np.empty(0, np.int32),
                        fault=('bad_input', 'no geometry'))
    first_role, first = next(iter(parts.items()))
    fault = ('', '')
    for role, other in parts.items():
        if len(other.numbers) != len(first.numbers):
            fault = ('bad_input', f'{role} has {len(other.numbers)} atoms, '
                     f'{first_role} {len(first.numbers)}')
        elif not np.array_equal(other.numbers, first.numbers):
            fault = ('bad_input', f'{role} and {first_role} have their atoms '
                     'in another order')
        elif other.charge != first.charge:
            fault = ('bad_input', f'{role} has charge {other.charge}, '
                     f'{first_role} {first.charge}')
        if fault[0]:
            return Reaction(0, name, first.numbers, fault=fault)
    x: dict[str, Floats] = {r: s.positions for r, s in parts.items()}
    return Reaction(
        0, name, first.numbers, x.get('reactant'), x.get('ts'),
        x.get('product'), first.charge, first.unpaired, about=first.tags)


def checked(reaction: Reaction) -> Reaction:
    """Return the reaction, geometries that are not finite as its fault."""
    for role in ('reactant', 'ts', 'product'):
        x = getattr(reaction, role)
        if x is not None and not np.isfinite(x).all():
            return replace(reaction, fault=(
                'bad_input', f'{role}: coordinates are not finite'))
    return reaction
