"""Attempts read back from their file and sorted out, molecule by molecule."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.embedding import bare_structure
from mpiapp.chemistry.molecules import TableRow
from mpiapp.chemistry.pruning import Limits, Matcher
from mpiapp.records import FAILURES, Floats, Ints
from mpiapp.store.reader import Campaign
from mpiapp.workers.choosing import Ensemble, Pool, sort_out
from mpiapp.workers.embed import BLOCK


@dataclass(frozen=True)
class Sorting:
    """How attempts become ensembles; `blocks` is their number a molecule.

    `window` kcal/mol; `most_attempts` of a molecule are ever made.
    """

    blocks: int
    limits: Limits
    window: float
    most_attempts: int


def read_pool(
    campaign: Campaign, first: int, n_blocks: int, n_atoms: int,
) -> Pool:
    """Read the attempts of the rows first to first + n_blocks - 1."""
    def joined(name: str) -> NDArray[Any]:
        parts = campaign.ragged_span(name, first, first + n_blocks)
        return np.concatenate(parts)
    return Pool(
        joined('attempt').astype(np.int64),
        joined('isomer').astype(np.int64), joined('outcome'),
        joined('folded'), joined('minimised'), joined('e_conformer'),
        joined('x').reshape(-1, n_atoms, 3))


def sort_molecules(
    campaign: Campaign, rows: Sequence[TableRow], numbers: Sequence[int],
    attempts: Sequence[int], sorting: Sorting,
) -> dict[int, Ensemble]:
    """Return the ensembles of molecules; `attempts` [n_rows] were made."""
    found = {}
    for i in numbers:
        structure = bare_structure(rows[i])
        pool = read_pool(campaign, i * sorting.blocks, attempts[i] // BLOCK,
                         len(structure.numbers))
        found[i] = sort_out(pool, Matcher(structure), sorting.limits,
                            sorting.window, sorting.most_attempts,
                            attempts[i])
    return found


def chosen_positions(
    campaign: Campaign, first: int, n_blocks: int, n_atoms: int,
    made: Ints,
) -> Floats:
    """Return the positions [n, n_atoms, 3] A of the chosen conformers."""
    flat = np.concatenate(campaign.ragged_span('x', first,
                                               first + n_blocks))
    return np.asarray(flat.reshape(-1, n_atoms, 3)[made])


def faults_of(
    campaign: Campaign, first: int, n_blocks: int,
) -> list[tuple[int, str, str]]:
    """Return status, reason and message of the blocks that failed."""
    part = campaign.table.iloc[first:first + n_blocks]
    part = part[part['status'].isin([int(s) for s in FAILURES])]
    return list(zip(part['status'].tolist(), part['reason'],
                    part['message'], strict=True))
