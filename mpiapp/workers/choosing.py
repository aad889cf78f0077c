"""From attempts to ensembles: what is distinct, how many, which are chosen.

Pure functions of the attempts of one molecule, and of the counts of all.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.embedding import OUTCOMES
from mpiapp.chemistry.pruning import Limits, Matcher, clusters
from mpiapp.records import Floats, Ints

#: a molecule has no more conformers when so many attempts in a row, and as
#: many as it has conformers, have brought nothing new
PATIENCE = 30
#: share of new conformers that is counted on at the least
LEAST_YIELD = 0.1
#: no limit of the number of conformers
UNLIMITED = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Pool:
    """All attempts on one molecule so far.

    `number`, `isomer`, `outcome`, `folded`, `minimised` [n_attempts];
    `energy` [n_attempts] kcal/mol, NaN where nothing was made; `positions`
    [n_made, n_atoms, 3] A of those that were.
    """

    number: Ints
    isomer: Ints
    outcome: NDArray[Any]
    folded: NDArray[Any]
    minimised: NDArray[Any]
    energy: Floats
    positions: Floats

    @property
    def made(self) -> Ints:
        """Places of the attempts that gave a conformer."""
        return np.flatnonzero(self.outcome == 0)

    def count(self, word: str) -> int:
        """Count the attempts with an outcome."""
        return int((self.outcome == OUTCOMES.index(word)).sum())


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The distinct conformers of a molecule, by rising energy.

    `made` [n] are places among those that were made, `energy` [n] kcal/mol,
    `isomer` [n], `attempt` [n], `folded` [n]; `n_outside` distinct ones are
    above the window; `spent` tells that more attempts are of no use.
    """

    made: Ints
    energy: Floats
    isomer: Ints
    attempt: Ints
    folded: NDArray[Any]
    n_attempts: int
    n_embedded: int
    n_minimised: int
    n_stereo_changed: int
    n_unsound: int
    n_outside: int
    spent: bool

    def __len__(self) -> int:
        return len(self.made)


def sort_out(
    pool: Pool, matcher: Matcher, limits: Limits, window: float,
    most_attempts: int, n_asked: int,
) -> Ensemble:
    """Return the distinct conformers within `window` (kcal/mol).

    `n_asked` attempts were asked for, which may be more than were made: a
    block may have run out of time or failed.
    """
    made = pool.made
    energies, isomers = pool.energy[made], pool.isomer[made]
    kept, first = [], []
    for isomer in np.unique(isomers):
        at = np.flatnonzero(isomers == isomer)
        found = clusters(matcher, energies[at], pool.positions[at], limits)
        kept.append(at[found.kept])
        first.append(at[found.first])
    places = np.concatenate([*kept, np.empty(0, np.int64)]).astype(np.int64)
    firsts = np.concatenate([*first, np.empty(0, np.int64)]).astype(np.int64)
    inside = energies[places] <= energies[places].min(initial=np.inf) + window
    latest = int(pool.number[made[firsts[inside]]].max(initial=-1))
    order = np.argsort(energies[places[inside]], kind='stable')
    chosen = places[inside][order]
    n = len(pool.number)
    return Ensemble(
        chosen, energies[chosen], isomers[chosen], pool.number[made[chosen]],
        pool.folded[made[chosen]], n, n - pool.count('not_embedded'),
        int(pool.minimised[made].sum()), pool.count('stereo_changed'),
        pool.count('unsound') + pool.count('knotted'),
        int((~inside).sum()),
        n_asked >= most_attempts
        or n_asked - 1 - latest >= max(PATIENCE, len(chosen)))


def shares(total: int, capacities: Sequence[int]) -> list[int]:
    """Deal `total` as evenly as the capacities allow, in their order.

    All get the same, or their capacity where that is less; what is left
    over goes one each to the first that can take more.
    """
    most = np.asarray(capacities, np.int64)
    if total >= most.astype(np.float64).sum():
        return [int(c) for c in most]
    low, high = 0, total
    while low < high:
        level = (low + high + 1) // 2
        if int(np.minimum(most, level).sum()) <= total:
            low = level
        else:
            high = level - 1
    dealt = np.minimum(most, low)
    more = np.flatnonzero(most > low)[:total - int(dealt.sum())]
    dealt[more] += 1
    return [int(n) for n in dealt]


def first_attempts(asked: int, oversample: float, block: int) -> int:
    """Return how many attempts are made at first, whole blocks."""
    return whole_blocks(int(asked * oversample + 1e-9), block)


def more_attempts(
    missing: int, n_attempts: int, n_unique: int, block: int,
) -> int:
    """Return how many more attempts are worth while, whole blocks.

    As many as the yield so far lets expect to be needed, at most as many
    as there were.
    """
    rate = max(n_unique / n_attempts, LEAST_YIELD)
    wanted = int(np.ceil(missing / rate - 1e-9))
    return whole_blocks(min(wanted, n_attempts), block)


def whole_blocks(n: int, block: int) -> int:
    """Round up to whole blocks."""
    return -(-n // block) * block


def choose(ensemble: Ensemble, n: int) -> Ints:
    """Return the places of n conformers: the lowest, isomers evenly.

    By rising energy; of each isomer its lowest ones.
    """
    isomers, counts = np.unique(ensemble.isomer, return_counts=True)
    chosen = [np.flatnonzero(ensemble.isomer == isomer)[:share]
              for isomer, share in zip(
                  isomers, shares(n, counts.tolist()), strict=True)]
    return np.sort(np.concatenate([*chosen, np.empty(0, np.int64)])
                   ).astype(np.int64)
