"""`--analyse`: descriptors and ensembles of a finished file, made anew.

The rows go through the engine as in a campaign of their own, with journals,
resume and one new result file; the file that is analysed is only read.
"""
from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, World
from mpiapp.program import (
    check_files, result_options, result_path, run_options, unchanged_inputs
)

if TYPE_CHECKING:
    from mpiapp.engine import Outcome, Plan
    from mpiapp.store.reader import Campaign
    from mpiapp.workers.analyse import AnalyseWorker

log = logging.getLogger('mpiapp')

#: the program whose files can be analysed
PROGRAM = 'reopt'
#: seconds an atom takes, roughly; only ratios matter
ATOM_SECONDS = 1e-5
#: options of the analysis; the others stay those of the relaxation
GROUPS = ('ensembles', 'descriptors')
#: those that would change what is analysed, were they not refused
REFUSED_GROUP, REFUSED = 'input', ('refine',)
#: and those that have no effect, which is told: a script may share them
IDLE_GROUPS = ('method', 'relaxation')
IDLE = ('record_timeout', 'max_failed', 'strict', 'retry_failed')


@dataclass(frozen=True)
class Prepared:
    """What is analysed, and what is to be done; equal on all ranks."""

    campaign: Campaign
    plan: Plan


def check_options(options: Any) -> None:
    """Check the options of an analysis.

    Raises:
        InputError: options of the input or stages are given too, or the
            result would replace the file that is analysed.
    """
    refused = given(options, (REFUSED_GROUP,), REFUSED)
    refused.remove('--analyse')
    if refused:
        raise InputError('--analyse works on a result file: '
                         f'{", ".join(refused)} can not be given with it')
    result = result_path(options)
    if result.exists() and Path(options.analyse).exists() \
            and result.samefile(options.analyse):
        raise InputError(f'--output-prefix {options.output_prefix}: the '
                         f'result {result} would replace the file that is '
                         'analysed; choose another prefix')


def given(
    options: Any, groups: Sequence[str], names: Sequence[str],
) -> list[str]:
    """Return the options of groups, or of names, that are no defaults."""
    from dataclasses import fields
    return [f'--{f.name.replace("_", "-")}' for f in fields(options)
            if (f.metadata['group'] in groups or f.name in names)
            and getattr(options, f.name) != f.default]


def run_analysis(world: World, options: Any) -> int:
    """Collective: analyse the file that the options name.

    `options` are those of `reopt`.  Returns the exit code: 0 however many
    of the analysed records had failed, or that of an unfinished run.
    """
    from mpiapp import engine
    from mpiapp.chemistry.descriptors import descriptor_settings
    from mpiapp.parallel.agree import agree
    from mpiapp.workers.analyse import AnalyseWorker
    idle = given(options, IDLE_GROUPS, IDLE)
    if idle and world.comm.rank == 0:
        log.warning('note: nothing is relaxed: %s without effect',
                    ', '.join(idle))
    prepared: Prepared | None = None
    with agree(world.comm, 'preparing the analysis'):
        if world.comm.rank == 0:
            prepared = prepare(options)
    prepared = world.comm.bcast(prepared)
    assert prepared is not None
    if options.dry_run:
        if world.comm.rank == 0:
            print(intention(prepared))
        return DONE
    with agree(world.comm, 'reading the result file'):
        systems = descriptor_settings(options.systems, options.compat_system)
        worker = AnalyseWorker(prepared.campaign, systems)
        plan = described(options, prepared, worker)
    outcome = engine.run(world, plan, worker)
    with agree(world.comm, 'writing the tables'):
        if world.comm.rank == 0:
            finish(plan, outcome)
    return outcome.exit_code(len(outcome.statuses), False)


def prepare(options: Any) -> Prepared:
    """Check the file and the place for the result, on one rank.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.chemistry.descriptors import descriptor_settings
    from mpiapp.engine import Plan, check_start, size_of_results
    from mpiapp.partition import CostModel
    from mpiapp.potentials import file_sha256
    from mpiapp.records import RELAX
    from mpiapp.store.digest import content_digest
    from mpiapp.store.export import tables_of
    from mpiapp.store.output import check_output, check_space
    descriptor_settings(options.systems, options.compat_system)
    campaign = open_source(Path(options.analyse))
    result = result_path(options)
    check_output(result, create=not options.dry_run)
    check_files(options, [result, *tables_of(result.with_suffix(''))],
                campaign.meta['inputs'])
    n_atoms = campaign.table['n_atoms'].to_numpy()
    check_space(result, size_of_results(RELAX, n_atoms))
    settings = {'analysed_content': content_digest(campaign.path),
                'compat_system': options.compat_system}
    if options.systems:
        settings['systems_sha256'] = file_sha256(options.systems)
    plan = Plan(
        RELAX, result, n_atoms, CostModel(ATOM_SECONDS, steps=0.0),
        worked_on(campaign), settings, campaign.meta['inputs'],
        resume=options.resume, overwrite=options.overwrite,
        save_every=options.save_every, writer=options.writer)
    if options.dry_run:
        check_start(plan)
    return Prepared(campaign, plan)


def open_source(path: Path) -> Campaign:
    """Open a file to analyse; warn where it is not complete.

    Raises:
        InputError: missing, damaged, not of `reopt`.
    """
    from mpiapp.store.reader import load
    campaign = load(path)
    program = campaign.meta.get('program')
    if program != PROGRAM or 'inputs' not in campaign.meta:
        raise InputError(f'{path} is a result of {program or "another"}: '
                         f'only results of {PROGRAM} can be analysed')
    if not campaign.complete:
        n_pending = int((campaign.table['status'] == 0).sum())
        log.warning(
            'warning: %s is not complete, %d of %d records are pending: '
            'what is there is analysed', path, n_pending, campaign.n_records)
    return campaign


def worked_on(campaign: Campaign) -> Any:
    """Mark the records [n_records] that have a result."""
    from mpiapp.records import Status
    return ~campaign.table['status'].isin(
        [Status.PENDING, Status.SKIPPED]).to_numpy()


def described(
    options: Any, prepared: Prepared, worker: AnalyseWorker,
) -> Plan:
    """Add what is stored: the relaxation's own account, and ours."""
    from mpiapp.store.provenance import package_versions
    from mpiapp.workers.ensembles import finale
    meta, plan = prepared.campaign.meta, prepared.plan
    chosen = of_the_analysis(options)
    meta = {**meta, 'options': {**meta.get('options', {}), **chosen},
            'descriptors': {'mode': options.descriptors,
                            **worker.settings.described()},
            'analysis': {
                'path': str(prepared.campaign.path),
                'content': plan.settings['analysed_content'],
                'complete': prepared.campaign.complete,
                'packages': package_versions()}}
    return replace(plan, meta=meta, run_meta=run_options(options),
                   blank=worker.known, extend=finale(chosen))


def of_the_analysis(options: Any) -> dict[str, Any]:
    """Return the options that concern descriptors and ensembles."""
    from dataclasses import fields
    names = {f.name for f in fields(options)
             if f.metadata['group'] in GROUPS}
    return {name: value for name, value in result_options(options).items()
            if name in names}


def intention(prepared: Prepared) -> str:
    """Say what an analysis would do."""
    plan = prepared.plan
    return (f'{prepared.campaign.path}: {int(plan.wanted.sum())} of '
            f'{plan.n_records} records would be analysed, nothing relaxed; '
            f'result: {plan.result}')


def finish(plan: Plan, outcome: Outcome) -> None:
    """Write the tables and print what came of it; on one rank."""
    from mpiapp.parallel.progress import clock
    from mpiapp.store.export import write_tables
    from mpiapp.store.reader import load
    campaign = load(plan.result)
    with tempfile.TemporaryDirectory() as spool:
        collection = unchanged_inputs(campaign.meta, Path(spool))
        paths = write_tables(plan.result, plan.result.with_suffix(''),
                             collection)
    n_done = int(sum(r['records'] for r in outcome.ranks))
    print('\n'.join(closing_lines(campaign, [plan.result, *paths])))
    state = '' if campaign.complete else ' (the analysed file is partial)'
    print(f'analysed      {n_done} record(s) in {clock(outcome.wall)} on '
          f'{len(outcome.ranks)} rank(s){state}')
    print(outcome.verdict(len(outcome.statuses), False), flush=True)


def closing_lines(
    campaign: Campaign, paths: Sequence[Path],
) -> list[str]:
    """Return statuses as they were, the molecules, and what was written."""
    from mpiapp.reporting.ensembles import molecule_lines
    from mpiapp.reporting.terminal import status_lines
    table: Mapping[str, Any] = campaign.table
    return ['', *status_lines(table['status'].to_numpy(),
                              table['reason'].tolist()),
            *molecule_lines(campaign.ensembles,
                            campaign.ensemble_settings.get('n_alike', 0)),
            *(f'wrote         {path}' for path in paths)]
