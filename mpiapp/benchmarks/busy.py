"""Busy share of ranks whose calculators run in helper processes.

    python -m mpiapp.benchmarks.busy [--ticks 0.1 0.02 ...] [--json FILE]

While its helper computes, a rank looks at signals, at what is cancelled
and, on rank 0, at the study every `TICK` seconds
(`workers/saddle_process.py`).  What that costs shows in studies that differ
in it alone, run in turn: exact mode with and without pruning, async mode.
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
from mpiapp.benchmarks.hpo import USUAL
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, USAGE

#: what is run: name, options
CASES = {
    'exact': ('--mode', 'exact', '--pruner', 'none'),
    'pruned': ('--mode', 'exact', '--pruner', 'median', '--pruner-startup',
               '1'),
    'async': ('--mode', 'async', '--pruner', 'none'),
}
#: `hpo` with another tick
CODE = ('import sys; from mpiapp.workers import saddle_process; '
        'saddle_process.TICK = float(sys.argv[1]); '
        'from mpiapp.hpo import main; sys.exit(main(sys.argv[2:]))')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a line for each case and tick; the exit code."""
    options = parser().parse_args(argv)
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.repeats):
                for case in options.cases:
                    for tick in options.ticks:
                        found.setdefault((case, tick), []).append(
                            once(options, case, tick, Path(folder)))
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return USAGE
    print(f'{options.n_trials} trials of {options.max_samples} samples, '
          f'{options.ranks} ranks, medians of {options.repeats} run(s)')
    print(f'{"case":8s}{"tick [s]":>9s}{"busy":>8s}{"useful":>8s}'
          f'{"manager":>9s}{"trials/h":>10s}')
    for (case, tick), runs in found.items():
        print(line(case, tick, runs))
    if options.json:
        Path(options.json).write_text(json.dumps({
            'machine': machine(), 'versions': versions(),
            'options': vars(options), 'runs': [
                {'case': case, 'tick': tick, 'runs': runs}
                for (case, tick), runs in found.items()]}, indent=1) + '\n')
    return DONE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    p = argparse.ArgumentParser(
        prog='python -m mpiapp.benchmarks.busy',
        description=(__doc__ or '').partition('\n\n')[0])
    p.add_argument('--cases', nargs='+', default=list(CASES),
                   choices=list(CASES), metavar='NAME')
    p.add_argument('--ticks', type=float, nargs='+', default=[0.1, 0.02],
                   metavar='SECONDS')
    p.add_argument('--ranks', type=int, default=2, metavar='N')
    p.add_argument('--n-trials', type=int, default=10, metavar='N')
    p.add_argument('--max-samples', type=int, default=8, metavar='N')
    p.add_argument('--n-steps', type=int, default=60, metavar='N')
    p.add_argument('--repeats', type=int, default=3, metavar='N')
    p.add_argument('--json', default='', metavar='FILE')
    return p


def once(options: argparse.Namespace, case: str, tick: float,
         folder: Path) -> dict[str, Any]:
    """Run a study; return shares of the ranks' time.

    Raises:
        InputError: it did not end well.
    """
    from mpiapp.store.reader import load
    out = folder / 'busy.h5'
    words = [
        '--data', str(data_file('saddles/baker')), '--max-samples',
        str(options.max_samples), '--n-steps', str(options.n_steps),
        '--n-trials', str(options.n_trials), '--sampler', 'random',
        '--plots', 'none', '--overwrite', '--output', str(out),
        '--log-level', 'error', *CASES[case], *USUAL]
    done = subprocess.run(
        ['mpirun', '-n', str(options.ranks), sys.executable, '-c', CODE,
         str(tick), *words], text=True, capture_output=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'})
    if done.returncode:
        raise InputError(done.stdout[-1000:] + done.stderr[-2000:])
    told = load(out).timeline
    wall = float(told['wall_seconds'])
    work, dropped = sum(told['work']), sum(told['dropped'])
    return {'wall': wall, 'busy': work / (options.ranks * wall),
            'useful': (work - dropped) / (options.ranks * wall),
            'manager': float(told['managing'][0]) / wall,
            'trials_per_hour': 3600 * options.n_trials / wall}


def line(case: str, tick: float, runs: Sequence[dict[str, Any]]) -> str:
    """Return the medians of some runs.

    `busy` is computing, `useful` without what pruned trials left, `manager`
    rank 0's part with the study.
    """
    def middle(name: str) -> float:
        return median(r[name] for r in runs)
    return (f'{case:8s}{tick:9g}{middle("busy"):8.1%}'
            f'{middle("useful"):8.1%}{middle("manager"):9.2%}'
            f'{middle("trials_per_hour"):10.0f}')


if __name__ == '__main__':
    sys.exit(main())
