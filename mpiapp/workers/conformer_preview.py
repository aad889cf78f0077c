"""What a run of `conformers` would do and take; makes one attempt."""
from __future__ import annotations

import time

from mpiapp.chemistry.embedding import attempt
from mpiapp.chemistry.embedding import prepare as prepare_molecule
from mpiapp.partition import longest_first, makespan
from mpiapp.reporting.conformers import open_lines, plan_lines
from mpiapp.workers.conformer_records import identity
from mpiapp.workers.conformer_rounds import (
    Prepared, Progress, molecules_made, round_plan
)
from mpiapp.workers.embed import BLOCK


def preview(prepared: Prepared, n_ranks: int) -> str:
    """Make one attempt, and say what a run would do and take."""
    by_size = sorted(prepared.facts, key=lambda i: prepared.facts[i].n_atoms)
    middle = by_size[len(by_size) // 2]
    row = prepared.table.rows[middle]
    subject = prepare_molecule(row, prepared.recipe)
    began = time.perf_counter()
    attempt(subject, prepared.recipe, 0)
    seconds = time.perf_counter() - began
    made = molecules_made(prepared, Progress([]))
    plan = round_plan(
        prepared, prepared.first([m.n_asked for m in made]), False)
    costs = plan.cost_model.refit(
        [prepared.facts[middle].n_atoms], [BLOCK * seconds],
    ).predict(plan.n_atoms)[plan.wanted]
    paths = prepared.paths
    return plan_lines(
        plan.inputs[0],
        [identity(m) | {'n_asked': m.n_asked} | (
            dict(zip(('reason', 'message'), m.refused)) if m.refused
            else {}) for m in made],
        open_stereo_of(prepared), (row.name, seconds),
        makespan(costs, n_ranks, longest_first(costs, range(len(costs)))),
        n_ranks, [paths.sdf, paths.result])


def open_stereo_of(prepared: Prepared) -> list[str]:
    """List the molecules whose SMILES leave stereo open."""
    how = {'one': 'one isomer of each is made',
           'enumerate': 'all isomers are made',
           'refuse': 'they are refused'}[prepared.recipe.stereo]
    return open_lines({
        prepared.table.rows[i].name: f.left_open
        for i, f in prepared.facts.items() if f.left_open}, how)
