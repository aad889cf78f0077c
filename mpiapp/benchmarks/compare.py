"""Compare two results of bench: ratios with intervals, regressions.

A is the older one.  A cell regresses if its whole interval is slower by more
than the threshold, if its operations or FLOPs grow (--counts), if it was ok
and no longer is, or if it is gone.
"""
from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness import document
from mpiapp.benchmarks.harness.spread import Ratio, unpaired_ratio
from mpiapp.errors import InputError

_CELL = ('model', 'molecule', 'device', 'quantity', 'batch', 'threads',
         'dtype', 'way', 'neighbours', 'ranks')
#: what names a row of a command's result, once each
KEYS: Mapping[str, tuple[str, ...]] = {
    'inference': _CELL, 'tune': _CELL, 'profiler': _CELL,
    'neighbours': ('case', 'list'),
    'precision': ('molecule', 'device', 'stage', 'precision'),
    'md': ('calculator', 'molecule', 'backend', 'dtype'),
    'scaling': ('model', 'device', 'law', 'way', 'dtype', 'ranks',
                'threads', 'ranks_per_gpu', 'schedule'),
}
#: what a row was measured on: where that differs nothing is compared
SUBJECT = ('model_sha256', 'inputs_sha256', 'molecules', 'repeats',
           'n_atoms', 'settings')
#: values that go without saying
USUAL = {'device': 'cpu', 'neighbours': 'tree'}
#: counts that may not grow
COUNTS = ('operations', 'flops')
SAME, FASTER, SLOWER, LOST, NEW, NONE, UNEQUAL = (
    'same', 'faster', 'slower', 'lost', 'new', 'no ratio', 'unequal')
REGRESSIONS = (SLOWER, LOST)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('files', nargs='+', metavar='FILE',
                        help='results of one command (.json, or .h5 of '
                        'inference); the last one is compared with the first')
    parser.add_argument('--threshold', type=float, default=0.05,
                        metavar='X', help='slower by more than this share '
                        'is a regression (default 0.05)')
    parser.add_argument('--counts', action='store_true',
                        help='judge by operations and FLOPs, not by seconds')
    parser.add_argument('--any-machine', action='store_true',
                        help='compare times of unlike machines all the same')
    parser.add_argument('--json', metavar='FILE',
                        help='write the comparison there')


@dataclass(frozen=True)
class Change:
    """What became of a cell."""

    name: str
    verdict: str
    told: str


@dataclass(frozen=True)
class Judge:
    """How cells are judged.

    `other_cpu` and `other_gpu`: the files are of unlike processors or GPUs,
    on which times are not compared.
    """

    key: tuple[str, ...]
    threshold: float = 0.05
    counts: bool = False
    other_cpu: bool = False
    other_gpu: bool = False

    def key_of(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what names a row."""
        return tuple(row.get(name) for name in self.key)

    def name_of(self, row: Mapping[str, Any]) -> str:
        """Return the name of a row in words."""
        return ' '.join(
            str(row[n]) for n in self.key if row.get(n) is not None
            and USUAL.get(n) != row[n])

    def by_key(
        self, path: str, rows: Sequence[Mapping[str, Any]],
    ) -> dict[tuple[Any, ...], Mapping[str, Any]]:
        """Return the rows of a file by what names them.

        Raises:
            InputError: two rows have one name.
        """
        found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
        for row in rows:
            if found.setdefault(self.key_of(row), row) is not row:
                raise InputError(f'{path}: {self.name_of(row)} is there '
                                 'twice')
        return found

    def unlike_machine(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row's times depend on what differs."""
        return self.other_cpu or (
            self.other_gpu and row.get('device') == 'cuda')


def run(options: argparse.Namespace) -> int:
    """Compare and print; 1 if anything regressed.

    Raises:
        InputError: wrong files, or nothing in them that can be compared.
    """
    if len(options.files) < 2:
        raise InputError('compare needs at least two files')
    if not 0 <= options.threshold < 1:
        raise InputError(f'--threshold {options.threshold}: must be from 0 '
                         'to below 1')
    found = [document.read_document(path) for path in options.files]
    command = command_of(options.files, found)
    first, last = found[0], found[-1]
    apart = unlike(first, last)
    for text in apart:
        print(f'note: {text}')
    judge = Judge(KEYS[command], options.threshold, options.counts, *(
        not options.any_machine and any(t.startswith(f'{name}:')
                                        for t in apart)
        for name in ('processor', 'gpu')))
    tables = [judge.by_key(path, f['rows'])
              for path, f in zip(options.files, found)]
    changes = list(compared(tables[0], tables[-1], judge))
    for change in changes:
        print(f'{change.verdict:8s} {change.name}: {change.told}')
    if len(found) > 2:
        for text in history(options.files, tables, judge):
            print(text)
    bad = [c for c in changes if c.verdict in REGRESSIONS]
    print(closing(changes, len(bad)))
    if options.json:
        document.write_json(options.json, {
            'files': options.files, 'unlike': apart,
            'regressions': len(bad), 'rows': [vars(c) for c in changes]})
    return int(bool(bad))


def command_of(
    files: Sequence[str], found: Sequence[Mapping[str, Any]],
) -> str:
    """Return the command that all results are of.

    Raises:
        InputError: they are of several, or of one whose rows have no name.
    """
    commands = [str(f.get('command')) for f in found]
    for path, command in zip(files, commands):
        if command not in KEYS:
            raise InputError(f'{path}: results of {command} are not '
                             f'compared; those of {", ".join(KEYS)} are')
    if len(set(commands)) > 1:
        raise InputError('results of unlike commands: ' + ', '.join(
            f'{p} of {c}' for p, c in zip(files, commands)))
    return commands[0]


def closing(changes: Sequence[Change], n_bad: int) -> str:
    """Return how many cells there are, and how many were not judged."""
    counts = Counter(c.verdict for c in changes)
    aside = ', '.join(f'{counts[v]} {v}' for v in (NONE, UNEQUAL)
                      if counts[v])
    return (f'{len(changes)} cells compared{f" ({aside})" if aside else ""},'
            f' {n_bad} regressed')


def unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return in what the surroundings of two results differ."""
    found = [f'{name} result is not complete' for name, d in (
        ('the first', a), ('the last', b)) if not d.get('complete', True)]
    for part, names in (('machine', ('processor', 'cores', 'gpu')),
                        ('versions', ()), ('environment', ())):
        one, two = a.get(part, {}), b.get(part, {})
        for name in names or sorted({*one, *two}):
            if one.get(name) != two.get(name):
                found.append(f'{name}: {one.get(name)} and {two.get(name)}')
    return found


Rows = Mapping[tuple[Any, ...], Mapping[str, Any]]


def compared(old: Rows, new: Rows, judge: Judge) -> Iterator[Change]:
    """Yield what became of every cell of either result.

    Raises:
        InputError: they have no cell of the same subject in common.
    """
    shared = [key for key in old if key in new]
    if not shared:
        raise InputError('the results have no cell in common')
    both = {key: change(old[key], new[key], judge) for key in shared}
    if all(c.verdict == UNEQUAL for c in both.values()):
        raise InputError('no cell was measured on the same: '
                         + both[shared[0]].told)
    for key, row in old.items():
        yield both.get(key) or Change(judge.name_of(row), LOST,
                                      'not in the last result')
    for key, row in new.items():
        if key not in old:
            yield Change(judge.name_of(row), NEW, row['state'])


def unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Return in what the subjects of two rows differ, or ''.

    A name that only one of the rows has differs.
    """
    return '; '.join(f'{n} {a.get(n)!r} and {b.get(n)!r}' for n in SUBJECT
                     if a.get(n) != b.get(n))


def change(
    a: Mapping[str, Any], b: Mapping[str, Any], judge: Judge,
) -> Change:
    """Return what became of one cell."""
    name = judge.name_of(a)
    if a['state'] == 'ok' and b['state'] != 'ok':
        return Change(name, LOST, f'{b["state"]}: {b.get("reason", "")}')
    if a['state'] != 'ok':
        return Change(name, NONE, f'was {a["state"]}, is {b["state"]}')
    apart = unequal(a, b)
    if apart:
        return Change(name, UNEQUAL, apart)
    if judge.counts:
        return by_counts(name, a, b)
    if judge.unlike_machine(a):
        return Change(name, NONE, 'times of unlike machines (--any-machine)')
    if not a.get('samples') or not b.get('samples'):
        return Change(name, NONE, 'no times; ok in both')
    ratio = unpaired_ratio(np.array(a['samples']), np.array(b['samples']))
    return Change(name, judged(ratio, judge.threshold),
                  f'older / newer {ratio}')


def judged(ratio: Ratio, threshold: float) -> str:
    """Return the verdict of a ratio older / newer."""
    if ratio.reason:
        return NONE
    if ratio.high < 1 / (1 + threshold):
        return SLOWER
    return FASTER if ratio.low > 1 + threshold else SAME


def by_counts(
    name: str, a: Mapping[str, Any], b: Mapping[str, Any],
) -> Change:
    """Judge by operations and FLOPs, which do not scatter."""
    known = [c for c in COUNTS if c in a and c in b]
    if not known:
        return Change(name, NONE, 'no counts')
    told = ', '.join(f'{c} {a[c]} -> {b[c]}' for c in known)
    if any(b[c] > a[c] for c in known):
        return Change(name, SLOWER, told)
    return Change(name, FASTER if any(b[c] < a[c] for c in known) else SAME,
                  told)


def history(
    files: Sequence[str], tables: Sequence[Rows], judge: Judge,
) -> Iterator[str]:
    """Yield the medians [ms] of all files, oldest first."""
    yield 'history, ms: ' + ', '.join(map(str, files))
    for key, row in tables[0].items():
        steps = [(t.get(key, {}).get('steady') or {}).get('median')
                 for t in tables]
        if any(s is not None for s in steps):
            yield f'  {judge.name_of(row)}: ' + ', '.join(
                '-' if s is None else f'{1e3 * s:.2f}' for s in steps)
