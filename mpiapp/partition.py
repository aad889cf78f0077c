"""Step 2: predicted costs, the order of work and the first shares.

Pure functions of arrays.  An *order* is an array of positions in the arrays
of costs and ids: `ids[order]` are the rows, longest first.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import ArrayLike

from mpiapp.records import Floats, Ints

#: part of the predicted work that may be given out before any is measured;
#: the rest is pulled, which corrects wrong predictions
FIRST_SHARE = 0.25
#: atoms of a molecule when nothing is known about any of them
TYPICAL_ATOMS = 100.0


@dataclass(frozen=True)
class CostModel:
    """Seconds of a relaxation from the number of atoms n.

    An evaluation takes n * `atom_step` * n**`power` seconds, and there are
    1 + min(`steps` * n**`steps_power`, `max_steps`) of them.
    """

    atom_step: float = 1e-3
    power: float = 0.0
    steps: float = 0.4
    steps_power: float = 1.5
    max_steps: float = np.inf

    def predict(self, n_atoms: ArrayLike) -> Floats:
        """Return the seconds of molecules with these atoms [n].

        Where atoms are unknown (NaN, 0 or less) it is the median of the
        others.
        """
        n = np.asarray(n_atoms, np.float64)
        known = np.isfinite(n) & (n > 0)
        n = np.where(known, n, TYPICAL_ATOMS)
        seconds = self.atom_step * n**self.power * self.atom_steps(n)
        return mend(np.where(known, seconds, np.nan),
                    float(seconds[0]) if len(n) else 0.0)

    def atom_steps(self, n_atoms: ArrayLike) -> Floats:
        """Return atoms times evaluations of molecules with these atoms [n].

        Where atoms are unknown (NaN, 0 or less) they are typical ones.
        """
        n = np.asarray(n_atoms, np.float64)
        n = np.where(np.isfinite(n) & (n > 0), n, TYPICAL_ATOMS)
        steps = np.minimum(self.steps * n**self.steps_power, self.max_steps)
        return np.asarray(n * (1.0 + steps), np.float64)

    def refit(self, n_atoms: ArrayLike, seconds: ArrayLike) -> CostModel:
        """Return the model scaled to measured seconds [n].

        The median ratio is robust against single stuck records; measurements
        that are not positive numbers are left out, and without any other the
        model stays as it is.
        """
        n = np.asarray(n_atoms, np.float64)
        measured = np.asarray(seconds, np.float64)
        sound = (np.isfinite(n) & (n > 0)
                 & np.isfinite(measured) & (measured > 0))
        if not sound.any():
            return self
        ratio = np.median(measured[sound] / self.predict(n[sound]))
        return replace(self, atom_step=self.atom_step * float(ratio))


#: one core, float64, L-BFGS to 0.005 eV/A
DEFAULTS: Mapping[str, CostModel] = {
    'mace': CostModel(atom_step=3e-3),
    'gfn2': CostModel(atom_step=2e-5, power=1.0),
    'gfn1': CostModel(atom_step=3e-5, power=1.0),
    'lj': CostModel(atom_step=1e-7, power=1.0),
    'mmff94s': CostModel(atom_step=1e-6, power=1.0),
    'dft': CostModel(atom_step=1e-3, power=2.0),
}


#: steps and steps_power of optimisers that need fewer; measured with
#: MACE on molecules of 19 to 224 atoms (docs/benchmarks_optimiser.md)
STEPS: Mapping[str, tuple[float, float]] = {'internal': (0.3, 1.0)}


def cost_model(
    method: str, max_steps: float = np.inf, optimizer: str = 'lbfgs',
) -> CostModel:
    """Return the default model of a method; any name has one."""
    model = DEFAULTS.get('dft' if '/' in method else method, CostModel())
    steps, power = STEPS.get(optimizer, (model.steps, model.steps_power))
    return replace(model, steps=steps, steps_power=power,
                   max_steps=max_steps)


def mend(costs: ArrayLike, otherwise: float = 1.0) -> Floats:
    """Return costs [n] with the median in place of all but positive numbers.

    Without any positive number all are `otherwise`.
    """
    values = np.asarray(costs, np.float64)
    good = np.isfinite(values) & (values > 0)
    median = float(np.median(values[good])) if good.any() else otherwise
    return np.where(good, values, median)


def longest_first(costs: ArrayLike, ids: ArrayLike) -> Ints:
    """Return the order [n] of falling cost, then of rising id."""
    return np.lexsort((np.asarray(ids), -mend(costs))).astype(np.int64)


def initial_shares(
    order: Ints, costs: ArrayLike, n_ranks: int, slots: int,
) -> list[Ints]:
    """Deal the first of the order to the ranks, to and fro.

    Each rank gets at most `slots` items, all together at most `FIRST_SHARE`
    of the costs [n].  What is dealt is a beginning of the order: the rest is
    `order[sum(map(len, shares)):]`.
    """
    ordered = mend(costs)[order]
    affordable = int(np.searchsorted(
        np.cumsum(ordered), FIRST_SHARE * ordered.sum(), side='right'))
    dealt = min(affordable, n_ranks * slots, len(order))
    turn, seat = np.divmod(np.arange(dealt), n_ranks)
    rank = np.where(turn % 2 == 0, seat, n_ranks - 1 - seat)
    return [order[:dealt][rank == r] for r in range(n_ranks)]


def makespan(costs: ArrayLike, n_ranks: int, order: Ints) -> float:
    """Return the seconds until all is done if ranks pull in this order."""
    free_at = [0.0] * n_ranks
    heapify(free_at)
    for cost in mend(costs)[order]:
        heapreplace(free_at, free_at[0] + float(cost))
    return max(free_at)
