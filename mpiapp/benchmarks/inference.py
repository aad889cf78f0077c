"""How fast is a model here, computed in every way, and is it still right?

A matrix of cells, each proved against the float64 reference before it is
timed.  Every cell ends as ok, skipped, failed or refused.  Under mpirun the
groups of cells are shared among the ranks.
"""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mpiapp.config import Shared, option
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, FAILED, World
from mpiapp.program import check_shared, files_read
from mpiapp.program import main as run_program
from mpiapp.program import (
    output_folder, result_options, result_path, run_options
)

if TYPE_CHECKING:
    from mpiapp.benchmarks.harness.cells import Matrix
    from mpiapp.benchmarks.harness.worker import Job, Model
    from mpiapp.engine import Outcome, Plan

ABOUT = ('Measure the inference of MACE models over a matrix of cells: '
         '[mpirun -n P] python -m mpiapp.bench inference --quick')
#: files of declared cells
MATRICES = {name: f'benchmarks/inference{end}.toml' for name, end in (
    ('', ''), ('quick', '_quick'), ('ci', '_ci'))}
#: options that do not change the results
OUTPUTS = frozenset({'json', 'plots', 'record_timeout'})
#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 2


@dataclass(frozen=True)
class Options(Shared):
    """Options of `bench inference`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 every cell is ok or skipped; 1 stopped by an '
        'unforeseen error; 2 wrong usage or input, nothing measured; 3 '
        'finished, but more cells than --max-failed failed or were refused; '
        '4 stopped early by a signal or time limit, go on with --resume')

    matrix: str = option(
        '', 'TOML file of the cells (default: the one that comes with '
        'mpiapp, docs/bench.md)', group='input', metavar='FILE')
    quick: bool = option(
        False, 'a small matrix, under 5 minutes on 2 cores', group='input')
    ci: bool = option(
        False, 'a small matrix without times: operations and FLOPs only',
        group='input')
    molecules: tuple[str, ...] = option(
        (), 'molecules in place of those of the matrix: names, or files as '
        'FILE or FILE:RECORD', group='input', metavar='NAME')
    models: tuple[str, ...] = option(
        (), 'models in place of those of the matrix: student, tiny, small, '
        'medium (shapes with random weights), or files', group='input',
        metavar='NAME')
    ways: tuple[str, ...] = option(
        (), 'only these ways of the matrix', group='input', metavar='NAME')
    output_prefix: str = option(
        'bench_inference', 'prefix of all result files; may hold a folder',
        group='output')
    json: str = option('', 'write the results here too', group='output',
                       metavar='FILE')
    plots: bool = option(False, 'draw the pictures (docs/bench.md)',
                         group='output')


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    return run_program(Options, 'bench inference', ABOUT, settle, run, argv)


def settle(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    check_shared(options)
    if sum((bool(options.matrix), options.quick, options.ci)) > 1:
        raise InputError('give one of --matrix, --quick and --ci')
    return replace(options, output_dir=output_folder(options))


def run(world: World, options: Options) -> int:
    """Collective: measure all cells; returns the exit code."""
    from mpiapp import engine
    from mpiapp.benchmarks.harness.worker import GroupWorker
    from mpiapp.parallel.agree import agree

    # e3nn is made of TorchScript, whose end every use announces
    warnings.filterwarnings('ignore')
    comm = world.comm
    found = None
    with agree(comm, 'preparing the run'):
        if comm.rank == 0:
            job = prepare(options, comm.size)
            found = job, make_plan(options, job)
            engine.log.info('%s', announced(job))
    job, plan = comm.bcast(found)
    if options.dry_run:
        return DONE
    outcome = engine.run(world, plan, GroupWorker(job))
    code = None
    with agree(comm, 'writing the results'):
        if comm.rank == 0:
            code = finish(options, job, plan, outcome)
    return int(comm.bcast(code))


def prepare(options: Options, n_ranks: int) -> Job:
    """Read and check everything on one rank, before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.benchmarks.harness.document import check_targets
    from mpiapp.benchmarks.harness.worker import Job
    from mpiapp.store.output import check_output
    matrix = chosen_matrix(options)
    check_targets(options.json, read=files_read(options),
                  create=not options.dry_run)
    check_output(result_path(options), create=not options.dry_run)
    models = {name: model_of(name, options, not options.dry_run)
              for name in dict.fromkeys(c.model for c in matrix.cells)}
    found = {name: molecule_of(name)
             for name in dict.fromkeys(c.molecule for c in matrix.cells)}
    return Job(matrix.groups, models, found, matrix.timing, n_ranks,
               limit=options.record_timeout)


def chosen_matrix(options: Options) -> Matrix:
    """Return the cells that the options leave.

    Raises:
        InputError: a wrong file, or nothing is left.
    """
    from mpiapp.benchmarks.harness.cells import read_matrix
    from mpiapp.benchmarks.harness.variants import NAMES
    which = 'quick' if options.quick else 'ci' if options.ci else ''
    path = Path(options.matrix) if options.matrix else data_file(
        MATRICES[which])
    matrix = read_matrix(path)
    for way in [*options.ways, *(c.way for c in matrix.cells)]:
        if way not in NAMES:
            raise InputError(f'unknown way {way!r}; allowed: '
                             f'{", ".join(NAMES)}')
    cells = matrix.cells
    for name, wanted in (('model', options.models),
                         ('molecule', options.molecules)):
        if wanted:
            changes: list[dict[str, Any]] = [{name: v} for v in wanted]
            cells = tuple(replace(c, **change)
                          for change in changes for c in cells)
    if options.ways:
        cells = tuple(c for c in cells if c.way in options.ways)
    if not cells:
        raise InputError('no cell is left to measure')
    return replace(matrix, cells=tuple(dict.fromkeys(cells)))


def model_of(name: str, options: Options, write: bool = True) -> Model:
    """Return a model by name; random ones are written beside the results.

    Raises:
        InputError: no such model.
    """
    from mpiapp.benchmarks import shapes
    from mpiapp.benchmarks.harness.worker import Model
    from mpiapp.potentials.base import file_sha256
    from mpiapp.potentials.mace import files
    random = {'tiny': shapes.TINY, **shapes.SHAPES}
    if name in random:
        folder = Path(options.output_dir) / f'{options.output_prefix}_models'
        path = folder / f'{name}.model'
        if write and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shapes.write_model(random[name], path)
        shape = random[name]
        return Model(str(path), f'random {shape.hidden} {shape.r_max} seed 1',
                     shape.r_max)
    path = Path(name)
    if name == files.BUNDLED:
        path = files.bundled_path()
    elif not path.is_file():
        raise InputError(f'no model and no file {name!r}; known: '
                         f'{files.BUNDLED}, {", ".join(random)}')
    from mpiapp.potentials.mace.loading import load
    return Model(str(path), file_sha256(path),
                 load(str(path), 'float64', 'cpu').r_max)


def molecule_of(name: str) -> Any:
    """Return a molecule, or why nothing may be measured on it."""
    from mpiapp.benchmarks.harness.molecules import Unphysical, molecule
    try:
        return molecule(name)
    except Unphysical as error:
        return str(error)


def make_plan(options: Options, job: Job) -> Plan:
    """Return what the engine is to do."""
    import numpy as np

    from mpiapp.benchmarks.harness.columns import CELLS
    from mpiapp.benchmarks.harness.document import surroundings
    from mpiapp.benchmarks.harness.molecules import set_sha256
    from mpiapp.engine import Plan
    from mpiapp.partition import CostModel
    from mpiapp.records import Structure
    known = [m for m in job.molecules.values() if isinstance(m, Structure)]
    decisive = {name: value for name, value in result_options(options).items()
                if name not in OUTPUTS}
    about = surroundings()
    settings = {
        # times of two machines are not to be mixed in one file
        'machine': {name: about['machine'][name]
                    for name in ('processor', 'cores', 'gpu')},
        'torch': about['versions'].get('torch', ''),
        'environment': about['environment'],
        'results_version': RESULTS_VERSION, 'rounds': job.timing.rounds,
        'warm_up': job.timing.warm_up, 'ranks': job.ranks,
        'models': {n: m.sha256 for n, m in job.models.items()},
        'inputs_sha256': set_sha256(known),
        'cells': [f'{c}' for group in job.groups for c in group]}
    meta = {'program': 'bench inference', 'options': decisive,
            'settings': settings, 'inputs': [],
            'surroundings': about}
    atoms = [len(m.numbers) if isinstance(m, Structure) else 1
             for m in (job.molecules[g[0].molecule] for g in job.groups)]
    # longest first: models and batches count beside atoms
    costs = [n * g[0].batch * len(g) * (job.timing.rounds + 10) * 1e-3
             for n, g in zip(atoms, job.groups)]
    return Plan(
        CELLS, result_path(options), np.array(atoms, np.int32), CostModel(),
        np.ones(len(job.groups), bool), settings, [], meta,
        run_options(options), resume=options.resume,
        overwrite=options.overwrite, retry_failed=options.retry_failed,
        save_every=1, record_timeout=options.record_timeout,
        writer=options.writer, seconds=np.array(costs))


def announced(job: Job) -> str:
    """Return what is about to be measured."""
    n = sum(map(len, job.groups))
    refused = [f'\n  {name}: {why}' for name, why in job.molecules.items()
               if isinstance(why, str)]
    return (f'{n} cells in {len(job.groups)} groups, {job.timing.rounds} '
            f'rounds, models {", ".join(job.models)}, molecules '
            f'{", ".join(job.molecules)}'
            + ('\nunphysical, refused:' + ''.join(refused)
               if refused else ''))


def finish(options: Options, job: Job, plan: Plan, outcome: Outcome) -> int:
    """Write JSON and tables, print; returns the exit code."""
    from mpiapp.benchmarks import scaling_law
    from mpiapp.benchmarks.harness import document, tables
    rows = rows_of(plan.result, job)
    laws = scaling_law.laws(rows)
    content = document.document(
        'inference', rows, laws=laws, complete=not outcome.unfinished,
        settings=dict(plan.settings))
    paths = [plan.result, plan.result.with_suffix('.json'),
             plan.result.with_suffix('.md')]
    document.write_json(paths[1], content)
    if options.json:
        document.write_json(options.json, content)
        paths.append(Path(options.json))
    text = '\n'.join([
        *tables.lines(rows), '', *tables.cold_lines(rows), '',
        *map(scaling_law.law_line, laws)])
    paths[2].write_text(text + '\n')
    if options.plots:
        from mpiapp.benchmarks.plots import draw_all
        paths += draw_all(content, plan.result.with_suffix(''))
    print(text)
    print(f'\ncells: {tables.states(rows)}; '
          f'wrote {", ".join(map(str, paths))}')
    code, why = verdict(options, rows, outcome)
    print(f'exit code {code}: {why}')
    return code


def rows_of(path: Path, job: Job) -> list[dict[str, Any]]:
    """Return the rows of all declared cells, the unreached ones pending."""
    from mpiapp.benchmarks.harness.worker import pending_rows, rows_from
    from mpiapp.store.reader import load
    campaign = load(path)
    rows: list[dict[str, Any]] = []
    for i, group in enumerate(job.groups):
        rows += rows_from(campaign.ragged('rows_json', i)) or pending_rows(
            group)
    return rows


def verdict(
    options: Options, rows: Sequence[dict[str, Any]], outcome: Outcome,
) -> tuple[int, str]:
    """Return the exit code and why it is what it is."""
    if outcome.unfinished:
        return outcome.exit_code(0, False), outcome.reason(0, False)
    bad = sum(r['state'] not in ('ok', 'skipped') for r in rows)
    if bad > options.max_failed:
        return FAILED, (f'{bad} cells failed or were refused, and '
                        f'--max-failed allows {options.max_failed}')
    return DONE, 'every cell is ok or skipped' if not bad else \
        f'{bad} cells failed or were refused, as --max-failed allows'
