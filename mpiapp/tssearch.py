"""Search transition states from disturbed starts, many over all ranks.

One record is one start of one reaction; success is one negative mode, small
forces and a sane geometry.
"""
from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mpiapp.config import not_negative, option, positive
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, World
from mpiapp.program import check_files
from mpiapp.program import main as run_program
from mpiapp.program import result_options, result_path, run_options
from mpiapp.searching import (
    Searching, base_settings, settle_search, surface_choice
)

if TYPE_CHECKING:
    from mpiapp.engine import Outcome, Plan
    from mpiapp.saddle.base import SearchSettings
    from mpiapp.workers.saddle_process import Searcher
    from mpiapp.workers.saddle_samples import Loaded
    from mpiapp.workers.saddle_search import SurfaceChoice

ABOUT = ('Search transition states from disturbed starts: mpirun -n P '
         'python -m mpiapp.tssearch --data FILE --output FILE.h5 '
         '(or: make-data, see make-data --help)')
#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 2
#: options that decide nothing about the rows
OUTPUTS = frozenset({'output', 'sample_timeout', 'record_timeout'})


@dataclass(frozen=True)
class Options(Searching):
    """Options of `tssearch run`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong '
        'usage or input, nothing computed; 3 finished, but more samples '
        'than --max-failed broke or gave no result; 4 stopped early, go on '
        'with --resume')

    draws: int = option(1, 'starts with different noise of each reaction',
                        group='input', check=positive)
    limit: int | None = option(
        None, 'records at most, to try a campaign out', group='input',
        check=positive)
    params: str = option(
        '', 'JSON file with method and parameters, as hpo export writes it; '
        'its method counts', group='search', metavar='FILE')
    irc: bool = option(False, 'go downhill on both sides of each TS and '
                       'compare with reactant and product', group='search')
    reference: str = option(
        'file', 'TS that ends are compared with: that of the file, or the '
        'calculator\'s own, searched from it without noise', group='search',
        choices=('file', 'own'))
    max_failed: int = option(
        0, 'searches that may fail, be rejected or end in pieces before the '
        'exit code is 3', group='run', check=not_negative)
    strict: bool = option(
        False, 'count all that is no transition state as failed',
        group='run')
    output_prefix: str = option(
        'tssearch', 'prefix of all result files, instead of --output',
        group='output')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ['make-data']:
        from mpiapp import saddle_data
        return run_program(saddle_data.Options, 'tssearch make-data',
                           saddle_data.ABOUT, saddle_data.settle,
                           saddle_data.run, words[1:])
    if words[:1] == ['run']:
        del words[0]
    return run_program(Options, 'tssearch', ABOUT, settle, run, words)


def settle(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    options = settle_search(options)
    if not options.data:
        raise InputError('no input file: --data FILE')
    return options


def run(world: World, options: Options) -> int:
    """Collective: do what the options say; returns the exit code."""
    from mpiapp import engine
    from mpiapp.parallel import binding
    from mpiapp.parallel.agree import agree
    from mpiapp.workers.saddle import SaddleWorker
    from mpiapp.workers.saddle_process import Searcher
    comm = world.comm
    prepared: Prepared | None = None
    searcher: Searcher | None = None
    with agree(comm, 'preparing the run'):
        if comm.rank == 0:
            engine.log.info('%s', binding.table(world.placements))
            prepared, searcher = prepare(options)
            for line in announced(options, prepared):
                engine.log.info('%s', line)
    prepared = comm.bcast(prepared)
    assert prepared is not None
    if options.dry_run:
        return DONE
    mine = searcher or Searcher(prepared.choice)
    plan = with_blanks(prepared)
    outcome = engine.run(world, plan, SaddleWorker(
        mine, prepared.loaded.samples, prepared.settings))
    mine.close()
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
    loaded: Loaded
    settings: SearchSettings
    choice: SurfaceChoice
    about: Mapping[str, str]


def prepare(options: Options) -> tuple[Prepared, Searcher]:
    """Check input, calculator and output on one rank, before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.engine import check_start, size_of_results
    from mpiapp.store.output import check_output, check_space
    from mpiapp.workers.saddle_columns import SADDLE
    from mpiapp.workers.saddle_process import Searcher
    from mpiapp.workers.saddle_samples import SampleChoice, load_samples
    settings = search_settings(options)
    loaded = load_samples(options.data, SampleChoice(
        options.start_from, options.noise_seed, options.draws,
        options.max_samples, options.skip_samples, options.split))
    check_output(result_path(options), create=not options.dry_run)
    check_files(options, written(options), loaded.inputs)
    choice = surface_choice(options, loaded, settings)
    searcher = Searcher(choice)
    try:
        about = searcher.about
        plan = make_plan(options, loaded, settings, choice, about)
        check_space(plan.result, size_of_results(SADDLE, plan.n_atoms))
        if options.dry_run:
            check_start(plan)
    except InputError:
        searcher.close()
        raise
    if options.dry_run:
        searcher.close()
    return Prepared(plan, loaded, settings, choice, about), searcher


def written(options: Options) -> list[Path]:
    """Return the files that a run writes: HDF5, CSV and XYZ."""
    path = result_path(options)
    return [path, path.with_suffix('.csv'), path.with_suffix('.xyz')]


def search_settings(options: Options) -> SearchSettings:
    """Return the settings of every search, parameters filled in.

    Raises:
        InputError: the file of parameters is wrong.
    """
    from mpiapp.saddle.parameters import check, read_params
    method = options.method
    params: Mapping[str, Any] = {}
    if options.params:
        method, params = read_params(options.params)
    return check(replace(base_settings(options, method), params=params,
                         ends=options.irc, reference=options.reference))


def make_plan(
    options: Options, loaded: Loaded, settings: SearchSettings,
    choice: SurfaceChoice, about: Mapping[str, str],
) -> Plan:
    """Return what the engine is to do."""
    import numpy as np

    from mpiapp.engine import Plan
    from mpiapp.partition import CostModel
    from mpiapp.store.provenance import package_versions
    from mpiapp.workers.saddle import predicted_seconds
    from mpiapp.workers.saddle_columns import SADDLE
    samples = loaded.samples
    fixed = settings_of(options, settings, about)
    decisive = {name: value for name, value in result_options(options).items()
                if name not in OUTPUTS}
    meta = {'program': 'tssearch', 'options': decisive, 'settings': fixed,
            'inputs': list(loaded.inputs), 'potential': dict(about),
            'search': asdict(settings), 'packages': package_versions()}
    wanted = np.ones(len(samples), bool)
    if options.limit is not None:
        wanted[options.limit:] = False
    n_atoms = np.array([s.n_atoms for s in samples], np.int32)
    seconds = predicted_seconds(n_atoms, settings, choice, about)
    return Plan(
        SADDLE, result_path(options), n_atoms, CostModel(), wanted, fixed,
        list(loaded.inputs), meta, run_options(options),
        resume=options.resume, overwrite=options.overwrite,
        retry_failed=options.retry_failed, save_every=options.save_every,
        writer=options.writer, seconds=seconds)


def settings_of(options: Options, settings: SearchSettings,
                about: Mapping[str, str]) -> dict[str, Any]:
    """Return what decides the results and must not change on resume."""
    names = ('start_from', 'noise_seed', 'draws', 'max_samples',
             'skip_samples', 'split', 'hessian')
    search = asdict(replace(settings, timeout=None))
    kept = {k: v for k, v in about.items() if k != 'hessian_guard'}
    return {name: getattr(options, name) for name in names} | {
        'results_version': RESULTS_VERSION, 'search': search,
        'potential': kept}


def with_blanks(prepared: Prepared) -> Plan:
    """Return the plan with rows of samples without a result."""
    from mpiapp.workers.saddle import known_values

    def blank(row: int) -> dict[str, Any]:
        return known_values(prepared.loaded.samples[row])
    return replace(prepared.plan, blank=blank)


def announced(options: Options, prepared: Prepared) -> list[str]:
    """Return what is about to run, one fact a line."""
    import mpiapp
    from mpiapp.saddle.judge import scattered
    from mpiapp.saddle.samples import parse_start
    loaded, settings = prepared.loaded, prepared.settings
    rule = parse_start(options.start_from)
    n_bad = len(loaded.samples) - len(loaded.sound)
    noise = '' if not rule.noise else (
        f', noise {rule.noise:g} A a coordinate, {3**.5 * rule.noise:.2f} A '
        'RMS an atom')
    answer = '' if not rule.uses_answer else ' (uses the answer)'
    lines = [
        f'mpiapp {mpiapp.__version__} tssearch: {len(loaded.samples)} samples'
        f' of {loaded.n_reactions} reactions' + (
            f', {n_bad} of them faulty' if n_bad else ''),
        f'start        {rule.kind}{answer}{noise}',
        f'method       {settings.method}, at most {settings.max_steps} steps,'
        f' fmax {settings.fmax:g} eV/A, stop {settings.stop}',
        f'calculator   {prepared.about["name"]}, Hessian '
        f'{prepared.about["hessian"]} ({prepared.about["hessian_guard"]})',
        f'result       {prepared.plan.result}']
    apart = 0 if prepared.choice.toy else sum(
        map(scattered, loaded.sound))
    if apart:
        lines.append(
            f'note         {apart} of {len(loaded.sound)} starts lie in more '
            'pieces than the geometries of the file; most such searches end '
            'dissociated' + (f', fewer from --start-from {rule.kind}_noise'
                             '0.1A' if rule.noise > 0.1 else ''))
    if options.dry_run:
        lines += [f'faulty       {s.name}: {s.fault[1]}'
                  for s in loaded.samples if s.fault[0]][:20]
    return lines


def finish(options: Options, prepared: Prepared, outcome: Outcome) -> int:
    """Write the tables, print the summary; returns the exit code."""
    from mpiapp.reporting.saddles import summary
    from mpiapp.reporting.terminal import timing_lines
    from mpiapp.store.reader import load
    from mpiapp.store.saddle_export import rows_of, write_csv, write_xyz
    campaign = load(prepared.plan.result)
    rows = rows_of(campaign)
    paths = written(options)
    write_csv(paths[1], rows)
    write_xyz(paths[2], campaign, rows)
    code = outcome.exit_code(options.max_failed, options.strict)
    print('\n' + '\n'.join([
        *summary(rows), *timing_lines(outcome.wall, outcome.ranks),
        *(f'wrote         {path}' for path in paths),
        outcome.verdict(options.max_failed, options.strict)]), flush=True)
    return code


if __name__ == '__main__':
    sys.exit(main())
