"""Neighbour lists: the same pairs from every library, then their times.

Lists are compared as sets of (i, j, shift) with the first one that can do
the case; one that differs, or holds a pair twice, gets no time.
"""
from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness import document
from mpiapp.benchmarks.harness.clock import RATTLE
from mpiapp.benchmarks.harness.spread import Ratio, paired_ratio, summary
from mpiapp.benchmarks.neighbour_lists import (
    FINDERS, OPEN, Finder, Pairs, Periodic, finder
)
from mpiapp.errors import InputError
from mpiapp.records import Floats

#: A
CUTOFF = 5.0
#: Libraries disagree on a pair exactly at the cut-off, where potentials are
#: zero: pairs so near to it (relative) are neither demanded nor refused.
EDGE = 1e-10
#: those whose lists the others are held against, the first that can do it
ORACLES = ('ase', 'dense')
MOLECULES = ('water', 'caffeine', 'organic', 'steroid', 'library-dimer')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--quick', action='store_true',
                        help='fewer molecules and rounds')
    parser.add_argument('--molecules', nargs='+', default=[], metavar='NAME',
                        help='names, or FILE or FILE:RECORD')
    parser.add_argument('--lists', nargs='+', default=[], metavar='NAME',
                        choices=tuple(FINDERS), help=', '.join(FINDERS))
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='default 30, quick 8; 0: equivalence only')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')


@dataclass(frozen=True)
class Case:
    """Positions [n, 3] A, a cut-off [A], a cell [3, 3] A, its directions."""

    name: str
    positions: Floats
    cutoff: float = CUTOFF
    cell: Floats | None = None
    pbc: Periodic = OPEN
    timed: bool = False

    @property
    def sha256(self) -> str:
        """Identify what the pairs are of (positions to 1e-6 A)."""
        cell = np.zeros(0) if self.cell is None else self.cell
        parts = (np.round(1e6 * self.positions).astype('<i8'),
                 np.asarray(cell, '<f8'), np.float64(self.cutoff),
                 np.array(self.pbc))
        return sha256(b''.join(p.tobytes() for p in parts)).hexdigest()


def run(options: argparse.Namespace) -> int:
    """Compare, time, print and write; 1 if a list differs or fails.

    Raises:
        InputError: wrong options or molecules.
    """
    from mpiapp.benchmarks.harness.molecules import Unphysical, molecule
    rounds = options.rounds if options.rounds is not None else (
        8 if options.quick else 30)
    if rounds < 0:
        raise InputError('--rounds must not be negative')
    names = dict.fromkeys(
        options.molecules or MOLECULES[:3 if options.quick else None])
    try:
        timed = [Case(n, molecule(n).positions, timed=True) for n in names]
    except Unphysical as error:
        raise InputError(f'unphysical molecule: {error}') from error
    lists = list(dict.fromkeys(options.lists or FINDERS))
    results = document.Results('neighbours', options.json)
    for case in [*edge_cases(), *timed]:
        results.add(*measured(case, lists, rounds))
        for row in results.rows[-len(lists):]:
            print(line(row), flush=True)
    results.close()
    return int(any(r['state'] in ('failed', 'refused')
                   for r in results.rows))


def edge_cases() -> Iterator[Case]:
    """Yield the cases in which lists have gone wrong before."""
    rng = np.random.default_rng(2)
    blob = rng.uniform(0.0, 8.0, (40, 3))
    yield Case('open', blob)
    yield Case('open, far from the origin', blob + 1e4)
    # wrong in published lists: the cell is not to be used
    yield Case('open with a dummy cell', blob, cell=np.eye(3))
    yield Case('open with a small cell', blob, cell=3.0 * np.eye(3))
    yield Case('an atom alone', np.concatenate([blob, [[100.0, 0, 0]]]))
    yield Case('one atom', blob[:1])
    yield Case('a pair at the cut-off', np.array(
        [[0.0, 0, 0], [0.0, 0, 4.0]]), cutoff=4.0)
    yield Case('a pair beyond it', np.array(
        [[0.0, 0, 0], [0.0, 0, 4.0 + 1e-9]]), cutoff=4.0)
    yield Case('two fragments 500 A apart',
               np.concatenate([blob[:20], blob[20:] + [500.0, 0, 0]]))
    cube = 9.0 * np.eye(3)
    yield Case('periodic', blob, cell=cube, pbc=(True, True, True))
    yield Case('cell below the cut-off', blob[:6] / 3, cell=cube / 3,
               pbc=(True, True, True))
    skew = np.array([[9.0, 0, 0], [4.0, 8.0, 0], [-3.0, 2.5, 7.0]])
    yield Case('triclinic', blob, cell=skew, pbc=(True, True, True))
    yield Case('a slab', blob, cell=cube, pbc=(True, True, False))


def measured(
    case: Case, lists: Sequence[str], rounds: int,
) -> list[dict[str, Any]]:
    """Return a row for each list: equal or not, then times."""
    expected, allowed = reference(case)
    ready: dict[str, Finder] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name in lists:
        rows[name] = row = {
            'case': case.name, 'list': name, 'n_atoms': len(case.positions),
            'n_pairs': len(expected), 'inputs_sha256': case.sha256,
            'state': 'ok', 'reason': ''}
        try:
            found = finder(name)(case.positions, case.cutoff, case.cell,
                                 case.pbc)
        except InputError as error:
            row |= {'state': 'skipped', 'reason': str(error)}
            continue
        except Exception as error:  # of libraries on trial
            row |= {'state': 'failed', 'reason': f'{type(error).__name__}: '
                    f'{error}', 'traceback': traceback.format_exc()}
            continue
        reason = difference(found, expected, allowed)
        row['at_cutoff'] = len(found.as_set() - expected)
        if reason:
            row |= {'state': 'refused', 'reason': reason}
        elif case.timed:
            ready[name] = finder(name)
    for name, more in in_turns(case, ready, rounds).items():
        rows[name] |= more
    return list(rows.values())


PairSet = set[tuple[int, ...]]


def reference(case: Case) -> tuple[PairSet, PairSet]:
    """Return the pairs a list must and may have, as two libraries agree.

    Raises:
        RuntimeError: they don't, and nothing can be judged.
    """
    found = [[finder(name)(case.positions, case.cutoff * factor, case.cell,
                           case.pbc).as_set() for name in ORACLES]
             for factor in (1 - EDGE, 1 + EDGE)]
    for first, second in found:
        if first != second:
            raise RuntimeError(
                f'{case.name}: {" and ".join(ORACLES)} differ in '
                f'{len(first ^ second)} pairs')
    return found[0][0], found[1][0]


def difference(found: Pairs, expected: PairSet, allowed: PairSet) -> str:
    """Return in what a list differs, or ''."""
    if found.repeated():
        return f'{found.repeated()} pairs are there twice'
    pairs = found.as_set()
    missing, strange = len(expected - pairs), len(pairs - allowed)
    if missing or strange:
        return f'{missing} pairs are missing, {strange} are too many'
    return ''


def in_turns(
    case: Case, lists: dict[str, Finder], rounds: int,
) -> dict[str, dict[str, Any]]:
    """Return samples [s] and ratios to the first list, cold call apart."""
    if not rounds or not lists:
        return {}
    rng = np.random.default_rng(4)
    taken: dict[str, list[float]] = {name: [] for name in lists}
    for _ in range(rounds + 2):
        x = case.positions + rng.normal(0.0, RATTLE, case.positions.shape)
        for name, find in lists.items():
            began = time.perf_counter()
            find(x, case.cutoff, case.cell, case.pbc)
            taken[name].append(time.perf_counter() - began)
    base = np.array(next(iter(taken.values()))[2:])
    first = next(iter(taken))
    return {name: {
        'first_s': values[0], 'samples': values[2:],
        'steady': summary(values[2:]), 'against': first,
        'told': '' if name == first else str(
            paired_ratio(base, np.array(values[2:])) if rounds else Ratio()),
    } for name, values in taken.items()}


def line(row: dict[str, Any]) -> str:
    """Return a row in words."""
    head = (f'{row["case"]:28s} {row["list"]:14s} {row["n_atoms"]:4d} atoms '
            f'{row["n_pairs"]:6d} pairs  {row["state"]}')
    if row['reason']:
        return f'{head}: {row["reason"]}'
    if 'steady' not in row:
        return head
    told = f', {row["against"]} over this: {row["told"]}' \
        if row['told'] else ''
    return (f'{head}  {1e3 * row["steady"]["median"]:.3f} ms (first '
            f'{1e3 * row["first_s"]:.1f}){told}')
