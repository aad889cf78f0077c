"""The stages that follow a relaxation, each a run of the engine.

A stage has a folder of its own beside the result, `<prefix>.stages/`, with
journals like those of the main run, so that it can be stopped and resumed at
any record; its rows end in the group /stages of the one result file.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.errors import InputError
from mpiapp.parallel.agree import agree

if TYPE_CHECKING:
    from mpiapp.engine import Outcome, Plan
    from mpiapp.parallel.launch import World
    from mpiapp.potentials.base import PotentialOptions
    from mpiapp.records import Structure
    from mpiapp.store.reader import Campaign
    from mpiapp.workers.refine import Stage
    from mpiapp.workers.relax import RelaxSettings

log = logging.getLogger('mpiapp')


@dataclass(frozen=True)
class StageRun:
    """A stage and what its options come to.

    `settings` decide the results, as those of the main run do; `calculator`
    is for the prediction of costs.  `charge_policy` is that of the run.
    """

    stage: Stage
    chosen: PotentialOptions
    relax: RelaxSettings
    settings: Mapping[str, Any]
    calculator: str
    charge_policy: str = 'refuse'


def stage_path(result: Path, run: StageRun) -> Path:
    """Return the result file of a stage: x.h5 -> x.stages/1_gfn2.h5."""
    from mpiapp.store.folder import stages_of
    return stages_of(result) / f'{run.stage.name}.h5'


def check_stages(plan: Plan, runs: Sequence[StageRun]) -> None:
    """Check that the stages of a campaign go on as they were begun.

    Raises:
        InputError: a stage was begun otherwise, or is no longer named.
    """
    from mpiapp.engine import check_start
    from mpiapp.store.folder import stage_names
    if not plan.resume:
        return
    names = [run.stage.name for run in runs]
    for name in stage_names(plan.result):
        number = int(name.split('_')[0])
        if name not in names:
            now = names[number - 1] if number <= len(names) else 'missing'
            raise InputError(
                f'--refine: stage {number} was {name}, now {now}: stages '
                'that were begun can not be changed or left out; choose '
                'another --output-prefix, or --overwrite')
    for run in runs:
        if run.stage.name in stage_names(plan.result):
            check_start(replace(plan, result=stage_path(plan.result, run),
                                settings=run.settings))


def run_stages(
    world: World, plan: Plan, runs: Sequence[StageRun],
    sample: Sequence[Structure],
) -> list[Outcome]:
    """Collective: compute the stages of a finished campaign in their order.

    The list ends with the first stage that was stopped.  `sample` are
    structures on which fast potentials are proved.
    """
    from mpiapp import engine
    from mpiapp.potentials import build
    from mpiapp.workers.reading import StageRecords
    from mpiapp.workers.relax import RelaxWorker
    outcomes: list[Outcome] = []
    before = plan.result
    for run in runs:
        with agree(world.comm, f'preparing stage {run.stage.name}'):
            campaign = opened(before)
            staged = stage_plan(plan, run, campaign)
            potential = build(run.chosen, sample)
        staged = replace(staged, meta={
            'program': 'reopt', 'stage': run.stage.text,
            'settings': run.settings, 'inputs': plan.inputs,
            'potential': potential.describe()})
        if world.comm.rank == 0:
            log.info('\nstage %s (%s): %d records', run.stage.name,
                     run.stage.text, int(staged.wanted.sum()))
        worker = RelaxWorker(
            run.relax, StageRecords(campaign, run.charge_policy), potential,
            sample=sample)
        outcomes.append(engine.run(world, staged, worker))
        if outcomes[-1].unfinished:
            break
        before = staged.result
    return outcomes


def opened(path: Path) -> Campaign:
    """Return the campaign whose final geometries the next stage takes."""
    from mpiapp.store.reader import load
    return load(path)


def stage_plan(plan: Plan, run: StageRun, before: Campaign) -> Plan:
    """Return the plan of a stage: which records, where, at what cost."""
    import numpy as np

    from mpiapp.partition import cost_model
    from mpiapp.workers.selecting import select
    path = stage_path(plan.result, run)
    path.parent.mkdir(exist_ok=True)
    wanted = select(run.stage, before)
    known = before.table[['file_number', 'record', 'name']]

    def blank(row: int) -> dict[str, Any]:
        values = known.loc[row].to_dict()
        if wanted[row]:
            return values
        return values | {'status': 6, 'reason': 'not_selected',
                         'message': f'not in {run.stage.text}'[:160]}
    return replace(
        plan, result=path, wanted=wanted, settings=run.settings,
        n_atoms=before.table['n_atoms'].to_numpy(np.int32), blank=blank,
        cost_model=cost_model(run.calculator, 0 if run.stage.single
                              else run.relax.max_steps,
                              run.relax.optimizer),
        overwrite=False, whole=True)


def joining(
    plan: Plan, runs: Sequence[StageRun],
) -> Callable[[Any, Path], None]:
    """Return what lays the stages into the result file (collective)."""
    from mpiapp.store.stages import StageFile, add_stages
    files = [StageFile(run.stage.name, i + 1, run.stage.text,
                       stage_path(plan.result, run))
             for i, run in enumerate(runs)]

    def extend(comm: Any, part: Path) -> None:
        if plan.extend is not None:
            plan.extend(comm, part)
        with agree(comm, 'joining the stages'):
            if comm.rank == 0:
                add_stages(part, [f for f in files if f.path.exists()])
    return extend
