"""Bytes of a record to lines of text, whatever the encoding and line end."""
from __future__ import annotations

import re

_BLANK = re.compile(rb'\S')


def newline_of(sample: bytes) -> bytes:
    """Return the byte that ends lines: LF (also of CRLF), or a bare CR."""
    return b'\r' if b'\r' in sample and b'\n' not in sample else b'\n'


def has_text(data: bytes, start: int = 0) -> bool:
    """Return whether there is more than white space from `start` on."""
    return _BLANK.search(data, start) is not None


def decode(data: bytes) -> str:
    """Decode UTF-8 (with or without mark); Latin-1 where it is not UTF-8."""
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError:
        return data.decode('latin-1')


def lines_of(data: bytes) -> list[str]:
    """Split a record at its own line ends only.

    `str.splitlines` also splits at form feeds and Unicode separators, which
    may stand inside a tag.
    """
    newline = newline_of(data).decode()
    lines = decode(data).split(newline)
    if newline == '\n':
        lines = [line.removesuffix('\r') for line in lines]
    return lines
