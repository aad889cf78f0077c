"""Re-optimise conformers: relax thousands of molecules, one HDF5 file out.

Called without an input it relaxes the bundled sample with the bundled model.
"""
from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.analysis import run_analysis
from mpiapp.config import checked
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, USAGE, World, launch
from mpiapp.planning import (
    Prepared, describe, make_worker, prepare, spool_folder
)
from mpiapp.program import guard_sample
from mpiapp.program import main as run_program
from mpiapp.program import remove_spooled, resources_of, result_path
from mpiapp.relaxation import Options, settle

if TYPE_CHECKING:
    from mpiapp.engine import Outcome
    from mpiapp.store.reader import Campaign
    from mpiapp.workers.relax import RelaxWorker

ABOUT = ('Re-optimise conformers of molecules over MPI ranks: '
         'mpirun -n P python -m mpiapp.reopt --sdf FILE --model student')

STUDENT = ('note: the bundled model is for trials, not for science: it does '
           'not rank conformers (data/models/README.md)')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    return run_program(Options, 'reopt', ABOUT, settle, run, argv)


def relax(*sdf: str | Path, **options: Any) -> Campaign:
    """Relax files from a script, as `reopt` does, and open the result.

    The process then has the threads, the cores and the GPU of its rank, and
    an unforeseen error ends the whole job as in the program.

    `options` are fields of `Options`.  Under mpirun every rank calls it
    with the same arguments; threads count only if numpy and torch have not
    been imported yet.

    Raises:
        InputError: the options or the input are wrong, nothing was done.
        TypeError: an option that does not exist.
    """
    from mpiapp.store.reader import load
    chosen = settle(checked(
        replace(Options(), sdf=tuple(map(str, sdf)), **options)))
    try:
        code = launch(lambda world: run(world, chosen), resources_of(chosen))
    except SystemExit:
        # a GPU that is not there, found before MPI has started
        code = USAGE
    if code == USAGE:
        raise InputError('nothing was computed, the reason was printed')
    return load(result_path(chosen))


def run(world: World, options: Options) -> int:
    """Collective: do what the options say; returns the exit code."""
    if options.analyse:
        return run_analysis(world, options)
    from mpiapp.parallel.agree import agree
    spool = Path()
    with ExitStack() as stack:
        with agree(world.comm, 'preparing the run'):
            if world.comm.rank == 0:
                spool = stack.enter_context(spool_folder(options))
        return run_relaxation(world, options, spool)


def run_relaxation(world: World, options: Options, spool: Path) -> int:
    """Collective: relax and refine; `spool` is for rank 0 to unpack to."""
    from mpiapp import engine
    from mpiapp.parallel import binding
    from mpiapp.parallel.agree import agree
    comm = world.comm
    if comm.rank == 0:
        engine.log.info('%s', greeting(options))
        engine.log.info('%s', binding.table(world.placements))
        if options.model == 'student':
            engine.log.warning('%s', STUDENT)
        if crowding := binding.crowding(world.placements):
            engine.log.warning('warning: %s', crowding)
    prepared: Prepared | None = None
    with agree(comm, 'preparing the run'):
        if comm.rank == 0:
            prepared = prepare(options, spool)
    prepared = comm.bcast(prepared)
    assert prepared is not None
    with agree(comm, 'loading the potential'):
        worker = make_worker(options, prepared)
    prepared = describe(options, prepared, worker)
    if options.dry_run:
        from mpiapp.workers.preview import preview
        with agree(comm, 'previewing the run'):
            if comm.rank == 0:
                print(preview(prepared.plan, worker, comm.size, [
                    f'{r.stage.name}: {r.stage.text}'
                    for r in prepared.stages], options.group_by))
        return DONE
    outcomes = run_refined(world, prepared, worker)
    end = outcomes[-1]
    if not end.unfinished:
        end = replace(end, statuses=joined_statuses(outcomes))
    # that of the survivors, where ranks died
    comm = world.comm
    with agree(comm, 'writing the tables'):
        if comm.rank == 0:
            finish(options, prepared, outcomes[0])
            print(end.verdict(options.max_failed, options.strict),
                  flush=True)
    return end.exit_code(options.max_failed, options.strict)


def run_refined(
    world: World, prepared: Prepared, worker: RelaxWorker,
) -> list[Outcome]:
    """Collective: relax, then refine; the outcome of each run in order."""
    from mpiapp import engine
    from mpiapp.parallel.agree import agree
    from mpiapp.refinement import joining, run_stages
    from mpiapp.store.folder import folder_of, held
    plan, stages = prepared.plan, prepared.stages
    # now: the input may be gone by then
    sample = guard_sample(prepared.collection) if stages else []
    outcomes = [engine.run(
        world, replace(plan, whole=not stages), worker)]
    if not stages or outcomes[0].unfinished:
        return outcomes
    with ExitStack() as stack:
        with agree(world.comm, 'going on with the stages'):
            if world.comm.rank == 0:
                stack.enter_context(held(plan.result))
        outcomes += run_stages(world, plan, stages, sample)
        # the rows are in the journals: written anew, with the stages
        engine.write(world, replace(
            plan, extend=joining(plan, stages),
            whole=not outcomes[-1].unfinished), folder_of(plan.result),
            outcomes[0].ranks, outcomes[0].wall)
    return outcomes


def joined_statuses(outcomes: Sequence[Outcome]) -> Any:
    """Return the statuses of all runs, for the count of failures."""
    import numpy as np
    return np.concatenate([o.statuses for o in outcomes])


def greeting(options: Options) -> str:
    """Say in one line what runs, above all when nothing was named."""
    import mpiapp
    what = ' '.join(options.sdf[:3]) or 'no input named: the bundled sample'
    if len(options.sdf) > 3:
        what += f' and {len(options.sdf) - 3} files more'
    return (f'mpiapp {mpiapp.__version__} reopt: {what}, '
            f'{method_name(options)}, fmax {options.fmax:g} eV/A, at most '
            f'{options.max_steps} steps')


def method_name(options: Options) -> str:
    """Name the potential that the options ask for."""
    if options.calculator != 'mace':
        return options.calculator
    if options.model_path:
        return f'MACE model {options.model_path}'
    bundled = ' (bundled)' if options.model == 'student' else ''
    return f'MACE model {options.model}{bundled}'


def finish(options: Options, prepared: Prepared, outcome: Outcome) -> None:
    """Write CSV and SDF, print the closing table; on one rank."""
    from mpiapp.refinement import stage_path
    from mpiapp.reporting.refinement import comparison_lines
    from mpiapp.reporting.terminal import closing_table
    from mpiapp.store.comparison import rankings, write_comparison
    from mpiapp.store.export import write_tables
    from mpiapp.store.reader import load
    result = prepared.plan.result
    paths = write_tables(result, result.with_suffix(''),
                         prepared.collection)
    campaign = load(result)
    paths += write_comparison(campaign, result.with_suffix(''))
    for stage in prepared.stages:
        path = stage_path(result, stage)
        if path.exists():
            prefix = result.with_name(f'{result.stem}_{stage.stage.name}')
            write_tables(path, prefix, prepared.collection)
            paths.append(Path(f'{prefix}_*  (tables and structures of the '
                              'stage)'))
    remove_spooled(prepared.collection)
    print(closing_table(campaign.table, outcome.wall, outcome.ranks,
                        [result, *paths], campaign.ensembles,
                        campaign.ensemble_settings.get('n_alike', 0)),
          flush=True)
    if campaign.stages:
        print('\n'.join(comparison_lines(
            {name: stage.table['status'].to_numpy()
             for name, stage in campaign.stages.items()},
            rankings(campaign))), flush=True)


if __name__ == '__main__':
    sys.exit(main())
