"""The items of `validate` in their order: methods, dimers, starts, kicks."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mpiapp.chemistry.dimer_names import SETS, SINGLE_POINT
from mpiapp.chemistry.dimer_references import Reference, set_reference
from mpiapp.chemistry.dimer_sets import (
    MONOMERS, RECIPES, Dimer, Monomer, dimer_of, dimer_of_monomers, embedded,
    part_of, recipe_of, starts_of
)
from mpiapp.data_files import data_file
from mpiapp.records import InputError, Structure
from mpiapp.structures import Collection
from mpiapp.workers.dimer import DimerItem
from mpiapp.workers.dimer_methods import Method


@dataclass(frozen=True, eq=False)
class Molecules:
    """What the items are made of, by name; `frames` in the order of sets."""

    dimers: dict[str, Dimer] = field(default_factory=dict)
    monomers: dict[str, Monomer] = field(default_factory=dict)
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict)
    energies: dict[str, Reference] = field(default_factory=dict)


def read_frames(
    names: Sequence[str] = SETS,
) -> tuple[dict[str, dict[str, Structure]], list[dict[str, object]]]:
    """Return the frames of each set by name, and the files' identities.

    Raises:
        InputError: a file is not installed or damaged.
    """
    sets: dict[str, dict[str, Structure]] = {}
    files: list[dict[str, object]] = []
    for name in names:
        path = data_file(f'benchmarks/{name}.xyz')
        if not path.exists():
            raise InputError(f'{path}, a bundled set, is not installed')
        collection = Collection.open([path])
        frames = [collection.load(i) for i in range(len(collection))]
        sets[name] = {frame.tags['name']: frame for frame in frames}
        files.append({'path': path.name,
                      'sha256': collection.files[0].sha256,
                      'n_records': len(frames)})
    return sets, files


def molecules_of(
    dimers: Sequence[str], sets: Sequence[str],
    frames: Mapping[str, Mapping[str, Structure]],
) -> Molecules:
    """Return all molecules that the named dimers and sets need."""
    everywhere = {name: frame for one in frames.values()
                  for name, frame in one.items()}
    made = Molecules()
    for key in dimers:
        recipe = recipe_of(key)
        for name in recipe.monomers:
            if name not in made.monomers:
                made.monomers[name] = _monomer(name, everywhere)
        if recipe.frame:
            frame = everywhere[recipe.frame]
            made.dimers[key] = dimer_of(key, recipe.monomers, frame)
            made.energies[key] = set_reference(frame)
        else:
            made.dimers[key] = dimer_of_monomers(
                key, [made.monomers[name] for name in recipe.monomers])
    for one in sets:
        made.frames[one] = tuple(frames[one])
        for name, frame in frames[one].items():
            made.dimers[name] = dimer_of(name, ('', ''), frame)
            made.energies[name] = set_reference(frame)
    return made


def _monomer(name: str, frames: Mapping[str, Structure]) -> Monomer:
    source = MONOMERS[name]
    if isinstance(source, str):
        return embedded(name, source)
    frame, second = source
    return part_of(dimer_of(name, ('', ''), frames[frame]), name, second)


def items_of(
    methods: Sequence[Method], dimers: Sequence[str],
    starts: Sequence[str], n_kicks: int, molecules: Molecules,
    references: Mapping[str, Reference],
) -> list[DimerItem]:
    """Return the items in the order of their rows.

    For each method: dimers with their starts, each start with its kicks,
    and the fixed geometries after them; then the sets.  A kick's seed is
    the place of the item among those of its method, so that all methods
    are kicked alike.
    """
    return [
        item for method in methods for item in _of_method(
            method, dimers, starts, n_kicks, molecules, references)]


def check_starts(dimers: Sequence[str], starts: Sequence[str]) -> None:
    """Require something to do of dimers and the starts asked for.

    Raises:
        InputError: no dimer has any of the starts.
    """
    fixed = SINGLE_POINT in starts and any(
        recipe_of(name).frame for name in dimers)
    if not fixed and not any(starts_of(name, starts) for name in dimers):
        raise InputError(f'--starts {" ".join(starts)}: none of the dimers '
                         'has such a start')


def _of_method(
    method: Method, dimers: Sequence[str], starts: Sequence[str],
    n_kicks: int, molecules: Molecules, references: Mapping[str, Reference],
) -> Iterator[DimerItem]:
    seed = 0
    for key in dimers:
        for start in starts_of(key, starts):
            for kick in range(n_kicks + 1):
                yield DimerItem(
                    method.name, method.label, key, start,
                    references.get(key, Reference()), kick, seed)
                seed += 1
        if key in molecules.energies \
                and (not starts or SINGLE_POINT in starts):
            yield DimerItem(method.name, method.label, key, SINGLE_POINT,
                            molecules.energies[key])
    for name, frames in molecules.frames.items():
        for frame in frames:
            yield DimerItem(
                method.name, method.label, frame, SINGLE_POINT,
                molecules.energies[frame], data_set=name)


def chosen_dimers(names: Sequence[str]) -> tuple[str, ...]:
    """Return the named dimers once each, all where none is named.

    Raises:
        InputError: an unknown name.
    """
    for name in names:
        recipe_of(name)
    return tuple(dict.fromkeys(names)) or tuple(RECIPES)
