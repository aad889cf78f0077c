"""XYZ and extended XYZ, any number of frames.

ASE's reader is not used: under mpirun its `read` is collective, and a rank
that loads its own record would wait for the others.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from mpiapp.records import InputError, Rejection, Structure
from mpiapp.structures.extxyz_comment import Layout, info_of, layout_of
from mpiapp.structures.spans import UNRECOGNISED, Spans
from mpiapp.structures.text import has_text, lines_of, newline_of

SUFFIXES = ('.xyz', '.extxyz')

#: no molecule has a larger charge or spin
MAX_INTEGER = 9999
#: longer lines are no text
MAX_LINE_BYTES = 2**24
#: 9 digits always fit an int32
_COUNT = re.compile(rb'[ \t]*(\d{1,9})[ \t]*\r?')
#: bytes that a line with an atom count may hold: digits and white space
_COUNT_BYTES = np.zeros(256, np.bool_)
_COUNT_BYTES[list(b'0123456789 \t\r\n')] = True
_ISOTOPES = {'D': 1, 'T': 1}
_CHARGE_KEYS = ('charge', 'total_charge')
_MULTIPLICITY_KEYS = ('multiplicity', 'spin_multiplicity', 'mult')
_UNPAIRED_KEYS = ('unpaired', 'uhf')


def scan(chunks: Iterable[bytes]) -> Spans:
    """Find the frames of a file that comes in chunks.

    A frame begins at a line that is one integer (comment lines, which follow
    one, excepted) and lasts to the next: a frame with too many or too few
    atom lines is wrong itself and leaves its neighbours alone.
    """
    scanner = None
    for chunk in chunks:
        scanner = scanner or _Scanner(newline_of(chunk))
        scanner.feed(chunk)
    if scanner is None:
        return Spans()
    scanner.finish()
    return scanner.spans


def parse(data: bytes, row: int = 0, file_number: int = 0,
          record: int = 0) -> Structure:
    """Read one frame; raises Rejection (unparsable, no_coordinates)."""
    lines = lines_of(data)
    while lines and not lines[0].strip():
        lines.pop(0)
    n_atoms = _atom_count(lines)
    comment = lines[1] if len(lines) > 1 else ''
    info = info_of(comment)
    plain, layout = not info, layout_of(info)
    fields = [line.split() for line in lines[2:2 + n_atoms]]
    numbers = np.array([_number(f, i, layout) for i, f
                        in enumerate(fields, 1)], np.int32)
    positions = np.array([_position(f, i, layout) for i, f
                          in enumerate(fields, 1)], np.float64)
    if not np.isfinite(positions).all():
        raise Rejection('no_coordinates', 'a coordinate is not a number')
    info.pop('Properties', None)
    charge = _integer(info, _CHARGE_KEYS) or 0
    return Structure(
        row, file_number, record, numbers, positions.reshape(-1, 3),
        charge=charge,
        unpaired=_unpaired(info, int(numbers.sum()) - charge),
        title=comment.strip() if plain else '',
        tags=info,
    )


class _Scanner:
    """State between two chunks: the frame under way and half a line."""

    def __init__(self, newline: bytes) -> None:
        self.spans = Spans()
        self._newline = newline
        self._window, self._base = b'', 0
        self._start, self._n_atoms = 0, UNRECOGNISED
        self._filled = self._comment_is_next = False

    def feed(self, chunk: bytes) -> None:
        """Search the lines that end in the next chunk."""
        window = self._window + chunk
        end = window.rfind(self._newline) + 1
        if len(window) - end > MAX_LINE_BYTES:
            raise InputError(f'not an xyz file: a line has more than '
                             f'{MAX_LINE_BYTES} bytes')
        if end:
            self._search(window[:end])
        self._window = window[end:]
        self._base += end

    def finish(self) -> None:
        """Take the last line, with or without its end, and the last frame."""
        if self._window:
            self._search(self._window + self._newline)
            self._base += len(self._window)
        self._close(self._base)

    def _search(self, lines: bytes) -> None:
        text = np.frombuffer(lines, np.uint8)
        ends = np.flatnonzero(text == self._newline[0])
        begins = np.concatenate([[0], ends[:-1] + 1])
        other = np.add.reduceat(~_COUNT_BYTES[text], begins)
        comment = 0 if self._comment_is_next else -1
        self._comment_is_next = False
        for i in np.flatnonzero(other == 0).tolist():
            found = _COUNT.fullmatch(lines, begins[i], ends[i])
            if found is None or i == comment:
                continue
            begin = int(begins[i])
            self._filled = self._filled or has_text(
                lines[:begin], max(self._start - self._base, 0))
            self._close(self._base + begin)
            self._start, self._n_atoms = self._base + begin, int(found[1])
            self._filled = True
            comment = i + 1
            self._comment_is_next = comment == len(ends)
        self._filled = self._filled or has_text(lines)

    def _close(self, end: int) -> None:
        """Add what lies before `end`, unless it is white space."""
        if self._filled:
            self.spans.add(self._start, end, self._n_atoms)


def _atom_count(lines: list[str]) -> int:
    """Return the number of atoms; the lines must be there, and no more."""
    text = lines[0].strip() if lines else ''
    if not _COUNT.fullmatch(text.encode()):
        raise Rejection('unparsable',
                        f'no number of atoms but {text[:40]!r}')
    n_atoms = int(text)
    rest = lines[2:]
    while rest and not rest[-1].strip():
        rest.pop()
    if len(rest) != n_atoms:
        raise Rejection('unparsable', f'the frame claims {n_atoms} atoms, '
                                      f'there are {len(rest)} lines')
    return n_atoms


def _number(fields: list[str], line: int, layout: Layout) -> int:
    """Return the atomic number that an atom line names."""
    from ase.data import atomic_numbers

    text = fields[layout.species] if len(fields) > layout.species else ''
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 4 else 0
    else:
        symbol = text.capitalize()
        number = _ISOTOPES.get(symbol) or atomic_numbers.get(symbol, 0)
    if not 0 < number < len(atomic_numbers):
        raise Rejection('unparsable',
                        f'atom {line}: {text[:20]!r} is no element')
    return number


def _position(fields: list[str], line: int, layout: Layout) -> list[float]:
    """Return x, y, z of an atom line; Fortran's D exponents are read."""
    texts = fields[layout.position:layout.position + 3]
    try:
        if len(texts) < 3 or '_' in ''.join(texts):
            raise ValueError
        return [float(re.sub('[dD]', 'e', text)) for text in texts]
    except ValueError:
        found = ' '.join(texts)[:60]
        raise Rejection('unparsable', f'atom {line}: no three coordinates '
                                      f'but {found!r}') from None


def _integer(info: Mapping[str, str], keys: Iterable[str]) -> int | None:
    """Return the whole number of the first key that is there."""
    for key in keys:
        if key in info:
            # RDKit writes charge=-1=
            text = info[key].removesuffix('=')
            try:
                value = float(text)
            except ValueError:
                value = np.nan
            if not (value.is_integer() and abs(value) <= MAX_INTEGER):
                raise Rejection('unparsable', f'{key}={info[key][:40]} is '
                                              'no possible number')
            return int(value)
    return None


def _unpaired(info: Mapping[str, str], n_electrons: int) -> int:
    """Return the unpaired electrons that the comment states, else 0 or 1.

    `spin` is 2S in some programs and 2S + 1 in others; the number of
    electrons tells which.
    """
    multiplicity = _integer(info, _MULTIPLICITY_KEYS)
    unpaired = _integer(info, _UNPAIRED_KEYS)
    spin = _integer(info, ('spin',))
    if multiplicity is not None:
        unpaired = multiplicity - 1
    elif unpaired is None and spin is not None:
        unpaired = spin if (n_electrons - spin) % 2 == 0 else spin - 1
    if unpaired is None:
        return n_electrons % 2
    if unpaired < 0 or (n_electrons - unpaired) % 2:
        raise Rejection('unparsable', f'{unpaired} unpaired electrons of '
                                      f'{n_electrons} are impossible')
    return unpaired
