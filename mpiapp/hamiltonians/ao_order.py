"""Orders of atomic orbitals inside a shell, built from the shells.

Any basis will do: a permutation needs the angular momenta of the shells in
their order, which all programs here share (atom by atom, l rising).  Which
order a file has is proved by its overlap.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mpiapp.records import Floats, Ints, Rejection

#: shells: (atom, l) in the order of their functions
Shells = Sequence[tuple[int, int]]

#: largest difference of a stored overlap from the computed one
OVERLAP_TOLERANCE = 1e-5
#: orders that are known, the one used here first
ORDERS = ('pyscf', 'e3nn', 'psi4', 'orca')
#: their names in files
NAMES = {'pyscf': 'pyscf', 'pyscf_def2svp': 'pyscf', 'e3nn': 'e3nn',
         'psi4': 'psi4', 'orca': 'orca'}


def in_shell(order: str, ang: int) -> tuple[list[int], list[float]]:
    """Return (places, signs): entry i of ours is sign * entry places[i].

    PySCF has p as x, y, z and from d on m = -l..l; e3nn p as y, z, x and the
    rest alike; psi4 and ORCA m = 0, 1, -1, 2, -2, ..., ORCA with the signs
    of |m| of 3 and 4 turned.
    """
    m_of_ours = [1, -1, 0] if ang == 1 else list(range(-ang, ang + 1))
    if order == 'pyscf':
        m_of_file = m_of_ours
    elif order == 'e3nn':
        m_of_file = list(range(-ang, ang + 1))
    elif order in ('psi4', 'orca'):
        m_of_file = [0] + [s * m for m in range(1, ang + 1)
                           for s in (1, -1)]
    else:
        raise ValueError(order)
    signs = [-1.0 if order == 'orca' and abs(m) in (3, 4) else 1.0
             for m in m_of_ours]
    return [m_of_file.index(m) for m in m_of_ours], signs


@dataclass(frozen=True)
class Permutation:
    """Takes matrices of a file to the order used here, and back.

    `places` [nao]: function i here is `signs[i]` times function `places[i]`
    of the file.
    """

    order: str
    places: Ints
    signs: Floats

    def here(self, matrix: Floats) -> Floats:
        """Return a matrix [nao, nao] of the file in our order."""
        moved = matrix[np.ix_(self.places, self.places)]
        return np.asarray(moved * self.signs[:, None] * self.signs[None, :])

    def back(self, matrix: Floats) -> Floats:
        """Return a matrix of ours in the order of the file."""
        signed = matrix * self.signs[:, None] * self.signs[None, :]
        made = np.empty_like(signed)
        made[np.ix_(self.places, self.places)] = signed
        return made


def permutation(order: str, shells: Shells) -> Permutation:
    """Return the permutation of an order for these shells."""
    places: list[int] = []
    signs: list[float] = []
    for _, ang in shells:
        inside, turned = in_shell(order, ang)
        places += [len(places) + i for i in inside]
        signs += turned
    return Permutation(order, np.array(places, np.int64), np.array(signs))


def shells_size(shells: Shells) -> int:
    """Return the number of functions of shells."""
    return sum(2 * ang + 1 for _, ang in shells)


def atoms_of(shells: Shells) -> Ints:
    """Return the atom of each function [nao]."""
    return np.repeat([a for a, _ in shells],
                     [2 * ang + 1 for _, ang in shells])


def momenta_of(shells: Shells) -> Ints:
    """Return l of each function [nao]."""
    return np.repeat([ang for _, ang in shells],
                     [2 * ang + 1 for _, ang in shells])


def distance_from(
    order: str, stored: Floats, computed: Floats, shells: Shells,
) -> float:
    """Return the largest difference of the overlaps if stored so."""
    return float(np.abs(
        permutation(order, shells).here(stored) - computed).max())


def proved(
    orders: Iterable[str], stored: Floats, computed: Floats, shells: Shells,
) -> tuple[Permutation, float]:
    """Return the first order that makes the overlaps agree, and how well.

    Raises:
        Rejection: overlap_mismatch; the message names the difference.
    """
    best = ('', np.inf)
    for order in orders:
        off = distance_from(order, stored, computed, shells)
        if off < OVERLAP_TOLERANCE:
            return permutation(order, shells), off
        if off < best[1]:
            best = (order, off)
    raise Rejection(
        'overlap_mismatch', f'stored and computed overlap differ by '
        f'{best[1]:.2g} in order {best[0]}, allowed '
        f'{OVERLAP_TOLERANCE:g}')
