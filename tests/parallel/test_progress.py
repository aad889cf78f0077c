"""The progress line."""
from __future__ import annotations

import io
import os
import pty
import sys

import pytest

from mpiapp.parallel.progress import Progress, State, clock, line, seen_live


def test_durations_read_well() -> None:
    assert [clock(s) for s in (4.4, 65, 3780, 90000, float('nan'))] == [
        '4s', '1m05s', '1h03m', '1d01h', '?']


def test_the_line_tells_rate_time_left_and_failures() -> None:
    text = line(State(60, 100, 2, 0.5, 7), 20.0, before=20)
    assert text == ('60/100 done, 2 structures/s, 20s left, 2 failed or '
                    'rejected, 7 evaluations')


def test_nothing_done_leaves_the_time_open() -> None:
    assert '? left' in line(State(0, 10, 0, 0.0), 5.0)


def test_a_batch_log_gets_whole_lines_and_a_last_one() -> None:
    stream = io.StringIO()
    Progress(lambda: State(3, 3, 0, 1.0), stream=stream, every=60).close()
    assert stream.getvalue().count('\n') == 1
    assert '\r' not in stream.getvalue()


def test_a_terminal_that_the_launcher_made_is_nobodys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = pty.openpty()
    with open(theirs, 'w') as stream:
        monkeypatch.setattr(sys, 'stdout', stream)
        for name in ('OMPI_COMM_WORLD_RANK', 'PMI_RANK', 'PALS_RANKID'):
            monkeypatch.delenv(name, raising=False)
        assert seen_live(stream)
        monkeypatch.setenv('OMPI_COMM_WORLD_RANK', '0')
        assert not seen_live(stream)
    os.close(ours)
