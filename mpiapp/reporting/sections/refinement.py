"""The stages of a refinement: do they agree on what lies lowest?"""
from __future__ import annotations

import numpy as np

from mpiapp.records import FAILURES, Status
from mpiapp.reporting.blocks import BLUE, Block, Field, Scatter, Table
from mpiapp.reporting.subject import Subject
from mpiapp.units import KCAL_PER_EV

ORDER = 42
TITLE = 'Refinement'
PROGRAMS: tuple[str, ...] = ()


def blocks(subject: Subject) -> list[Block]:
    """Return a line a stage and energies of each against the first."""
    if len(subject.stages) == 1:
        return []
    found: list[Block] = [stage_table(subject.stages)]
    for name, stage in list(subject.stages.items())[1:]:
        block = against(subject, name, stage)
        if block is not None:
            found.append(block)
    return found


def stage_table(stages: dict[str, Subject]) -> Table:
    """Count the records of each stage by how they ended."""
    methods = [str((s.results.meta.get('potential') or {}).get('name', ''))
               for s in stages.values()]

    def count(name: str, label: str, *states: Status) -> Field:
        return Field(name, label, [
            int(np.isin(s.status, states).sum()) for s in stages.values()],
            0)

    return Table('stages', 'Stages', [
        Field('stage', 'stage', list(stages)),
        Field('method', 'method', methods),
        count('converged', 'converged', Status.CONVERGED),
        count('unconverged', 'unconverged', Status.UNCONVERGED),
        count('failed', 'failed', *FAILURES),
        count('not_chosen', 'not chosen', Status.SKIPPED),
        count('pending', 'pending', Status.PENDING)], terminal=20)


def against(subject: Subject, name: str, stage: Subject) -> Scatter | None:
    """Return relative energies of a stage over those of the relaxation.

    Relative to the conformer that is lowest in the relaxation among those
    that both have.
    """
    import pandas
    both = subject.converged & stage.converged
    rows = np.flatnonzero(both)
    if len(rows) < 2:
        return None
    frame = pandas.DataFrame({
        'molecule': [subject.molecule[r] for r in rows],
        'x': subject.values('e_total')[rows] * KCAL_PER_EV,
        'y': stage.values('e_total')[rows] * KCAL_PER_EV})
    lowest = frame.groupby('molecule')['x'].transform('idxmin')
    x = frame['x'] - frame['x'].loc[lowest].to_numpy()
    y = frame['y'] - frame['y'].loc[lowest].to_numpy()
    return Scatter(
        f'stage_{name}', f'{name} against the relaxation',
        'relaxation, kcal/mol', f'{name}, kcal/mol', x.to_numpy(),
        y.to_numpy(), [0] * len(rows), [('conformer', BLUE)],
        frame['molecule'].tolist(), rows.tolist(),
        'Energies above the conformer that the relaxation has lowest, '
        'within each molecule; below zero the stage disagrees.', True)
