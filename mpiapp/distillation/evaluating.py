"""Evaluate and relax single structures, for the proofs of a model."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize import optimizer
from mpiapp.optimize.tasks import CONVERGED, STEP_LIMIT, Relaxed
from mpiapp.potentials.base import Potential
from mpiapp.records import Batch, Floats
from mpiapp.workers.legs import Legs

#: kcal/mol; energies of conformers closer than this are one
TIE = 0.02
#: relaxations that end so have a last geometry worth comparing
USABLE = (CONVERGED, STEP_LIMIT)


class Failed(Exception):
    """A potential can't compute a structure."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atomic numbers [n] and positions [n, 3] A."""

    numbers: NDArray[np.int32]
    positions: Floats


def evaluate(potential: Potential, atoms: Atoms) -> tuple[float, Floats]:
    """Return energy, eV, and forces [n, 3], eV/A.

    Raises:
        Failed: the potential can't.
    """
    found = potential.evaluate(
        Batch.join([(atoms.numbers, atoms.positions, 0, 0)]))
    if found.failures:
        reason, message = found.failures[0]
        raise Failed(f'{potential.name}: {reason}: {message}')
    return float(found.energies[0]), found.forces


def relax(
    potential: Potential, atoms: Atoms, fmax: float, max_steps: int,
    method: str = 'lbfgs',
) -> Relaxed:
    """Return the relaxed structure; see its outcome."""
    legs = Legs(potential, optimizer(method), fmax, None, lambda: False)
    end, _ = legs.relax(atoms.numbers, atoms.positions, max_steps)
    return end


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Kendall's tau of the order of energies, kcal/mol.

    Energies closer than `TIE` are alike.  NaN for fewer than two, or where
    all are alike.
    """
    if len(a) < 2:
        return float('nan')
    from scipy.stats import kendalltau
    ranks = [np.round(np.array(x) / TIE) for x in (a, b)]
    return float(kendalltau(*ranks).statistic)
