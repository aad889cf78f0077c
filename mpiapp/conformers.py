"""Make conformers: ensembles from SMILES, ready for `reopt`, one SD file."""
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.config import Shared, not_negative, option, positive
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, FAILED, World
from mpiapp.program import check_files, check_molecules, check_shared
from mpiapp.program import main as run_program
from mpiapp.program import output_folder, result_options, run_options

if TYPE_CHECKING:
    from mpiapp.engine import Outcome
    from mpiapp.workers.conformer_rounds import Prepared, Progress

ABOUT = ('Make conformers of molecules over MPI ranks: mpirun -n P python -m '
         'mpiapp.conformers --smiles-csv FILE --per-molecule 52 --output '
         'FILE.sdf')

#: what is to be done where a molecule is refused, by reason
HINTS = {'charged': '; --allow-charged takes it as it is'}
#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 1
#: attempts on a molecule: so many times what is asked of it, and these more
MOST_TIMES, MOST_MORE = 6, 40


def share(value: float) -> str:
    """Check a number from 0 to 1."""
    return '' if 0 <= value <= 1 else 'must be from 0 to 1'


def at_least_one(value: float) -> str:
    """Check a number that is 1 or more."""
    return '' if 1 <= value < 1e6 else 'must be 1 or more'


@dataclass(frozen=True)
class Options(Shared):
    """Options of `conformers`."""

    smiles_csv: str = option(
        '', 'molecule table (name, smiles; r_group, screen_group); row '
        'number from 1 = tag mseq', group='input', metavar='FILE')
    smi: str = option(
        '', 'file with a line `SMILES name` for each molecule',
        group='input', metavar='FILE')
    smiles: tuple[str, ...] = option(
        (), 'SMILES of the molecules themselves', group='input',
        metavar='SMILES')
    allow_charged: bool = option(
        False, 'take charged molecules as they are, instead of rejecting '
        'them', group='input')
    per_molecule: int | None = option(
        None, 'records of each molecule (default: 52, without --total)',
        group='ensemble', check=positive)
    total: int | None = option(
        None, 'records in all, dealt evenly; what a molecule lacks, others '
        'fill up', group='ensemble', check=positive)
    stereo: str = option(
        'one', 'centres that a SMILES leaves open: one isomer (R before S, '
        'larger groups trans), enumerate all, or refuse the molecule',
        group='ensemble', choices=('one', 'enumerate', 'refuse'))
    folded: float = option(
        0.5, 'share of attempts that start with two aromatic systems '
        'stacked, in molecules that have such', group='ensemble',
        check=share, metavar='SHARE')
    oversample: float = option(
        1.1, 'attempts at first, as a multiple of the records; of more '
        'conformers than asked for, those of lowest energy are written',
        group='ensemble', check=at_least_one)
    window: float = option(
        50.0, 'largest energy above the lowest of the molecule [kcal/mol]',
        group='ensemble', check=positive)
    rmsd: float = option(
        0.25, 'duplicates: RMSD of heavy atoms below this [A]',
        group='ensemble', check=positive)
    same_energy: float = option(
        1.0, 'duplicates: and energies closer than this [kcal/mol]',
        group='ensemble', check=positive)
    max_attempts: int | None = option(
        None, f'attempts on a molecule at most (default: {MOST_TIMES} times '
        f'the records and {MOST_MORE})', group='ensemble', check=positive)
    max_iterations: int = option(
        5000, 'iterations of the minimiser at most', group='ensemble',
        check=positive)
    seed: int = option(0, 'another number makes another ensemble',
                       group='ensemble', check=not_negative)
    output: str = option(
        '', 'SD file to be written; FILE.h5 and the attempts lie beside it '
        '(default: runs/conformers.sdf)', group='output', metavar='FILE.sdf')
    output_prefix: str = option(
        'conformers', 'prefix of all result files, instead of --output; may '
        'hold a folder', group='output')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    return run_program(Options, 'conformers', ABOUT, settle, run, argv)


def settle(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    check_molecules(options)
    if options.per_molecule and options.total:
        raise InputError('--per-molecule and --total exclude each other')
    if not (options.per_molecule or options.total):
        options = replace(options, per_molecule=52)
    if options.output:
        path = Path(options.output)
        if path.suffix != '.sdf' or path.name == '.sdf':
            raise InputError(f'--output {options.output}: the name must end '
                             'in .sdf')
        options = replace(options, output_dir=str(path.parent),
                          output_prefix=path.name.removesuffix('.sdf'))
    check_shared(options)
    return replace(options, output_dir=output_folder(options))


def run(world: World, options: Options) -> int:
    """Collective: do what the options say; returns the exit code."""
    from mpiapp import engine
    from mpiapp.parallel import binding
    from mpiapp.parallel.agree import agree
    from mpiapp.workers.conformer_preview import preview
    from mpiapp.workers.embed import EmbedSettings, EmbedWorker
    comm = world.comm
    prepared: Prepared | None = None
    with agree(comm, 'preparing the run'):
        if comm.rank == 0:
            prepared = prepare(options)
            engine.log.info('%s', greeting(options, prepared))
            engine.log.info('%s', binding.table(world.placements))
    prepared = comm.bcast(prepared)
    assert prepared is not None
    worker = EmbedWorker(
        EmbedSettings(prepared.recipe, prepared.sorting.blocks,
                      options.record_timeout), prepared.table.rows)
    if options.dry_run:
        with agree(comm, 'previewing the run'):
            if comm.rank == 0:
                print(preview(prepared, comm.size))
        return DONE
    progress = make_attempts(world, options, prepared, worker)
    last = progress.outcomes[-1]
    if last.unfinished:
        if comm.rank == 0:
            print(last.verdict(options.max_failed, options.strict),
                  flush=True)
        return last.exit_code(options.max_failed, options.strict)
    return finish(world, options, prepared, progress)


def prepare(options: Options) -> Prepared:
    """Check input and output on one rank, before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    import numpy as np

    from mpiapp.chemistry.embedding import Recipe
    from mpiapp.chemistry.pruning import Limits
    from mpiapp.engine import Plan, check_start
    from mpiapp.store.output import check_output, check_space
    from mpiapp.workers.choosing import whole_blocks
    from mpiapp.workers.conformer_input import Paths, look, read_molecules
    from mpiapp.workers.conformer_rounds import Prepared, Wish
    from mpiapp.workers.embed import ATTEMPTS, BLOCK
    from mpiapp.workers.pools import Sorting
    paths = Paths(result_stem(options))
    check_output(paths.sdf, create=not options.dry_run)
    check_files(options, [paths.sdf, paths.result, paths.attempts])
    table, source = read_molecules(
        options.smiles_csv, options.smi, options.smiles)
    recipe = Recipe(options.stereo, options.folded, options.max_iterations,
                    options.seed, options.allow_charged)
    known, refused = look(table, recipe, HINTS)
    n = len(table.rows)
    each = options.per_molecule or -(-(options.total or 0) // len(known))
    most = options.max_attempts or MOST_TIMES * each + MOST_MORE
    blocks = whole_blocks(most, BLOCK) // BLOCK
    n_atoms = np.zeros(n * blocks, np.int32)
    for i, facts in known.items():
        n_atoms[i * blocks:(i + 1) * blocks] = facts.n_atoms
    check_space(paths.sdf, 4 * sum(
        each * f.n_atoms * 60 for f in known.values()))
    plan = Plan(
        ATTEMPTS, paths.attempts, n_atoms, cost_model(),
        np.zeros(n * blocks, bool), settings_of(options, blocks), [source],
        resume=options.resume, overwrite=options.overwrite,
        retry_failed=options.retry_failed, save_every=options.save_every,
        record_timeout=options.record_timeout,
        writer=options.writer, run_meta=run_options(options))
    check_start(plan)
    sorting = Sorting(blocks, Limits(options.rmsd, options.same_energy),
                      options.window, blocks * BLOCK)
    wish = Wish(options.per_molecule, options.total, options.oversample)
    return Prepared(
        paths, plan, table, recipe, wish, sorting, known, refused)


def result_stem(options: Options) -> Path:
    """Return the common beginning of all result files."""
    return Path(options.output_dir) / options.output_prefix


def cost_model() -> Any:
    """Return the predicted seconds of a block of attempts by atoms.

    Measured on the library: 1.3 s an attempt for 118 atoms, 1.6 s for 154,
    3.9 s for 218 (one core).
    """
    from mpiapp.partition import CostModel
    return CostModel(atom_step=1.1e-5, power=0.5, steps=1.0, steps_power=1.0)


def settings_of(options: Options, blocks: int) -> dict[str, Any]:
    """Return what decides the results and must not change on resume."""
    names = ('per_molecule', 'total', 'stereo', 'folded', 'oversample',
             'window', 'rmsd', 'same_energy', 'max_iterations', 'seed',
             'allow_charged', 'record_timeout')
    return {'blocks': blocks, 'results_version': RESULTS_VERSION,
            **{name: getattr(options, name) for name in names}}


def make_attempts(
    world: World, options: Options, prepared: Prepared, worker: Any,
) -> Progress:
    """Collective: make attempts in rounds until there are enough."""
    from mpiapp import engine
    from mpiapp.workers.conformer_rounds import (
        Progress, extend, round_plan, sort_together
    )
    progress = Progress(prepared.first(prepared.asked({})))
    stale = list(prepared.facts)
    while True:
        if progress.outcomes and world.comm.rank == 0:
            engine.log.info('round %d: %d molecule(s) lack conformers',
                            len(progress.outcomes) + 1, len(stale))
        plan = round_plan(prepared, progress.attempts,
                          options.resume or bool(progress.outcomes))
        progress.outcomes.append(engine.run(world, plan, worker))
        if plan.overwrite and world.comm.rank == 0:
            # the attempts are ours now: these are of an earlier run
            prepared.paths.sdf.unlink(missing_ok=True)
            prepared.paths.result.unlink(missing_ok=True)
        if progress.outcomes[-1].unfinished:
            return progress
        progress.found.update(sort_together(
            world.comm, prepared, progress.attempts, stale))
        stale = extend(prepared, progress)
        if not stale:
            return progress


def finish(
    world: World, options: Options, prepared: Prepared, progress: Progress,
) -> int:
    """Collective: write SD file and result, say what came of it."""
    import numpy as np

    from mpiapp.parallel.agree import agree
    from mpiapp.store.campaign import write_campaign
    from mpiapp.store.provenance import package_versions
    from mpiapp.store.reader import load
    from mpiapp.store.sources import MemorySource
    from mpiapp.workers.conformer_records import MOLECULES, write_molecules
    from mpiapp.workers.conformer_rounds import molecules_made, timing
    comm, paths = world.comm, prepared.paths
    rows: dict[int, dict[str, Any]] = {}
    with agree(comm, 'writing the SD file'):
        if comm.rank == 0:
            rows = write_molecules(
                paths.sdf, molecules_made(prepared, progress),
                load(paths.attempts), prepared.sorting.blocks)
    meta = {
        'program': 'conformers', 'content': 'molecules',
        'options': result_options(replace(options, output='')),
        'settings': prepared.plan.settings, 'inputs': prepared.plan.inputs,
        'packages': package_versions(),
    }
    spent = timing(progress)
    write_campaign(
        comm, paths.result, MOLECULES, len(prepared.table.rows),
        MemorySource(MOLECULES, rows), meta,
        {**spent, 'options': prepared.plan.run_meta},
        parallel={'auto': None, 'mpio': True, 'gather': False}[
            options.writer])
    statuses, n_written = comm.bcast((
        np.array([r['status'] for r in rows.values()], np.int8),
        sum(r.get('n_written', 0) for r in rows.values())))
    outcome = replace(progress.outcomes[-1], statuses=statuses)
    if comm.rank == 0:
        print(told(prepared, progress, rows), flush=True)
    return verdict(comm, options, outcome, n_written)


def verdict(
    comm: Any, options: Options, outcome: Outcome, n_written: int,
) -> int:
    """Print the last line on rank 0; returns the exit code."""
    code = outcome.exit_code(options.max_failed, options.strict)
    text = outcome.verdict(options.max_failed, options.strict)
    if options.total and n_written < options.total and code == DONE:
        code = FAILED
        text = (f'exit code {code}: only {n_written} of {options.total} '
                'records, the molecules have no more distinct conformers')
    if comm.rank == 0:
        print(text, flush=True)
    return code


def greeting(options: Options, prepared: Prepared) -> str:
    """Say in one line what runs."""
    import mpiapp
    asked = f'{options.total} records' if options.total else \
        f'{options.per_molecule} records a molecule'
    return (f'mpiapp {mpiapp.__version__} conformers: '
            f'{prepared.plan.inputs[0]["path"]}, '
            f'{len(prepared.table.rows)} molecules, {asked}')


def told(
    prepared: Prepared, progress: Progress,
    rows: Mapping[int, Mapping[str, Any]],
) -> str:
    """Return the closing table."""
    from mpiapp.reporting.conformers import closing
    from mpiapp.workers.conformer_preview import open_stereo_of
    from mpiapp.workers.conformer_rounds import timing
    from mpiapp.workers.embed import BLOCK
    paths = prepared.paths
    spent = timing(progress)
    return closing(
        list(rows.values()), open_stereo_of(prepared), spent,
        int(sum(spent['records'])) * BLOCK,
        [p for p in (paths.sdf, paths.result, paths.attempts)
         if p.exists()])


if __name__ == '__main__':
    sys.exit(main())
