"""What every program with records does between its options and the engine."""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mpiapp.config import Computing, Ensembles, Shared, read_options
from mpiapp.errors import InputError
from mpiapp.parallel.launch import USAGE, Resources, World, launch, leave
from mpiapp.parallel.stop import parse_duration

if TYPE_CHECKING:
    from mpiapp.potentials.base import PotentialOptions
    from mpiapp.records import Structure
    from mpiapp.structures import Collection

T = TypeVar('T', bound=Shared)


def main(
    cls: type[T], name: str, about: str, settle: Callable[[T], T],
    run: Callable[[World, T], int], argv: Sequence[str] | None = None,
) -> int:
    """Read the options, start all ranks and run; returns the exit code.

    `settle` checks what concerns several options and fills in what follows;
    `run` is collective.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        options = settle(read_options(cls, name, about, words))
        resources = resources_of(options)
    except InputError as error:
        leave(USAGE, f'error: {error}')
    except SystemExit:
        leave(0)
    return launch(lambda world: run(world, options), resources)


def resources_of(options: Shared) -> Resources:
    """Return what the options ask of the machine."""
    gpus = ','.join(options.gpu_ids)
    return Resources(
        options.threads_per_rank, options.device, options.ranks_per_gpu,
        tuple(gpus.split(',')) if gpus else (), options.log_level,
        options.log_file, parse_duration(options.time_limit)
        if options.time_limit else None)


def check_shared(options: Shared) -> None:
    """Check the shared options that concern each other.

    Raises:
        InputError: options that contradict each other.
    """
    if options.resume and options.overwrite:
        raise InputError('--resume and --overwrite exclude each other')
    if options.time_limit:
        parse_duration(options.time_limit)
    if Path(options.output_prefix).name.strip('.') == '' \
            or options.output_prefix.endswith('/'):
        raise InputError(f'--output-prefix {options.output_prefix!r}: its '
                         'last part must be a name')


def beside(options: T, path: Path) -> T:
    """Return the options with all results beside the file of --output.

    Raises:
        InputError: --output-dir is given too.
    """
    if options.output_dir:
        raise InputError('give --output or --output-dir, not both')
    return replace(options, output_dir=str(path.parent),
                   output_prefix=path.stem)


def check_molecules(options: Shared) -> None:
    """Check that the molecules come from one place.

    Raises:
        InputError: none or several of the options that name them.
    """
    given = [name for name in ('smiles_csv', 'smi', 'smiles')
             if getattr(options, name)]
    if len(given) != 1:
        raise InputError('give the molecules by one of --smiles-csv, --smi '
                         'and --smiles')


def check_ensembles(options: Ensembles) -> None:
    """Check that each temperature has tables of its own.

    Raises:
        InputError: two temperatures that are written alike, or mirror
            images that would count twice.
    """
    names = [f'{t:g}' for t in options.temperatures]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f'--temperatures: {name} is named twice')
    if options.degeneracy == 'mirror' and options.mirror_images != 'same':
        raise InputError('--degeneracy mirror counts both mirror images of a '
                         'conformer: it needs --mirror-images same')


def check_method(options: Computing) -> None:
    """Check that the options name one potential.

    Raises:
        InputError: options that contradict each other.
    """
    if options.model and options.model_path:
        raise InputError('give --model or --model-path, not both')
    if options.calculator != 'mace' and (options.model or
                                         options.model_path):
        raise InputError(f'--calculator {options.calculator} takes no MACE '
                         'model')


def output_folder(options: Shared) -> str:
    """Return the folder of the results."""
    return options.output_dir or (
        '.' if '/' in options.output_prefix else 'runs')


def default_backend(options: Computing) -> str:
    """Return the back end: the one that is asked for, else the default."""
    return options.backend or 'auto'


def result_path(options: Shared) -> Path:
    """Return the path of the HDF5 file."""
    path = Path(options.output_dir) / options.output_prefix
    return path.with_name(path.name + '.h5')


def check_files(
    options: Shared, written: Sequence[Path],
    inputs: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Check that no file of the user's is written over unasked.

    `written` are all files that the run will write; `inputs` are mappings
    with `path`, besides the files that the options name.

    Raises:
        InputError: a file is read too, or is there and neither --resume nor
            --overwrite is given.
    """
    from mpiapp.store.output import check_written
    check_written(written, [*files_read(options),
                            *(item['path'] for item in inputs)],
                  options.resume or options.overwrite)


def files_read(options: Shared) -> list[str]:
    """Return all texts of options that may name a file to be read."""
    found: list[str] = []
    for f in fields(options):
        value = getattr(options, f.name)
        if f.metadata['group'] != 'output':
            found += [text for text in (
                value if isinstance(value, tuple) else (value,))
                if isinstance(text, str) and text]
    return found


def potential_options(options: Computing) -> PotentialOptions:
    """Return what the potential needs to know of the options."""
    from mpiapp.potentials import PotentialOptions
    return PotentialOptions(
        options.calculator, options.model or None,
        options.model_path or None, options.mace_dtype, options.device,
        options.backend, options.threads_per_rank, options.solvent or None)


def stems_of(collection: Collection) -> list[str]:
    """Return the names of the input files without folder and suffix."""
    return [Path(f.path).name.split('.')[0] for f in collection.files]


#: records that are tried for a readable one
MOST_TRIED = 10_000


def guard_sample(collection: Collection, most: int = 2) -> list[Structure]:
    """Return the user's first readable structures, to prove fast paths.

    Of the whole input, so that all windows of it get the same back end.
    """
    from mpiapp.records import Rejection
    sample: list[Structure] = []
    for row in range(min(len(collection), MOST_TRIED)):
        try:
            sample.append(collection.load(row))
        except Rejection:
            continue
        if len(sample) == most:
            break
    return sample


#: options that say where and how a run goes, not what it computes
OF_THE_RUN = frozenset({
    'output_dir', 'output_prefix', 'resume', 'overwrite', 'dry_run',
    'time_limit', 'retry_failed', 'save_every', 'threads_per_rank',
    'device', 'gpu_ids', 'ranks_per_gpu', 'writer', 'log_level',
    'log_file', 'max_failed', 'strict',
})


def result_options(options: Shared) -> dict[str, Any]:
    """Return the resolved options that the content depends on."""
    return {k: v for k, v in asdict(options).items() if k not in OF_THE_RUN}


def run_options(options: Shared) -> dict[str, Any]:
    """Return the resolved options that may differ from run to run."""
    return {k: v for k, v in asdict(options).items() if k in OF_THE_RUN}


def unchanged_inputs(
    meta: Mapping[str, Any], spool: Path,
) -> Collection | None:
    """Open the input files of a result; None if any is gone or changed.

    `spool` is a folder for what compressed files are unpacked to.
    """
    from mpiapp.structures import Collection
    inputs = meta.get('inputs', [])
    try:
        found = Collection.open([i['path'] for i in inputs], spool)
    except InputError:
        return None
    same = [f.sha256 for f in found.files] == [i['sha256'] for i in inputs]
    return found if same else None


def remove_spooled(collection: Collection) -> None:
    """Delete what compressed input files were unpacked to."""
    for file in collection.files:
        if file.data_path != file.path:
            Path(file.data_path).unlink(missing_ok=True)
