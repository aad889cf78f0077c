"""Did bonds change?  Names of atoms in messages."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpiapp.bonding import bond_list
from mpiapp.records import Floats

#: bonds that a message names
_NAMED = 3


def bonds_changed(numbers: NDArray[np.int32], start: Floats,
                  final: Floats) -> str:
    """Return '' if both geometries have the same bonds, else which differ."""
    before = set(map(tuple, bond_list(numbers, start).tolist()))
    after = set(map(tuple, bond_list(numbers, final).tolist()))
    if before == after:
        return ''
    changes = [(pair, 'broken') for pair in before - after]
    changes += [(pair, 'formed') for pair in after - before]
    return shortened([f'{atom_name(numbers, i)}-{atom_name(numbers, j)} '
                      f'{what}' for (i, j), what in sorted(changes)])


def atom_name(numbers: NDArray[np.int32], i: int) -> str:
    """Return the symbol and the number from 1, as in 'C12'."""
    from ase.data import chemical_symbols

    return f'{chemical_symbols[numbers[i]]}{i + 1}'


def shortened(items: list[str]) -> str:
    """Join the first few of many changes."""
    rest = len(items) - _NAMED
    return ', '.join(items[:_NAMED]) + (f' and {rest} more' if rest > 0
                                        else '')
