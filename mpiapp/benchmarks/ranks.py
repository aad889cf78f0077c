"""How much faster two ranks are: the same ensemble on 1 and on 2 of them,
or on more, also more than cores.

Runs of `reopt` under mpirun, in turns; what is compared is the time from the
first pull to the last result, and that of the whole command.  The results
must be the same bytes.  Meant for a machine with two free cores: the load
that others put on it is written down.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpiapp.benchmarks.context import machine, quartiles, versions
from mpiapp.data_files import data_file
from mpiapp.errors import InputError

#: bundled conformers of 117 to 154 atoms
ENSEMBLE = ('dimers/library_sample.sdf', 'dimers/moe_et_5.sdf',
            'dimers/moe_binaph_H_10.sdf')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--ranks', type=int, nargs='+', default=[2],
                        metavar='N', help='each compared with one')
    parser.add_argument('--sdf', nargs='+', default=[], metavar='FILE',
                        help='an ensemble instead of the bundled one')
    parser.add_argument('--model-path', metavar='FILE',
                        help='MACE model; default: the bundled student')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--optimizer', default='internal')
    parser.add_argument('--calculator', default='mace')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; 1 if the results differ.

    Raises:
        InputError: wrong options, or a job that ends badly.
    """
    if options.rounds < 1 or min(options.ranks) < 1:
        raise InputError('--rounds and --ranks must be at least 1')
    more = sorted(set(options.ranks) - {1})
    if not more:
        raise InputError('--ranks must be at least 2 once: one is what '
                         'the others are compared with')
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.rounds):
            for n in (1, *more):
                rows.append(job(options, n, Path(folder) / f'{i}_{n}'))
                print(line(rows[-1]), flush=True)
    result = summarised(rows, options)
    equal = 'equal' if result['equal'] else 'DIFFER'
    for n in more:
        low, middle, high = result['ratios'][n]
        print(f'{n} ranks take {middle:.3f} ({low:.3f}-{high:.3f}) of the '
              f'time of one, results {equal}')
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))
    return int(not result['equal'])


def command(options: argparse.Namespace, n: int, prefix: Path) -> list[str]:
    """Return the command line of a run with n ranks."""
    sdf = options.sdf or [str(data_file(name)) for name in ENSEMBLE]
    words = ['mpirun', '-n', str(n), sys.executable, '-m', 'mpiapp.reopt',
             '--sdf', *sdf, '--charge-policy', 'neutralise',
             '--optimizer', options.optimizer, '--calculator',
             options.calculator, '--output-prefix', str(prefix),
             '--max-failed', '1000000', '--device', 'cpu']
    if options.calculator == 'mace':
        words += ['--backend', options.backend]
        words += ['--model-path', options.model_path] \
            if options.model_path else ['--model', 'student']
    return words


def job(options: argparse.Namespace, n: int, prefix: Path) -> dict[str, Any]:
    """Run once and return what it took; InputError if it ends badly."""
    from mpiapp.store.digest import content_digest
    from mpiapp.store.reader import load
    load_before = os.getloadavg()[0]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command(options, n, prefix), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # without what MPI, which h5py loads, has set in this process
            stdin=subprocess.DEVNULL, env=dict(os.environ))
    except FileNotFoundError as error:
        raise InputError('there is no mpirun') from error
    seconds = time.perf_counter() - began
    if done.returncode:
        raise InputError(f'reopt ended with exit code {done.returncode}:\n'
                         f'{done.stdout[-2000:]}')
    result = prefix.with_name(prefix.name + '.h5')
    timeline = load(result).timeline
    return {
        'ranks': n, 'wall_s': float(timeline['wall_seconds']),
        'command_s': seconds, 'load': load_before,
        'idle_s': [float(x) for x in timeline['idle']],
        'work_s': [float(x) for x in timeline['work']],
        'digest': content_digest(result),
    }


def summarised(
    rows: Sequence[dict[str, Any]], options: argparse.Namespace,
) -> dict[str, Any]:
    """Return quartiles of the ratios to one rank within a round."""
    by_ranks: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_ranks.setdefault(row['ranks'], []).append(row)
    one = by_ranks.pop(1)

    def ratios(what: str) -> dict[int, tuple[float, ...]]:
        return {n: tuple(quartiles([b[what] / a[what]
                                    for a, b in zip(one, many)]))
                for n, many in by_ranks.items()}
    return {
        'ratios': ratios('wall_s'), 'command_ratios': ratios('command_s'),
        'equal': len({row['digest'] for row in rows}) == 1,
        'n': len(one), 'runs': list(rows), 'machine': machine(),
        'versions': versions(),
        'command': 'python -m mpiapp.bench ' + ' '.join(options.words),
    }


def line(row: dict[str, Any]) -> str:
    """Return a run as a line."""
    return (f'{row["ranks"]} rank(s): {row["wall_s"]:.1f} s, idle at the end '
            f'{max(row["idle_s"]):.1f} s, whole command '
            f'{row["command_s"]:.1f} s, load before {row["load"]:.1f}')
