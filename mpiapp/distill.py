"""Make a student model: python -m mpiapp.distill label|train|test|bundle."""
from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mpiapp.config import not_negative, option, positive, read_options
from mpiapp.errors import InputError
from mpiapp.parallel.stop import StopWatch, parse_duration

log = logging.getLogger('mpiapp')

#: what `test` can prove, and the molecules of its dimers
PROOFS = ('errors', 'scans', 'stacks', 'relaxations', 'dynamics', 'speeds')
FLAT = ('benzene', 'naphthalene', 'pyrene')


def share(value: float) -> str:
    """Check a number between 0 and 1."""
    return '' if 0 < value < 1 else 'must be between 0 and 1'


class Alone:
    """Options of an action that is one process."""

    launcher: ClassVar[str] = ''


@dataclass(frozen=True)
class TrainOptions(Alone):
    """Options of `distill train`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 all epochs are done; 1 stopped by an unforeseen '
        'error; 2 wrong usage or input, nothing computed; 4 stopped early '
        'by a signal or time limit, go on with --resume')

    data: tuple[str, ...] = option(
        (), 'labelled structures: what `label` wrote (.h5), or extxyz with '
        'REF_energy and REF_forces (also .gz)', group='input',
        metavar='FILE')
    valid: tuple[str, ...] = option(
        (), 'validation structures (default: as `label` has split them, '
        'else split off by molecule)', group='input', metavar='FILE')
    valid_share: float = option(
        0.05, 'share of the molecules for validation, where the data are '
        'not split', group='input', check=share)
    elements: tuple[str, ...] = option(
        (), 'elements that the model must know (default: those of the data)',
        group='input', metavar='SYMBOL')
    max_atoms: int | None = option(
        None, 'leave out larger structures in training', group='input',
        check=positive)
    recipe: str = option(
        'cpu', 'options of mace-torch\'s trainer: cpu, gpu, further (to go '
        'on from a student) or a TOML file', group='method', metavar='NAME')
    start: str = option(
        '', 'model whose weights are the start; its radial functions are '
        'fitted where the cut-off differs, and it may have fewer channels',
        group='method', metavar='FILE')
    fast: bool = option(
        True, 'compute contractions and convolutions by the exact faster '
        'way, on the CPU', group='method')
    max_epochs: int = option(100, 'epochs in all', group='run',
                             check=positive)
    seed: int = option(0, 'seed of weights and of the split', group='run',
                       check=not_negative)
    output_dir: str = option('runs/distill', 'folder of the training',
                             group='output', metavar='DIR')
    name: str = option('student', 'name of the model', group='output')
    choose: str = option(
        'best', 'weights of the model: those of the least validation loss, '
        'or of the last epoch', group='output', choices=('best', 'last'))
    resume: bool = option(False, 'go on from the last checkpoint',
                          group='output')
    overwrite: bool = option(False, 'delete an earlier training first',
                             group='output')
    dry_run: bool = option(False, 'check everything, train nothing',
                           group='run')
    time_limit: str = option(
        '', 'stop in good order after this time: seconds, 30m, 2h or '
        '[days-]hours:minutes:seconds', group='run', metavar='TIME')
    threads: int = option(
        1, 'threads; on a CPU each takes some of the structures of a step',
        group='machine', check=positive)
    device: str = option('cpu', 'where to train', group='machine',
                         choices=('cpu', 'cuda'))


def train(words: Sequence[str]) -> int:
    """Train a student; returns the exit code."""
    options = read_options(TrainOptions, 'distill train', ABOUT['train'],
                           words)
    os.environ['OMP_NUM_THREADS'] = str(options.threads)
    # threads that wait by spinning take the cores from those at work
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if options.resume and options.overwrite:
        raise InputError('--resume and --overwrite exclude each other')
    if not options.data:
        raise InputError('--data: name at least one file')
    limit = parse_duration(options.time_limit) if options.time_limit \
        else None
    from mpiapp.distillation import training
    asked = training.TrainSettings(
        options.data, options.valid, options.recipe, options.start,
        Path(options.output_dir), options.name, options.elements,
        options.valid_share, options.seed, options.max_epochs,
        options.device, options.max_atoms, options.fast, options.threads,
        options.choose)
    # of packages that mace-torch is made of, and not the user's to mend
    warnings.simplefilter('ignore')
    prepared = training.prepare(asked)
    log.info('training     %s', training.counts(prepared.train))
    log.info('validation   %s', training.counts(prepared.valid))
    if prepared.left_out:
        log.info('left out     %d structures with molecules of --valid',
                 prepared.left_out)
    from mpiapp.potentials.mace.reference import settle_torch
    settle_torch(options.threads, options.device)
    more = (asked, prepared, options.resume, options.overwrite)
    if options.dry_run:
        training.check_folder(*more)
        return 0
    with training.begun(*more), StopWatch(limit) as watch:
        done = training.run(asked, prepared, lambda: bool(watch.check()),
                            log.info)
    code = 0 if done else 4
    print('exit code 0: done' if done else
          'exit code 4: stopped early, go on with --resume', flush=True)
    return code


def label(words: Sequence[str]) -> int:
    """Label structures on all ranks; returns the exit code."""
    from mpiapp import labelling
    from mpiapp.program import main as run_program
    return run_program(labelling.Options, 'distill label', labelling.ABOUT,
                       labelling.settle, labelling.run, words)


@dataclass(frozen=True)
class TestOptions(Alone):
    """Options of `distill test`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong usage '
        'or input; 3 done, but something could not be proved, with '
        '--require-goals a goal is missed, or with --compare the model is '
        'not better')

    model: str = option('student', 'student (bundled), or a model file',
                        group='input', metavar='FILE')
    compare: str = option('', 'another model: is the first one better?',
                          group='input', metavar='FILE')
    teacher: str = option('gfn2', 'as in `label`', group='input',
                          metavar='NAME')
    data: tuple[str, ...] = option(
        (), 'labelled structures of unseen molecules (default: those of the '
        'bundled student)', group='input', metavar='FILE')
    smiles_csv: str = option(
        '', 'molecules (name, smiles) that are relaxed and run (default: '
        'ones held back, small and full-size)', group='input',
        metavar='FILE')
    proofs: tuple[str, ...] = option(
        PROOFS, 'what to prove', group='proofs', choices=PROOFS)
    dimers: tuple[str, ...] = option(
        FLAT, 'dimers of scans and stacks', group='proofs', choices=FLAT)
    conformers: int = option(4, 'conformers of each small molecule',
                             group='proofs', check=positive)
    large_conformers: int = option(
        2, 'conformers of each full-size molecule', group='proofs',
        check=positive)
    max_molecules: int = option(
        4, 'small molecules that are relaxed and run', group='proofs',
        check=not_negative)
    max_large: int = option(
        2, 'full-size ones (100 atoms and more)', group='proofs',
        check=not_negative)
    fmax: float = option(0.01, 'largest force of a relaxed atom [eV/A]',
                         group='proofs', check=positive)
    max_steps: int = option(500, 'optimiser steps at most', group='proofs',
                            check=positive)
    picoseconds: float = option(10.0, 'length of the dynamics [ps]',
                                group='proofs', check=positive)
    rounds: int = option(7, 'timed evaluations of each back end',
                         group='proofs', check=positive)
    backend: str = option('auto', 'how MACE is evaluated', group='method',
                          metavar='NAME')
    require_goals: bool = option(False, 'exit 3 where a goal is missed',
                                 group='run')
    output: str = option('runs/distill_test', 'FILE.json and FILE.md',
                         group='output', metavar='FILE', short='-o')
    threads: int = option(1, 'threads', group='machine', check=positive)
    device: str = option('auto', 'where to compute', group='machine',
                         choices=('auto', 'cpu', 'cuda'))


def test(words: Sequence[str]) -> int:
    """Prove a model; returns the exit code."""
    options = read_options(TestOptions, 'distill test', ABOUT['test'], words)
    os.environ['OMP_NUM_THREADS'] = str(options.threads)
    from mpiapp import potentials
    from mpiapp.data_files import data_file
    from mpiapp.distillation import frames, testing
    from mpiapp.workers.label_plan import teacher_options
    paths = testing.Paths.of(options.output)
    names = [options.model, *filter(None, [options.compare])]
    models = [teacher_options(n if n == 'student' else f'mace:{n}',
                              options.threads, options.device,
                              options.backend) for n in names]
    models = [potentials.resolve(model) for model in models]
    paths.check([*options.data, options.smiles_csv, *names])
    files = options.data or (str(data_file('distill/test.xyz.gz')),)
    found = [f for path in files for f in frames.read(path)]
    table = testing.read_molecules(
        options.smiles_csv or str(data_file('distill/relaxed.csv')))
    trial = testing.Trial(
        options.proofs, options.dimers, testing.first_of(
            table, options.max_molecules, options.max_large),
        options.conformers, options.large_conformers, options.fmax,
        options.max_steps, options.picoseconds, options.rounds)
    teaching = potentials.obtain(teacher_options(
        options.teacher, options.threads, options.device))
    testing.check_teacher(found, teaching)
    teacher = potentials.build(teaching)
    opened = [testing.opened(m, found, trial) for m in models]
    reports = []
    with testing.kept_at(paths) as kept:
        for name, model in zip(names, opened):
            log.info('model        %s', name)
            reports.append(testing.prove(model, teacher, found, trial, kept,
                                         log.info))
        text = testing.write(paths, reports)
    print(text.split('\n## Errors')[0])
    print(f'report {paths.json} and {paths.markdown}')
    return verdict(options, reports)


def verdict(options: TestOptions, reports: Sequence[Any]) -> int:
    """Print the last line; returns the exit code."""
    from mpiapp.distillation import verdicts
    missed = [g['goal'] for g in reports[0]['goals'] if not g['met']]
    worse = len(reports) > 1 and not verdicts.comparison(
        reports[0]['numbers'], reports[1]['numbers'])[0]
    gaps = reports[0]['not_proved']
    code = 3 if worse or gaps or (options.require_goals and missed) else 0
    text = f'not better than {options.compare}' if worse else 'done'
    if gaps:
        text += f', not proved: {", ".join(gaps)}'
    print(f'exit code {code}: {text}; {len(missed)} of '
          f'{len(reports[0]["goals"])} goals are missed', flush=True)
    return code


@dataclass(frozen=True)
class BundleOptions(Alone):
    """Options of `distill bundle`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 the model could not be written; 2 wrong usage '
        'or input; 3 refused: the model is not better than the other one, or '
        'too large')

    model: str = option('', 'the new model', group='input', metavar='FILE')
    report: str = option('', 'its report by `test`', group='input',
                         metavar='FILE.json')
    against: str = option('', 'report on the model it is to replace',
                          group='input', metavar='FILE.json')
    output: str = option('', 'where the model goes', group='output',
                         metavar='FILE.model', short='-o')
    largest: float = option(3.0, 'largest size [MB]', group='output',
                            check=positive)


def bundle(words: Sequence[str]) -> int:
    """Copy a model that is better; returns the exit code."""
    options = read_options(BundleOptions, 'distill bundle', ABOUT['bundle'],
                           words)
    for name in ('model', 'report', 'against', 'output'):
        if not getattr(options, name):
            raise InputError(f'--{name} is needed')
    if not Path(options.model).is_file():
        raise InputError(f'--model {options.model}: no such file')
    from mpiapp.distillation import bundling
    try:
        lines = bundling.bundle(
            Path(options.model), Path(options.report),
            Path(options.against), Path(options.output), options.largest)
    except bundling.Refused as error:
        print(f'refused: {error}', file=sys.stderr)
        return 3
    print('\n'.join(lines))
    return 0


#: actions and what they do
ABOUT = {
    'label': 'Make and label training structures over MPI ranks.',
    'train': 'Train a student on labelled structures with mace-torch\'s own '
             'trainer: python -m mpiapp.distill train --data FILE.h5',
    'test': 'Prove a model against its teacher: errors, dimers, relaxations, '
            'dynamics, speed; one report.',
    'bundle': 'Put a model in the place of another, if it is better.',
}
ACTIONS = {'label': label, 'train': train, 'test': test, 'bundle': bundle}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the action that is named; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in ACTIONS:
        return usage(words)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(message)s'))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    try:
        if words[0] != 'label':
            require_one_process(words[0])
        return ACTIONS[words[0]](words[1:])
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def require_one_process(action: str) -> None:
    """Raise InputError under mpirun with several ranks."""
    from mpiapp.parallel.binding import seat_from
    size = seat_from(os.environ).size
    if size > 1:
        raise InputError(f'`distill {action}` is one process: start it '
                         f'without mpirun ({size} ranks are here)')


def usage(words: Sequence[str]) -> int:
    """Print the actions; 2 unless they were asked for."""
    asked = bool(words) and words[0] in ('-h', '--help')
    out = sys.stdout if asked else sys.stderr
    print('usage: python -m mpiapp.distill ACTION [options]\n', file=out)
    for name, about in ABOUT.items():
        print(f'  {name:8s} {about}', file=out)
    if words and not asked:
        print(f'\nerror: no action {words[0]}', file=sys.stderr)
    return 0 if asked else 2


if __name__ == '__main__':
    sys.exit(main())
