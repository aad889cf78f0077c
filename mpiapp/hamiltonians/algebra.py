"""The generalised eigenproblem H C = S C eps, and what follows from it."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpiapp.records import Floats, Ints

#: eigenvalues of the overlap below this are dropped, or raised to it
SMALLEST_OVERLAP = 1e-8
#: eigenvalues of the overlap below this are told of
NEAR_SINGULAR = 1e-6


@dataclass(frozen=True)
class Basis:
    """An overlap and its inverse root.

    `overlap` [nao, nao], `root` [nao, nmo]; `smallest` is the least
    eigenvalue of the overlap, `n_small` how many were dropped or raised.
    """

    overlap: Floats
    root: Floats
    smallest: float
    n_small: int


def basis_from(overlap: Floats, raise_small: bool = False) -> Basis:
    """Orthogonalise symmetrically.

    Directions of tiny overlap are dropped; `raise_small` lifts their
    eigenvalue instead, as the original does.
    """
    values, vectors = np.linalg.eigh(overlap)
    small = values < SMALLEST_OVERLAP
    if raise_small:
        lifted = np.where(small, SMALLEST_OVERLAP, values)
        root = (vectors / np.sqrt(lifted)) @ vectors.T
    elif small.any():
        root = vectors[:, ~small] / np.sqrt(values[~small])
    else:
        root = (vectors / np.sqrt(values)) @ vectors.T
    return Basis(overlap, root, float(values[0]), int(small.sum()))


@dataclass(frozen=True)
class Orbitals:
    """Orbitals of a matrix: `eps`, `occ` [nmo], `coeff` [nao, nmo]."""

    eps: Floats
    coeff: Floats
    n_occ: int

    @property
    def occ(self) -> Floats:
        """Occupations, 2 for the lowest `n_occ`."""
        filled = np.zeros(len(self.eps))
        filled[:self.n_occ] = 2.0
        return filled

    @property
    def occupied(self) -> Floats:
        """Coefficients [nao, n_occ] of the occupied orbitals."""
        return self.coeff[:, :self.n_occ]

    @property
    def density(self) -> Floats:
        """Density matrix [nao, nao]."""
        return np.asarray(2.0 * self.occupied @ self.occupied.T)

    @property
    def gap(self) -> float:
        """LUMO less HOMO, Hartree; NaN without a LUMO."""
        if self.n_occ >= len(self.eps):
            return float('nan')
        return float(self.eps[self.n_occ] - self.eps[self.n_occ - 1])


def orbitals_of(hamiltonian: Floats, basis: Basis, n_occ: int) -> Orbitals:
    """Solve H C = S C eps; energies rise.

    The largest coefficient of each orbital is made positive: signs are
    arbitrary, and equal input is to give equal output.
    """
    eps, vectors = np.linalg.eigh(
        basis.root.T @ hamiltonian @ basis.root)
    coeff = basis.root @ vectors
    largest = np.abs(coeff).argmax(axis=0)
    coeff = coeff * np.sign(coeff[largest, np.arange(coeff.shape[1])])
    return Orbitals(eps, coeff, n_occ)


def mulliken(
    density: Floats, overlap: Floats, numbers: Ints, atoms: Ints,
) -> Floats:
    """Return Mulliken charges [n], e; `atoms` [nao] own the functions."""
    there = np.bincount(atoms, weights=np.einsum(
        'ij,ji->i', density, overlap), minlength=len(numbers))
    return np.asarray(numbers - there)
