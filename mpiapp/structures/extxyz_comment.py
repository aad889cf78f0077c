"""The comment line of an extended XYZ frame: keys, values, columns."""
from __future__ import annotations

import re
from dataclasses import dataclass

from mpiapp.records import Rejection

_ITEM = re.compile(
    r'(?<!\S)(?P<key>[A-Za-z_][\w.:-]*)='
    r'(?:"(?P<double>[^"]*)"|\'(?P<single>[^\']*)\''
    r'|(?P<group>\{[^}]*\}|\[[^]]*\])|(?P<plain>\S+))')
_SPECIES = ('species', 'z', 'numbers')
_POSITION = ('pos', 'positions')
#: keys that are read in any case of letters
_KNOWN = frozenset({
    'charge', 'total_charge', 'multiplicity', 'spin_multiplicity', 'mult',
    'spin', 'unpaired', 'uhf',
})


@dataclass(frozen=True)
class Layout:
    """Which column of an atom line holds the element and which begins x."""

    species: int = 0
    position: int = 1


def info_of(comment: str) -> dict[str, str]:
    """Return key=value pairs as text, quotes removed; {} if there are none.

    The keys that programs look for (charge, multiplicity, ...) are in lower
    case, all others as they are.
    """
    info = {}
    for item in _ITEM.finditer(comment):
        values = item.groupdict()
        key = values.pop('key')
        value = next(v for v in values.values() if v is not None)
        info[key.lower() if key.lower() in _KNOWN else key] = value
    return info


def layout_of(info: dict[str, str]) -> Layout:
    """Return the columns that `Properties` states; else symbol, x, y, z."""
    text = info.get('Properties')
    if text is None:
        return Layout()
    words = text.split(':')
    column, found = 0, {}
    try:
        for name, width in zip(words[::3], words[2::3], strict=True):
            found[name.lower()] = column
            column += int(width)
    except ValueError:
        raise Rejection('unparsable',
                        f'Properties={text[:80]} can not be read') from None
    species = [found[name] for name in _SPECIES if name in found]
    position = [found[name] for name in _POSITION if name in found]
    if not species or not position:
        raise Rejection('unparsable', f'Properties={text[:80]} names no '
                                      'column of elements or of positions')
    return Layout(species[0], position[0])
