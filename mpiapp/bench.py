"""Measure: python -m mpiapp.bench reopt --quick --json FILE."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from mpiapp.errors import InputError

ABOUT = '''Measure what mpiapp costs, and what it gains over other ways.
Numbers depend on the machine and on what else runs there: compare ratios.'''
EXIT_CODES = ('exit codes: 0 done; 1 something failed or disagreed; 2 wrong '
              'usage or input, nothing measured')
#: commands: files of mpiapp/benchmarks with add_options and run, or, where
#: they run on all ranks, with main
COMMANDS = {
    'inference': 'a matrix of models, ways, precisions, sizes and batches',
    'neighbours': 'lists of pairs: equal sets, then their times',
    'precision': 'errors, time and memory of lower precision, by stage',
    'md': 'gates of physics: drift, dt^2, temperature, relaxations',
    'scaling': 'ranks, threads and schedules: strong and weak scaling',
    'tune': 'find back end, precision, batch, ranks; write a profile',
    'compare': 'two results: ratios with intervals, regressions',
    'reopt': 'whole relaxations: ASE with MACECalculator, others, and ours',
    'soak': 'kill a campaign at random, resume it, compare the result',
    'queue': 'the queue on 16,384 ranks, simulated with its own rules',
    'ranks': 'the same ensemble on 1 and on 2 ranks',
    'hameval': 'frames of Hamiltonians: ranks, order of work, redundant work',
    'hpo': 'trials per hour: the scheme of the original scripts, and ours',
}

#: commands whose file has another name: queue is one of Python's own
FILES = {'queue': 'simulated'}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that is named; returns its exit code."""
    # read when numpy and torch are loaded: one core is what is measured
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in COMMANDS:
        return usage(words)
    command = module_of(words[0])
    if hasattr(command, 'main'):
        return int(command.main(words[1:]))
    parser = argparse.ArgumentParser(
        prog=f'python -m mpiapp.bench {words[0]}',
        description=(command.__doc__ or '').strip(), epilog=EXIT_CODES)
    command.add_options(parser)
    options = parser.parse_args(words[1:])
    options.words = words
    try:
        from mpiapp.benchmarks.harness.document import check_targets
        check_targets(options.json, getattr(options, 'output', None),
                      read=texts_of(options))
        return int(command.run(options))
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


def texts_of(options: argparse.Namespace) -> list[str]:
    """Return all texts of options that may name a file to be read."""
    return [text for name, value in vars(options).items()
            if name not in ('json', 'output', 'words')
            for text in (value if isinstance(value, list) else [value])
            if isinstance(text, str)]


def module_of(name: str) -> ModuleType:
    """Return the module of a command."""
    return import_module(f'mpiapp.benchmarks.{FILES.get(name, name)}')


def usage(words: Sequence[str]) -> int:
    """Print the commands; 2 unless they were asked for."""
    asked = bool(words) and words[0] in ('-h', '--help')
    out = sys.stdout if asked else sys.stderr
    print(f'usage: python -m mpiapp.bench COMMAND [options]\n\n{ABOUT}\n',
          file=out)
    for name, about in COMMANDS.items():
        print(f'  {name:12s} {about}', file=out)
    print(f'\npython -m mpiapp.bench COMMAND --help\n\n{EXIT_CODES}',
          file=out)
    if words and not asked:
        print(f'\nerror: no command {words[0]}', file=sys.stderr)
    return 0 if asked else 2


if __name__ == '__main__':
    sys.exit(main())
