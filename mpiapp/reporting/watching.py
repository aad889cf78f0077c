"""The live view of a running campaign in the terminal."""
from __future__ import annotations

import sys
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol

from mpiapp.parallel.progress import clock
from mpiapp.records import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

#: seconds over which the rate is taken
WINDOW = 300.0
#: width of the bar
BAR = 40
#: seconds between two looks, on a terminal and in a log
TERMINAL_SECONDS, LOG_SECONDS = 2.0, 30.0


class Moment(Protocol):
    """How far a campaign is; see `mpiapp.store.following.Look`."""

    @property
    def n_wanted(self) -> int:
        """Return the number of records that are worked on."""

    @property
    def n_done(self) -> int:
        """Return the number of those that need no more work."""

    @property
    def runs(self) -> int:
        """Return the number of starts."""

    @property
    def statuses(self) -> Mapping[int, int]:
        """Return the last status by row."""

    @property
    def reasons(self) -> Mapping[int, str]:
        """Return the reason of it by row."""

    @property
    def suspended(self) -> int:
        """Return the number of suspended records."""

    @property
    def by_rank(self) -> Mapping[int, int]:
        """Return the results of each rank in the last run."""

    @property
    def latest(self) -> Sequence[tuple[int, str, int, str]]:
        """Return row, name, status, reason of what came last."""

    @property
    def worked_on(self) -> bool | None:
        """Tell whether a job is at work; None: unknown."""

    @property
    def has_result(self) -> bool:
        """Tell whether the result file is there and newer."""


class Looking(Protocol):
    """What can be looked at again and again."""

    def look(self) -> Moment:
        """Return how far it is."""


def ended(now: Moment) -> str:
    """Say why there is nothing more to wait for; '' while there is."""
    if now.has_result and now.worked_on is not True:
        return 'ended: the result file is written'
    if now.worked_on is False:
        return 'stopped: no job works on it (go on with --resume)'
    return ''


class Rate:
    """Results a second over the last minutes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, when: float, n_done: int) -> float:
        """Note a count; return the rate, 0 while it is unknown."""
        self._seen.append((when, n_done))
        while when - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        first, before = self._seen[0]
        return (n_done - before) / (when - first) if when > first else 0.0


def follow(campaign: Looking, interval: float | None) -> int:
    """Show a campaign until it ends or Ctrl-C; returns the exit code.

    A look every `interval` seconds; None: as fits a terminal or a log.
    """
    from rich.console import Console
    from rich.live import Live
    console = Console(highlight=False)
    live = Live(console=console, auto_refresh=False) \
        if sys.stdout.isatty() else None
    rate = Rate()
    pause = interval or (TERMINAL_SECONDS if live else LOG_SECONDS)
    try:
        if live:
            live.start()
        while True:
            now = campaign.look()
            speed = rate.add(time.monotonic(), now.n_done)
            if live:
                live.update(drawn(now, speed), refresh=True)
            else:
                print(line(now, speed), flush=True)
            if ended(now):
                break
            time.sleep(pause)
    except KeyboardInterrupt:
        return 0
    finally:
        if live:
            live.stop()
    print(ended(now))
    return 0


def seconds_left(now: Moment, rate: float) -> float:
    """Return the seconds that the rest takes at a rate; NaN: unknown."""
    rest = max(now.n_wanted - now.n_done, 0)
    if not rest:
        return 0.0
    return rest / rate if rate > 0 else float('nan')


def line(now: Moment, rate: float) -> str:
    """Return how far it is in one line."""
    counts = Counter(Status(s).name.lower() for s in now.statuses.values())
    words = ', '.join(f'{n} {w}' for w, n in counts.most_common())
    return (f'{now.n_done}/{now.n_wanted} done ({words or "nothing yet"}), '
            f'{rate:.3g} records/s, {clock(seconds_left(now, rate))} left')


def drawn(now: Moment, rate: float) -> RenderableType:
    """Return bar, counts by state and reason, ranks, the latest."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    share = min(now.n_done / max(now.n_wanted, 1), 1.0)
    full = round(BAR * share)
    left = seconds_left(now, rate)
    head = (f'[blue]{"━" * full}[/blue][dim]{"━" * (BAR - full)}[/dim] '
            f'{now.n_done}/{now.n_wanted}  {100 * share:.1f} %  '
            f'{rate:.3g} records/s  {clock(left)} left  run {now.runs}')
    states = Table(box=None, pad_edge=False, show_header=True)
    states.add_column('status')
    states.add_column('records', justify='right')
    states.add_column('reasons')
    for status in Status:
        rows = [r for r, s in now.statuses.items() if s == status]
        if rows:
            words = Counter(now.reasons[r] for r in rows if now.reasons[r])
            states.add_row(status.name.lower(), str(len(rows)), escape(
                ', '.join(f'{n} {w}' for w, n in words.most_common(6))))
    if now.suspended:
        states.add_row('suspended', str(now.suspended), 'state kept')
    ranks = ' '.join(f'{r}:{n}' for r, n in list(now.by_rank.items())[:64])
    latest = '\n'.join(
        f'  {row:7d}  {escape(name):32s} {Status(s).name.lower()} '
        f'{escape(reason)}' for row, name, s, reason in now.latest)
    return Group(head, '', states, '', f'[dim]results by rank[/dim] {ranks}',
                 '[dim]latest[/dim]', latest)
