"""All that comes before the work of `reopt`, and what it leaves behind."""
from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.config import Ensembles
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.parallel.agree import AgreedExit
from mpiapp.program import (
    check_files, guard_sample, potential_options, result_options, result_path,
    run_options, stems_of
)
from mpiapp.relaxation import Options, device_program, stages_of, written

if TYPE_CHECKING:
    from mpiapp.engine import Plan
    from mpiapp.potentials.base import PotentialOptions
    from mpiapp.records import Structure
    from mpiapp.refinement import StageRun
    from mpiapp.structures import Collection
    from mpiapp.workers.reading import FileRecords
    from mpiapp.workers.refine import Stage
    from mpiapp.workers.relax import RelaxSettings, RelaxWorker

#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 2


@dataclass(frozen=True)
class Prepared:
    """What rank 0 found out and every rank needs."""

    plan: Plan
    collection: Collection
    chosen: PotentialOptions
    table: Any
    on_device: bool
    stages: tuple[StageRun, ...] = ()


@contextmanager
def spool_folder(options: Options) -> Iterator[Path]:
    """Give the folder for what compressed input files are unpacked to.

    That of the campaign, which all ranks see; what came there newly goes
    with a start that is refused.  A dry run has one of its own, which goes
    at its end.
    """
    from mpiapp.store.folder import folder_of
    from mpiapp.structures.index import unpacked_in
    if options.dry_run:
        with tempfile.TemporaryDirectory(prefix='mpiapp-') as name:
            yield Path(name)
        return
    spool = folder_of(result_path(options))
    before = unpacked_in(spool)
    try:
        yield spool
    except (InputError, AgreedExit):
        # what was there may be in use by another job
        for path in unpacked_in(spool) - before:
            path.unlink(missing_ok=True)
        if spool.is_dir() and not any(spool.iterdir()):
            spool.rmdir()
        raise


def prepare(options: Options, spool: Path) -> Prepared:
    """Check input, model and output on one rank, before any work.

    Compressed input is unpacked to `spool`.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.chemistry.descriptors import descriptor_settings
    from mpiapp.chemistry.molecules import MoleculeTable
    from mpiapp.engine import Plan, check_start, size_of_results
    from mpiapp.partition import cost_model
    from mpiapp.potentials import obtain
    from mpiapp.records import RELAX
    from mpiapp.store.folder import stored_settings
    from mpiapp.store.output import check_output, check_space
    from mpiapp.structures import Collection
    result = result_path(options)
    descriptor_settings(options.systems, options.compat_system)
    check_output(result, create=not options.dry_run)
    check_files(options, written(options))
    table = MoleculeTable.read(options.smiles_csv) \
        if options.smiles_csv else None
    collection = Collection.open(inputs(options), spool)
    asked = potential_options(options)
    if options.resume and options.backend == 'auto':
        # chosen for all the work, of which less may be left
        asked = as_stored(asked, stored_settings(result))
    wanted = window(options, len(collection))
    costs = cost_model(options.calculator, options.max_steps,
                       options.optimizer)
    sample = guard_sample(collection)
    chosen = obtain(asked, sample,
                    costs.atom_steps(collection.n_atoms[wanted]).sum())
    check_space(result, size_of_results(RELAX, collection.n_atoms))
    on_device = device_program(options)
    plan = Plan(
        RELAX, result, collection.n_atoms, costs,
        wanted, settings_of(options, chosen, on_device),
        [{'path': f.path, 'sha256': f.sha256, 'n_records': len(f)}
         for f in collection.files],
        resume=options.resume, overwrite=options.overwrite,
        retry_failed=options.retry_failed, slots=options.molecules or 1,
        save_every=options.save_every,
        record_timeout=options.record_timeout, writer=options.writer)
    if options.dry_run:
        check_start(plan)
    return Prepared(plan, collection, chosen, table, on_device,
                    stage_runs(options, plan, sample))


def as_stored(
    asked: PotentialOptions, stored: Mapping[str, Any],
) -> PotentialOptions:
    """Return the options with the back end that `auto` chose before."""
    backend = stored.get('backend', 'auto')
    if backend == 'auto' or asked.calculator != 'mace':
        return replace(asked, backend=backend)
    from mpiapp.potentials.mace.choosing import chosen_by_rule
    return chosen_by_rule(asked, backend)


def stage_runs(
    options: Options, plan: Plan, sample: list[Structure],
) -> tuple[StageRun, ...]:
    """Prepare the stages on one rank: models found, settings known.

    Raises:
        InputError: a potential that is not to be had.
    """
    from mpiapp.partition import cost_model
    from mpiapp.potentials import build, obtain
    from mpiapp.refinement import StageRun, check_stages
    from mpiapp.store.folder import settings_digest
    from mpiapp.store.folder import stages_of as stages_folder
    from mpiapp.store.folder import stored_settings
    from mpiapp.workers.refine import share_of
    runs: list[StageRun] = []
    before: Any = plan.settings
    for stage, changed in stages_of(options):
        costs = cost_model(changed.calculator,
                           0 if stage.single else changed.max_steps,
                           changed.optimizer)
        asked = potential_options(changed)
        path = stages_folder(plan.result) / f'{stage.name}.h5'
        if options.resume and asked.backend == 'auto':
            asked = as_stored(asked, stored_settings(path))
        chosen = obtain(asked, sample, share_of(
            stage) * costs.atom_steps(plan.n_atoms[plan.wanted]).sum())
        if changed.calculator != 'mace':
            # what can't run is to be known before the work begins
            build(chosen)
        on_device = not stage.single and device_program(changed)
        settings = {
            **settings_of(changed, chosen, on_device),
            'selection': stage.selection,
            'amount': str(stage.amount), 'single_point': stage.single,
            'before': settings_digest(before),
            **selecting_options(options, stage)}
        before = settings
        relax = replace(relax_settings(changed, on_device),
                        single_point=stage.single)
        runs.append(StageRun(stage, chosen, relax, settings,
                             changed.calculator, changed.charge_policy))
    check_stages(plan, runs)
    return tuple(runs)


def selecting_options(options: Options, stage: Stage) -> dict[str, Any]:
    """Return the options of the ensembles that a selection depends on."""
    if stage.selection == 'all':
        return {}
    return {f.name: str(getattr(options, f.name)) for f in fields(Ensembles)
            if f.name not in ('boltzmann', 'temperatures')}


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
    options: Options, chosen: PotentialOptions, on_device: bool,
) -> dict[str, Any]:
    """Return what decides the results and must not change on resume."""
    from mpiapp.potentials import file_sha256
    names = ('calculator', 'mace_dtype', 'solvent', 'optimizer', 'fmax',
             'max_steps', 'charge_policy', 'allow_mismatch',
             'record_timeout', 'compat_system')
    settings = {name: getattr(options, name) for name in names}
    settings['batch'] = options.molecules or 1
    if on_device:
        settings |= {'batch': str(options.batch), 'relax_on': 'device'}
    settings['backend'] = chosen.backend
    settings['results_version'] = RESULTS_VERSION
    settings['two_stage_fmax'] = (
        options.two_stage_fmax if options.two_stage else None)
    if chosen.model_path:
        settings['model_sha256'] = file_sha256(chosen.model_path)
    if options.smiles_csv:
        settings['smiles_csv_sha256'] = file_sha256(options.smiles_csv)
    if options.systems:
        settings['systems_sha256'] = file_sha256(options.systems)
    return settings


def make_worker(options: Options, prepared: Prepared) -> RelaxWorker:
    """Load the potential and return the worker of this rank."""
    from mpiapp.potentials import build
    from mpiapp.workers.relax import RelaxWorker
    sample = guard_sample(prepared.collection)
    potential = build(prepared.chosen, sample)
    rough = None
    if options.two_stage:
        from mpiapp.potentials.mace.first_stage import build_first
        rough = build_first(prepared.chosen, potential, sample)
    return RelaxWorker(relax_settings(options, prepared.on_device),
                       records_of(options, prepared), potential, rough,
                       sample)


def records_of(options: Options, prepared: Prepared) -> FileRecords:
    """Return what reads and judges the records of the input."""
    from mpiapp.workers.reading import FileRecords
    return FileRecords(
        prepared.collection, prepared.table, stems_of(prepared.collection),
        options.charge_policy, options.allow_mismatch)


def relax_settings(options: Options, on_device: bool) -> RelaxSettings:
    """Return what decides the result of a relaxation."""
    from mpiapp.chemistry.descriptors import descriptor_settings
    from mpiapp.workers.relax import RelaxSettings
    return RelaxSettings(
        options.optimizer, options.fmax, options.max_steps,
        options.record_timeout, options.molecules or 1,
        options.two_stage_fmax, on_device=on_device,
        molecules=options.molecules, sharing=options.ranks_per_gpu,
        descriptors=descriptor_settings(options.systems,
                                        options.compat_system))


def describe(
    options: Options, prepared: Prepared, worker: RelaxWorker,
) -> Prepared:
    """Add what is stored with the results, and the empty rows."""
    from mpiapp.chemistry.descriptors import descriptor_settings
    from mpiapp.store.provenance import package_versions
    from mpiapp.workers.ensembles import finale
    locate = prepared.collection.locate
    stems = stems_of(prepared.collection)
    wanted = prepared.plan.wanted
    meta = {
        'program': 'reopt', 'options': result_options(options),
        'settings': prepared.plan.settings,
        'inputs': prepared.plan.inputs,
        'potential': worker.potential.describe(),
        'packages': package_versions(),
        'optimizer': options.optimizer,
        'descriptors': {'mode': options.descriptors, **descriptor_settings(
            options.systems, options.compat_system).described()},
    }
    if prepared.on_device:
        meta['device_program'] = worker.device_program()
    if worker.rough is not None:
        meta['first_stage'] = worker.rough.describe()

    def blank(row: int) -> dict[str, Any]:
        file_number, record = locate(row)
        known = {'file_number': file_number, 'record': record,
                 'name': f'{stems[file_number]}_{record}'}
        if wanted[row]:
            return known
        return known | {'status': 6, 'reason': 'window',
                        'message': 'outside the window of this campaign'}
    plan = replace(prepared.plan, meta=meta, run_meta=run_options(options),
                   blank=blank, extend=finale(result_options(options)))
    return replace(prepared, plan=plan)
