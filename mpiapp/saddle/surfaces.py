"""The surface of one molecule under a potential, its calls counted."""
from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Batch, Evaluation, Floats
from mpiapp.saddle import finite
from mpiapp.saddle.base import Point, SurfaceError

#: Hessians differ from finite differences by this share of the largest
#: entry at most, else the fast way is refused
GUARD = 5e-3
#: displacement of these differences, A: repulsion of near atoms is steep
GUARD_STEP = 0.001

#: (numbers, positions, charge, unpaired) -> Hessian [3n, 3n], eV/A^2
HessianFunction = Callable[
    [NDArray[np.int32], Floats, int, int], Floats]


class Evaluator(Protocol):
    """What a surface needs of a potential."""

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces."""


class PotentialSurface:
    """Energies and forces of a potential, Hessians of its own or by
    differences.

    `kind` says how Hessians are made.
    """

    bonded = True
    flat: NDArray[np.bool_] | None = None

    def __init__(
        self, potential: Evaluator, numbers: NDArray[np.int32],
        charge: int = 0, unpaired: int = 0,
        own: HessianFunction | None = None, kind: str = 'fd',
    ) -> None:
        from ase.data import atomic_masses
        self.numbers = numbers
        self.masses = np.asarray(atomic_masses[numbers], np.float64)
        self.kind = kind if own is not None else 'fd'
        self.n_calls = self.n_hess = self.n_displaced = 0
        self._potential = potential
        self._own = own
        self._charge, self._unpaired = charge, unpaired

    def point(self, positions: Floats) -> Point:
        """Return energy and forces of one geometry [n, 3] A."""
        self.n_calls += 1
        found = self._evaluate([positions])
        return Point(float(found.energies[0]), found.forces)

    def hessian(self, positions: Floats) -> Floats:
        """Return the Hessian [3n, 3n], eV/A^2."""
        self.n_hess += 1
        if self._own is None:
            found = self.by_differences(positions)
        else:
            found = self._own(self.numbers, positions, self._charge,
                              self._unpaired)
        if not np.isfinite(found).all():
            raise SurfaceError('nan_hessian', 'the Hessian is not finite')
        return found

    def by_differences(self, positions: Floats,
                       step: float = finite.STEP) -> Floats:
        """Return the Hessian by central differences of the forces."""
        moved = finite.displaced(positions, step)
        self.n_displaced += len(moved)
        forces = self._evaluate(list(moved)).forces
        return finite.hessian_from(forces.reshape(moved.shape), step)

    def _evaluate(self, geometries: list[Floats]) -> Evaluation:
        found = self._potential.evaluate(Batch.join(
            [(self.numbers, x, self._charge, self._unpaired)
             for x in geometries]))
        if found.failures:
            reason, message = next(iter(found.failures.values()))
            raise SurfaceError(
                reason if reason == 'element' else 'calculator_error',
                f'{reason}: {message}')
        return found


def compared(surface: PotentialSurface, positions: Floats) -> float:
    """Return how far a Hessian lies from finite differences, as a share
    of the largest entry."""
    exact = surface.by_differences(positions, GUARD_STEP)
    own = surface.hessian(positions)
    return float(np.abs(own - exact).max() / max(np.abs(exact).max(), 1e-9))
