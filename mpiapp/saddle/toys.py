"""Surfaces that are known exactly, for tests and for tuning in a hurry."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats
from mpiapp.saddle.base import Point, Surface, SurfaceError

#: K. Mueller, L. D. Brown, Theor. Chim. Acta 53, 75 (1979): amplitudes,
#: exponents and centres of four Gaussians
AMPLITUDE = np.array([-200.0, -100.0, -170.0, 15.0])
A = np.array([-1.0, -1.0, -6.5, 0.7])
B = np.array([0.0, 0.0, 11.0, 0.6])
C = np.array([-10.0, -10.0, -6.5, 0.7])
X0 = np.array([1.0, 0.0, -0.5, -1.0])
Y0 = np.array([0.0, 0.5, 1.5, 1.0])
#: makes barriers of about 1 eV, with lengths in angstrom
SCALE = 0.01
#: the surface ends here, A
EDGE = 5.0


class _Counting(ABC):
    """Counts calls; subclasses give energy, forces and the Hessian."""

    kind = 'analytic'
    bonded = False

    def __init__(self, numbers: NDArray[np.int32]) -> None:
        self.numbers = numbers
        self.masses = np.ones(len(numbers))
        self.n_calls = self.n_hess = self.n_displaced = 0

    def point(self, positions: Floats) -> Point:
        """Return energy and forces."""
        self.n_calls += 1
        with np.errstate(all='ignore'):
            energy, forces = self._point(positions)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise SurfaceError('calculator_error',
                               'energy or forces are not finite')
        return Point(energy, forces)

    def hessian(self, positions: Floats) -> Floats:
        """Return the Hessian."""
        self.n_hess += 1
        with np.errstate(all='ignore'):
            found = self._hessian(positions)
        if not np.isfinite(found).all():
            raise SurfaceError('nan_hessian', 'the Hessian is not finite')
        return found

    @abstractmethod
    def _point(self, positions: Floats) -> tuple[float, Floats]:
        """Return energy and forces."""

    @abstractmethod
    def _hessian(self, positions: Floats) -> Floats:
        """Return the Hessian."""


class MullerBrown(_Counting):
    """One particle in a plane: its x and y; z is not used.

    Energies are those of the literature times `SCALE`, as eV.
    """

    @property
    def flat(self) -> NDArray[np.bool_] | None:
        """Mark x and y."""
        return np.array([True, True, False])

    def point(self, positions: Floats) -> Point:
        """Return energy and forces; far away the fourth term explodes."""
        if np.abs(positions[0, :2]).max() > EDGE:
            raise SurfaceError('calculator_error',
                               f'beyond {EDGE:g} A of the origin')
        return super().point(positions)

    def _terms(self, positions: Floats) -> tuple[Floats, Floats, Floats]:
        x, y = positions[0, 0] - X0, positions[0, 1] - Y0
        term = SCALE * AMPLITUDE * np.exp(A * x * x + B * x * y + C * y * y)
        return term, 2 * A * x + B * y, B * x + 2 * C * y

    def _point(self, positions: Floats) -> tuple[float, Floats]:
        term, along_x, along_y = self._terms(positions)
        forces = np.zeros((1, 3))
        forces[0, :2] = -(term * along_x).sum(), -(term * along_y).sum()
        return float(term.sum()), forces

    def _hessian(self, positions: Floats) -> Floats:
        term, along_x, along_y = self._terms(positions)
        found = np.zeros((3, 3))
        found[0, 0] = (term * (along_x**2 + 2 * A)).sum()
        found[1, 1] = (term * (along_y**2 + 2 * C)).sum()
        found[0, 1] = found[1, 0] = (term * (along_x * along_y + B)).sum()
        return found


class LennardJonesCluster(_Counting):
    """4 (r^-12 - r^-6) between all atoms: eV and A, whatever the elements."""

    @property
    def flat(self) -> NDArray[np.bool_] | None:
        """Return None: a cluster moves and turns freely."""
        return None

    def _pairs(self, positions: Floats) -> tuple[Floats, Floats]:
        way = positions[:, None] - positions[None]  # [n, n, 3]
        square = (way**2).sum(axis=2)
        np.fill_diagonal(square, np.inf)
        return way, square

    def _point(self, positions: Floats) -> tuple[float, Floats]:
        way, square = self._pairs(positions)
        p6 = square**-3.0
        # dE/d(r^2) of each pair
        slope = 4.0 * (-6.0 * p6 * p6 + 3.0 * p6) / square
        forces = -2.0 * (slope[:, :, None] * way).sum(axis=1)
        return 2.0 * float((p6 * p6 - p6).sum()), forces

    def _hessian(self, positions: Floats) -> Floats:
        way, square = self._pairs(positions)
        n = len(positions)
        p6 = square**-3.0
        first = 4.0 * (-6.0 * p6 * p6 + 3.0 * p6) / square
        second = 4.0 * (42.0 * p6 * p6 - 12.0 * p6) / square**2
        block = (-4.0 * second[:, :, None, None]
                 * way[:, :, :, None] * way[:, :, None, :]
                 - 2.0 * first[:, :, None, None] * np.eye(3))
        own = np.arange(n)
        block[own, own] = -block.sum(axis=1)
        return block.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)


TOYS: dict[str, Callable[[NDArray[np.int32]], Surface]] = {
    'muller-brown': MullerBrown, 'lj7': LennardJonesCluster}
