"""Did bonds change?  Names of atoms in messages."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpiapp.bonding import bond_list
from mpiapp.records import Floats

#: bonds that a message names
_NAMED = 3
#: a distance that changes by less than this share makes and breaks no bond:
#: that of H2 (0.74 to 0.78 A by the method) lies at the limit of a bond
_SAME = 0.1


def bonds_changed(numbers: NDArray[np.int32], start: Floats,
                  final: Floats) -> str:
    """Return '' if both geometries have the same bonds, else which differ.

    Bonds are those of `bond_list`, and differ where the distance [A] does.
    """
    before = set(map(tuple, bond_list(numbers, start).tolist()))
    after = set(map(tuple, bond_list(numbers, final).tolist()))
    changes = [f'{atom_name(numbers, i)}-{atom_name(numbers, j)} '
               f'{"broken" if (i, j) in before else "formed"}'
               for i, j in sorted(before ^ after)
               if _moved(start[i] - start[j], final[i] - final[j])]
    return shortened(changes)


def _moved(before: Floats, after: Floats) -> bool:
    """Tell whether two atoms are at another distance than before."""
    was, is_now = np.linalg.norm(before), np.linalg.norm(after)
    return bool(abs(is_now - was) > _SAME * was)


def atom_name(numbers: NDArray[np.int32], i: int) -> str:
    """Return the symbol and the number from 1, as in 'C12'."""
    from ase.data import chemical_symbols

    return f'{chemical_symbols[numbers[i]]}{i + 1}'


def shortened(items: list[str]) -> str:
    """Join the first few of many changes."""
    rest = len(items) - _NAMED
    return ', '.join(items[:_NAMED]) + (f' and {rest} more' if rest > 0
                                        else '')
