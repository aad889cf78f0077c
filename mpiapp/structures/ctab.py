"""The connection table of a record: are the lines there that it claims?

A reader that believes a wrong counts line takes bonds for atoms, or the
whole next record for its own; so lines are counted before anything else.
"""
from __future__ import annotations

import re

from mpiapp.records import Rejection

_END = 'M  END'
_PROPERTY = re.compile(r'[A-Z]  ')
_V30 = 'M  V30 '
_COUNT = re.compile('[0-9]{1,9}')
_NO_NUMBER = re.compile(r'(?<![a-z])(nan|inf)|\*\*', re.IGNORECASE)


def split_record(lines: list[str]) -> tuple[list[str], list[str]]:
    """Split into the connection table, M  END included, and the rest.

    Raises Rejection (unparsable) for an empty record and one cut off.
    """
    if not any(line.strip() for line in lines if line != '$$$$'):
        raise Rejection('unparsable', 'the record is empty')
    for i, line in enumerate(lines):
        if i > 3 and line.startswith(_END):
            return lines[:i + 1], lines[i + 1:]
    raise Rejection('unparsable', 'no line "M  END": the record is cut off')


def check_ctab(ctab: list[str]) -> None:
    """Raise Rejection (unparsable) unless the counts equal the lines."""
    if 'V3000' in ctab[3]:
        claimed = _v3000_counts(ctab)
        for kind, count in zip(('ATOM', 'BOND'), claimed):
            _compare(kind.lower(), count, len(_v3000_entries(ctab, kind)))
    else:
        n_atoms, n_bonds, n_lists = _v2000_counts(ctab[3])
        _compare('atom and bond', n_atoms + n_bonds + n_lists,
                 len(_v2000_body(ctab)))


def lost_coordinates(ctab: list[str]) -> bool:
    """Return whether a coordinate is text such as nan, inf or stars."""
    if 'V3000' in ctab[3]:
        fields = [' '.join(entry.split()[2:5])
                  for entry in _v3000_entries(ctab, 'ATOM')]
    else:
        n_atoms = _v2000_counts(ctab[3])[0]
        fields = [line[:30] for line in _v2000_body(ctab)[:n_atoms]]
    return any(_NO_NUMBER.search(text) for text in fields)


def _compare(what: str, claimed: int, found: int) -> None:
    if claimed != found:
        raise Rejection('unparsable', f'the counts line claims {claimed} '
                                      f'{what} lines, there are {found}')


def _v2000_counts(line: str) -> tuple[int, int, int]:
    """Return the numbers of atoms, bonds and atom lists."""
    try:
        n_atoms, n_bonds = int(line[0:3]), int(line[3:6])
        n_lists = int(line[6:9].strip() or 0)
    except ValueError:
        n_atoms = n_bonds = n_lists = -1
    if min(n_atoms, n_bonds, n_lists) < 0:
        raise Rejection('unparsable', f'wrong counts line {line[:40]!r}')
    return n_atoms, n_bonds, n_lists


def _v2000_body(ctab: list[str]) -> list[str]:
    for i, line in enumerate(ctab[4:], 4):
        if _PROPERTY.match(line):
            return ctab[4:i]
    return ctab[4:]


def _v3000_counts(ctab: list[str]) -> tuple[int, int]:
    for line in ctab[4:]:
        words = line.split()
        if words[:3] == ['M', 'V30', 'COUNTS']:
            if len(words) > 4 and all(map(_COUNT.fullmatch, words[3:5])):
                return int(words[3]), int(words[4])
            break
    raise Rejection('unparsable', 'no readable line "M  V30 COUNTS"')


def _v3000_entries(ctab: list[str], kind: str) -> list[str]:
    """Return the entries of a block; a final '-' continues a line."""
    entries: list[str] = []
    inside = continued = False
    for line in ctab[4:]:
        if not line.startswith(_V30):
            continue
        text = line[len(_V30):].rstrip()
        if text.split() == ['BEGIN', kind]:
            inside = True
        elif text.split() == ['END', kind]:
            break
        elif inside and continued:
            entries[-1] = entries[-1].removesuffix('-') + text
        elif inside:
            entries.append(text)
        continued = inside and text.endswith('-')
    return entries
