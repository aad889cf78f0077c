"""A force constant for every internal coordinate, from the geometry alone.

The form is that of Lindh et al., Chem. Phys. Lett. 241 (1995) 423: constants
that fall off exponentially as bonds get longer than the sum of the covalent
radii, so that every element and every bond order is covered.  The numbers
were fitted so that the Hessians of molecules at their minima and those of the
model have the same shape; docs/benchmarks_optimiser.md tells how.
"""
from __future__ import annotations

import numpy as np

from mpiapp.optimize.internals.coordinates import Coordinates
from mpiapp.optimize.internals.topology import (
    Numbers, contact_radii, covalent_radii
)
from mpiapp.records import Floats, Ints

#: ln of eV/A^2 of a bond by its hydrogens (0, 1, 2), and the slope of that
#: with the stretch r / (R_i + R_j) - 1
BOND = np.array([3.31, 3.56, 3.56])
BOND_SLOPE = np.array([-5.77, -5.25, -5.25])
#: ln of eV/rad^2 of a bend by the hydrogens at its ends, slope as above
BEND = np.array([1.82, 1.33, 1.17])
BEND_SLOPE = 1.56
#: ln of eV of a straight bend
LINE = 0.78
#: ln of eV/rad^2 of all torsions about a bond together, slope as above
TORSION, TORSION_SLOPE = -0.34, -11.58
#: ln of eV/A^2 of a contact by its hydrogens, and the slope of that with
#: the distance over the sum of the van der Waals radii, less 1
CONTACT = np.array([-2.73, -4.03, -3.21])
CONTACT_SLOPE = -8.42
#: constants outside are those of broken geometries
SMALLEST, LARGEST = -7.0, 6.0


def stiffness(
    numbers: Numbers, x: Floats, c: Coordinates, n_bonds: int,
) -> Floats:
    """Return the force constants [n_q], eV over squares of the units of q.

    `numbers` [n_atoms], `x` [n_atoms, 3] A; the first `n_bonds` of the
    pairs are bonds, the others contacts.
    """
    logarithms = np.concatenate([
        bonds(numbers, x, c.pairs[:n_bonds]),
        contacts(numbers, x, c.pairs[n_bonds:]),
        bends(numbers, x, c.bends),
        np.full(3 * len(c.lines), LINE),
        torsions(numbers, x, c.torsions),
    ])
    return np.asarray(np.exp(np.clip(logarithms, SMALLEST, LARGEST)))


def bonds(numbers: Numbers, x: Floats, pairs: Ints) -> Floats:
    """Return ln k [n] of bonds [n, 2]."""
    kind = hydrogens(numbers, pairs)
    return np.asarray(BOND[kind] + BOND_SLOPE[kind]
                      * stretch(numbers, x, pairs[:, 0], pairs[:, 1]))


def bends(numbers: Numbers, x: Floats, atoms: Ints) -> Floats:
    """Return ln k [n] of bends [n, 3]."""
    a, b, c = atoms.T
    return BEND[hydrogens(numbers, atoms[:, ::2])] + BEND_SLOPE * (
        stretch(numbers, x, a, b) + stretch(numbers, x, b, c))


def torsions(numbers: Numbers, x: Floats, atoms: Ints) -> Floats:
    """Return ln k [n] of torsions [n, 4]; those about a bond share it."""
    _, b, c, _ = atoms.T
    _, which, count = np.unique(atoms[:, 1:3], axis=0, return_inverse=True,
                                return_counts=True)
    return (TORSION + TORSION_SLOPE * stretch(numbers, x, b, c)
            - np.log(count[which.ravel()]))


def contacts(numbers: Numbers, x: Floats, pairs: Ints) -> Floats:
    """Return ln k [n] of contacts [n, 2]."""
    radii = contact_radii()[numbers][pairs].sum(axis=1)
    distances = np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)
    return np.asarray(CONTACT[hydrogens(numbers, pairs)]
                      + CONTACT_SLOPE * (distances / radii - 1))


def hydrogens(numbers: Numbers, atoms: Ints) -> Ints:
    """Return the number [n] of hydrogens among atoms [n, 2]."""
    return np.asarray((numbers[atoms] == 1).sum(axis=1), np.int64)


def stretch(numbers: Numbers, x: Floats, i: Ints, j: Ints) -> Floats:
    """Return distance / sum of covalent radii - 1 of pairs of atoms [n]."""
    radii = covalent_radii()[numbers]
    return np.asarray(np.linalg.norm(x[i] - x[j], axis=1)
                      / (radii[i] + radii[j]) - 1)
