"""What `hpo` is told and what it needs before any work."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mpiapp.config import not_negative, option, positive
from mpiapp.errors import InputError
from mpiapp.program import check_files, result_path
from mpiapp.searching import (
    Searching, base_settings, settle_search, surface_choice
)
from mpiapp.tuning.director import MODES
from mpiapp.tuning.objective import OBJECTIVES, Objective, Scale
from mpiapp.tuning.pruning import PRUNERS, Pruner, rungs
from mpiapp.tuning.sampling import SAMPLERS, STARTUP, grid
from mpiapp.tuning.trial import Rules

if TYPE_CHECKING:
    from mpiapp.saddle.base import Sample, SearchSettings
    from mpiapp.tuning.space import Space, Value
    from mpiapp.workers.saddle_search import SurfaceChoice
    from mpiapp.workers.saddle_tuning import Split

ACTIONS = {
    'run': 'tune the parameters of a search (default)',
    'verify': 'run the baseline on 5 samples: does the set-up work at all',
    'validate': 'compare the best with the baseline on held-out samples',
    'export': 'write the best parameters as a file for tssearch --params',
    'probe': 'time ranks against threads on this machine',
}
#: version of the meaning of the results; a change ends resumability
RESULTS_VERSION = 2
#: trials where nothing else is asked for
N_TRIALS = 500
#: samples of `verify`, and the share of successes that passes
VERIFY_SAMPLES, VERIFY_SHARE = 5, 0.5
#: draws of noise on each held-out reaction
VALIDATE_DRAWS = 3


def share(value: float) -> str:
    """Check a number between 0 and 1."""
    return '' if 0 < value < 1 else 'must be between 0 and 1'


def not_one(value: int) -> str:
    """Check a number of reactions of which the last is held out."""
    return '' if value == 0 or value >= 2 else 'must be 0 or 2 and more'


@dataclass(frozen=True)
class Options(Searching):
    """Options of `hpo`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong '
        'usage or input, nothing computed; 3 finished, but no trial has a '
        'result, more trials than --max-failed failed, or verify found '
        'fewer than half; 4 stopped early, go on with --resume')

    n_trials: int | None = option(
        None, f'trials of the whole study (default: {N_TRIALS}, or all '
        'points of a grid)', group='study', check=positive)
    study_name: str = option(
        '', 'name of the study in its storage (default: tssearch-METHOD)',
        group='study', metavar='NAME')
    storage: str = option(
        '', 'journal file, or URL of a database as sqlite:///FILE (default: '
        'PREFIX.log beside the result)', group='study', metavar='FILE')
    mode: str = option(
        'exact', 'exact: one trial at a time, the same study on any number '
        'of ranks; async: several, faster', group='study', choices=MODES)
    objective: str = option(
        'bounded', 'what is optimised: ' + '; '.join(
            f'{o.name}, {o.about}' for o in OBJECTIVES.values()),
        group='study', choices=tuple(OBJECTIVES))
    sampler: str = option('', 'who proposes: tpe (default), random, grid, '
                          'or nsga2 (default of objective two)',
                          group='study', choices=('', *SAMPLERS))
    seed: int = option(42, 'seed of the sampler', group='study',
                       check=not_negative)
    startup_trials: int | None = option(
        None, 'random trials before tpe models (default: 5, sella 10)',
        group='study', check=positive)
    population: int = option(20, 'population of nsga2', group='study',
                             check=positive)
    baseline: bool = option(True, 'the baseline is the first trial',
                            group='study')
    enqueue: tuple[str, ...] = option(
        (), 'parameter files to try next, as export writes them',
        group='study', metavar='FILE')
    pruner: str = option('', 'who gives trials up: wilcoxon (default of '
                         'objective bounded), median (default of the '
                         'original ones), none', group='study',
                         choices=('', *PRUNERS))
    rungs: tuple[int, ...] = option(
        (), 'samples after which a trial is judged (default: a quarter, a '
        'half and three quarters of them)', group='study', metavar='N')
    pruner_startup: int = option(
        5, 'complete trials before any is given up', group='study',
        check=not_negative)
    pruner_threshold: float = option(
        0.1, 'p value of the wilcoxon test', group='study', check=share)
    cost_cap: float | None = option(
        None, 'calls that a sample counts at most, and a failure counts '
        '(default: two a step)', group='study', check=positive)
    in_flight: int | None = option(
        None, 'trials at a time in async mode, at most (default: ranks + 2)',
        group='study', check=positive)
    ranges: str = option('hip', 'ranges of the original studies with HIP or '
                         'with SCINE', group='space',
                         choices=('hip', 'scine'))
    range: tuple[str, ...] = option(
        (), 'other bounds: NAME=LOW:HIGH, with :log or :lin', group='space',
        metavar='TEXT')
    fix: tuple[str, ...] = option((), 'parameters not to vary: NAME=VALUE',
                                  group='space', metavar='TEXT')
    held_out: int = option(
        3, 'every so many-th reaction is not tuned on but kept for validate '
        '(0: none)', group='input', check=not_one)
    prescreen: int = option(
        0, 'run the baseline on so many samples first (100 at most) and '
        'tune on the hardest half', group='input', check=not_negative)
    draws: int | None = option(
        None, 'starts with different noise of each reaction (default: 1, '
        f'validate {VALIDATE_DRAWS})', group='input', check=positive)
    skip_verify: bool = option(
        False, 'no warning where the baseline fails on most samples',
        group='run')
    params: str = option(
        '', 'validate: parameter file instead of the best of the study',
        group='study', metavar='FILE')
    plots: str = option('html', 'pictures of the study', group='output',
                        choices=('html', 'png', 'both', 'none'))
    output_prefix: str = option(
        'hpo', 'prefix of all result files, instead of --output',
        group='output')


def settle(options: Options, action: str = 'run') -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    options = settle_search(options)
    if not options.data and action != 'export':
        raise InputError('no input file: --data FILE')
    objective = OBJECTIVES[options.objective]
    several = not objective.single
    if several and options.pruner not in ('', 'none'):
        raise InputError(f'--pruner {options.pruner}: objective two has two '
                         'values, no trial is given up by them')
    if options.pruner == 'wilcoxon' and objective.score is None:
        raise InputError(
            f'--pruner wilcoxon: objective {objective.name} has no score of '
            'single samples to compare; median or none')
    if options.sampler == 'nsga2' and not several:
        raise InputError('--sampler nsga2 is for --objective two')
    if options.prescreen > 100:
        raise InputError(f'--prescreen {options.prescreen}: 100 at most')
    where = options.storage or str(result_path(options).with_suffix('.log'))
    return replace(
        options, storage=where,
        sampler=options.sampler or ('nsga2' if several else 'tpe'),
        pruner=options.pruner or usual_pruner(objective),
        study_name=options.study_name or f'tssearch-{options.method}')


def usual_pruner(objective: Objective) -> str:
    """Return who gives trials up where nobody is named."""
    if not objective.single:
        return 'none'
    return 'median' if objective.score is None else 'wilcoxon'


@dataclass(frozen=True)
class Prepared:
    """What rank 0 found out and every rank needs."""

    samples: Sequence[Sample]
    split: Split
    settings: SearchSettings
    choice: SurfaceChoice
    about: Mapping[str, str]
    space: Space
    costs: Sequence[float]
    inputs: Sequence[Mapping[str, Any]]
    cap: float

    def of(self, samples: Sequence[Sample]) -> Prepared:
        """Return the same for other samples."""
        return replace(self, samples=samples,
                       costs=_costs(samples, self.settings, self.choice,
                                    self.about))

    def rules(self, options: Options) -> Rules:
        """Return how trials of a study are judged.

        Raises:
            InputError: a rung that is no number of samples.
        """
        return Rules(
            self.objective(options), self.scale,
            () if options.pruner == 'none'
            else rungs(len(self.samples), options.rungs),
            Pruner(options.pruner, options.pruner_startup,
                   options.pruner_threshold), options.mode == 'exact')

    @staticmethod
    def objective(options: Options) -> Objective:
        """Return what is optimised."""
        return OBJECTIVES[options.objective]

    @property
    def scale(self) -> Scale:
        """Return what scores refer to."""
        return Scale(len(self.samples), self.cap,
                     self.settings.max_steps or 1)


def prepare(options: Options, action: str) -> Prepared:
    """Read and check all input on one rank, before any work.

    Raises:
        InputError: whatever the user must mend.
    """
    from mpiapp.store.output import check_output
    from mpiapp.workers.saddle_process import Searcher
    from mpiapp.workers.saddle_samples import SampleChoice, load_samples
    from mpiapp.workers.saddle_tuning import cost_cap, space_of, split_samples
    space = space_of(options.method, options.ranges, options.range,
                     options.fix)
    settings = base_settings(options, options.method)
    check_order(space, settings)
    draws = options.draws or (VALIDATE_DRAWS if action == 'validate' else 1)
    loaded = load_samples(options.data, SampleChoice(
        options.start_from, options.noise_seed, draws, None,
        options.skip_samples, options.split))
    split = split_samples(loaded.samples, options.held_out,
                          options.max_samples)
    samples = split.held_out if action == 'validate' else split.tuning
    if not samples:
        raise InputError(
            f'no samples are left: {len(loaded.sound)} of '
            f'{len(loaded.samples)} can be searched, and every '
            f'{options.held_out}th reaction is held out (--held-out)')
    check_output(result_path(options), create=not options.dry_run)
    if action == 'run':
        check_files(options, written(options), loaded.inputs)
    choice = surface_choice(options, loaded, settings)
    searcher = Searcher(choice, helper=not choice.toy)
    try:
        about = dict(searcher.about)
    finally:
        searcher.close()
    cap = options.cost_cap or cost_cap(settings)
    return Prepared(samples, split, settings, choice, about, space,
                    _costs(samples, settings, choice, about),
                    loaded.inputs, cap)


def side_path(options: Options, end: str) -> Path:
    """Return the path of a file beside the result."""
    path = result_path(options)
    return path.with_name(path.stem + end)


def written(options: Options) -> list[Path]:
    """Return the files that a study writes, pictures and storage apart."""
    ends = ['_results.json', '_best_config.json']
    if options.prescreen:
        ends.append('_hard.json')
    return [result_path(options), *(side_path(options, end) for end in ends)]


def _costs(samples: Sequence[Sample], settings: SearchSettings,
           choice: SurfaceChoice, about: Mapping[str, str]) -> list[float]:
    import numpy as np

    from mpiapp.workers.saddle import predicted_seconds
    n_atoms = np.array([s.n_atoms for s in samples], np.int32)
    found: list[float] = predicted_seconds(
        n_atoms, settings, choice, about).tolist()
    return found


def check_order(space: Space, settings: SearchSettings) -> None:
    """Check that parameters that depend on each other fit everywhere.

    Raises:
        InputError: the search space has settings that the method refuses.
    """
    from mpiapp.saddle.parameters import check
    bounds = {d.name: (d.low, d.high) for d in space.dimensions
              if d.kind != 'bool'}
    bounds |= {n: (float(v), float(v)) for n, v in space.fixed.items()}
    corners = ({'dt': 1, 'dt_max': 0, 'dt_min': 0},
               {'dt': 0, 'dt_max': 1, 'dt_min': 1})
    for corner in corners if 'dt' in bounds else ():
        values = {name: bounds[name][at] for name, at in corner.items()}
        check(replace(settings, params=values))


def given_trials(
    options: Options, space: Space,
) -> dict[int, tuple[Mapping[str, Value], str]]:
    """Return settings and source of the trials that are not sampled.

    Raises:
        InputError: a baseline or file that the space does not hold.
    """
    from mpiapp.saddle.parameters import read_params
    from mpiapp.workers.saddle_tuning import complete
    found: list[tuple[Mapping[str, Value], str]] = []
    if options.baseline:
        outside = space.outside(space.baseline())
        if outside:
            raise InputError(
                'the first trial is the baseline, but ' + '; '.join(outside)
                + ': widen the range, or leave it out with --no-baseline')
        found.append((space.baseline(), 'baseline'))
    for path in options.enqueue:
        method, params = read_params(path)
        if method != options.method:
            raise InputError(f'--enqueue {path}: its method is {method}, '
                             f'the study is of {options.method}')
        values = complete(space, params, f'--enqueue {path}')
        outside = space.outside(values)
        if outside:
            raise InputError(f'--enqueue {path}: ' + '; '.join(outside))
        found.append((values, Path(path).name[:24]))
    if options.sampler == 'grid':
        found += [(point, 'grid') for point in grid(space)]
    return dict(enumerate(found))


def number_of_trials(
    options: Options, given: Mapping[int, Any],
) -> int:
    """Return how many trials the study is to have."""
    if options.sampler == 'grid':
        return min(options.n_trials or len(given), len(given))
    return options.n_trials or N_TRIALS


def startup_of(options: Options) -> int:
    """Return how many trials are random before tpe models."""
    return options.startup_trials or STARTUP[options.method]


def study_settings(
    options: Options, prepared: Prepared, rules: Rules,
    given: Mapping[int, Any],
) -> dict[str, Any]:
    """Return what decides a study and must not change on resume."""
    from mpiapp.workers.saddle_tuning import identity, reactions_of
    samples = identity(prepared.samples)
    names = ('method', 'objective', 'sampler', 'seed', 'mode', 'pruner',
             'noise_seed')
    found = {name: getattr(options, name) for name in names}
    if options.sampler == 'tpe':
        found['startup_trials'] = startup_of(options)
    if options.sampler == 'nsga2':
        found['population'] = options.population
    if options.pruner != 'none':
        found |= {'rungs': list(rules.rungs),
                  'pruner_startup': options.pruner_startup,
                  'pruner_threshold': options.pruner_threshold}
    grid_free = {str(k): [source, dict(values)] for k, (values, source)
                 in given.items() if source != 'grid'}
    return {
        'results_version': RESULTS_VERSION, **found,
        **search_settings(options, prepared),
        'space': prepared.space.described(),
        'given': grid_free, 'samples': {
            'n': len(samples), 'numbers': [s[0] for s in samples],
            'reactions': list(reactions_of(prepared.samples)),
            'sha256': sha256(repr(samples).encode()).hexdigest()}}


def search_settings(options: Options, prepared: Prepared) -> dict[str, Any]:
    """Return what decides what one sample comes to with given parameters."""
    search = asdict(prepared.settings)
    # a limit of time does not decide what is computed within it
    for name in ('timeout', 'params'):
        del search[name]
    # a number that was measured, so that it differs from start to start
    potential = {k: v for k, v in prepared.about.items()
                 if k != 'hessian_guard'}
    return {'start_from': options.start_from, 'cost_cap': prepared.cap,
            'search': search, 'potential': potential}
