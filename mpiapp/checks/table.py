"""Findings of checks, joined over ranks, and the table of them."""
from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpiapp.errors import InputError, Rejection, StoreError
from mpiapp.parallel.progress import seen_live

OK, WARN, FAIL, NOTE = 'ok', 'warn', 'FAIL', 'note'
COLOURS = {OK: '32', WARN: '33', FAIL: '31;1', NOTE: '0'}
#: ranks that are named one by one
MOST_RANKS = 4


@dataclass(frozen=True)
class Finding:
    """What one check came to: ok, warn, FAIL (the job would not run) or
    note (nothing to judge)."""

    name: str
    verdict: str
    text: str


class Unfit(Exception):
    """A check found that the job would not run."""


class Doubt(Exception):
    """A check found what a user should know; the job would run."""


def locally(name: str, check: Callable[[], str]) -> Finding:
    """Run a check of this rank alone; whatever it raises is its finding."""
    try:
        return Finding(name, OK, check())
    except Doubt as doubt:
        return Finding(name, WARN, str(doubt))
    except (Unfit, InputError, StoreError, Rejection, OSError,
            ImportError) as error:
        return Finding(name, FAIL, str(error))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return Finding(name, FAIL, f'{type(error).__name__}: {error} '
                       f'({frame.name}, line {frame.lineno})')


def on_all(comm: Any, name: str, check: Callable[[], str]) -> Finding:
    """Collective: run a check on every rank; it must call no collective."""
    return joined(name, comm.allgather(locally(name, check)))


def on_root(comm: Any, name: str, check: Callable[[], str]) -> Finding:
    """Collective: run a check on rank 0, for all."""
    mine = locally(name, check) if comm.rank == 0 else None
    found: Finding = comm.bcast(mine)
    return found


def joined(name: str, by_rank: Sequence[Finding]) -> Finding:
    """Return the worst finding, with the ranks that have it."""
    for verdict in (FAIL, WARN):
        ranks = [r for r, f in enumerate(by_rank) if f.verdict == verdict]
        if ranks:
            text = by_rank[ranks[0]].text
            if len(by_rank) > 1:
                text = f'rank {listed(ranks)}: {text}'
            return Finding(name, verdict, text)
    return by_rank[0]


def listed(ranks: Sequence[int]) -> str:
    """Write rank numbers, a few of them."""
    if len(ranks) <= MOST_RANKS:
        return ', '.join(map(str, ranks))
    return (', '.join(map(str, ranks[:MOST_RANKS]))
            + f' and {len(ranks) - MOST_RANKS} more')


def fit(findings: Sequence[Finding]) -> bool:
    """Tell whether the job would run."""
    return all(f.verdict != FAIL for f in findings)


def coloured(environment: Any = os.environ) -> bool:
    """Tell whether stdout is to be in colours."""
    if 'NO_COLOR' in environment:
        return False
    return 'FORCE_COLOR' in environment or seen_live(sys.stdout)


def lines(findings: Sequence[Finding], colours: bool) -> list[str]:
    """Return the table: verdict, check, what was found."""
    rows = []
    for f in findings:
        word = f'{f.verdict:5s}'
        if colours:
            word = f'\033[{COLOURS[f.verdict]}m{word}\033[0m'
        first, *more = f.text.splitlines() or ['']
        rows.append(f'{word} {f.name:14s} {first}')
        rows += [' ' * 21 + line for line in more]
    return rows
