"""Which records a stage of a refinement takes from the one before."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Ints, Status
from mpiapp.units import KCAL_PER_EV
from mpiapp.workers.refine import Stage

if TYPE_CHECKING:
    from mpiapp.store.reader import Campaign


def select(stage: Stage, before: Campaign) -> NDArray[np.bool_]:
    """Mark the records [n_records] that a stage computes.

    Only converged records of the campaign (or stage) before count, and
    energies are compared within a molecule.  Duplicates and shortlist are
    those of its ensembles.
    """
    table, ensembles = before.table, before.ensembles
    usable = (table['status'] == Status.CONVERGED).to_numpy() \
        & np.isfinite(table['e_total'].to_numpy())
    energies = table['e_total'].where(usable).to_numpy(np.float64)
    molecules = (ensembles['records']['molecule'] if ensembles
                 else table['name']).to_numpy()
    wanted = np.ones(len(table), bool)
    if stage.selection == 'unique':
        wanted = (ensembles['records']['duplicate_of'] < 0).to_numpy()
    if stage.selection == 'shortlist':
        rows = ensembles['shortlist']['row'].to_numpy()
        wanted = np.isin(np.arange(len(table)),
                         rows[:int(min(stage.amount, len(rows)))])
    if stage.selection == 'top':
        # a duplicate takes no place
        first = (ensembles['records']['duplicate_of'] < 0).to_numpy() \
            if ensembles else wanted
        wanted = first & (ranks(np.where(first, energies, np.nan), molecules)
                          < stage.amount)
    if stage.selection == 'window':
        above = energies - lowest(energies, molecules)
        wanted = above * KCAL_PER_EV <= stage.amount
    return usable & wanted


def ranks(energies: Floats, molecules: NDArray[Any]) -> Ints:
    """Return the place [n] of each record in its molecule, from 0.

    Equal energies stand in the order of the records; NaN comes last.
    """
    import pandas
    code = pandas.factorize(molecules)[0]
    order = np.lexsort([energies, code])
    begins = np.searchsorted(code[order], code[order])
    place = np.empty(len(energies), np.int64)
    place[order] = np.arange(len(energies)) - begins
    return place


def lowest(energies: Floats, molecules: NDArray[Any]) -> Floats:
    """Return the lowest energy [n] of each record's molecule."""
    import pandas
    groups = pandas.Series(energies).groupby(molecules)
    return np.asarray(groups.transform('min'), np.float64)
