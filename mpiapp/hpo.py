"""Tune the parameters of saddle-point searches, over all ranks.

Every sample of a trial is a search of its own; Optuna proposes on rank 0.
"""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.parallel.launch import DONE, FAILED, RESUMABLE, World
from mpiapp.program import main as run_program
from mpiapp.program import result_options, result_path, run_options
from mpiapp.tuner import ACTIONS, Options, Prepared, settle, side_path

if TYPE_CHECKING:
    from mpiapp.tuning.director import Director
    from mpiapp.tuning.storage import Opened
    from mpiapp.tuning.study import Book, Row
    from mpiapp.tuning.trial import Rules
    from mpiapp.workers.tune import Figures

ABOUT = ('Tune the parameters of saddle-point searches: mpirun -n P python '
         '-m mpiapp.hpo [ACTION] --data FILE --output FILE.h5; actions: '
         + '; '.join(f'{name}: {text}' for name, text in ACTIONS.items()))
#: options that decide nothing about the trials
OUTPUTS = frozenset({'output', 'sample_timeout', 'record_timeout', 'storage',
                     'plots', 'params', 'skip_verify', 'in_flight'})
#: seconds between two lines while no trial ends
TELL_SECONDS = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    action = words.pop(0) if words[:1] and words[0] in ACTIONS else 'run'
    return run_program(
        Options, 'hpo', ABOUT, lambda o: settle(o, action),
        lambda world, options: run(world, options, action), words)


def run(world: World, options: Options, action: str = 'run') -> int:
    """Collective: do what the options say; returns the exit code."""
    from mpiapp import comparing
    from mpiapp.parallel.agree import agree
    comm = world.comm
    if action == 'export':
        with agree(comm, 'exporting'):
            if comm.rank == 0:
                print('\n'.join(comparing.export(options)), flush=True)
        return DONE
    prepared = prepared_together(world, options, action)
    if action == 'probe':
        from mpiapp.probing import probe
        return probe(world, options, prepared)
    if options.dry_run:
        with agree(comm, 'previewing the run'):
            if comm.rank == 0 and action == 'run':
                preview(options, prepared)
        return DONE
    if action == 'verify':
        return comparing.verify(world, options, prepared)
    if action == 'validate':
        return comparing.validate(world, options, prepared)
    if options.prescreen:
        with agree(comm, 'looking for earlier results'):
            if comm.rank == 0:
                check_free(options, prepared)
        prepared, stopped = comparing.prescreened(world, options, prepared)
        if stopped:
            if comm.rank == 0:
                print('exit code 4: stopped early, before the first trial',
                      flush=True)
            return RESUMABLE
    return study(world, options, prepared)


def prepared_together(world: World, options: Options, action: str,
                      ) -> Prepared:
    """Collective: check everything on rank 0, tell what will run."""
    from mpiapp import engine
    from mpiapp.parallel import binding
    from mpiapp.parallel.agree import agree
    from mpiapp.tuner import prepare
    prepared: Prepared | None = None
    with agree(world.comm, 'preparing the run'):
        if world.comm.rank == 0:
            engine.log.info('%s', binding.table(world.placements))
            prepared = prepare(options, action)
            for line in announced(options, prepared, action,
                                  world.comm.size):
                engine.log.info('%s', line)
    prepared = world.comm.bcast(prepared)
    assert prepared is not None
    return prepared


def announced(options: Options, prepared: Prepared, action: str,
              n_ranks: int) -> list[str]:
    """Return what is about to run, one fact a line."""
    import mpiapp
    from mpiapp.saddle.samples import parse_start
    split, settings = prepared.split, prepared.settings
    rule = parse_start(options.start_from)
    kind = 'held-out' if action == 'validate' else 'tuning'
    answer = ' (uses the answer)' if rule.uses_answer else ''
    lines = [
        f'mpiapp {mpiapp.__version__} hpo {action}: {len(prepared.samples)} '
        f'{kind} samples of '
        f'{len({s.number for s in prepared.samples})} reactions'
        f'; {len(split.held_out)} held out, {len(split.faulty)} faulty',
        *(f'faulty       {s.name}: {s.fault[1]}' for s in split.faulty[:5]),
        f'start        {rule.kind}{answer}, noise {rule.noise:g} A a '
        'coordinate',
        f'method       {settings.method}, at most {settings.max_steps} steps,'
        f' fmax {settings.fmax:g} eV/A, stop {settings.stop}',
        f'calculator   {prepared.about["name"]}, Hessian '
        f'{prepared.about["hessian"]}']
    if len(prepared.samples) < n_ranks and options.mode == 'exact':
        lines.append(
            f'note         {n_ranks} ranks, but {len(prepared.samples)} '
            'samples: in exact mode some ranks have nothing to do; use '
            'fewer ranks, more --draws, or --mode async')
    if action == 'run':
        lines.append(
            f'study        {options.study_name}, {options.objective}, '
            f'{options.sampler}, pruner {options.pruner}, {options.mode} '
            f'mode; {len(prepared.space.dimensions)} parameters')
    return lines


def preview(options: Options, prepared: Prepared) -> None:
    """Check the study too and print its space; nothing is changed.

    Raises:
        InputError: what the study would refuse.
    """
    from mpiapp.tuner import given_trials, number_of_trials
    rules = prepared.rules(options)
    given = given_trials(options, prepared.space)
    print(f'trials       {number_of_trials(options, given)}, '
          f'{len(given)} of them given; rungs '
          f'{", ".join(map(str, rules.rungs)) or "none"}')
    for d in prepared.space.dimensions:
        bounds = 'true, false' if d.kind == 'bool' else \
            f'{d.low:g} to {d.high:g}{" (log)" if d.log else ""}'
        print(f'  {d.name:22s} {bounds}, baseline {d.baseline}')
    seconds = sum(prepared.costs)
    print(f'predicted    {seconds:.3g} s a trial on one core', flush=True)


@dataclass
class Begun:
    """The study as rank 0 holds it."""

    opened: Opened
    book: Book
    director: Director
    rules: Rules
    n_trials: int
    settings: Mapping[str, Any]
    last: float = 0.0


def begin(options: Options, prepared: Prepared, n_ranks: int) -> Begun:
    """Open the study on rank 0; raise InputError for what is wrong."""
    from mpiapp.store.folder import differences
    from mpiapp.tuner import given_trials, number_of_trials, study_settings
    from mpiapp.tuning.storage import open_for_writing
    from mpiapp.tuning.study import open_study
    rules = prepared.rules(options)
    given = given_trials(options, prepared.space)
    settings = study_settings(options, prepared, rules, given)
    opened = open_for_writing(options.storage)
    try:
        found, _ = open_study(
            opened.storage, options.study_name, settings,
            rules.objective.directions, differences, options.resume,
            options.overwrite)
        return _directed(options, prepared, rules, given, settings, opened,
                         found, number_of_trials(options, given), n_ranks)
    except BaseException:
        opened.close()
        raise


def check_free(options: Options, prepared: Prepared) -> None:
    """Refuse what `begin` would refuse, before samples are chosen.

    Raises:
        InputError: the study is in the way; another job works on it; trials
            that are given do not fit.
    """
    from mpiapp.tuner import given_trials
    from mpiapp.tuning.storage import open_for_writing
    from mpiapp.tuning.study import find_study, in_use
    given_trials(options, prepared.space)
    fresh = not (options.resume or options.overwrite)
    opened = open_for_writing(options.storage)
    try:
        old = find_study(opened.storage, options.study_name)
        if fresh and old is not None:
            raise in_use(old, options.study_name)
    finally:
        opened.close()


def _directed(
    options: Options, prepared: Prepared, rules: Rules,
    given: dict[int, Any], settings: Mapping[str, Any], opened: Opened,
    found: Any, n_trials: int, n_ranks: int,
) -> Begun:
    """Survey the study, begin again what was cut, make the schedule."""
    from zlib import crc32

    from mpiapp import engine
    from mpiapp.tuner import startup_of
    from mpiapp.tuning.director import Director
    from mpiapp.tuning.sampling import make_sampler
    from mpiapp.tuning.study import Book, past_of, put_away_stale, survey
    put_away_stale(found)
    rows, begun = survey(found)
    if rows or begun:
        engine.log.info(
            'resuming: %d trial(s) are done, %d begun; %d sample(s) of '
            'these are kept', len(rows), len(begun),
            sum(len(b.outcomes) for b in begun.values()))
    several = options.mode == 'async'
    book = Book(
        found, prepared.space, rules,
        lambda i: make_sampler(options.sampler, options.seed, i,
                               startup_of(options), options.population,
                               several), given, begun, rows)
    director = Director(
        crc32(options.study_name.encode()), book, rules,
        len(prepared.samples), [i for i in range(n_trials) if i not in rows],
        past_of(rows, rules), options.mode, prepared.costs,
        keep_waiting=2 * n_ranks,
        most=min(options.in_flight or n_ranks + 2, 60))
    return Begun(opened, book, director, rules, n_trials, settings)


def telling(begun: Begun, options: Options) -> Callable[[Director], None]:
    """Return what tells, now and then, how far the study is."""
    from mpiapp import engine
    from mpiapp.reporting.study import trial_line
    from mpiapp.tuning.study import best_rows
    directions = begun.rules.objective.directions

    def ended(row: Row) -> None:
        begun.last = time.monotonic()
        best = best_rows(list(begun.book.rows.values()), directions)
        engine.log.info('%s', trial_line(
            row, len(begun.book.rows), begun.n_trials,
            best[0] if best and len(directions) == 1 else None))
        if row.source == 'baseline' and not options.skip_verify:
            warn_of(row)

    def told(director: Director) -> None:
        now = time.monotonic()
        if now - begun.last < TELL_SECONDS:
            return
        if begun.last:
            engine.log.info('%s', '; '.join(
                f'trial {t.ordinal}: {len(t.outcomes)}/{t.n_samples} '
                'samples' for t in director.running.values()))
        begun.last = now
    begun.book.ended = ended
    return told


def warn_of(row: Row) -> None:
    """Warn where the baseline fails on most samples."""
    from mpiapp import engine
    from mpiapp.tuner import VERIFY_SHARE
    told = row.summary
    if told['n_success'] < VERIFY_SHARE * told['n_samples']:
        engine.log.warning(
            'the baseline finds %d of %d: `hpo verify` shows what the '
            'samples come to', told['n_success'], told['n_samples'])


def study(world: World, options: Options, prepared: Prepared) -> int:
    """Collective: run a study and write its results; returns the code."""
    from mpiapp.parallel.agree import agree
    from mpiapp.workers.saddle_tuning import SaddleSamples
    from mpiapp.workers.tune import capacity_for, tune
    comm = world.comm
    begun: Begun | None = None
    with agree(comm, 'opening the study'):
        if comm.rank == 0:
            begun = begin(options, prepared, comm.size)
    told: Callable[[Any], None] = lambda director: None
    if begun is not None:
        told = telling(begun, options)
    evaluator = SaddleSamples(
        prepared.choice, prepared.samples, prepared.settings)
    with agree(comm, 'loading the calculator'):
        evaluator.warm()
    stopped, figures = tune(
        comm, world.watch, prepared.space, evaluator,
        None if begun is None else begun.director,
        capacity_for(len(prepared.samples), 2 * comm.size), told)
    code = finish(world, options, prepared, begun, stopped, figures)
    if begun is not None:
        begun.opened.close()
    return code


def finish(
    world: World, options: Options, prepared: Prepared,
    begun: Begun | None, stopped: int, figures: Sequence[Figures],
) -> int:
    """Collective: write all results, print the summary."""
    from mpiapp.parallel.agree import agree
    from mpiapp.store.study_file import write_study
    from mpiapp.tuning.study import best_rows
    comm = world.comm
    rows: list[Row] | None = None
    about: tuple[int, bool, Any] | None = None
    if begun is not None:
        rows = [r for _, r in sorted(begun.book.rows.items())
                if r.ordinal < begun.n_trials]
        about = (begun.n_trials, len(rows) == begun.n_trials,
                 begun.settings)
    about = comm.bcast(about)
    assert about is not None
    n_trials, whole, settings = about
    directions = prepared.objective(options).directions
    best = best_rows(rows, directions) if rows is not None else []
    write_study(
        comm, result_path(options), rows, n_trials, prepared.space,
        directions, prepared.samples, best,
        meta_of(options, prepared, settings),
        timeline_of(world, options, figures), whole,
        {'auto': None, 'mpio': True, 'gather': False}[options.writer])
    code = None
    with agree(comm, 'writing the tables'):
        if begun is not None and rows is not None:
            code = told_at_end(options, begun, rows, best, stopped, figures)
    return int(comm.bcast(code))


def meta_of(options: Options, prepared: Prepared,
            settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is stored with the results."""
    from mpiapp.store.provenance import package_versions
    decisive = {k: v for k, v in result_options(options).items()
                if k not in OUTPUTS}
    return {'program': 'hpo', 'content': 'trials', 'options': decisive,
            'settings': settings, 'inputs': list(prepared.inputs),
            'potential': dict(prepared.about),
            'packages': package_versions()}


def timeline_of(world: World, options: Options,
                figures: Sequence[Figures]) -> dict[str, Any]:
    """Return what may differ from run to run."""
    return {
        'n_ranks': world.comm.size,
        'wall_seconds': max(f.wall for f in figures),
        'host': [p.host for p in world.placements],
        'device': [p.device for p in world.placements],
        'threads': [p.threads for p in world.placements],
        **{name: [float(asdict(f)[name]) for f in figures]
           for name in asdict(figures[0])},
        'options': run_options(options)}


def told_at_end(
    options: Options, begun: Begun, rows: Sequence[Row],
    best: Sequence[Row], stopped: int, figures: Sequence[Figures],
) -> int:
    """Write tables and pictures, print the summary; return the code."""
    from mpiapp.comparing import best_config
    from mpiapp.reporting.study import closing, files_lines, timing_lines
    from mpiapp.reporting.study_plots import importances, plot
    from mpiapp.store.study_file import results_json, write_json
    single = begun.rules.objective.single
    weights = importances(begun.book.study)
    paths = [result_path(options), side_path(options, '_results.json')]
    write_json(paths[1], results_json(
        rows, best, {'study_name': options.study_name, **begun.settings},
        weights))
    if best:
        paths.append(side_path(options, '_best_config.json'))
        write_json(paths[-1], best_config(
            begun.settings, best[0], options.study_name))
    paths += plot(begun.book.study, side_path(options, '_plots'),
                  options.plots, single)
    baseline = next((r for r in rows if r.source == 'baseline'), None)
    director = begun.director
    print('\n'.join([
        *closing(rows, best, baseline, weights, single),
        *timing_lines(max(f.wall for f in figures),
                      [asdict(f) for f in figures], director.n_done,
                      director.n_late),
        *files_lines(paths), f'storage       {shown(options)}']))
    code, why = verdict(options, begun, rows, best, stopped)
    print(f'exit code {code}: {why}', flush=True)
    return code


def shown(options: Options) -> Path | str:
    """Return the storage as it may be shown."""
    from mpiapp.tuning.storage import storage_of
    return storage_of(options.storage)


def verdict(
    options: Options, begun: Begun, rows: Sequence[Row],
    best: Sequence[Row], stopped: int,
) -> tuple[int, str]:
    """Return the exit code and its reason."""
    from mpiapp.parallel.stop import REASONS
    if len(rows) < begun.n_trials:
        return RESUMABLE, (f'stopped early ({REASONS.get(stopped, "?")}) '
                           f'after {len(rows)} of {begun.n_trials} trials, '
                           'go on with --resume')
    n_failed = sum(r.state.value == 'failed' for r in rows)
    if not best:
        return FAILED, ('no trial is complete with a result of any sample: '
                        'there is no best')
    if n_failed > options.max_failed:
        return FAILED, (f'finished, but {n_failed} trial(s) failed, and '
                        f'--max-failed allows {options.max_failed}')
    return DONE, 'done'


if __name__ == '__main__':
    sys.exit(main())
