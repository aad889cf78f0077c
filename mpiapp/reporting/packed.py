"""Structures of a campaign, small enough for a page.

Coordinates are whole thousandths of an angstrom in 16 bits (more where a
molecule is larger than 65 A), each atom relative to the one before, the
start relative to the end and laid over it; low and high bytes apart, then
gzip and base64, CHUNK records at a time.  Elements and bonds are stored
once for all records of one graph.
"""
from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.chromophores import chromophores_of
from mpiapp.chemistry.descriptors import descriptor_graph, stored_structure
from mpiapp.records import Floats
from mpiapp.reporting.subject import Results

#: records that are decoded together
CHUNK = 64
#: angstrom
UNIT = 0.001
LARGEST = 32767
NEEDED = frozenset({'numbers', 'x_start', 'x_final'})
GRAPH = ('bonds', 'bond_orders', 'formal_charges')


@dataclass
class Packed:
    """What the page gets; `chunks` are base64, the rest JSON data.

    `records` [n]: row, number of its graph, unit (A), whether start and end
    are there, and the atoms' numbers of the two best chromophores.
    """

    graphs: list[dict[str, Any]] = field(default_factory=list)
    records: list[list[Any]] = field(default_factory=list)
    chunks: list[str] = field(default_factory=list)


def has_geometry(results: Results) -> bool:
    """Tell whether the records of a campaign have structures."""
    return NEEDED <= {c.name for c in results.schema.ragged}


def packed(results: Results, most: int) -> Packed:
    """Pack the structures of the first `most` records that have one."""
    page = Packed()
    if not has_geometry(results):
        return page
    names = [c.name for c in results.schema.ragged]
    wanted = [*sorted(NEEDED), *(n for n in GRAPH if n in names),
              *(n for n in ('pair_a', 'pair_b') if n in names)]
    table = results.table
    known: dict[bytes, int] = {}
    part: list[NDArray[np.int16]] = []
    with results.row_reader() as read:
        for first in range(0, results.n_records, 512):
            rows = np.arange(first, min(first + 512, results.n_records))
            columns = {n: read(n, rows) for n in wanted}
            for i, row in enumerate(rows.tolist()):
                if len(page.records) == most:
                    break
                mine = {n: columns[n][i] for n in wanted}
                if not len(mine['numbers']):
                    continue
                line = {str(k): v for k, v in table.iloc[row].items()}
                part.append(_add(page, known, row, line, mine))
                if len(part) == CHUNK:
                    page.chunks.append(encode(part))
                    part = []
    if part:
        page.chunks.append(encode(part))
    return page


def _add(
    page: Packed, known: dict[bytes, int], row: int, line: dict[str, Any],
    mine: dict[str, Any],
) -> NDArray[np.int16]:
    """Note a record and return its coordinates as whole numbers."""
    key = b'|'.join(np.asarray(mine[n]).tobytes() for n in (
        'numbers', 'bonds', 'bond_orders') if n in mine)
    if key not in known:
        known[key] = len(page.graphs)
        page.graphs.append(_graph(line, mine))
    start, final = mine['x_start'], mine['x_final']
    ends = [bool(len(x) and np.isfinite(x).all()) for x in (start, final)]
    if ends[0] and ends[1]:
        start = laid_over(start, final)
    elif ends[0]:
        final = start
    elif ends[1]:
        start = final
    else:
        start = final = np.zeros((len(mine['numbers']), 3))
    numbers, unit = whole(start, final)
    graph = known[key]
    page.records.append([row, graph, unit, int(ends[0]), int(ends[1]),
                         *_best(line, mine)])
    return numbers


def _best(line: dict[str, Any], mine: dict[str, Any]) -> list[int]:
    """Return the numbers of the chromophores of the best pair, or -1."""
    best = int(line.get('best_pair', -1))
    if 'pair_a' not in mine or not 0 <= best < len(mine['pair_a']):
        best = int(line.get('best_pair_start', -1))
    if 'pair_a' not in mine or not 0 <= best < len(mine['pair_a']):
        return [-1, -1]
    return [int(mine['pair_a'][best]), int(mine['pair_b'][best])]


def _graph(line: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any]:
    """Return elements, bonds with orders, ring systems of a graph."""
    n_atoms = len(mine['numbers'])
    row = {'bonds': np.empty((0, 2)), 'bond_orders': np.empty(0),
           'formal_charges': np.zeros(n_atoms), 'file_number': 0,
           'record': 0, 'charge': 0, 'unpaired': 0, 'name': '',
           **line, **mine}
    if not np.isfinite(np.asarray(row['x_start'], float)).all():
        row['x_start'] = row['x_final']
    structure = stored_structure(row)
    rings: list[list[int]] = []
    bonds = np.asarray(structure.bonds, np.int64).reshape(-1, 2)
    if np.isfinite(structure.positions).all():
        graph = descriptor_graph(structure, structure.positions)
        rings = [list(s.atoms) for s in chromophores_of(graph).systems]
        bonds = np.frombuffer(graph.bonds, np.int64).reshape(-1, 2)
    orders = structure.orders if len(structure.orders) == len(bonds) \
        else np.full(len(bonds), 2)
    return {'numbers': np.asarray(mine['numbers']).tolist(),
            # a dative bond is drawn as a single one
            'bonds': np.column_stack([bonds, np.maximum(orders, 2)])
            .ravel().tolist(),
            'rings': rings}


def laid_over(moving: Floats, target: Floats) -> Floats:
    """Return positions [n, 3] rotated and shifted onto others."""
    a = moving - moving.mean(axis=0)
    b = target - target.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt)) or 1.0
    return np.asarray(a @ u @ vt + target.mean(axis=0))


def whole(
    start: Floats, final: Floats,
) -> tuple[NDArray[np.int16], float]:
    """Return both geometries [2, n, 3] as differences, and their unit."""
    centre = final.mean(axis=0)
    both = np.stack([final - centre, start - centre])
    unit = max(UNIT, float(np.abs(both).max()) / LARGEST)
    numbers = np.round(both / unit).astype(np.int16)
    numbers[1] -= numbers[0]
    numbers[0, 1:] -= numbers[0, :-1].copy()
    return numbers, unit


def encode(part: list[NDArray[np.int16]]) -> str:
    """Return several records as base64 of gzip, low bytes first."""
    flat = np.concatenate([p.astype('<i2').ravel() for p in part])
    pair = flat.view(np.uint8).reshape(-1, 2)
    data = np.concatenate([pair[:, 0], pair[:, 1]]).tobytes()
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
