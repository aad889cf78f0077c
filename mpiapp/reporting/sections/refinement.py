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
    stages = {name: Subject(results)
              for name, results in subject.results.stages.items()}
    if not stages:
        return []
    found: list[Block] = [stage_table(subject, stages)]
    for name, stage in stages.items():
        block = against(subject, name, stage)
        if block is not None:
            found.append(block)
    return found


def stage_table(subject: Subject, stages: dict[str, Subject]) -> Table:
    """Count the records of each stage."""
    every = {'relaxation': subject, **stages}
    done = [int(s.converged.sum()) for s in every.values()]
    bad = [int(np.isin(s.status, [int(f) for f in FAILURES]).sum())
           for s in every.values()]
    skipped = [int((s.status == Status.SKIPPED).sum())
               for s in every.values()]
    methods = [str((s.results.meta.get('potential') or {}).get('name', ''))
               for s in every.values()]
    return Table('stages', 'Stages', [
        Field('stage', 'stage', list(every)),
        Field('method', 'method', methods),
        Field('converged', 'converged', done, 0),
        Field('failed', 'failed', bad, 0),
        Field('not_chosen', 'not chosen', skipped, 0)], terminal=20)


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
