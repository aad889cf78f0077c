"""Rounds of attempts: who needs how many more, and what there is so far.

A campaign of `conformers` is a sequence of runs of the engine on a growing
set of blocks; all that decides it are the attempts themselves, so that a
resumed campaign goes the same way.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mpiapp.chemistry.embedding import Facts, Recipe
from mpiapp.chemistry.molecules import MoleculeTable
from mpiapp.parallel.agree import agree
from mpiapp.records import Row, Status
from mpiapp.store.provenance import package_versions
from mpiapp.store.reader import load
from mpiapp.workers.choosing import (
    UNLIMITED, Ensemble, first_attempts, more_attempts, shares
)
from mpiapp.workers.conformer_input import Paths
from mpiapp.workers.conformer_records import Made
from mpiapp.workers.embed import BLOCK
from mpiapp.workers.pools import Sorting, sort_molecules


@dataclass(frozen=True)
class Wish:
    """What the user asked for: records of each molecule, or in all."""

    per_molecule: int | None
    total: int | None
    oversample: float


@dataclass(frozen=True)
class Prepared:
    """What rank 0 found out and every rank needs.

    `facts` and `refused` are by molecule (row of the table, from 0); `plan`
    is the `engine.Plan` of the attempts, row = molecule * `sorting.blocks` +
    block.
    """

    paths: Paths
    plan: Any
    table: MoleculeTable
    recipe: Recipe
    wish: Wish
    sorting: Sorting
    facts: Mapping[int, Facts]
    refused: Mapping[int, tuple[str, str]]

    def asked(self, spent: Mapping[int, int]) -> list[int]:
        """Return the records of each molecule [n_molecules].

        `spent` are the numbers of conformers of those that have no more.
        """
        n, wish = len(self.table.rows), self.wish
        if wish.total is None:
            return [0 if i in self.refused else wish.per_molecule or 0
                    for i in range(n)]
        most = int(UNLIMITED // (n + 1))
        return shares(wish.total, [
            0 if i in self.refused else spent.get(i, most)
            for i in range(n)])

    def first(self, asked: Sequence[int]) -> list[int]:
        """Return the attempts of each molecule in the first round."""
        return [min(first_attempts(n, self.wish.oversample, BLOCK),
                    self.sorting.most_attempts) for n in asked]


@dataclass
class Progress:
    """Where a campaign stands, equal on all ranks.

    `attempts` [n_molecules] are made or to be made, `found` are the
    ensembles, `outcomes` the `engine.Outcome` of each round of this run.
    """

    attempts: list[int]
    found: dict[int, Ensemble] = field(default_factory=dict)
    outcomes: list[Any] = field(default_factory=list)

    @property
    def spent(self) -> dict[int, int]:
        """Conformers of the molecules that have no more."""
        return {i: len(e) for i, e in self.found.items() if e.spent}


def round_plan(
    prepared: Prepared, attempts: Sequence[int], resume: bool,
) -> Any:
    """Return the plan with the blocks of these attempts wanted."""
    blocks, rows = prepared.sorting.blocks, prepared.table.rows
    wanted = np.zeros(prepared.plan.n_records, bool)
    for i, n in enumerate(attempts):
        wanted[i * blocks:i * blocks + n // BLOCK] = True

    def blank(row: int) -> Row:
        molecule, block = divmod(row, blocks)
        known: Row = {'molecule': molecule, 'block': block,
                      'name': rows[molecule].name}
        return known if wanted[row] else known | {
            'status': int(Status.SKIPPED), 'reason': 'not_needed'}
    plan = prepared.plan
    meta = {'program': 'conformers', 'content': 'attempts',
            'settings': plan.settings, 'inputs': plan.inputs,
            'packages': package_versions()}
    return replace(plan, wanted=wanted, blank=blank, meta=meta,
                   resume=resume, overwrite=plan.overwrite and not resume)


def sort_together(
    comm: Any, prepared: Prepared, attempts: Sequence[int],
    stale: Sequence[int],
) -> dict[int, Ensemble]:
    """Collective: sort out the conformers of molecules, each rank some."""
    mine: dict[int, Ensemble] = {}
    with agree(comm, 'sorting out the conformers'):
        numbers = [i for i in stale if attempts[i]][comm.rank::comm.size]
        if numbers:
            mine = sort_molecules(
                load(prepared.plan.result), prepared.table.rows, numbers,
                attempts, prepared.sorting)
    return {i: e for part in comm.allgather(mine) for i, e in part.items()}


def extend(prepared: Prepared, progress: Progress) -> list[int]:
    """Ask for more attempts where conformers lack; return these molecules."""
    spent = progress.spent
    most = prepared.sorting.most_attempts
    extended = []
    for i, n in enumerate(prepared.asked(spent)):
        found, made = progress.found.get(i), progress.attempts[i]
        if i in spent or n <= (len(found) if found else 0):
            continue
        more = first_attempts(n, prepared.wish.oversample, BLOCK) \
            if found is None else more_attempts(
                n - len(found), made, len(found), BLOCK)
        progress.attempts[i] = min(made + more, most)
        extended.append(i)
    return extended


def molecules_made(prepared: Prepared, progress: Progress) -> list[Made]:
    """Return every molecule with what was asked and made of it."""
    asked, wanted = prepared.asked({}), prepared.asked(progress.spent)
    return [
        Made(i, row, prepared.facts.get(i), prepared.refused.get(i),
             asked[i], wanted[i], progress.found.get(i),
             progress.attempts[i] if progress.attempts else 0)
        for i, row in enumerate(prepared.table.rows)]


def timing(progress: Progress) -> dict[str, Any]:
    """Return where the time of this run went, summed over its rounds."""
    rounds = [o.ranks for o in progress.outcomes]
    return {
        'n_ranks': len(rounds[0]), 'n_rounds': len(rounds),
        'wall_seconds': sum(o.wall for o in progress.outcomes),
        **{name: [sum(of[rank][name] for of in rounds)
                  for rank in range(len(rounds[0]))]
           for name in rounds[0][0]},
    }
