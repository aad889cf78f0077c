"""Compare two results of bench: ratios with intervals, regressions.

A is the older one.  A cell regresses if its whole interval is slower by more
than the threshold, if its operations or FLOPs grow (--counts), if it was ok
and no longer is, or if it is gone.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpiapp.benchmarks.harness import document
from mpiapp.benchmarks.harness.spread import Ratio, ratio_of
from mpiapp.errors import InputError

#: what names a row, beside the ways of scaling jobs
KEY = ('model', 'molecule', 'device', 'quantity', 'batch', 'threads',
       'dtype', 'way', 'neighbours', 'ranks', 'law', 'schedule',
       'ranks_per_gpu')
#: counts that may not grow
COUNTS = ('operations', 'flops')
SAME, FASTER, SLOWER, LOST, NEW, NONE = (
    'same', 'faster', 'slower', 'lost', 'new', 'no ratio')
REGRESSIONS = (SLOWER, LOST)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('files', nargs='+', metavar='FILE',
                        help='results (.json, or .h5 of inference); the '
                        'last one is compared with the first')
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


def run(options: argparse.Namespace) -> int:
    """Compare and print; 1 if anything regressed.

    Raises:
        InputError: wrong files, or nothing that both have.
    """
    if len(options.files) < 2:
        raise InputError('compare needs at least two files')
    if not 0 <= options.threshold < 1:
        raise InputError(f'--threshold {options.threshold}: must be from 0 '
                         'to below 1')
    found = [document.read_document(path) for path in options.files]
    first, last = found[0], found[-1]
    apart = unlike(first, last)
    for text in apart:
        print(f'note: {text}')
    times = options.any_machine or not any(
        text.startswith('processor') for text in apart)
    changes = list(compared(first['rows'], last['rows'], options.threshold,
                            options.counts, times))
    for change in changes:
        print(f'{change.verdict:8s} {change.name}: {change.told}')
    if len(found) > 2:
        for text in history(options.files, found):
            print(text)
    bad = [c for c in changes if c.verdict in REGRESSIONS]
    print(f'{len(changes)} cells compared, {len(bad)} regressed')
    if options.json:
        document.write_json(options.json, {
            'files': options.files, 'unlike': apart,
            'regressions': len(bad), 'rows': [vars(c) for c in changes]})
    return int(bool(bad))


def unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return in what the surroundings of two results differ."""
    found = []
    for part, names in (('machine', ('processor', 'cores', 'gpu')),
                        ('versions', ()), ('environment', ())):
        one, two = a.get(part, {}), b.get(part, {})
        for name in names or sorted({*one, *two}):
            if one.get(name) != two.get(name):
                found.append(f'{name}: {one.get(name)} and {two.get(name)}')
    return found


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what names a row."""
    return tuple(row.get(name) for name in KEY)


def name_of(row: Mapping[str, Any]) -> str:
    """Return the name of a row in words."""
    return ' '.join(str(row[n]) for n in KEY if row.get(n) not in (
        None, 'tree', 'cpu'))


def compared(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]],
    threshold: float, counts: bool, times: bool,
) -> Iterator[Change]:
    """Yield what became of every cell of either result.

    Raises:
        InputError: they have no cell in common.
    """
    old = {key_of(r): r for r in before}
    new = {key_of(r): r for r in after}
    if not set(old) & set(new):
        raise InputError('the results have no cell in common')
    for key, row in old.items():
        if key not in new:
            yield Change(name_of(row), LOST, 'not in the last result')
        else:
            yield change(row, new[key], threshold, counts, times)
    for key, row in new.items():
        if key not in old:
            yield Change(name_of(row), NEW, row['state'])


def change(
    a: Mapping[str, Any], b: Mapping[str, Any], threshold: float,
    counts: bool, times: bool,
) -> Change:
    """Return what became of one cell."""
    name = name_of(a)
    if a['state'] == 'ok' and b['state'] != 'ok':
        return Change(name, LOST, f'{b["state"]}: {b.get("reason", "")}')
    if a['state'] != 'ok':
        return Change(name, NONE, f'was {a["state"]}, is {b["state"]}')
    if counts:
        return by_counts(name, a, b)
    if not times:
        return Change(name, NONE, 'times of unlike machines (--any-machine)')
    if not a.get('samples') or not b.get('samples'):
        return Change(name, NONE, 'no times')
    # the same cell in both: nothing may differ, `way` least of all
    ratio = ratio_of(a, dict(b, way=a['way']), 'way', paired=False)
    return Change(name, judged(ratio, threshold), f'older / newer {ratio}')


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
    files: Sequence[str], found: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Yield the medians [ms] of all files, oldest first."""
    yield 'history, ms: ' + ', '.join(map(str, files))
    tables = [{key_of(r): r for r in f['rows']} for f in found]
    for key, row in tables[0].items():
        steps = [(t.get(key, {}).get('steady') or {}).get('median')
                 for t in tables]
        if any(s is not None for s in steps):
            yield f'  {name_of(row)}: ' + ', '.join(
                '-' if s is None else f'{1e3 * s:.2f}' for s in steps)
