"""Parts of `hpo` without a sampler: verify, validate, prescreen, export."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpiapp.errors import InputError
from mpiapp.json_text import parsed
from mpiapp.parallel.launch import DONE, FAILED, RESUMABLE, World
from mpiapp.program import result_path
from mpiapp.tuner import (
    VERIFY_SAMPLES, VERIFY_SHARE, Options, Prepared, side_path
)

if TYPE_CHECKING:
    from mpiapp.saddle.base import Sample
    from mpiapp.tuning.intervals import Interval
    from mpiapp.tuning.outcome import Outcome
    from mpiapp.tuning.study import Row
    from mpiapp.workers.tune import Figures


@dataclass(frozen=True)
class Compared:
    """Outcomes [setting][sample] on rank 0, None where not all are in."""

    outcomes: list[list[Outcome]] | None
    stopped: int
    figures: Sequence[Figures]


def compute(
    world: World, prepared: Prepared,
    settings: Sequence[Mapping[str, Any]],
) -> Compared:
    """Collective: run all samples with each of the given settings."""
    from mpiapp.tuning.director import Director
    from mpiapp.tuning.given import Given
    from mpiapp.tuning.objective import OBJECTIVES
    from mpiapp.tuning.trial import Rules
    from mpiapp.workers.saddle_tuning import SaddleSamples
    from mpiapp.workers.tune import capacity_for, tune
    n = len(prepared.samples)
    given = Given(settings, n)
    director = None
    if world.comm.rank == 0:
        director = Director(
            1, given, Rules(OBJECTIVES['bounded'], prepared.scale), n,
            list(range(len(settings))), mode='async', costs=prepared.costs,
            keep_waiting=2 * world.comm.size, most=60)
    stopped, figures = tune(
        world.comm, world.watch, prepared.space,
        SaddleSamples(prepared.choice, prepared.samples, prepared.settings),
        director, capacity_for(n, 2 * world.comm.size))
    whole = world.comm.bcast(len(given.ends) == len(settings))
    outcomes = None
    if whole and world.comm.rank == 0:
        outcomes = [given.ends[i][1] for i in range(len(settings))]
    return Compared(outcomes, 0 if whole else stopped, figures)


def verify(world: World, options: Options, prepared: Prepared) -> int:
    """Collective: run the baseline on a few samples; returns the code."""
    few = prepared.of(prepared.samples[:VERIFY_SAMPLES])
    found = compute(world, few, [few.space.baseline()])
    code = DONE
    if world.comm.rank == 0:
        code = RESUMABLE
        if found.outcomes is not None:
            code = _verified(few, found.outcomes[0])
        else:
            print('exit code 4: stopped early; verify has no --resume, '
                  'start it again', flush=True)
    return int(world.comm.bcast(code))


def _verified(few: Prepared, outcomes: Sequence[Outcome]) -> int:
    """Print what the baseline did; return the exit code."""
    for sample, outcome in zip(few.samples, outcomes, strict=True):
        print(f'{sample.name:24.24s} {outcome.reason:16s} '
              f'{outcome.steps:5d} steps, fmax {outcome.fmax:.3g} eV/A, '
              f'n_neg {outcome.n_neg}')
    n, wins = len(outcomes), sum(o.success for o in outcomes)
    passed = wins >= VERIFY_SHARE * n
    code = DONE if passed else FAILED
    word = 'passed' if passed else 'failed'
    print(f'exit code {code}: {word}, the baseline finds {wins} of {n}; at '
          f'least {VERIFY_SHARE:.0%} are asked for', flush=True)
    return code


@dataclass(frozen=True)
class Chosen:
    """Settings that are compared with the baseline, and where they are from.

    `about` is what is known of the study that found them, perhaps nothing;
    `other` are lines that tell how its searches differ from those here.
    """

    params: Mapping[str, Any]
    where: str
    about: Mapping[str, Any]
    other: Sequence[str] = ()


def chosen_for(options: Options, prepared: Prepared) -> Chosen:
    """Return what is compared with the baseline; warn of what differs.

    Raises:
        InputError: no such file or study, parameters that do not fit, or
            samples that they were tuned on.
    """
    from mpiapp import engine
    from mpiapp.store.folder import differences
    from mpiapp.tuner import search_settings
    found = chosen_params(options, prepared)
    check_held_out(found, prepared.samples)
    now = {k: v for k, v in search_settings(options, prepared).items()
           if k in found.about}
    other = differences({k: found.about[k] for k in now}, now)
    if other:
        engine.log.warning(
            'searches differ from those that %s was found with:\n  %s',
            found.where, '\n  '.join(other))
    return replace(found, other=other)


def check_held_out(chosen: Chosen, samples: Sequence[Sample]) -> None:
    """Refuse samples of reactions that settings were tuned on.

    Raises:
        InputError: there are such; they are named.
    """
    from mpiapp import engine
    from mpiapp.workers.saddle_tuning import reactions_of
    told = chosen.about.get('samples')
    tuned = told.get('reactions') if isinstance(told, Mapping) else None
    if tuned is None:
        engine.log.warning(
            '%s does not tell what it was tuned on: whether these samples '
            'were held out is not checked', chosen.where)
        return
    here = reactions_of(samples)
    seen = [name for key, name in here.items() if key in set(tuned)]
    if seen:
        raise InputError(
            f'{chosen.where} was tuned on {len(seen)} of the {len(here)} '
            f'reaction(s) to be held out: {", ".join(seen[:5])}'
            f'{", ..." if len(seen) > 5 else ""}; give the --data and the '
            '--held-out of the study, or reactions that it has not seen')


def chosen_params(options: Options, prepared: Prepared) -> Chosen:
    """Return the parameters of a file or of the best trial of a study.

    Raises:
        InputError: no such file or study, or parameters that do not fit.
    """
    from mpiapp.saddle.parameters import read_params
    from mpiapp.workers.saddle_tuning import complete
    if options.params:
        method, params = read_params(options.params)
        where = options.params
        about = parsed(Path(where).read_text('utf-8'))
    else:
        about, _, row = best_of_study(options)
        method, where = about['method'], \
            f'trial {row.ordinal} of study {options.study_name}'
        params = {**about['space']['fixed'], **row.params}
    if method != options.method:
        raise InputError(f'{where} is of the method {method}; give --method '
                         f'{method}')
    return Chosen(complete(prepared.space, params, where), where, about)


def best_of_study(options: Options,
                  ) -> tuple[dict[str, Any], list[Row], Row]:
    """Return settings, finished trials and the best trial of a study.

    Raises:
        InputError: no such storage or study, no trial with a result.
    """
    from mpiapp.tuning.objective import OBJECTIVES
    from mpiapp.tuning.storage import open_for_reading, storage_of
    from mpiapp.tuning.study import (
        SETTINGS, best_rows, find_study, names_in, survey
    )
    storage = open_for_reading(options.storage)
    study = find_study(storage, options.study_name)
    if study is None or SETTINGS not in study.user_attrs:
        raise InputError(
            f'{storage_of(options.storage)} has no study '
            f'{options.study_name!r} of this program; it has '
            f'{", ".join(names_in(storage)) or "none"}')
    settings = study.user_attrs[SETTINGS]
    rows = [r for _, r in sorted(survey(study)[0].items())]
    best = best_rows(rows, OBJECTIVES[settings['objective']].directions)
    if not best:
        raise InputError(f'study {options.study_name!r} has no complete '
                         f'trial with any result ({len(rows)} trial(s))')
    return settings, rows, best[0]


def export(options: Options) -> list[str]:
    """Write the best parameters of a study; return lines for the user.

    Raises:
        InputError: no such study, or no place for the file.
    """
    from mpiapp.store.output import check_output
    from mpiapp.store.study_file import write_json
    settings, rows, row = best_of_study(options)
    path = result_path(options).with_suffix('.json') if options.output \
        else side_path(options, '_best_config.json')
    check_output(path)
    write_json(path, best_config(settings, row, options.study_name))
    return [f'{path}: trial {row.ordinal} of {len(rows)}, '
            f'{row.summary["n_success"]} of {row.summary["n_samples"]} '
            'samples found',
            f'use it: python -m mpiapp.tssearch --params {path} ...']


def best_config(settings: Mapping[str, Any], row: Row, study: str,
                ) -> dict[str, Any]:
    """Return what `tssearch --params` reads, and where it comes from."""
    return {
        'method': settings['method'],
        'params': {**settings['space']['fixed'], **row.params},
        'study_name': study, 'trial': row.ordinal,
        'objective': settings['objective'], 'values': list(row.values),
        'n_success': row.summary['n_success'],
        'n_samples': row.summary['n_samples'],
        **{name: settings[name] for name in (
            'start_from', 'cost_cap', 'search', 'potential', 'samples')}}


def prescreened(
    world: World, options: Options, prepared: Prepared,
) -> tuple[Prepared, int]:
    """Collective: keep the samples that are hardest for the baseline.

    The choice is kept in PREFIX_hard.json, which a resumed run reads.
    Returns the samples left and the reason of an early stop.
    """
    from mpiapp.parallel.agree import agree
    path = side_path(options, '_hard.json')
    hard: list[list[int]] | None = None
    with agree(world.comm, 'reading the hard samples'):
        if world.comm.rank == 0 and options.resume and path.exists():
            hard = read_hard(path)
    hard = world.comm.bcast(hard)
    if hard is None:
        few = prepared.of(first_reactions(
            prepared.split.tuning, options.prescreen))
        found = compute(world, few, [few.space.baseline()])
        if found.stopped:
            return prepared, found.stopped
        with agree(world.comm, 'writing the hard samples'):
            if world.comm.rank == 0 and found.outcomes is not None:
                hard = _hardest(few, found.outcomes[0], options, path)
        hard = world.comm.bcast(hard)
    wanted = {tuple(pair) for pair in hard or ()}
    return prepared.of(tuple(
        s for s in prepared.split.tuning
        if (s.number, s.draw) in wanted)), 0


def read_hard(path: Path) -> list[list[int]]:
    """Return (number, draw) of the samples that a run has chosen.

    Raises:
        InputError: the file is not one of this program.
    """
    try:
        found = parsed(path.read_text('utf-8'))['samples']
        return [[int(number), int(draw)] for number, draw in found]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path}: not written by --prescreen '
                         f'({type(error).__name__}); delete it to choose the '
                         'samples anew') from error


def first_reactions(samples: Sequence[Sample], most: int,
                    ) -> tuple[Sample, ...]:
    """Return the samples of the first reactions."""
    from mpiapp.workers.saddle_tuning import first
    return first(samples, most)


def _hardest(few: Prepared, outcomes: Sequence[Outcome], options: Options,
             path: Path) -> list[list[int]]:
    """Write and return (number, draw) of the harder half, in order."""
    from mpiapp.store.study_file import write_json
    from mpiapp.tuning.objective import bounded_cost
    costs = [bounded_cost(o, few.scale) for o in outcomes]
    order = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
    kept = sorted(order[:-(-len(order) // 2)])
    hard = [[few.samples[i].number, few.samples[i].draw] for i in kept]
    write_json(path, {
        'samples': hard, 'names': [few.samples[i].name for i in kept],
        'cost': [costs[i] for i in kept],
        'reason': [outcomes[i].reason for i in kept]})
    return hard


def validate(world: World, options: Options, prepared: Prepared) -> int:
    """Collective: compare settings on held-out samples; returns the code."""
    from mpiapp.parallel.agree import agree
    chosen: Chosen | None = None
    with agree(world.comm, 'reading the study'):
        if world.comm.rank == 0:
            chosen = chosen_for(options, prepared)
    chosen = world.comm.bcast(chosen)
    assert chosen is not None
    found = compute(world, prepared,
                    [prepared.space.baseline(), chosen.params])
    code = RESUMABLE
    with agree(world.comm, 'writing the comparison'):
        if world.comm.rank == 0:
            if found.outcomes is None:
                print('exit code 4: stopped early; validate has no '
                      '--resume, start it again', flush=True)
            else:
                code = _validated(options, prepared, chosen, found.outcomes)
    return int(world.comm.bcast(code))


def _validated(
    options: Options, prepared: Prepared, chosen: Chosen,
    outcomes: Sequence[Sequence[Outcome]],
) -> int:
    """Write and print the comparison; return the exit code."""
    from mpiapp.reporting.validation import comparison_lines
    from mpiapp.store.study_file import outcome_table, write_json
    told = comparison(prepared, outcomes)
    path = side_path(options, '_validation.json')
    write_json(path, {
        'compared': chosen.where, 'params': chosen.params,
        'baseline': prepared.space.baseline(), 'differences': chosen.other,
        'intervals': {k: v.listed() for k, v in told.items()},
        'samples': [{'name': s.name, 'number': s.number, 'draw': s.draw}
                    for s in prepared.samples],
        'results': {'baseline': outcome_table(outcomes[0]),
                    'compared': outcome_table(outcomes[1])}})
    n = len({s.number for s in prepared.samples})
    print('\n'.join([*comparison_lines(
        told, outcomes, chosen.where, n, len(prepared.samples)),
        f'wrote         {path}']))
    usable = any(o.usable for group in outcomes for o in group)
    code = DONE if usable else FAILED
    print(f'exit code {code}: ' + (
        'done' if usable else 'no sample gave a result'), flush=True)
    return code


def comparison(
    prepared: Prepared, outcomes: Sequence[Sequence[Outcome]],
) -> dict[str, Interval]:
    """Return intervals of rates, costs and their differences."""
    from mpiapp.tuning.intervals import bootstrap, paired
    from mpiapp.tuning.objective import bounded_cost, score
    groups = [s.number for s in prepared.samples]
    scale = prepared.scale

    def of(kind: Any) -> list[list[float]]:
        return [[float(kind(o)) for o in group] for group in outcomes]
    found: dict[str, Interval] = {}
    for name, (base, ours) in {
            'success': of(lambda o: o.success),
            'index_one': of(lambda o: o.index_one),
            'calls': of(lambda o: bounded_cost(o, scale)),
            'score': of(lambda o: score(o, scale))}.items():
        found[f'{name}_baseline'] = bootstrap(base, groups)
        found[f'{name}_compared'] = bootstrap(ours, groups)
        found[f'{name}_difference'] = paired(ours, base, groups)
    return found
