"""Known saddle points: what each method finds with each calculator.

    python -m mpiapp.benchmarks.saddles [--methods sella ...]
        [--calculators gfn2 sparrow:DFTB0 ...] [--sets small baker]
        [--ranks N] [--json FILE]

A case starts from a known or guessed transition state with noise of 0.05 A a
coordinate.  Found: one negative mode, fmax < 0.03 eV/A, a sane geometry.
What it took: evaluations of energy and forces (those inside Hessians by
finite differences apart) and Hessians, which no load of a machine changes.
"""
from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.saddle.base import METHODS

SETS = {'small': 'saddles/small_reactions.extxyz', 'baker': 'saddles/baker'}
CALCULATORS = ('gfn2', 'sparrow:DFTB0', 'sparrow:PM6')
START = 'ts_noise0.05A'
#: seconds of one case at most
TIMEOUT = 300.0
HEAD = ('set    calculator     method     case                    reason'
        '          n_neg  steps  gradients  Hessians  inside    energy/eV'
        '  ends')


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    data: str
    calculator: str
    method: str
    name: str
    reason: str
    n_neg: int
    steps: int
    n_calls: int
    n_hess: int
    n_displaced: int
    energy: float
    ends: str

    def line(self) -> str:
        """Format it."""
        return (f'{self.data:6s} {self.calculator:14s} {self.method:10s} '
                f'{self.name[:22]:22s}  {self.reason:16s} {self.n_neg:4d} '
                f'{self.steps:6d} {self.n_calls:10d} {self.n_hess:9d} '
                f'{self.n_displaced:7d} {self.energy:12.4f}  {self.ends}')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a line for each case, and totals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--methods', nargs='+', default=list(METHODS),
                        choices=METHODS, metavar='NAME')
    parser.add_argument('--calculators', nargs='+',
                        default=list(CALCULATORS), metavar='NAME')
    parser.add_argument('--sets', nargs='+', default=list(SETS),
                        choices=list(SETS), metavar='NAME')
    parser.add_argument('--most', type=int, default=None, metavar='N',
                        help='cases of a set at most')
    parser.add_argument('--ranks', type=int, default=1, metavar='N')
    parser.add_argument('--json', default='', metavar='FILE')
    options = parser.parse_args(argv)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    print(HEAD)
    cases: list[Case] = []
    try:
        for case in measure(options):
            print(case.line(), flush=True)
            cases.append(case)
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print('\n'.join(totals(cases)))
    if options.json:
        Path(options.json).write_text(json.dumps(
            [asdict(case) for case in cases], indent=1) + '\n')
    return 0


def measure(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases, one campaign of `tssearch` after the other."""
    for calculator in options.calculators:
        for name in options.sets:
            for method in options.methods:
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder) / 'x.h5'
                    campaign(options, calculator, name, method, out)
                    yield from cases_of(out, calculator, name, method)


def campaign(options: argparse.Namespace, calculator: str, name: str,
             method: str, out: Path) -> None:
    """Run `tssearch`; raises InputError where it can't be run."""
    kind, _, functional = calculator.partition(':')
    words = [sys.executable, '-m', 'mpiapp.tssearch', '--data',
             str(data_file(SETS[name])), '--calculator', kind, '--method',
             method, '--start-from', START, '--n-steps', '1000', '--irc',
             '--sample-timeout', str(TIMEOUT), '--max-failed', '1000',
             '--log-level', 'error', '--output', str(out)]
    if functional:
        words += ['--functional', functional]
    if options.most is not None:
        words += ['--max-samples', str(options.most)]
    if options.ranks > 1:
        words = ['mpirun', '-n', str(options.ranks), *words]
    done = subprocess.run(words, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(f'{calculator} {method}: {done.stderr[-500:]}')


def cases_of(out: Path, calculator: str, name: str, method: str
             ) -> Iterator[Case]:
    """Yield the rows of a campaign."""
    with open(out.with_suffix('.csv'), newline='') as file:
        for row in csv.DictReader(file):
            yield Case(
                name, calculator, method, row['name'], row['reason'],
                int(row['n_neg']), int(row['steps']), int(row['n_calls']),
                int(row['n_hess']), int(row['n_displaced']),
                float(row['energy']), row['ends'])


def totals(cases: Sequence[Case]) -> list[str]:
    """Return a line for each set, calculator and method."""
    lines = ['', 'set    calculator     method      found  gradients and '
             'Hessians of those found (median)']
    keys = dict.fromkeys((c.data, c.calculator, c.method) for c in cases)
    for key in keys:
        of = [c for c in cases if (c.data, c.calculator, c.method) == key]
        found = [c for c in of if c.reason == 'ts']
        cost = '-' if not found else (
            f'{np.median([c.n_calls for c in found]):.0f} and '
            f'{np.median([c.n_hess for c in found]):.0f}')
        lines.append(f'{key[0]:6s} {key[1]:14s} {key[2]:10s} '
                     f'{len(found):3d} of {len(of):2d}  {cost}')
    return lines


if __name__ == '__main__':
    sys.exit(main())
