"""Known saddle points: what each method finds with each calculator.

    python -m mpiapp.benchmarks.saddles [--methods sella ...]
        [--calculators gfn2 sparrow:DFTB0 ...] [--sets small baker] [--json F]

A case starts from a known or guessed transition state with noise of 0.05 A a
coordinate.  Found: one negative mode, fmax < 0.03 eV/A, a sane geometry.
What it took: evaluations of energy and forces (those inside Hessians by
finite differences apart) and Hessians, which no load of a machine changes.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.potentials.base import PotentialOptions
from mpiapp.saddle.base import METHODS, Sample, SearchSettings
from mpiapp.workers.saddle_process import Searcher
from mpiapp.workers.saddle_samples import SampleChoice, load_samples
from mpiapp.workers.saddle_search import SurfaceChoice

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
    """Yield the cases, one search each."""
    for calculator in options.calculators:
        searcher = Searcher(SurfaceChoice(potential_of(calculator)))
        for name in options.sets:
            choice = SampleChoice(START, max_samples=options.most)
            samples = load_samples([data_file(SETS[name])], choice).samples
            for method in options.methods:
                for sample in samples:
                    yield one(searcher, name, calculator, method, sample)
        searcher.close()


def potential_of(text: str) -> PotentialOptions:
    """Return the options of a name such as gfn2, sparrow:PM6, mace."""
    name, _, functional = text.partition(':')
    mace = name == 'mace'
    from mpiapp.potentials import obtain
    return obtain(PotentialOptions(
        name, 'student' if mace else None,
        backend='reference' if mace else 'auto',
        functional=functional or None))


def one(searcher: Searcher, data: str, calculator: str, method: str,
        sample: Sample) -> Case:
    """Search one case."""
    settings = SearchSettings(
        method, timeout=TIMEOUT, max_steps=300 if method == 'sella' else 1000,
        ends=sample.product is not None)
    found = searcher.search(sample, settings)
    return Case(data, calculator, method, sample.name, found.reason,
                found.n_neg, found.steps, found.n_calls, found.n_hess,
                found.n_displaced, found.energy, found.ends)


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
