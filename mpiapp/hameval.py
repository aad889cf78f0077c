"""Evaluate predicted Hamiltonians: what energies, forces, orbitals follow?

Frames of stored reference and predicted matrices are compared with each
other and with a fresh SCF, many side by side over MPI ranks.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp import frame_actions
from mpiapp.evaluation import (
    RESTARTS, CheckOptions, ConvertOptions, RunOptions, SynthOptions,
    check_inputs, choose_device, inputs_of, reading_of, settle_check,
    settle_convert, settle_run, settle_synth
)
from mpiapp.parallel.launch import DONE, World
from mpiapp.program import check_files
from mpiapp.program import main as run_program
from mpiapp.program import result_options, result_path, run_options

if TYPE_CHECKING:
    from mpiapp.engine import Outcome, Plan
    from mpiapp.workers.hamiltonian import Evaluation, HamiltonianWorker
    from mpiapp.workers.hamiltonian_input import Inputs

ABOUT = {
    'run': 'Evaluate predicted Hamiltonians against references and a fresh '
    'SCF: mpirun -n P python -m mpiapp.hameval run --dir_path DIR --output '
    'FILE.h5. Other actions: synth (make pairs with a known error), convert '
    '(any input to one HDF5 file), check (read and prove the input, no SCF); '
    'each has its own --help. Option names may be written with _ for -.',
    'synth': 'Make pairs of reference and prediction from geometries, with '
    'an error whose effect is known',
    'convert': 'Write frames of any input kind into one HDF5 file, in '
    'PySCF\'s order and bohr',
    'check': 'Read every frame and prove its unit and order by its overlap; '
    'no SCF, nothing is written',
}
ACTIONS = tuple(ABOUT)
#: another name of an option
ALIASES = {'--limit': '--size-limit'}
#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 2
#: seconds of a frame with forces on one core: SECONDS * nao**POWER
SECONDS, POWER = 3.6e-4, 2.5
#: part of it that is left without forces
WITHOUT_FORCES = 0.4
#: options that change no result
OUTPUTS = frozenset({'output', 'json', 'calc_cache', 'do_new_calc', 'debug',
                     'num_procs', 'batch_size', 'memory', 'size_limit'})


def main(argv: Sequence[str] | None = None) -> int:
    """Run an action; returns the exit code."""
    words = spelled(sys.argv[1:] if argv is None else argv)
    action = 'run'
    if words and words[0] in ACTIONS:
        action, *words = words
    cls, settle, run = PARTS[action]
    return run_program(cls, f'hameval {action}', ABOUT[action], settle, run,
                       words)


def spelled(words: Sequence[str]) -> list[str]:
    """Return the words with - for _ in the names of options."""
    made = []
    for word in words:
        name, equals, value = word.partition('=')
        if name.startswith('--'):
            name = name.replace('_', '-')
            name = ALIASES.get(name, name)
        made.append(name + equals + value)
    return made


@dataclass(frozen=True)
class Prepared:
    """What rank 0 found out and every rank needs."""

    plan: Plan
    inputs: Inputs
    evaluation: Evaluation


def run_frames(world: World, options: RunOptions) -> int:
    """Collective: evaluate all frames; returns the exit code."""
    from mpiapp import engine
    from mpiapp.parallel import binding
    from mpiapp.parallel.agree import agree
    comm = world.comm
    prepared: Prepared | None = None
    with agree(comm, 'preparing the run'):
        if comm.rank == 0:
            engine.log.info('%s', binding.table(world.placements))
            prepared = prepare(world, options)
            for line in announced(options, prepared, comm.size):
                engine.log.info('%s', line)
    prepared = comm.bcast(prepared)
    assert prepared is not None
    if options.dry_run:
        return DONE
    plan = completed(prepared)
    outcome = engine.run(world, plan, worker_of(options, prepared))
    # that of the survivors, where ranks died
    comm, code = world.comm, None
    with agree(comm, 'writing the tables'):
        if comm.rank == 0:
            code = finish(options, prepared, outcome)
    return int(comm.bcast(code))


def prepare(world: World, options: RunOptions) -> Prepared:
    """Check options, method, input and output, before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.engine import check_start
    from mpiapp.potentials.kohn_sham import check_method
    from mpiapp.store.output import check_output
    paths = [result_path(options), json_path(options)]
    # the name of the original is of a data set: its last run is in it
    check_files(options, paths if options.json else paths[:1])
    inputs = inputs_of(options)
    on_gpu = choose_device(options, world)
    evaluation = evaluation_of(options, on_gpu)
    check_method(evaluation.reading.field)
    check_inputs(inputs, evaluation.reading)
    for path in paths:
        check_output(path, create=not options.dry_run)
    if options.calc_cache and not options.dry_run:
        check_output(Path(options.calc_cache) / 'x.npz')
    plan = make_plan(options, inputs, evaluation)
    check_start(plan)
    return Prepared(plan, inputs, evaluation)


def evaluation_of(options: RunOptions, on_gpu: bool) -> Evaluation:
    """Return what is computed of each frame."""
    from mpiapp.workers.hamiltonian import Evaluation
    restarts = tuple(r for r in RESTARTS
                     if r in options.restart_scf and r != 'none')
    return Evaluation(
        reading_of(options, on_gpu), options.overlap == 'stored',
        options.small_overlap == 'raise', options.forces,
        options.init_forces, options.force_cycles, restarts,
        options.record_timeout, options.calc_cache, options.do_new_calc,
        options.store_matrices, options.debug)


def make_plan(
    options: RunOptions, inputs: Inputs, evaluation: Evaluation,
) -> Plan:
    """Return what the engine is to do."""
    import numpy as np

    from mpiapp.engine import Plan
    from mpiapp.partition import CostModel
    from mpiapp.store.provenance import package_versions
    from mpiapp.workers.hamiltonian_columns import schema_of
    n = len(inputs)
    wanted = np.ones(n, np.bool_)
    if options.size_limit:
        wanted[options.size_limit:] = False
    seconds = SECONDS * inputs.naos()**POWER * (
        1.0 if options.forces else WITHOUT_FORCES)
    described = inputs.described()
    settings = settings_of(
        evaluation, options.split,
        described[-1]['sha256'] if inputs.predictions else '')
    decisive = {name: value for name, value in result_options(options).items()
                if name not in OUTPUTS}
    meta = {'program': 'hameval', 'options': decisive, 'settings': settings,
            'inputs': described, 'packages': package_versions(),
            'integrals': 'density fitting' if options.density_fit
            else 'exact'}
    return Plan(
        schema_of(options.store_matrices), result_path(options),
        np.zeros(n, np.int32), CostModel(), wanted, settings, described,
        meta, run_options(options), resume=options.resume,
        overwrite=options.overwrite, retry_failed=options.retry_failed,
        save_every=options.save_every, record_timeout=options.record_timeout,
        writer=options.writer, seconds=seconds)


def settings_of(
    evaluation: Evaluation, split: str, predictions: str,
) -> dict[str, Any]:
    """Return what decides the results and must not change on resume.

    `predictions`: sha256 of those of --predictions, empty without.
    """
    values = asdict(evaluation)
    for name in ('cache', 'new_calc', 'debug'):
        del values[name]
    values['reading']['field'].pop('memory')
    values['restarts'] = list(values['restarts'])
    return {'results_version': RESULTS_VERSION, 'split': split,
            'predictions': predictions, **values}


def completed(prepared: Prepared) -> Plan:
    """Add what cannot be broadcast: blank rows, the summary at the end."""
    from mpiapp.records import Status
    from mpiapp.workers.hamiltonian_summary import add_summary
    inputs, wanted = prepared.inputs, prepared.plan.wanted

    def blank(row: int) -> dict[str, Any]:
        known = inputs.known(row)
        return known if wanted[row] else known | {
            'status': int(Status.SKIPPED), 'reason': 'size_limit'}
    return replace(prepared.plan, blank=blank, extend=add_summary)


def worker_of(options: RunOptions, prepared: Prepared) -> HamiltonianWorker:
    """Return the worker of this rank."""
    from mpiapp.workers.hamiltonian import HamiltonianWorker
    return HamiltonianWorker(prepared.evaluation, prepared.inputs,
                             options.threads_per_rank)


def announced(
    options: RunOptions, prepared: Prepared, n_ranks: int,
) -> list[str]:
    """Return what is about to run, one fact a line."""
    import numpy as np

    import mpiapp
    from mpiapp.partition import longest_first, makespan
    plan, field = prepared.plan, prepared.evaluation.reading.field
    rows = np.flatnonzero(plan.wanted)
    costs = plan.costs[rows]
    order = longest_first(costs, rows)
    lines = [
        f'mpiapp {mpiapp.__version__} hameval: {len(rows)} of '
        f'{plan.n_records} frame(s)',
        f'method       {field.xc}/{field.basis}, grid level '
        f'{field.grid_level}, '
        f'{"density fitting" if field.density_fit else "exact integrals"}, '
        f'{"GPU4PySCF" if field.on_gpu else "PySCF on the CPU"}',
        f'predicted    {costs.sum():.0f} s of one core, '
        f'{makespan(costs, n_ranks, order):.0f} s on {n_ranks} rank(s)',
        f'result       {plan.result}']
    if options.dry_run:
        lines += [f'ranks {n:4d}   {makespan(costs, n, order):8.0f} s'
                  for n in (1, 2, 4, 8, 16, 32, 64) if n <= len(rows)]
    if options.num_procs and options.num_procs != n_ranks:
        lines.append(f'--num_procs {options.num_procs} has no effect: '
                     f'mpirun started {n_ranks} rank(s)')
    return lines


def finish(
    options: RunOptions, prepared: Prepared, outcome: Outcome,
) -> int:
    """Write the JSON, print the closing table; returns the exit code."""
    from mpiapp.reporting.hamiltonians import (
        duplicate_lines, metric_lines, speed_line
    )
    from mpiapp.reporting.terminal import status_lines, timing_lines
    from mpiapp.store.reader import load
    path = prepared.plan.result
    campaign = load(path)
    older = json_path(options).exists()
    paths = [f'{path}', f'{write_json(options, path)}'
             + (' (in the place of an older one)' if older else '')]
    table = campaign.table
    n_done = int(sum(r['records'] for r in outcome.ranks))
    lines = ['', *status_lines(table['status'].to_numpy(),
                               table['reason'].tolist()),
             *duplicate_lines(table),
             *metric_lines(campaign.summary['overall']), '',
             speed_line(n_done, outcome.wall, len(outcome.ranks)),
             *timing_lines(outcome.wall, outcome.ranks),
             *(f'wrote         {p}' for p in paths),
             outcome.verdict(options.max_failed, options.strict)]
    print('\n'.join(lines), flush=True)
    return outcome.exit_code(options.max_failed, options.strict)


def write_json(options: RunOptions, result: Path) -> Path:
    """Write the means under the original's names; returns the path."""
    from mpiapp.store.files import replacing
    from mpiapp.workers.hamiltonian_summary import original_means
    path = json_path(options)
    with replacing(path) as part:
        part.write_text(json.dumps(original_means(result), indent=4) + '\n')
    return path


def json_path(options: RunOptions) -> Path:
    """Return the file of the means, named as the original names it."""
    result = result_path(options)
    parent = Path(options.dir_path[0]).resolve().parent.name
    return Path(options.json) if options.json else result.with_name(
        f'{parent or result.stem}_evaluation_results.json')


PARTS: Mapping[str, tuple[Any, Any, Any]] = {
    'run': (RunOptions, settle_run, run_frames),
    'synth': (SynthOptions, settle_synth, frame_actions.run_synth),
    'convert': (ConvertOptions, settle_convert, frame_actions.run_convert),
    'check': (CheckOptions, settle_check, frame_actions.run_check),
}


if __name__ == '__main__':
    sys.exit(main())
