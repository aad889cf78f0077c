"""Who did what when: the records of each rank over time."""
from __future__ import annotations

from typing import Any

import numpy as np

from mpiapp.records import Status
from mpiapp.reporting.blocks import (
    BLUE, GREY, ORANGE, RED, STATUS_COLOURS, Bars, Block, Fact, Facts, Gantt,
    Series
)
from mpiapp.reporting.sections.summary import busy_share
from mpiapp.reporting.subject import Subject

ORDER = 70
TITLE = 'Ranks'
PROGRAMS: tuple[str, ...] = ()

#: spans that can be drawn, and ranks that can be told apart
MOST_SPANS, MOST_RANKS = 20_000, 128
#: an idle time of all ranks is cut to this share of the whole
GAP = 0.02


def blocks(subject: Subject) -> list[Block]:
    """Return the figures of the last run, spans and shares of time."""
    ranks = subject.per_rank
    found: list[Block] = []
    if ranks:
        found.append(Facts(facts(subject, ranks)))
    gantt = spans(subject)
    if gantt is not None:
        found.append(gantt)
    if ranks:
        found.append(shares(ranks))
    return found


def facts(subject: Subject, ranks: list[dict[str, float]]) -> list[Fact]:
    """Return busy share, tail, imbalance and share of storage."""
    works = np.array([r['work'] for r in ranks])
    wall = float(subject.results.timeline.get('wall_seconds') or np.nan)
    idle = np.array([r['idle'] for r in ranks])
    stored = sum(r['storage'] for r in ranks)
    return [
        Fact('busy until the list ended', f'{100 * busy_share(ranks):.1f} %'),
        Fact('busy, tail included',
             f'{100 * works.sum() / max(len(ranks) * wall, 1e-12):.1f} %'),
        Fact('idle tail', f'{idle.mean():.2f} s',
             'what a mean rank waited for the last one'),
        Fact('slowest/mean', f'{works.max() / max(works.mean(), 1e-12):.2f}'),
        Fact('storage', f'{100 * stored / max(works.sum(), 1e-12):.3f} %',
             'of the time of work')]


def spans(subject: Subject) -> Gantt | None:
    """Return the records as spans; None where their times are unknown."""
    options = subject.results.meta.get('options') or {}
    # an analysis has the times of one job and the ranks of another
    if options.get('analyse') or not subject.has(
            'finished_at', 'seconds', 'rank'):
        return None
    stop, rank = subject.values('finished_at'), subject.values('rank')
    seconds = np.nan_to_num(subject.values('seconds'), nan=0.0)
    timed = np.flatnonzero(np.isfinite(stop) & (stop > 0) & (rank >= 0))
    rows = timed[rank[timed] < MOST_RANKS][:MOST_SPANS]
    if not len(rows):
        return None
    left_out = part_of(MOST_RANKS, int(rank[timed].max()) + 1, 'ranks')
    if len(rows) < len(timed):
        left_out += f' {len(rows):,} of {len(timed):,} records are drawn.'
    rows = rows[np.lexsort((stop[rows], rank[rows]))]
    stop, rank = stop[rows], rank[rows].astype(int)
    start = begins(stop, seconds[rows], rank)
    start, stop, n_cut = without_gaps(start, stop)
    words = [s for s in Status if s in set(subject.status[rows].tolist())]
    caption = 'A span is a record from its start to its result'
    if n_cut:
        caption += (f'; {n_cut} pause(s) of all ranks, between runs, are '
                    'cut out')
    caption += f'.{left_out}'
    return Gantt(
        'ranks', 'Records of each rank', 'seconds',
        [f'rank {r}' for r in range(rank.max() + 1)], rank.tolist(), start,
        stop, [words.index(Status(int(s))) for s in subject.status[rows]],
        [(s.name.lower(), STATUS_COLOURS[s.name.lower()]) for s in words],
        rows.tolist(), caption)


def part_of(shown: int, n: int, what: str) -> str:
    """Say that a figure shows the first of many; '' where it shows all."""
    return f' The first {shown:,} of {n:,} {what}.' if shown < n else ''


def begins(stop: Any, seconds: Any, rank: Any) -> Any:
    """Return when the records began.

    A record that was resumed took part of its seconds in an earlier run: it
    did not begin before the one before it ended, unless several were in
    flight together (then most overlap).
    """
    start = stop - seconds
    before = np.concatenate([[-np.inf], stop[:-1]])
    first = np.concatenate([[True], rank[1:] != rank[:-1]])
    overlaps = ~first & (start < before - 1e-3)
    if overlaps.mean() < 0.5:
        start = np.where(overlaps, before, start)
    return start


def without_gaps(start: Any, stop: Any) -> tuple[Any, Any, int]:
    """Cut out long times in which nobody worked; count from zero."""
    order = np.argsort(start)
    ends = np.maximum.accumulate(stop[order])
    gaps = start[order][1:] - ends[:-1]
    busy = stop.max() - start.min() - gaps[gaps > 0].sum()
    keep = max(GAP * busy, 1e-9)
    cuts = [(ends[i], gaps[i] - keep)
            for i in np.flatnonzero(gaps > 5 * keep)]

    def moved(times: Any) -> Any:
        lost = sum((np.where(times > at + 1e-9, size, 0.0)
                    for at, size in cuts), np.zeros(len(times)))
        return times - start.min() - lost
    return moved(start), moved(stop), len(cuts)


def shares(ranks: list[dict[str, float]]) -> Bars:
    """Return how each rank spent its time in the last run."""
    shown = ranks[:MOST_RANKS]
    kinds = (('work', BLUE), ('pull', ORANGE), ('storage', RED),
             ('idle', GREY))
    return Bars(
        'rank_seconds', 'Seconds of each rank, last run', 'seconds',
        [str(i) for i in range(len(shown))],
        [Series(name, [r[name] for r in shown], colour)
         for name, colour in kinds],
        'work: evaluations and optimiser; pull: waiting for records; '
        'storage: writing results; idle: after the list had ended.'
        + part_of(len(shown), len(ranks), 'ranks'), True)
