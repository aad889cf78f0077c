"""Trials per hour: the original's scheme, exact mode and async mode.

The same trials (random search, no pruning) on the same reactions, in turn;
values of exact mode and of the original's scheme must be equal.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mpiapp.benchmarks.context import machine, versions
from mpiapp.data_files import data_file
from mpiapp.errors import InputError

#: reactions, starts and searches that are measured where none are named
USUAL = ('--start-from', 'ts_noise0.3A', '--calculator', 'sparrow',
         '--functional', 'DFTB0')
SCHEMES = ('original', 'exact', 'async')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument('--data', nargs='+', metavar='FILE',
                        help='reactions (default: data/saddles/baker)')
    parser.add_argument('--search', nargs=argparse.REMAINDER, default=None,
                        help='options of hpo, the last ones here (default: '
                        + ' '.join(USUAL) + ')')
    parser.add_argument('--ranks', type=int, default=2, help='ranks or '
                        'workers (default: 2)')
    parser.add_argument('--n-trials', type=int, default=4)
    parser.add_argument('--max-samples', type=int, default=8)
    parser.add_argument('--n-steps', type=int, default=100)
    parser.add_argument('--repeats', type=int, default=3,
                        help='how often each is run, in turn (default: 3)')
    parser.add_argument('--json', metavar='FILE', help='write all numbers')


def run(options: argparse.Namespace) -> int:
    """Measure; 1 where values disagree."""
    for name in ('ranks', 'n_trials', 'max_samples', 'repeats'):
        if getattr(options, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} must be 1 or more')
    found: dict[str, list[dict[str, Any]]] = {s: [] for s in SCHEMES}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(options.repeats):
            for scheme in SCHEMES:
                words = words_of(options, Path(folder) / f'{repeat}')
                found[scheme].append(
                    original(words, options.ranks)
                    if scheme == 'original' else
                    ours(words, options.ranks, scheme))
    equal = all(r['values'] == found['original'][0]['values']
                for s in ('original', 'exact') for r in found[s])
    print('\n'.join(table(options, found, equal)))
    if options.json:
        Path(options.json).write_text(json.dumps({
            'machine': machine(), 'versions': versions(),
            'words': options.words, 'runs': found, 'equal': equal}, indent=1)
            + '\n')
    return 0 if equal else 1


def words_of(options: argparse.Namespace, out: Path) -> list[str]:
    """Return the words of a study that all schemes share."""
    data = options.data or [str(data_file('saddles/baker'))]
    return [
        '--data', *map(str, data), '--max-samples', str(options.max_samples),
        '--n-steps', str(options.n_steps), '--n-trials',
        str(options.n_trials), '--sampler', 'random', '--pruner', 'none',
        '--plots', 'none', '--overwrite', '--output', f'{out}.h5',
        '--log-level', 'error', *(options.search or USUAL)]


def _environment() -> dict[str, str]:
    return {**os.environ, 'OMP_NUM_THREADS': '1'}


def original(words: Sequence[str], n: int) -> dict[str, Any]:
    """Run the original's scheme in a process of its own."""
    code = ('import sys; from mpiapp.original_scheme import main; '
            'main(sys.argv[2:], int(sys.argv[1]))')
    done = subprocess.run(
        [sys.executable, '-c', code, str(n), *words], text=True,
        capture_output=True, env=_environment())
    if done.returncode:
        raise InputError(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def ours(words: Sequence[str], n: int, mode: str) -> dict[str, Any]:
    """Run `hpo` under mpirun; its own counters say how busy it was."""
    from mpiapp.store.reader import load
    done = subprocess.run(
        ['mpirun', '-n', str(n), sys.executable, '-m', 'mpiapp.hpo', 'run',
         '--mode', mode, *words], text=True, capture_output=True,
        env=_environment())
    if done.returncode not in (0, 3):
        raise InputError(done.stdout[-1000:] + done.stderr[-2000:])
    path = Path(words[words.index('--output') + 1])
    campaign = load(path)
    told = campaign.timeline
    wall = float(told['wall_seconds'])
    values = json.loads(path.with_name(
        f'{path.stem}_results.json').read_text())['trials']
    return {'wall': wall, 'busy': sum(told['work']) / (n * wall),
            'values': [[t['value']] for t in values]}


def table(options: argparse.Namespace, found: dict[str, Any],
          equal: bool) -> list[str]:
    """Return the table of medians."""
    lines = [f'{options.n_trials} trials, {options.ranks} ranks or workers, '
             f'{options.repeats} run(s) each, medians',
             f'{"scheme":10s}{"wall [s]":>10s}{"trials/h":>10s}'
             f'{"busy":>8s}{"ratio":>8s}']
    base = median(r['wall'] for r in found['original'])
    for scheme, runs in found.items():
        wall = median(r['wall'] for r in runs)
        ratios = [a['wall'] / b['wall'] for a, b in
                  zip(found['original'], runs)]
        lines.append(
            f'{scheme:10s}{wall:10.2f}{3600 * options.n_trials / wall:10.0f}'
            f'{median(r["busy"] for r in runs):8.1%}{base / wall:8.2f}'
            + (f'   {min(ratios):.2f} to {max(ratios):.2f} in pairs'
               if scheme != 'original' else ''))
    return [*lines, 'values of the original\'s scheme and of exact mode are '
            + ('equal' if equal else 'NOT equal')]
