"""Validate potentials: do they stack aromatic molecules correctly?

Every method optimises known dimers from several starts and computes fixed
geometries; ends are compared with references of the same stationary point.
"""
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mpiapp.chemistry.dimer_names import SETS, START_NAMES, USUAL
from mpiapp.config import Shared, not_negative, option, positive
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.optimize import names as optimizers
from mpiapp.parallel.launch import DONE, FAILED, World
from mpiapp.program import beside, check_files, check_shared
from mpiapp.program import main as run_program
from mpiapp.program import (
    output_folder, result_options, result_path, run_options
)

if TYPE_CHECKING:
    from mpiapp.chemistry.dimer_gate import Gate
    from mpiapp.chemistry.dimer_references import Reference
    from mpiapp.engine import Outcome, Plan
    from mpiapp.records import Structure
    from mpiapp.workers.dimer import DimerItem, DimerWorker
    from mpiapp.workers.dimer_items import Molecules
    from mpiapp.workers.dimer_methods import Available, Method

ABOUT = ('Check whether potentials stack aromatic dimers correctly: '
         'mpirun -n P python -m mpiapp.validate --all-methods '
         '--output FILE.csv')

#: what --all-methods adds
LARGE = 'mace-off23-large'
#: the method that decides the exit code where --require names none
REQUIRED = 'gfn2'
#: options that do not change the results
OUTPUTS = frozenset({'output', 'h5', 'xyz', 'plot', 'quiet', 'require'})
#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 1


@dataclass(frozen=True)
class Options(Shared):
    """Options of `validate`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 the gate is passed by the methods of --require; 1 '
        'stopped by an unforeseen error; 2 wrong usage or input, or no '
        'method available, nothing computed; 3 finished, but a required '
        'method did not pass, did not run, or failed in more items than '
        '--max-failed; 4 stopped early, go on with --resume')

    all_methods: bool = option(
        False, f'also {LARGE}; the usual ones are {" ".join(USUAL)}',
        group='method')
    methods: tuple[str, ...] = option(
        (), 'methods instead of the usual ones, names of potentials too',
        group='method', metavar='NAME')
    model_path: tuple[str, ...] = option(
        (), 'model files: METHOD=FILE, or FILE as a method of its own',
        group='method', metavar='FILE')
    dtype: str = option('float64', 'arithmetic of MACE', group='method',
                        choices=('float64', 'float32'))
    backend: str = option('poly', 'how MACE is evaluated', group='method',
                          metavar='NAME')
    dimers: tuple[str, ...] = option(
        (), 'named dimers (default: all)', group='input', metavar='NAME')
    starts: tuple[str, ...] = option(
        (), 'starts of every dimer that can have them (default: its own): '
        + ', '.join(START_NAMES), group='input', metavar='NAME')
    sets: tuple[str, ...] = option(
        (), 'published sets whose interaction energies are computed: '
        f'{", ".join(SETS)}, none (default: all, none with --dimers or '
        '--starts)', group='input', metavar='NAME')
    kicks: int = option(0, 'randomly kicked copies of every start',
                        group='input', check=not_negative)
    references: str = option(
        '', 'TOML file that replaces references', group='input',
        metavar='FILE')
    gate: str = option('', 'TOML file that replaces criteria of the gate',
                       group='input', metavar='FILE')
    require: tuple[str, ...] = option(
        (), f'methods that decide the exit code (default: {REQUIRED} if it '
        'is among the methods, else all)', group='run', metavar='NAME')
    optimizer: str = option(
        'lbfgs', f'optimiser: {", ".join(optimizers())}; lbfgs keeps the '
        'symmetry of symmetric starts', group='relaxation',
        choices=tuple(optimizers()))
    fmax: float = option(0.005, 'largest force of a relaxed atom [eV/A]',
                         group='relaxation', check=positive)
    max_steps: int | None = option(
        None, 'optimiser steps at most (default: 500, of GFN-xTB 1000)',
        group='relaxation', check=positive)
    saddle_test: bool = option(
        True, 'shift converged dimers sideways and go on downhill',
        group='relaxation')
    output: str = option(
        '', 'CSV file; the other results lie beside it', group='output',
        metavar='FILE', short='-o')
    output_prefix: str = option(
        'validate', 'prefix of all result files, instead of --output',
        group='output')
    h5: str = option('', 'HDF5 file (default: beside the CSV)',
                     group='output', metavar='FILE')
    xyz: bool = option(False, 'write all final geometries as XYZ too',
                       group='output')
    plot: str = option('png', 'format of the picture', group='output',
                       choices=('png', 'svg', 'none'))
    quiet: bool = option(False, 'print nothing but errors', group='run',
                         short='-q')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    return run_program(Options, 'validate', ABOUT, settle, run, argv)


def settle(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    if options.output:
        path = Path(options.output)
        if path.suffix != '.csv' or path.is_dir():
            raise InputError(f'--output {path}: the name of a CSV file ends '
                             'with .csv')
        options = beside(options, path)
    check_shared(options)
    if options.methods and options.all_methods:
        raise InputError('give --methods or --all-methods, not both')
    for name in options.starts:
        if name not in START_NAMES:
            raise InputError(f'unknown start {name!r}; there are '
                             f'{", ".join(START_NAMES)}')
    for name in options.sets:
        if name not in (*SETS, 'none'):
            raise InputError(f'unknown set {name!r}; there are '
                             f'{", ".join(SETS)}, none')
    level = 'warning' if options.quiet and options.log_level == 'info' \
        else options.log_level
    return replace(options, output_dir=output_folder(options),
                   log_level=level)


def run(world: World, options: Options) -> int:
    """Collective: do what the options say; returns the exit code."""
    from mpiapp import engine
    from mpiapp.parallel import binding
    from mpiapp.parallel.agree import agree
    comm = world.comm
    prepared: Prepared | None = None
    with agree(comm, 'preparing the run'):
        if comm.rank == 0:
            engine.log.info('%s', binding.table(world.placements))
            prepared = prepare(options)
            for line in announced(prepared):
                engine.log.info('%s', line)
    prepared = comm.bcast(prepared)
    assert prepared is not None
    if options.dry_run:
        return DONE
    prepared = with_blanks(prepared)
    outcome = engine.run(world, prepared.plan, make_worker(options, prepared))
    # that of the survivors, where ranks died
    comm, code = world.comm, None
    with agree(comm, 'writing the tables'):
        if comm.rank == 0:
            code = finish(options, prepared, outcome)
    return int(comm.bcast(code))


@dataclass(frozen=True)
class Prepared:
    """What rank 0 found out and every rank needs."""

    plan: Plan
    methods: Mapping[str, Available]
    items: Sequence[DimerItem]
    molecules: Molecules
    gate: Gate
    required: tuple[str, ...]
    sample: Sequence[Structure]


def prepare(options: Options) -> Prepared:
    """Check options, methods and output on one rank, before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.engine import check_start
    from mpiapp.store.output import check_output
    from mpiapp.workers.dimer_items import (
        check_starts, chosen_dimers, items_of, molecules_of, read_frames
    )
    from mpiapp.workers.dimer_methods import look_for
    check_files(options, list(written(options).values()))
    dimers = chosen_dimers(options.dimers)
    check_starts(dimers, options.starts)
    gate, references = read_gate_file(options, dimers), known(options)
    methods = chosen_methods_of(options)
    required = required_of(options, [m.name for m in methods])
    check_output(h5_path(options), create=not options.dry_run)
    frames, files = read_frames()
    sample = [frames['s22']['S22-11'], frames['s22']['S22-14']]
    found = {m.name: look_for(m, sample) for m in methods}
    if all(a.missing for a in found.values()):
        raise InputError('no method is available\n' + '\n'.join(
            f'  {name}: {a.missing}' for name, a in found.items()))
    molecules = molecules_of(dimers, chosen_sets(options), frames)
    items = items_of([a.method for a in found.values()], dimers,
                     options.starts, options.kicks, molecules, references)
    plan = make_plan(options, found, items, molecules, files, gate)
    if options.dry_run:
        check_start(plan)
    return Prepared(plan, found, items, molecules, gate, required, sample)


def chosen_methods_of(options: Options) -> list[Method]:
    """Return the methods that the options name, there or not.

    Raises:
        InputError: one is unknown, or named twice.
    """
    from mpiapp.potentials import PotentialOptions
    from mpiapp.workers.dimer_methods import chosen_methods
    names = options.methods or USUAL + (
        (LARGE,) if options.all_methods else ())
    shared = PotentialOptions(
        dtype=options.dtype, device=options.device, backend=options.backend,
        threads=options.threads_per_rank)
    return chosen_methods(names, options.model_path, shared)


def read_gate_file(options: Options, dimers: Sequence[str]) -> Gate:
    """Return the gate; what a file requires must be computed.

    Raises:
        InputError: the file is wrong.
    """
    from mpiapp.chemistry.dimer_gate import Gate, read_gate
    if not options.gate:
        return Gate()
    gate = read_gate(Path(options.gate))
    missing = [name for name in gate.required if name not in dimers]
    if missing:
        raise InputError(f'{options.gate} requires {", ".join(missing)}, '
                         'which --dimers leaves out')
    return gate


def known(options: Options) -> dict[str, Reference]:
    """Return the references, those of a file in place of ours.

    Raises:
        InputError: a file is missing or wrong.
    """
    from mpiapp.chemistry.dimer_references import read_references
    from mpiapp.chemistry.dimer_sets import RECIPES
    ours = read_references(data_file('benchmarks/references.toml'), RECIPES)
    if not options.references:
        return ours
    return read_references(Path(options.references), RECIPES, ours)


def required_of(options: Options, methods: Sequence[str]) -> tuple[str, ...]:
    """Return the methods that decide the exit code.

    Raises:
        InputError: one is not among the methods.
    """
    for name in options.require:
        if name not in methods:
            raise InputError(f'--require {name}: not among the methods '
                             f'{", ".join(methods)}')
    default = (REQUIRED,) if REQUIRED in methods else tuple(methods)
    return options.require or default


def chosen_sets(options: Options) -> tuple[str, ...]:
    """Return the published sets that are computed."""
    if options.sets:
        return tuple(s for s in dict.fromkeys(options.sets) if s != 'none')
    return () if options.dimers or options.starts else SETS


def h5_path(options: Options) -> Path:
    """Return the path of the HDF5 file."""
    return Path(options.h5) if options.h5 else result_path(options)


def written(options: Options) -> dict[str, Path]:
    """Return the files that a run writes: h5, csv and, if asked, others."""
    table = result_path(options).with_suffix('.csv')
    paths = {'h5': h5_path(options), 'csv': table}
    if options.xyz:
        paths['xyz'] = table.with_suffix('.xyz')
    if options.plot != 'none':
        paths['plot'] = table.with_suffix(f'.{options.plot}')
    return paths


def make_plan(
    options: Options, found: Mapping[str, Available],
    items: Sequence[DimerItem], molecules: Molecules,
    files: Sequence[Mapping[str, Any]], gate: Gate,
) -> Plan:
    """Return what the engine is to do."""
    import numpy as np

    from mpiapp.engine import Plan
    from mpiapp.partition import CostModel
    from mpiapp.store.provenance import package_versions
    from mpiapp.workers.dimer import predicted_seconds
    from mpiapp.workers.dimer_columns import DIMER
    settings = settings_of(options, found, items, gate)
    about = {name: dict(a.about or {'missing': a.missing})
             for name, a in found.items()}
    decisive = {name: value for name, value in result_options(options).items()
                if name not in OUTPUTS}
    meta = {'program': 'validate', 'options': decisive,
            'settings': settings, 'inputs': list(files), 'methods': about,
            'packages': package_versions(), 'gate': asdict(gate)}
    wanted = [not found[item.potential].missing for item in items]
    seconds = [predicted_seconds(
        item, molecules.dimers[item.dimer],
        found[item.potential].method.options.calculator) for item in items]
    n_atoms = [len(molecules.dimers[item.dimer].numbers) for item in items]
    return Plan(
        DIMER, h5_path(options), np.array(n_atoms, np.int32), CostModel(),
        np.array(wanted), settings, list(files), meta, run_options(options),
        resume=options.resume, overwrite=options.overwrite,
        retry_failed=options.retry_failed, save_every=options.save_every,
        record_timeout=options.record_timeout,
        writer=options.writer, seconds=np.array(seconds))


def settings_of(
    options: Options, found: Mapping[str, Available],
    items: Sequence[DimerItem], gate: Gate,
) -> dict[str, Any]:
    """Return what decides the results and must not change on resume."""
    from mpiapp.store.folder import settings_digest
    names = ('optimizer', 'fmax', 'max_steps', 'saddle_test', 'kicks',
             'record_timeout')
    settings = {name: getattr(options, name) for name in names}
    return settings | {
        'results_version': RESULTS_VERSION,
        'methods': {name: a.settings for name, a in found.items()},
        'items': settings_digest(
            {'items': [asdict(item) for item in items]})[:16],
        'gate': settings_digest(asdict(gate))[:16],
    }


def with_blanks(prepared: Prepared) -> Prepared:
    """Add the rows of items without a result; not to be broadcast."""
    from mpiapp.workers.dimer import blank_row

    def blank(row: int) -> dict[str, Any]:
        item = prepared.items[row]
        return blank_row(item, prepared.molecules.dimers[item.dimer],
                         prepared.methods[item.potential].missing)
    return replace(prepared, plan=replace(prepared.plan, blank=blank))


def make_worker(options: Options, prepared: Prepared) -> DimerWorker:
    """Return the worker of this rank; it loads methods as they come."""
    from mpiapp.workers.dimer import DimerSettings, DimerWorker
    from mpiapp.workers.dimer_methods import load
    steps = {name: options.max_steps or a.method.max_steps
             for name, a in prepared.methods.items()}
    settings = DimerSettings(
        options.optimizer, options.fmax, steps, options.saddle_test,
        options.record_timeout, prepared.gate)
    return DimerWorker(
        settings, prepared.items, prepared.molecules.dimers,
        prepared.molecules.monomers,
        lambda name: load(prepared.methods[name].method, prepared.sample))


def announced(prepared: Prepared) -> list[str]:
    """Return what is about to run, one fact a line."""
    import mpiapp
    n = len(prepared.items)
    n_wanted = int(prepared.plan.wanted.sum())
    lines = [f'mpiapp {mpiapp.__version__} validate: {n} items, {n - n_wanted}'
             f' of them not run; required: {" ".join(prepared.required)}']
    for name, a in prepared.methods.items():
        words = f'not run: {a.missing}' if a.missing else \
            (a.about or {}).get('backend', '')
        lines.append(f'method       {name:20s} {words}')
    seconds = float(prepared.plan.costs[prepared.plan.wanted].sum())
    lines.append(f'predicted    {seconds:.0f} s of one core')
    lines.append(f'result       {prepared.plan.result}')
    return lines


def finish(options: Options, prepared: Prepared, outcome: Outcome) -> int:
    """Write the tables, print the verdicts; returns the exit code."""
    from mpiapp.reporting.stacking import gate_table, summary_table
    from mpiapp.reporting.stacking_plot import draw
    from mpiapp.reporting.terminal import timing_lines
    from mpiapp.store.dimer_export import rows_of, write_csv, write_xyz
    from mpiapp.store.files import replacing
    from mpiapp.store.reader import load
    campaign = load(prepared.plan.result)
    rows = rows_of(campaign)
    paths = written(options)
    write_csv(paths['csv'], rows)
    if 'xyz' in paths:
        write_xyz(paths['xyz'], campaign, rows)
    if 'plot' in paths:
        with replacing(paths['plot']) as part:
            draw(part, rows, prepared.gate, options.plot)
    code, why = verdict(options, prepared, outcome, rows)
    if not options.quiet:
        lines = [summary_table(rows, prepared.gate),
                 gate_table(rows, prepared.gate),
                 *timing_lines(outcome.wall, outcome.ranks),
                 *(f'wrote         {path}' for path in paths.values()),
                 f'exit code {code}: {why}']
        print('\n' + '\n'.join(lines), flush=True)
    return code


def verdict(
    options: Options, prepared: Prepared, outcome: Outcome,
    rows: Sequence[Mapping[str, Any]],
) -> tuple[int, str]:
    """Return the exit code and why it is what it is."""
    from mpiapp.reporting.stacking import shortcomings
    if outcome.unfinished:
        return outcome.exit_code(0, False), outcome.reason(0, False)
    faults = shortcomings(rows, prepared.gate, prepared.required,
                          options.max_failed, options.strict)
    if faults:
        return FAILED, 'finished, but ' + ', '.join(faults)
    return DONE, f'done, nothing against {" ".join(prepared.required)}'


if __name__ == '__main__':
    sys.exit(main())
