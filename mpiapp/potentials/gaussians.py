"""Molecules in a Gaussian basis, with the core potentials that belong to it.

A basis of valence functions means nothing without the potential of the core
it leaves out: PySCF adds none unasked, and converges to nonsense.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Rejection

#: part of the energy of one electron at the bare nucleus, -Z**2/2 Hartree,
#: that s functions which describe the core reach: STO-3G 0.93 for H and
#: 0.99 for I, sets made for a core potential at most 0.75
CORE = 0.9


def molecule_of(
    numbers: Sequence[int] | NDArray[Any], positions: Any, basis: str,
    charge: int = 0, unpaired: int = 0, unit: str = 'Angstrom',
    memory: int | None = None,
) -> Any:
    """Return a PySCF molecule; positions [n, 3] in `unit`.

    Raises:
        Rejection: no_basis.
    """
    from pyscf import gto
    extra = {} if memory is None else {'max_memory': memory}
    potentials = {symbol: basis for symbol in symbols_of(numbers)
                  if n_core(symbol, basis)}
    return gto.M(
        atom=list(zip(np.asarray(numbers).tolist(),
                      np.asarray(positions).tolist(), strict=True)),
        basis=basis, ecp=potentials, charge=charge, spin=unpaired, unit=unit,
        verbose=0, **extra)


def checked_molecule(
    numbers: NDArray[Any], positions: Floats, basis: str, charge: int,
    memory: int,
) -> Any:
    """Return the PySCF molecule of a closed-shell frame in bohr.

    Raises:
        Rejection: no_basis, odd_electrons.
    """
    n = n_electrons(numbers, basis, charge)
    if n % 2 or n <= 0:
        raise Rejection(
            'odd_electrons', f'{n} electrons at charge {charge}: '
            'only closed shells are computed')
    return molecule_of(numbers, positions, basis, charge, unit='Bohr',
                       memory=memory)


def n_electrons(
    numbers: Sequence[int] | NDArray[Any], basis: str, charge: int,
) -> int:
    """Return the electrons outside core potentials; Rejection no_basis."""
    cores = {z: n_core(symbol, basis) for z, symbol in zip(
        np.unique(numbers).tolist(), symbols_of(numbers), strict=True)}
    return sum(z - cores[z] for z in np.asarray(numbers).tolist()) - charge


def symbols_of(numbers: Sequence[int] | NDArray[Any]) -> list[str]:
    """Return the elements, each once, by their number; or Rejection."""
    from ase.data import chemical_symbols
    found = np.unique(numbers).tolist()
    for number in found:
        if not 1 <= number < len(chemical_symbols):
            raise Rejection('no_basis', f'there is no element {number}')
    return [chemical_symbols[number] for number in found]


@cache
def known_elements(basis: str) -> frozenset[int]:
    """Return the atomic numbers that a basis can describe."""
    from ase.data import chemical_symbols
    found = set()
    for number, symbol in enumerate(chemical_symbols[1:], 1):
        try:
            n_core(symbol, basis)
        except Rejection:
            continue
        found.add(number)
    return frozenset(found)


@cache
def n_core(symbol: str, basis: str) -> int:
    """Return the electrons that the core potential of a basis replaces.

    Raises:
        Rejection: no_basis; the basis lacks the element, or has neither a
            core potential nor functions for the core.
    """
    shells = basis_of(symbol, basis)
    potential = potential_of(symbol, basis)
    if potential:
        return int(potential[0])
    reached = core_share(symbol, shells)
    if reached < CORE:
        raise Rejection(
            'no_basis', f'{basis} has for {symbol} neither a core potential '
            'in PySCF nor functions for the core (one electron at the bare '
            f'nucleus gets {reached:.2f} of its energy, at least {CORE} is '
            'needed)')
    return 0


def basis_of(symbol: str, basis: str) -> Any:
    """Return the shells of an element.

    Raises:
        Rejection: no_basis.
    """
    from pyscf import gto
    try:
        with quietly():
            shells = gto.basis.load(basis, symbol)
    except Exception as error:  # of several kinds from release to release
        raise Rejection('no_basis', f'{basis} has no {symbol}: '
                        f'{error}') from error
    if not shells:
        raise Rejection('no_basis', f'{basis} has no {symbol}')
    return shells


def potential_of(symbol: str, basis: str) -> Any:
    """Return the core potential of a basis: [electrons, terms]; or []."""
    from pyscf import gto
    try:
        with quietly():
            return gto.basis.load_ecp(basis, symbol)
    except (RuntimeError, OSError, KeyError, ValueError):
        return []  # no such name among the potentials


@contextmanager
def quietly() -> Iterator[None]:
    """Leave out that a package with more sets could be installed."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def core_share(symbol: str, shells: Any) -> float:
    """Return the energy of one electron at the nucleus, in -Z**2/2."""
    from ase.data import atomic_numbers
    from pyscf import gto
    from scipy.linalg import eigh
    number = atomic_numbers[symbol]
    round_ones = [shell for shell in shells if shell[0] == 0]
    if not round_ones:
        return 0.0
    atom = gto.M(atom=symbol, basis={symbol: round_ones}, charge=number - 1,
                 spin=1, verbose=0)
    lowest = eigh(atom.intor('int1e_kin') + atom.intor('int1e_nuc'),
                  atom.intor('int1e_ovlp'), eigvals_only=True)[0]
    return float(lowest / (-number**2 / 2))


def same_basis(one: str, other: str) -> bool:
    """Tell whether two names mean the same basis."""
    def plain(name: str) -> str:
        return ''.join(c for c in name.lower() if c.isalnum() or c in '*+')
    return plain(one) == plain(other)


def shells_of(molecule: Any) -> list[tuple[int, int]]:
    """Return (atom, l) of the shells in the order of their functions."""
    return [(int(molecule.bas_atom(i)), int(molecule.bas_angular(i)))
            for i in range(molecule.nbas)
            for _ in range(int(molecule.bas_nctr(i)))]


def overlap_of(molecule: Any) -> Floats:
    """Return the overlap [nao, nao]."""
    return np.asarray(molecule.intor_symmetric('int1e_ovlp'))
