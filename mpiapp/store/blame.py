"""Which record ended its rank: found when a campaign goes on.

A witness leaves a file where a rank died at work (`parallel.witness`); the
journal of that rank tells what it was at.  What comes of it is written to
the journal of the next run as points of blame of a record.  Records with
points are worked on last and alone; from `LIMIT` points on they are left
out (quarantine), with a row that says so.

    points  the rank died ...
         8  ... of silence (watchdog), and held this record alone
         4  ... by itself, and before any other rank of the run
         4  ... together with others, the only one at a record with blame
         0  ... together with others: nobody knows of which record
"""
from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mpiapp.errors import StoreError
from mpiapp.json_text import parsed
from mpiapp.store.files import explain
from mpiapp.store.journal import read_payloads
from mpiapp.store.survey import Survey

LIMIT = 8
ALONE, TOGETHER = 4, 0
#: ranks that die within so many seconds may have been killed together: by
#: hand, one after the other, or by MPICH's launcher, 0 to 8 ms after the
#: first death, which a busy machine may note in another order
TIE_SECONDS = 0.1
DIED = re.compile(r'died-run(\d{3,})-rank(\d{4,})')
#: the first words of what the watchdog writes
SILENCE = 'Timeout'


@dataclass(frozen=True)
class Blame:
    """Points of a record for the death of `rank` in `run`, and the cause."""

    row: int
    run: int
    rank: int
    points: int
    cause: str


@dataclass(frozen=True)
class Death:
    """What a witness left: when, and the crash report if there is one."""

    run: int
    rank: int
    time: float
    report: str


def death_name(run: int, rank: int) -> str:
    """Return the name of the file that a witness leaves."""
    return f'died-run{run:03d}-rank{rank:04d}'


def deaths(folder: Path) -> list[Death]:
    """Return what witnesses left in a folder, first death first.

    Raises:
        StoreError: a file can't be read.
    """
    found = []
    try:
        for path in folder.iterdir():
            match = DIED.fullmatch(path.name)
            if match:
                found.append(Death(
                    int(match[1]), int(match[2]), path.stat().st_mtime,
                    path.read_text('utf-8', 'replace')))
    except OSError as error:
        raise explain(error, folder, 'read') from error
    return sorted(found, key=lambda d: (d.run, d.time))


def forget_deaths(folder: Path, known: Sequence[Death]) -> None:
    """Delete what witnesses left; the blame is in a journal by now.

    What came since `known` was read stays for the next run.
    """
    for death in known:
        name = death_name(death.run, death.rank)
        (folder / name).unlink(missing_ok=True)


def new_blames(
    found: Survey, left: Sequence[Death], suspects: Collection[int] = (),
) -> list[Blame]:
    """Return the blame for deaths, from what their ranks were at.

    `suspects` are rows with blame from earlier runs.
    """
    blames = []
    for run in sorted({d.run for d in left}):
        culprits = _culprits([d for d in left if d.run == run])
        known = [d for d, _ in culprits
                 if not set(suspects).isdisjoint(_rows_of(found, d))]
        if len(known) == 1 and not known[0].report:
            culprits = [(known[0], ALONE)]
        for death, points in culprits:
            rows = _rows_of(found, death)
            hung = death.report.startswith(SILENCE)
            for row in rows:
                blames.append(Blame(
                    row, death.run, death.rank,
                    LIMIT if hung and len(rows) == 1 else points,
                    cause_of(death.report)))
    return blames


def _rows_of(found: Survey, death: Death) -> list[int]:
    """Return the records that a dead rank was at."""
    mine = (found.open['run'] == death.run) \
        & (found.open['rank'] == death.rank)
    return sorted({int(r) for r in found.open['row'][mine]})


def _culprits(left: Sequence[Death]) -> list[tuple[Death, int]]:
    """Return who is to blame for the end of one run, with the points.

    A crash report is a proof.  Else the first death counts: the others are
    the launcher's work, which takes longer than a tie.
    """
    proved = [d for d in left if d.report]
    if proved:
        return [(d, ALONE) for d in proved]
    first = [d for d in left if d.time <= left[0].time + TIE_SECONDS]
    return [(d, ALONE if len(first) == 1 else TOGETHER) for d in first]


def cause_of(report: str) -> str:
    """Return in words what a crash report says; '' stands for SIGKILL."""
    if not report:
        return 'killed (SIGKILL: out of memory, or by hand)'
    head = report.splitlines()[0].removeprefix('Fatal Python error: ')
    if head.startswith(SILENCE):
        head = 'no sign of life for ' + head[len(SILENCE):].strip(' ()!')
    return head + _place(report)


def _place(report: str) -> str:
    """Return the innermost frame of the thread that was at work.

    It is called the current one, or is the last: the main thread.
    """
    threads = re.split(r'^(?=Thread|Current thread)', report,
                       flags=re.MULTILINE)
    current = [t for t in threads if t.startswith('Current')] or threads[-1:]
    frame = re.search(r'File "(.*?)", line (\d+) in (\S+)', current[0])
    if frame is None:
        return ''
    return f' in {frame[3]} ({Path(frame[1]).name}:{frame[2]})'


def old_blames(folder: Path, found: Survey) -> list[Blame]:
    """Read the blame that earlier runs wrote down."""
    blames = []
    for journal in sorted(set(found.blames['journal'].tolist())):
        entries = found.blames[found.blames['journal'] == journal]
        path = folder / found.names[journal]
        payloads = read_payloads(path, entries['offset'].tolist())
        for row, payload in zip(entries['row'].tolist(), payloads,
                                strict=True):
            try:
                said = parsed(payload)
                blames.append(Blame(row, int(said['run']),
                                    int(said['rank']), int(said['points']),
                                    str(said['cause'])))
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(f'journal {path} is damaged: {error}') \
                    from error
    return blames


def as_json(blame: Blame) -> dict[str, Any]:
    """Return a blame as JSON data, without its row."""
    return {k: v for k, v in asdict(blame).items() if k != 'row'}


def points_of(blames: Sequence[Blame]) -> dict[int, int]:
    """Return the points of each blamed row; a death counts once."""
    points: dict[int, int] = {}
    for blame in {(b.row, b.run, b.rank): b for b in blames}.values():
        points[blame.row] = points.get(blame.row, 0) + blame.points
    return points


def quarantine_row(
    known: Mapping[str, Any], blames: Sequence[Blame],
) -> dict[str, Any]:
    """Return the row of a record that is left out, from its blames."""
    runs = sorted({b.run for b in blames})
    last = blames[-1]
    hung = any(b.points == LIMIT for b in blames)
    n = len({(b.run, b.rank) for b in blames})
    times = 'died' if n == 1 else f'died {n} times'
    return {
        **known, 'status': 3,
        'reason': 'time_limit' if hung else 'killed_rank',
        'message': f'left out: its rank {times} at it (run '
                   f'{", ".join(map(str, runs))}): {last.cause}'[:160],
    }
