"""Make a student model: python -m mpiapp.distill label|train|test|bundle."""
from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mpiapp.config import not_negative, option, positive, read_options
from mpiapp.errors import InputError
from mpiapp.parallel.stop import StopWatch, parse_duration

log = logging.getLogger('mpiapp')


def share(value: float) -> str:
    """Check a number between 0 and 1."""
    return '' if 0 < value < 1 else 'must be between 0 and 1'


@dataclass(frozen=True)
class TrainOptions:
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
        (), 'validation structures (default: split off by molecule)',
        group='input', metavar='FILE')
    valid_share: float = option(
        0.05, 'share of the molecules for validation', group='input',
        check=share)
    elements: tuple[str, ...] = option(
        (), 'elements that the model must know (default: those of the data)',
        group='input', metavar='SYMBOL')
    max_atoms: int | None = option(
        None, 'leave out larger structures in training', group='input',
        check=positive)
    recipe: str = option(
        'cpu', 'options of mace-torch\'s trainer: cpu, gpu or a TOML file',
        group='method', metavar='NAME')
    start: str = option(
        '', 'model whose weights are the start; its radial functions are '
        'fitted where the cut-off differs', group='method', metavar='FILE')
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
    resume: bool = option(False, 'go on from the last checkpoint',
                          group='output')
    overwrite: bool = option(False, 'delete an earlier training first',
                             group='output')
    dry_run: bool = option(False, 'check everything, train nothing',
                           group='run')
    time_limit: str = option(
        '', 'stop in good order after this time: seconds, 30m, 2h or '
        '[days-]hours:minutes:seconds', group='run', metavar='TIME')
    threads: int = option(1, 'threads', group='machine', check=positive)
    device: str = option('cpu', 'where to train', group='machine',
                         choices=('cpu', 'cuda'))


def train(words: Sequence[str]) -> int:
    """Train a student; returns the exit code."""
    options = read_options(TrainOptions, 'distill train', ABOUT['train'],
                           words)
    os.environ['OMP_NUM_THREADS'] = str(options.threads)
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
        options.device, options.max_atoms, options.fast)
    prepared = training.prepare(asked)
    log.info('training     %s', training.counts(prepared.train))
    log.info('validation   %s', training.counts(prepared.valid))
    if options.dry_run:
        return 0
    training.check_folder(asked, prepared, options.resume, options.overwrite)
    from mpiapp.potentials.mace.reference import settle_torch
    settle_torch(options.threads, options.device)
    with StopWatch(limit) as watch:
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


#: actions and what they do
ABOUT = {
    'label': 'Make and label training structures over MPI ranks.',
    'train': 'Train a student on labelled structures with mace-torch\'s own '
             'trainer: python -m mpiapp.distill train --data FILE.h5',
}
ACTIONS = {'label': label, 'train': train}


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
        return ACTIONS[words[0]](words[1:])
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


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
