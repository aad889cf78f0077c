"""The columns of a campaign of cells: a record is a group of them."""
from __future__ import annotations

from mpiapp.records import RUN, Column, Schema

#: of the columns of a run, those that a group of cells has
OF_RUN = ('status', 'reason', 'message', 'retries', 'seconds', 'rank')

GROUP = (
    Column('model', 'records', 'S96', '', 'model'),
    Column('molecule', 'records', 'S96', '', 'molecule'),
    Column('device', 'records', 'S8', '', 'cpu or cuda'),
    Column('quantity', 'records', 'S24', '', 'what is computed'),
    Column('batch', 'records', 'i4', '1', 'copies in one evaluation',
           default=0),
    Column('threads', 'records', 'i4', '1', 'threads of the rank',
           default=0),
    Column('n_atoms', 'records', 'i4', '1', 'atoms of one copy', default=0),
)

CELL = (
    Column('way', 'cells', 'S32', '', 'how the model is computed',
           ragged='cell'),
    Column('dtype', 'cells', 'S16', '', 'its arithmetic', ragged='cell'),
    Column('neighbours', 'cells', 'S16', '', 'who finds the pairs',
           ragged='cell'),
    Column('state', 'cells', 'S8', '', 'ok, skipped, failed or refused',
           ragged='cell'),
    Column('build_s', 'cells', 'f8', 's', 'to build it', ragged='cell',
           volatile=True),
    Column('first_s', 'cells', 'f8', 's', 'first call', ragged='cell',
           volatile=True),
    Column('warm_s', 'cells', 'f8', 's', 'calls until the median is stable',
           ragged='cell', volatile=True),
    Column('n_samples', 'cells', 'i4', '1', 'steady calls', ragged='cell'),
)

SAMPLES = (
    Column('sample_s', 'samples', 'f8', 's',
           'steady calls in the order of rounds, cell after cell',
           ragged='sample', volatile=True),
    Column('rows_json', 'json', 'u1', '', 'the rows of the cells, as JSON',
           default=0, ragged='byte', volatile=True),
)

CELLS = Schema((*GROUP, *(c for c in RUN if c.name in OF_RUN), *CELL,
                *SAMPLES))
