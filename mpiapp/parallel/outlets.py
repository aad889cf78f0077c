"""Output that outlives its place: a terminal, a pipe, a disk that is full.

What a campaign has computed is worth more than the lines about it.
"""
from __future__ import annotations

import errno
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Lasting:
    """A text stream whose writes fail once: then all goes to /dev/null."""

    def __init__(self, stream: TextIO, others: TextIO | None = None) -> None:
        self._stream = stream
        self._others = others

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write; a place that can't be written is left for good."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        """Hand everything on; as `write`."""
        try:
            self._stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        _to_null(self._stream.fileno())
        # what is still in the buffer
        with suppress(OSError):
            self._stream.flush()
        if self._others is not None:
            print(f'warning: {self._stream.name} cannot be written '
                  f'({error.strerror}): the rest of it is lost',
                  file=self._others, flush=True)


@contextmanager
def lasting() -> Iterator[None]:
    """Let stdout and stderr fail without harm in a block; stderr is told."""
    before = sys.stdout, sys.stderr
    errors: Any = Lasting(sys.stderr)
    output: Any = Lasting(sys.stdout, errors)
    sys.stdout, sys.stderr = output, errors
    try:
        yield
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before


def leave_terminal() -> None:
    """Point stdout and stderr away from a terminal that is gone."""
    for number in (1, 2):
        try:
            termios.tcgetattr(number)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                _to_null(number)


def _to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
