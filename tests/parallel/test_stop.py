"""Durations, Slurm's end time, signals."""
from __future__ import annotations

import os
import signal

import pytest

from mpiapp.errors import InputError
from mpiapp.parallel.stop import StopWatch, parse_duration, slurm_seconds


@pytest.mark.parametrize('text, seconds', [
    ('90', 90), ('45s', 45), ('30m', 1800), ('1.5h', 5400), ('2d', 172800),
    ('1:30', 90), ('01:00:00', 3600), ('1-12:00:00', 129600),
])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize('text', ['', 'soon', '-5', '0', '1:2:3:4', '5x'])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_duration(text)


def test_a_margin_is_kept_before_the_end_of_a_slurm_job() -> None:
    assert slurm_seconds({}, 0) is None
    assert slurm_seconds({'SLURM_JOB_END_TIME': '4600'}, 1000) == 3540
    assert slurm_seconds({'SLURM_JOB_END_TIME': '1100'}, 1000) == 80
    assert slurm_seconds({'SLURM_JOB_END_TIME': '900'}, 1000) == 0


@pytest.mark.parametrize('number, reason', [
    (signal.SIGTERM, 1), (signal.SIGUSR1, 2), (signal.SIGINT, 4),
    (signal.SIGHUP, 6), (signal.SIGUSR2, 7), (signal.SIGXCPU, 8)])
def test_a_signal_is_noted_and_does_not_kill(
    number: signal.Signals, reason: int,
) -> None:
    old = signal.signal(number, signal.SIG_DFL)
    try:
        with StopWatch() as watch:
            assert watch.check() == 0
            os.kill(os.getpid(), number)
            assert watch.check() == reason
    finally:
        signal.signal(number, old)


def test_the_time_limit_is_a_reason() -> None:
    with StopWatch(time_limit=1e-9) as watch:
        assert watch.check() == 3


def test_under_nohup_a_lost_terminal_is_no_reason() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopWatch() as watch:
            os.kill(os.getpid(), signal.SIGHUP)
            assert watch.check() == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, old)


def test_a_second_interrupt_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), StopWatch():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
