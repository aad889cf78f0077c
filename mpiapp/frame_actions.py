"""The smaller actions of `hameval`: check, convert, synth; all collective."""
from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.config import Shared
from mpiapp.errors import InputError
from mpiapp.evaluation import (
    RATTLE, CheckOptions, ConvertOptions, SynthOptions, check_inputs,
    choose_device, field_of, inputs_of, reading_of
)
from mpiapp.parallel.launch import DONE, FAILED, RESUMABLE, World
from mpiapp.program import check_files

if TYPE_CHECKING:
    from mpiapp.records import Row
    from mpiapp.workers.hamiltonian_frames import Reading
    from mpiapp.workers.hamiltonian_input import Inputs


def run_check(world: World, options: CheckOptions) -> int:
    """Collective: read and prove all frames; returns the exit code."""
    from mpiapp.parallel.agree import agree
    from mpiapp.reporting.hamiltonians import check_lines
    comm = world.comm
    found = looked_at(world, options)
    code = None
    with agree(comm, 'reporting'):
        if found is not None:
            rows, n = found
            for line in check_lines(rows):
                print(line)
            n_bad = sum(bool(row['reason']) for row in rows)
            print(f'{len(rows)} frame(s), {n_bad} refused')
            code = FAILED if n_bad > options.max_failed else DONE
            if len(rows) < n:
                print(f'stopped early: {n - len(rows)} not looked at')
                code = RESUMABLE
    return int(comm.bcast(code))


def looked_at(
    world: World, options: Any,
) -> tuple[list[Row], int] | None:
    """Collective: look at frames until the end, or a reason to stop.

    Returns a row for each and how many there are, on rank 0; else None.
    """
    from mpiapp.parallel.agree import agree
    from mpiapp.potentials.kohn_sham import check_method
    from mpiapp.workers.ensembles import handed_out
    comm = world.comm
    inputs: Inputs | None = None
    with agree(comm, 'opening the input'):
        if comm.rank == 0:
            inputs = inputs_of(options)
            check_method(field_of(options))
    inputs = comm.bcast(inputs)
    assert inputs is not None
    n = min(len(inputs), options.size_limit or len(inputs))
    reading = reading_of(options)
    mine = [proof_row(inputs, i, reading)
            for i in handed_out(comm, n, world.watch)]
    gathered = comm.gather(mine)
    if gathered is None:
        return None
    return sorted((row for part in gathered for row in part),
                  key=lambda row: int(row['row'])), n


def proof_row(inputs: Inputs, number: int, reading: Reading) -> Row:
    """Return what is found of a frame without an SCF."""
    from mpiapp.hamiltonians.frame import formula_of
    from mpiapp.records import Rejection
    from mpiapp.workers.hamiltonian import of_proof
    from mpiapp.workers.hamiltonian_frames import made_ready
    row: dict[str, Any] = {**inputs.known(number), 'row': number,
                           'reason': '', 'message': ''}
    try:
        frame = inputs.load(number)
        row['molecule'] = formula_of(frame.numbers)
        row.update(of_proof(made_ready(frame, reading)))
    except Rejection as error:
        row.update(reason=error.reason, message=error.message)
    return row


def run_convert(world: World, options: ConvertOptions) -> int:
    """Collective: write all good frames into one file, on rank 0."""
    from mpiapp.parallel.agree import agree
    code = None
    with agree(world.comm, 'converting'):
        if world.comm.rank == 0:
            code = convert(options)
    return int(world.comm.bcast(code))


def convert(options: ConvertOptions) -> int:
    """Write all good frames into one file; returns the exit code."""
    from mpiapp.hamiltonians.frame import formula_of
    from mpiapp.potentials.kohn_sham import check_method
    from mpiapp.records import Rejection
    from mpiapp.store.hamiltonian_files import write_frames
    from mpiapp.store.output import check_output
    from mpiapp.workers.hamiltonian_frames import made_ready
    path = Path(options.output)
    check_files(options, [path])
    inputs, reading = inputs_of(options), reading_of(options)
    check_method(reading.field)
    check_inputs(inputs, reading)
    frames, n_bad = [], 0
    for i in range(min(len(inputs), options.size_limit or len(inputs))):
        try:
            frame = made_ready(inputs.load(i), reading).frame
        except Rejection as error:
            n_bad += 1
            print(f'{inputs.known(i)["name"]}: {error}', file=sys.stderr)
            continue
        if options.delta != 'auto':
            frame = replace(frame, delta=options.delta == 'yes')
        frames.append(frame)
    if not frames:
        raise InputError('no frame can be converted')
    xc = functional_of([xc for f in frames for xc in (
        f.xc, f.prediction_xc)], options.xc)
    if not options.dry_run:
        check_output(path)
        write_frames(path, frames, {
            'xc': xc, 'basis': options.basis,
            'ao_order': 'pyscf', 'length_unit': 'bohr'})
    kinds = sorted({formula_of(f.numbers) for f in frames})
    print(f'{len(frames)} frame(s) of {", ".join(kinds)}, {n_bad} refused; '
          f'{"nothing written" if options.dry_run else f"wrote {path}"}')
    return FAILED if n_bad > options.max_failed else DONE


def functional_of(named: Sequence[str], asked: str) -> str:
    """Return the functional of frames; `asked` where none names one.

    Raises:
        InputError: they name several, and a file has room for one.
    """
    from mpiapp.potentials.kohn_sham import same_functional
    found = [xc for xc in dict.fromkeys(named) if xc] or [asked]
    for other in found[1:]:
        if not same_functional(found[0], other):
            raise InputError(f'matrices of functional {found[0]} and of '
                             f'{other}: a file is of one functional')
    return found[0]


def run_synth(world: World, options: SynthOptions) -> int:
    """Collective: make pairs, shared by the ranks; returns the code."""
    from mpiapp.parallel.agree import agree
    from mpiapp.records import Rejection
    from mpiapp.workers.ensembles import handed_out
    from mpiapp.workers.hamiltonian_synth import made_pair, write_pair
    comm = world.comm
    started: Any = None
    with agree(comm, 'preparing the folder'):
        if comm.rank == 0:
            started = begin_synth(world, options)
    collection, settings, n, missing = comm.bcast(started)
    faults: list[tuple[int, str]] = []
    if options.dry_run:
        missing = []
    n_done = 0
    for at in handed_out(comm, len(missing), world.watch):
        i = missing[at]
        n_done += 1
        with_threads(options)
        try:
            structure = collection.load(i % len(collection))
            write_pair(Path(options.output), i,
                       made_pair(structure, i, settings), settings.suffix)
        except Rejection as error:
            faults.append((i, str(error)))
    n_left = len(missing) - comm.allreduce(n_done)
    gathered = comm.gather(faults)
    code = None
    with agree(comm, 'describing the folder'):
        if gathered is not None:
            code = end_synth(options, settings, n, n_left,
                             sorted(f for part in gathered for f in part))
    return int(comm.bcast(code))


def with_threads(options: Shared) -> None:
    """Let PySCF use the threads of this rank."""
    from pyscf import lib
    lib.num_threads(options.threads_per_rank)


def begin_synth(world: World, options: SynthOptions) -> Any:
    """Open the geometries and the folder; returns what ranks need.

    That is the geometries, the settings, the number of pairs and the
    numbers of those that are to be made.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.potentials.kohn_sham import check_method
    from mpiapp.store.output import check_output
    from mpiapp.structures import Collection
    from mpiapp.workers.hamiltonian_synth import Synthesis
    collection = Collection.open(options.geometries)
    n = options.count or len(collection)
    if not len(collection):
        raise InputError(f'{", ".join(options.geometries)}: no geometry')
    if options.error == 'permuted' and options.ao_order == 'pyscf':
        raise InputError('--error permuted writes matrices in the order of '
                         'pyscf under another name: give another --ao-order')
    rattle, kept = shifts_of(options, len(collection), n)
    folder = Path(options.output)
    there = [p for pattern in ('gt_*', 'pred_*') for p in folder.glob(
        pattern)] if folder.is_dir() else []
    if there and not (options.overwrite or options.resume):
        raise InputError(f'{folder} holds pairs already: use --resume to make '
                         'those that are missing, or --overwrite')
    if there and not (folder / 'synth.json').exists():
        raise InputError(f'{folder} holds pairs that synth has not made: '
                         'name another folder')
    settings = Synthesis(
        field_of(options, choose_device(options, world)), options.error,
        options.error_size, options.ao_order, options.delta == 'yes',
        options.forces, rattle, kept, options.seed, f'.{options.kind}')
    check_method(settings.field)
    check_output(folder / 'x.pt', create=not options.dry_run)
    missing = list(range(n))
    if there and options.resume:
        missing = still_missing(options, settings, n)
    for path in [] if options.dry_run or options.resume else there:
        path.unlink()
    if not options.dry_run:
        # before any pair: a folder that was left halfway is known by it
        describe(options, settings, n, complete=False)
    if rattle and kept:
        print(f'{n} frames of {kept} given: the further {n - kept} are '
              f'shifted at random by {rattle:g} A (--seed {options.seed}; '
              '--rattle X shifts all)')
    return collection, settings, n, missing


def still_missing(
    options: SynthOptions, settings: Any, n: int,
) -> list[int]:
    """Return the numbers below n whose pairs an earlier run did not make.

    Raises:
        InputError: it made them in another way.
    """
    from mpiapp.store.folder import differences
    from mpiapp.workers.hamiltonian_synth import stem_of
    folder = Path(options.output)
    old = json.loads((folder / 'synth.json').read_text('utf-8'))
    lines = differences(old, {**about(options, settings, n, False),
                              'complete': old.get('complete')})
    if lines:
        names = ', '.join(line.partition(':')[0] for line in lines)
        raise InputError(f'{folder} was made with other settings '
                         f'({names}): use --overwrite')
    return [i for i in range(n) if not all(
        (folder / f'{prefix}{stem_of(i)}{settings.suffix}').exists()
        for prefix in ('gt_', 'pred_'))]


def shifts_of(
    options: SynthOptions, n_there: int, n: int,
) -> tuple[float, int]:
    """Return the shift [A] of frames, and how many have none.

    Raises:
        InputError: more frames than geometries, and no shift allowed.
    """
    if options.rattle is None:
        return (RATTLE, n_there) if n > n_there else (0.0, 0)
    if n > n_there and not options.rattle:
        raise InputError(f'--count {n}: there are {n_there} geometries; '
                         'without --rattle 0 more are made of them')
    return options.rattle, 0


def describe(
    options: SynthOptions, settings: Any, n: int, complete: bool,
) -> None:
    """Write beside the pairs what they are, and whether all are there."""
    from mpiapp.store.files import replacing
    with replacing(Path(options.output) / 'synth.json') as part:
        part.write_text(json.dumps(
            about(options, settings, n, complete), indent=1) + '\n')


def about(
    options: SynthOptions, settings: Any, n: int, complete: bool,
) -> Mapping[str, Any]:
    """Return what is written beside the pairs."""
    return {'geometries': list(options.geometries), 'count': n,
            'complete': complete, **asdict(settings)}


def end_synth(
    options: SynthOptions, settings: Any, n: int, n_left: int,
    faults: Sequence[tuple[int, str]],
) -> int:
    """Write what the folder is, tell what failed; returns the code.

    `n_left` pairs were not begun.
    """
    for i, text in faults:
        print(f'frame {i}: {text}', file=sys.stderr)
    if options.dry_run:
        print('nothing written')
        return DONE
    if n_left:
        print(f'stopped early: {n_left} of {n} pairs are not made yet; go on '
              'with --resume')
        return RESUMABLE
    describe(options, settings, n, complete=True)
    print(f'{n - len(faults)} pair(s) with error {options.error} in '
          f'{options.output}, {len(faults)} failed')
    return FAILED if len(faults) > options.max_failed else DONE
