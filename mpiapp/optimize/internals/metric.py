"""The model Hessian of a molecule as a metric, factored once and reused.

The coordinates are the internal ones and, behind them, the Cartesian ones
with a weak spring each: [n_q + 3 n_atoms].  That makes every system of
equations regular, and a gradient in these coordinates is exact (it gives back
the Cartesian one) whatever the factor it was made with: what the internal
coordinates do not take, the Cartesian ones hold.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError
from scipy.linalg.lapack import dpbtrf, dpbtrs

from mpiapp.optimize.internals.coordinates import Coordinates, Slopes
from mpiapp.optimize.internals.model import stiffness
from mpiapp.optimize.internals.primitives import both, values
from mpiapp.optimize.internals.topology import Numbers, choose
from mpiapp.records import Floats

#: eV/A^2 of each Cartesian coordinate: what holds fragments far apart
FLOOR = 0.03
#: least floor as a part of the largest element, for Cholesky to succeed
ROUNDING = 1e-11
#: positions follow a displacement to this part of the longest move
FOLLOW = 0.1


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates with their force constants [n_q], chosen at one geometry."""

    coordinates: Coordinates
    stiffness: Floats

    @classmethod
    def at(cls, numbers: Numbers, x: Floats) -> Frame:
        """Choose for numbers [n_atoms] at x [n_atoms, 3] A."""
        coordinates, n_bonds = choose(numbers, x)
        return cls(coordinates, stiffness(numbers, x, coordinates, n_bonds))


@dataclass(frozen=True, eq=False)
class Place:
    """A geometry x [n_atoms, 3] A in a frame: q [n_q], dq/dx, the model.

    `lower` [width, 3 n_atoms] is the Cholesky factor of the model Hessian,
    a band in the order of the coordinates' `cartesians`.
    """

    frame: Frame
    x: Floats
    q: Floats
    slopes: Slopes
    lower: Floats

    @classmethod
    def at(cls, frame: Frame, x: Floats) -> Place:
        """Compute the coordinates and the model at x [n_atoms, 3] A.

        Raises:
            LinAlgError: the geometry is not finite.
        """
        c = frame.coordinates
        q, here = both(c, x)
        return cls(frame, x, q, here, factor(here, frame.stiffness))

    def to(self, x: Floats) -> Floats:
        """Return the displacement [n_q + 3 n_atoms] from here to x."""
        return self.across(values(self.frame.coordinates, x), x)

    def to_place(self, other: Place) -> Floats:
        """Return the displacement from here to a place in this frame."""
        return self.across(other.q, other.x)

    def across(self, q: Floats, x: Floats) -> Floats:
        """Return the displacement to x, whose coordinates are q."""
        change = self.frame.coordinates.difference(q, self.q)
        return np.concatenate([change, (x - self.x).ravel()])

    def forward(self, move: Floats) -> Floats:
        """Return the displacement [n_q + 3 n_atoms] of [3 n_atoms] A."""
        return np.concatenate([self.slopes.forward(move), move])

    def backward(self, pull: Floats) -> Floats:
        """Return the Cartesian gradient of one in all coordinates."""
        n_q = len(self.q)
        return self.slopes.backward(pull[:n_q]) + pull[n_q:]

    def weigh(self, change: Floats) -> Floats:
        """Return the model's gradient change of a displacement."""
        n_q = len(self.q)
        return np.concatenate([self.frame.stiffness * change[:n_q],
                               FLOOR * change[n_q:]])

    def solve(self, gradient: Floats) -> Floats:
        """Return the model's move [3 n_atoms] A along [3 n_atoms] eV/A."""
        order = self.frame.coordinates.cartesians
        move = np.empty_like(gradient)
        move[order], _ = dpbtrs(self.lower, gradient[order], lower=1)
        return move

    def decompose(self, gradient: Floats) -> Floats:
        """Return the gradient in all coordinates of a Cartesian one.

        Of all that have it as their Cartesian form, the one of least norm
        in the inverse of the force constants; the Cartesian part takes the
        error of the solution.
        """
        pull = self.weigh(self.forward(self.solve(gradient)))
        pull[len(self.q):] += gradient - self.backward(pull)
        return pull

    def project(self, change: Floats) -> Floats:
        """Return the move [3 n_atoms] A nearest to a displacement."""
        return self.solve(self.backward(self.weigh(change)))

    def follow(
        self, change: Floats, move: Floats, rounds: int = 4,
    ) -> Floats:
        """Return the positions [n_atoms, 3] A displaced by `change`.

        `move` [3 n_atoms] A is its projection.  No positions fit redundant
        coordinates exactly; those that fit best, in the metric of the force
        constants, are approached while the corrections shrink.
        """
        x, longest = self.x + move.reshape(-1, 3), float(np.abs(move).max())
        tolerance = FOLLOW * longest
        for _ in range(rounds):
            correction = self.project(change - self.to(x))
            previous, longest = longest, float(np.abs(correction).max())
            if longest > previous / 2:
                break
            x = x + correction.reshape(-1, 3)
            if longest < tolerance:
                break
        return x


def factor(here: Slopes, stiffness: Floats) -> Floats:
    """Return the Cholesky factor of the Hessian of springs [n_q].

    Raises:
        LinAlgError: the geometry is not finite.
    """
    band = here.gram(stiffness)
    # colliding atoms have slopes so large that the floor is lost in rounding
    band[:, 0] += max(FLOOR, ROUNDING * float(band[:, 0].max()))
    lower, info = dpbtrf(band.T, lower=1, overwrite_ab=1)
    if info != 0:
        raise LinAlgError('the model Hessian is not positive definite')
    return np.asarray(lower)
