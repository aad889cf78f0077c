"""How two methods rank the conformers of a molecule."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpiapp.records import Floats

#: fewer conformers have no ranking to speak of
LEAST = 3


@dataclass(frozen=True)
class Agreement:
    """What two sets of energies [n] of the same conformers share.

    `tau` is Kendall's tau-b (NaN below three conformers or where all
    energies of a method are equal), `same_lowest` tells whether one
    conformer is the lowest of both, `loss` is how far above the second
    method's lowest conformer that of the first one lies, in its energies.
    """

    n: int
    tau: float
    same_lowest: bool
    loss: float


def agreement(first: Floats, second: Floats) -> Agreement:
    """Compare energies [n] of the same conformers in the same units.

    Conformers without a finite energy in both are left out.  Kendall's
    tau-b: M. G. Kendall, Biometrika 33 (1945) 239.
    """
    both = np.isfinite(first) & np.isfinite(second)
    a, b = first[both], second[both]
    if not len(a):
        return Agreement(0, np.nan, False, np.nan)
    lowest = int(np.argmin(a))
    return Agreement(len(a), kendall_tau(a, b),
                     lowest == int(np.argmin(b)), float(b[lowest] - b.min()))


def kendall_tau(a: Floats, b: Floats) -> float:
    """Return Kendall's tau-b of two arrays [n]; NaN where undefined."""
    if len(a) < LEAST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    from scipy.stats import kendalltau
    return float(kendalltau(a, b).statistic)
