"""Vibrations of a molecule: rigid motions left out of the Hessian.

The vibrational space is what is orthogonal, in mass-weighted coordinates, to
the translations and rotations about the centre of mass (C. Eckart, Phys. Rev.
47, 552 (1935)); how many of these there are (6, of a linear molecule 5, of an
atom 3) is a rank.  Near a line the sixth, the rotation about the line, is one
of the two bends: see `motions_left_out`.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats

#: a rotation moves atoms by less than this share of the largest one: none
RANK_TOLERANCE = 1e-4
#: all atoms nearer to a line than this, A: the rotation about it is a bend
NEARLY_LINEAR = 0.05
#: below this, eV/(A^2 amu), an eigenvalue counts as negative (`proj_tol`)
NEGATIVE = -1e-6


@dataclass(frozen=True, eq=False)
class Modes:
    """Vibrations, lowest first.

    `values` [m]; `vectors` [3n, m], orthonormal.  With masses: eV/(A^2 amu)
    and mass-weighted vectors; without: eV/A^2 and Cartesian ones.
    """

    values: Floats
    vectors: Floats

    def n_neg(self, count: str = 'proj_tol') -> int:
        """Count negative values, see `base.COUNTS`."""
        limit = NEGATIVE if count == 'proj_tol' else 0.0
        return int((self.values < limit).sum())


def off_line(positions: Floats) -> float:
    """Return how far the farthest atom lies off the line of all, A."""
    arms = positions - positions.mean(axis=0)
    axis = np.linalg.svd(arms, full_matrices=False)[2][0]
    away = arms - np.outer(arms @ axis, axis)
    return float(np.linalg.norm(away, axis=1).max())


def rigid_motions(masses: Floats, positions: Floats,
                  most: int = 6) -> Floats:
    """Return an orthonormal basis [3n, k] of the mass-weighted rigid motions.

    `masses` [n] amu, `positions` [n, 3] A; k is `most` at most, and what is
    left out is the faintest: of 5, the rotation about the line.
    """
    roots = np.sqrt(masses)
    centre = masses @ positions / masses.sum()
    arms = positions - centre
    columns = []
    for axis in np.eye(3):
        columns.append(np.outer(roots, axis).ravel())
    for axis in np.eye(3):
        columns.append((roots[:, None] * np.cross(axis, arms)).ravel())
    motions = np.stack(columns, axis=1)
    # one scale for translations, one for rotations: the rank is a ratio
    for part in (slice(0, 3), slice(3, 6)):
        largest = np.linalg.norm(motions[:, part], axis=0).max()
        motions[:, part] /= max(largest, 1e-12)
    left, sizes, _ = np.linalg.svd(motions, full_matrices=False)
    return left[:, :min(most, int((sizes > RANK_TOLERANCE).sum()))]


def vibrational_basis(masses: Floats, positions: Floats,
                      most: int = 6) -> Floats:
    """Return an orthonormal basis [3n, 3n - k] of all that is not rigid."""
    rigid = rigid_motions(masses, positions, most)
    left, _, _ = np.linalg.svd(rigid, full_matrices=True)
    return left[:, rigid.shape[1]:]


def vibrations(hessian: Floats, masses: Floats, positions: Floats,
               most: int = 6) -> Modes:
    """Return the modes of a Hessian [3n, 3n], eV/A^2, with masses."""
    scale = np.repeat(1.0 / np.sqrt(masses), 3)
    weighted = hessian * np.outer(scale, scale)
    return _modes(weighted, vibrational_basis(masses, positions, most))


def cartesian_modes(hessian: Floats, positions: Floats,
                    most: int = 6) -> Modes:
    """Return the modes of a Hessian [3n, 3n] in the plain metric.

    Forces are Cartesian: steps along these modes and forces belong together.
    """
    ones = np.ones(len(positions))
    return _modes(hessian, vibrational_basis(ones, positions, most))


def motions_left_out(hessian: Floats, masses: Floats, positions: Floats,
                     count: str = 'proj_tol') -> int:
    """Return how many rigid motions are left out of a Hessian: 6 or 5.

    5 where the molecule is nearly linear and has one negative mode only as
    long as the rotation about the line, there the second one of two equal
    bends, is left out.  So a saddle counts as one if both agree.
    """
    if len(positions) < 3 or off_line(positions) > NEARLY_LINEAR:
        return 6
    six, five = (vibrations(hessian, masses, positions, most).n_neg(count)
                 for most in (6, 5))
    return 5 if six == 1 != five else 6


def free_modes(hessian: Floats, free: NDArray[np.bool_]) -> Modes:
    """Return the modes of a surface that has no rigid motions.

    `free` [3n] marks the coordinates that it depends on.
    """
    basis = np.eye(len(free))[:, free]
    return _modes(hessian, basis)


def without_rigid(hessian: Floats, masses: Floats,
                  positions: Floats) -> Floats:
    """Return a Hessian [3n, 3n] in which rigid motions feel nothing."""
    roots = np.repeat(np.sqrt(masses), 3)
    basis = vibrational_basis(masses, positions)
    keep = basis @ basis.T
    weighted = keep @ (hessian / np.outer(roots, roots)) @ keep
    return weighted * np.outer(roots, roots)


def _modes(hessian: Floats, basis: Floats) -> Modes:
    inside = basis.T @ hessian @ basis
    values, vectors = np.linalg.eigh(0.5 * (inside + inside.T))
    return Modes(values, basis @ vectors)
