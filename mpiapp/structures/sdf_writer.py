"""Write one record of an SD file; the same input gives the same bytes."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mpiapp.bonding import bond_list
from mpiapp.records import Floats, Structure

#: V2000 has three columns for each count
MAX_V2000 = 999
#: A; V2000 has ten columns for each coordinate, four behind the point
MAX_COORDINATE = 9999.0
#: columns: 2 initials, 8 program, 10 date (left blank), dimension
_SECOND_LINE = '  mpiapp            3D'
_AROMATIC = 4
_DATIVE = 9
_ORDER_CODES = {2: 1, 4: 2, 6: 3, 3: _AROMATIC, 1: _DATIVE}
_MAX_VALENCE = 14
#: what a bond adds to the valence of an atom, if not its order: aromatic
#: ones are not stated, the end of a dative one is not told from its start
_VALENCE = {_AROMATIC: _MAX_VALENCE + 1, _DATIVE: _MAX_VALENCE + 1}
#: charge entries on one line of V2000
_PER_LINE = 8
_NOTE = re.compile(r'bonds by distance, orders unknown; '
                   r'charge (-?\d+), unpaired (\d+)')


def write_sdf_record(structure: Structure, positions: Floats,
                     tags: Mapping[str, str]) -> str:
    """Return a record with `positions` [n_atoms, 3] A and then the tags.

    V2000, or V3000 where there are more than 999 atoms or bonds or a
    coordinate is too large for its columns.  A structure without bond orders
    gets the bonds that its covalent radii suggest, all written as single: a
    viewer needs them, bond orders are not known.  The comment line says so,
    and with it `parse` restores the structure.  One with formal charges came
    from a file that says all of its bonds, none as well.
    """
    guessed = not len(structure.orders) \
        and not np.any(structure.formal_charges)
    bonds = _perceived(structure, positions) if guessed else _bonds(structure)
    table = _Table(
        _symbols(structure), positions, bonds, _charges(structure),
        _valences(structure, bonds) if guessed or structure.unpaired else {})
    large = max(len(table.symbols), len(bonds)) > MAX_V2000 \
        or np.abs(positions).max(initial=0.0) > MAX_COORDINATE
    lines = [_one_line(structure.title), _SECOND_LINE,
             _note(structure) if guessed else '']
    lines += _v3000(table) if large else _v2000(table)
    lines.append('M  END')
    for name, value in tags.items():
        lines += [f'>  <{_one_line(name)}>', *_value_lines(value), '']
    lines.append('$$$$')
    return '\n'.join(lines) + '\n'


def read_note(comment: str) -> tuple[int, int] | None:
    """Return charge and unpaired electrons if bonds were guessed."""
    found = _NOTE.fullmatch(comment.strip())
    return (int(found[1]), int(found[2])) if found else None


def _note(structure: Structure) -> str:
    return (f'bonds by distance, orders unknown; charge {structure.charge}, '
            f'unpaired {structure.unpaired}')


@dataclass(frozen=True)
class _Table:
    """What both versions write; charges and valences by atom."""

    symbols: list[str]
    positions: Floats
    bonds: list[tuple[int, int, int]]
    charges: dict[int, int]
    valences: dict[int, int]


def _v2000(table: _Table) -> Iterator[str]:
    yield (f'{len(table.symbols):3d}{len(table.bonds):3d}'
           '  0  0  0  0  0  0  0  0999 V2000')
    for i, symbol in enumerate(table.symbols):
        x, y, z = table.positions[i]
        # 15 stands for a valence of 0
        valence = (table.valences[i] or 15) if i in table.valences else 0
        yield (f'{x:10.4f}{y:10.4f}{z:10.4f} {symbol:<3s} 0' + '  0' * 4
               + f'{valence:3d}' + '  0' * 6)
    for i, j, order in table.bonds:
        yield f'{i + 1:3d}{j + 1:3d}{order:3d}  0'
    entries = [f' {i + 1:3d} {charge:3d}'
               for i, charge in table.charges.items()]
    for first in range(0, len(entries), _PER_LINE):
        part = entries[first:first + _PER_LINE]
        yield f'M  CHG{len(part):3d}' + ''.join(part)


def _v3000(table: _Table) -> Iterator[str]:
    yield '  0  0  0     0  0            999 V3000'
    yield 'M  V30 BEGIN CTAB'
    yield f'M  V30 COUNTS {len(table.symbols)} {len(table.bonds)} 0 0 0'
    yield 'M  V30 BEGIN ATOM'
    for i, symbol in enumerate(table.symbols):
        x, y, z = table.positions[i]
        charge = f' CHG={table.charges[i]}' if i in table.charges else ''
        # -1 stands for a valence of 0
        valence = (f' VAL={table.valences[i] or -1}'
                   if i in table.valences else '')
        yield (f'M  V30 {i + 1} {symbol} {x:.6f} {y:.6f} {z:.6f} 0'
               f'{charge}{valence}')
    yield 'M  V30 END ATOM'
    if table.bonds:
        yield 'M  V30 BEGIN BOND'
        for k, (i, j, order) in enumerate(table.bonds):
            yield f'M  V30 {k + 1} {order} {i + 1} {j + 1}'
        yield 'M  V30 END BOND'
    yield 'M  V30 END CTAB'


def _symbols(structure: Structure) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in structure.numbers]


def _charges(structure: Structure) -> dict[int, int]:
    """Return the formal charges that are not 0, by atom."""
    return {i: int(charge) for i, charge
            in enumerate(structure.formal_charges) if charge}


def _valences(structure: Structure,
              bonds: list[tuple[int, int, int]]) -> dict[int, int]:
    """Return the sums of bond orders: no reader shall add hydrogens.

    Atoms with an aromatic or dative bond have none, nor those beyond the
    format's 14.
    """
    sums = dict.fromkeys(range(len(structure.numbers)), 0)
    for i, j, order in bonds:
        for atom in (i, j):
            sums[atom] += _VALENCE.get(order, order)
    return {i: n for i, n in sums.items() if n <= _MAX_VALENCE}


def _bonds(structure: Structure) -> list[tuple[int, int, int]]:
    """Return (atom, atom, order code), in the order of the file."""
    return [(int(i), int(j), _ORDER_CODES[int(order)]) for (i, j), order
            in zip(structure.bonds, structure.orders)]


def _perceived(structure: Structure,
               positions: Floats) -> list[tuple[int, int, int]]:
    """Return single bonds by distance."""
    return [(i, j, 1)
            for i, j in bond_list(structure.numbers, positions).tolist()]


def _one_line(text: str) -> str:
    return ' '.join(text.split())


def _value_lines(value: str) -> list[str]:
    """Split a value; no line of it may look like the end of the record."""
    return [' ' + line if line.startswith('$$$$') else line
            for line in str(value).split('\n')]
