"""Re-optimise conformers: relax thousands of molecules, one HDF5 file out.

Called without an input it relaxes the bundled sample with the bundled model.
"""
from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.config import Computing, checked, not_negative, option, positive
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.optimize import names as optimizers
from mpiapp.parallel.launch import DONE, USAGE, World, launch
from mpiapp.program import (
    check_method, check_shared, default_backend, guard_sample
)
from mpiapp.program import main as run_program
from mpiapp.program import (
    output_folder, potential_options, remove_spooled, resources_of,
    result_options, result_path, run_options, stems_of
)

if TYPE_CHECKING:
    from mpiapp.engine import Outcome, Plan
    from mpiapp.potentials.base import Potential, PotentialOptions
    from mpiapp.store.reader import Campaign
    from mpiapp.structures import Collection
    from mpiapp.workers.relax import RelaxWorker

ABOUT = ('Re-optimise conformers of molecules over MPI ranks: '
         'mpirun -n P python -m mpiapp.reopt --sdf FILE --model student')

STUDENT = ('note: the bundled model is for trials, not for science: it does '
           'not rank conformers (data/models/README.md)')

#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 1


@dataclass(frozen=True)
class Options(Computing):
    """Options of `reopt`."""

    sdf: tuple[str, ...] = option(
        (), 'input files: sdf (V2000, V3000), mol, xyz, extxyz, each also '
        'as .gz', group='input', metavar='FILE')
    smiles_csv: str = option(
        '', 'molecule table (name, r_group, screen_group, smiles); row '
        'number from 1 = tag mseq; records are checked against it',
        group='input', metavar='FILE')
    allow_mismatch: bool = option(
        False, 'go on with records that fit no row of the table',
        group='input')
    start_index: int = option(0, 'first record of the window',
                              group='input', check=not_negative)
    end_index: int | None = option(
        None, 'end of the window, not included', group='input')
    test: bool = option(False, 'only the first 3 records of the window',
                        group='input')
    charge_policy: str = option(
        'refuse', 'charged records under a model that knows no charge: '
        'refuse, neutralise by adding H to O-, or allow (flagged)',
        group='input', choices=('refuse', 'neutralise', 'allow'))
    output_prefix: str = option(
        'moe_mace_reopt', 'prefix of all result files; may hold a folder',
        group='output')
    optimizer: str = option(
        'lbfgs', f'optimiser: {", ".join(optimizers())}',
        group='relaxation', choices=tuple(optimizers()))
    fmax: float = option(0.005, 'largest force of a relaxed atom [eV/A]',
                         group='relaxation', check=positive)
    max_steps: int = option(500, 'optimiser steps of a record at most',
                            group='relaxation', check=positive)
    batch: int = option(
        1, 'molecules a rank relaxes together', group='relaxation',
        check=positive)


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
    code = launch(lambda world: run(world, chosen), resources_of(chosen))
    if code == USAGE:
        raise InputError('nothing was computed, the reason was printed')
    return load(result_path(chosen))


def settle(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    if options.end_index is not None \
            and options.end_index <= options.start_index:
        raise InputError(f'--end-index {options.end_index} must exceed '
                         f'--start-index {options.start_index}')
    check_shared(options)
    check_method(options)
    model = options.model
    if options.calculator == 'mace' and not (model or options.model_path):
        model = 'small' if options.sdf else 'student'
    return replace(
        options, output_dir=output_folder(options), model=model,
        backend=default_backend(options))


def run(world: World, options: Options) -> int:
    """Collective: do what the options say; returns the exit code."""
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
            prepared = prepare(options)
    prepared = comm.bcast(prepared)
    assert prepared is not None
    with agree(comm, 'loading the potential'):
        worker = make_worker(options, prepared)
    prepared = describe(options, prepared, worker.potential)
    if options.dry_run:
        from mpiapp.workers.preview import preview
        with agree(comm, 'previewing the run'):
            if comm.rank == 0:
                print(preview(prepared.plan, worker, comm.size))
                remove_spooled(prepared.collection)
        return DONE
    outcome = engine.run(world, prepared.plan, worker)
    with agree(comm, 'writing the tables'):
        if comm.rank == 0:
            finish(options, prepared, outcome)
            print(outcome.verdict(options.max_failed, options.strict),
                  flush=True)
    return outcome.exit_code(options.max_failed, options.strict)


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


@dataclass(frozen=True)
class Prepared:
    """What rank 0 found out and every rank needs."""

    plan: Plan
    collection: Collection
    chosen: PotentialOptions
    table: Any


def prepare(options: Options) -> Prepared:
    """Check input, model and output on one rank, before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.chemistry.molecules import MoleculeTable
    from mpiapp.engine import Plan, check_start, size_of_results
    from mpiapp.partition import cost_model
    from mpiapp.potentials import obtain
    from mpiapp.records import RELAX
    from mpiapp.store.folder import folder_of, stored_settings
    from mpiapp.store.output import check_output, check_space
    from mpiapp.structures import Collection
    result = result_path(options)
    check_output(result, create=not options.dry_run)
    table = MoleculeTable.read(options.smiles_csv) \
        if options.smiles_csv else None
    spool = Path(tempfile.gettempdir()) if options.dry_run \
        else folder_of(result)
    try:
        collection = Collection.open(inputs(options), spool)
    except InputError:
        if spool.is_dir() and not any(spool.iterdir()):
            spool.rmdir()
        raise
    asked = potential_options(options)
    if options.resume and options.backend == 'auto':
        # chosen for all the work, of which less may be left
        stored = stored_settings(result).get('backend', 'auto')
        asked = replace(asked, backend=stored)
    wanted = window(options, len(collection))
    costs = cost_model(options.calculator, options.max_steps)
    chosen = obtain(asked, guard_sample(collection),
                    costs.atom_steps(collection.n_atoms[wanted]).sum())
    check_space(result, size_of_results(RELAX, collection.n_atoms))
    plan = Plan(
        RELAX, result, collection.n_atoms, costs,
        wanted, settings_of(options, chosen),
        [{'path': f.path, 'sha256': f.sha256, 'n_records': len(f)}
         for f in collection.files],
        resume=options.resume, overwrite=options.overwrite,
        retry_failed=options.retry_failed, slots=options.batch,
        save_every=options.save_every, writer=options.writer)
    if options.dry_run:
        check_start(plan)
    return Prepared(plan, collection, chosen, table)


def inputs(options: Options) -> list[str]:
    """Return the input files, the bundled sample where none is named.

    Raises:
        InputError: none is named and the bundled sample is not installed.
    """
    if options.sdf:
        return list(options.sdf)
    sample = data_file('dimers/library_sample.sdf')
    if not sample.exists():
        raise InputError(f'name an input with --sdf FILE ({sample}, the '
                         'bundled sample, is not installed)')
    return [str(sample)]


def window(options: Options, n_records: int) -> Any:
    """Mark the records [n_records] that are to be done.

    Raises:
        InputError: the window holds no record.
    """
    import numpy as np
    end = n_records if options.end_index is None else options.end_index
    if options.test:
        end = min(end, options.start_index + 3)
    wanted = np.zeros(n_records, bool)
    wanted[options.start_index:end] = True
    if not wanted.any():
        raise InputError(f'--start-index {options.start_index}: the input '
                         f'has {n_records} records')
    return wanted


def settings_of(
    options: Options, chosen: PotentialOptions,
) -> dict[str, Any]:
    """Return what decides the results and must not change on resume."""
    from mpiapp.potentials import file_sha256
    names = ('calculator', 'mace_dtype', 'solvent', 'optimizer', 'fmax',
             'max_steps', 'charge_policy', 'allow_mismatch',
             'record_timeout', 'batch')
    settings = {name: getattr(options, name) for name in names}
    settings['backend'] = chosen.backend
    settings['results_version'] = RESULTS_VERSION
    if chosen.model_path:
        settings['model_sha256'] = file_sha256(chosen.model_path)
    if options.smiles_csv:
        settings['smiles_csv_sha256'] = file_sha256(options.smiles_csv)
    return settings


def make_worker(options: Options, prepared: Prepared) -> RelaxWorker:
    """Load the potential and return the worker of this rank."""
    from mpiapp.potentials import build
    from mpiapp.workers.relax import RelaxSettings, RelaxWorker
    settings = RelaxSettings(
        options.optimizer, options.fmax, options.max_steps,
        options.record_timeout, options.charge_policy,
        options.allow_mismatch, options.batch)
    potential = build(prepared.chosen, guard_sample(prepared.collection))
    return RelaxWorker(settings, prepared.collection, potential,
                       prepared.table, stems_of(prepared.collection))


def describe(
    options: Options, prepared: Prepared, potential: Potential,
) -> Prepared:
    """Add what is stored with the results, and the empty rows."""
    from mpiapp.store.provenance import package_versions
    locate = prepared.collection.locate
    stems = stems_of(prepared.collection)
    wanted = prepared.plan.wanted
    meta = {
        'program': 'reopt', 'options': result_options(options),
        'settings': prepared.plan.settings,
        'inputs': prepared.plan.inputs,
        'potential': potential.describe(), 'packages': package_versions(),
        'optimizer': options.optimizer,
    }

    def blank(row: int) -> dict[str, Any]:
        file_number, record = locate(row)
        known = {'file_number': file_number, 'record': record,
                 'name': f'{stems[file_number]}_{record}'}
        if wanted[row]:
            return known
        return known | {'status': 6, 'reason': 'window',
                        'message': 'outside the window of this campaign'}
    plan = replace(prepared.plan, meta=meta, run_meta=run_options(options),
                   blank=blank)
    return replace(prepared, plan=plan)


def finish(options: Options, prepared: Prepared, outcome: Outcome) -> None:
    """Write CSV and SDF, print the closing table; on one rank."""
    from mpiapp.reporting.terminal import closing_table
    from mpiapp.store.export import write_tables
    from mpiapp.store.reader import load
    result = prepared.plan.result
    paths = write_tables(result, result.with_suffix(''),
                         prepared.collection)
    remove_spooled(prepared.collection)
    print(closing_table(load(result).table, outcome.wall, outcome.ranks,
                        [result, *paths]), flush=True)


if __name__ == '__main__':
    sys.exit(main())
