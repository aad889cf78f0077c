"""`bench inference`: every cell of the file with its times, in a table."""
from __future__ import annotations

import json
from typing import Any

import numpy as np

from mpiapp.reporting.blocks import Block
from mpiapp.reporting.measured import table_of
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Measured'
PROGRAMS = ('bench inference',)

#: ragged column of bytes: the cells of a group, as JSON
CELLS = 'rows_json'


def blocks(subject: Subject) -> list[Block]:
    """Return the cells as the lines of a table, as in the JSON file."""
    results = subject.results
    if CELLS not in {c.name for c in results.schema.ragged}:
        return []
    cells: list[dict[str, Any]] = []
    for row in range(results.n_records):
        text = np.asarray(results.ragged(CELLS, row), np.uint8).tobytes()
        cells += json.loads(text or b'[]')
    return [table_of('cells', cells)] if cells else []
