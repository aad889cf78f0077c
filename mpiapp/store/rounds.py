"""How the rows of a campaign are moved to their place in the file.

All rows, in order, are cut into rounds; in each round every writer gets a
contiguous piece.  Neither a supplier nor a writer holds much more than the
limit of a round at a time.  Pure functions.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Ints
from mpiapp.store.packing import Block, RowPacker

#: rows are counted in bins, so that the plan of 10 million rows stays small
MAX_BINS = 65536

#: what goes from one rank to another: row numbers and packed rows
Parcel = tuple[Ints, list[bytes]]


def bin_width(n_records: int, max_bins: int = MAX_BINS) -> int:
    """Return how many rows make a bin."""
    return max(1, -(-n_records // max_bins))


def bytes_by_bin(
    packer: RowPacker, rows: Ints, lengths: Ints, n_records: int,
    max_bins: int = MAX_BINS,
) -> Floats:
    """Return the size [n_bins] bytes of the rows of one supplier."""
    width = bin_width(n_records, max_bins)
    sizes = packer.head + lengths @ np.array(
        packer.bytes_by_axis, np.int64).reshape(-1)
    return np.bincount(rows // width, weights=sizes.astype(np.float64),
                       minlength=-(-n_records // width)).astype(np.float64)


def plan_rounds(
    total: Floats, largest: Floats, n_records: int, width: int,
    n_writers: int, limit: int,
) -> list[Ints]:
    """Return for each round the borders [n_writers + 1] of the pieces.

    `total` [n_bins] are the bytes of all rows of a bin, `largest` [n_bins]
    the most of them that come from one supplier.  A round is closed before
    its bytes exceed `limit` for a supplier, or for the average writer.
    """
    edges = np.minimum(np.arange(len(total) + 1) * width, n_records)
    rounds = []
    start, bytes_in, bytes_out = 0, 0.0, 0.0
    for i, (t, s) in enumerate(zip(total.tolist(), largest.tolist(),
                                   strict=True)):
        if i > start and (bytes_in + t > limit * n_writers
                          or bytes_out + s > limit):
            rounds.append((start, i))
            start, bytes_in, bytes_out = i, 0.0, 0.0
        bytes_in += t
        bytes_out += s
    if len(total) > start:
        rounds.append((start, len(total)))
    before = np.concatenate([[0.0], np.cumsum(total)])
    return [_cut(edges, before, a, b, n_writers) for a, b in rounds]


def _cut(
    edges: Ints, before: Floats, first: int, last: int, n_writers: int,
) -> Ints:
    """Cut the bins first:last into pieces of about equal bytes."""
    part = slice(first, last + 1)
    wanted = np.linspace(before[first], before[last], n_writers + 1)
    cuts = np.interp(wanted, before[part], edges[part]).astype(np.int64)
    cuts[0], cuts[-1] = edges[first], edges[last]
    return cuts


def parcels(
    rows: Ints, fetch: Callable[[Ints], list[bytes]], cuts: Ints,
) -> list[Parcel]:
    """Return for each writer what this supplier has of its piece."""
    at = np.searchsorted(rows, cuts)
    payloads = fetch(rows[at[0]:at[-1]])
    return [(rows[a:b], payloads[a - at[0]:b - at[0]])
            for a, b in zip(at[:-1], at[1:], strict=True)]


def assemble(
    packer: RowPacker, received: Sequence[Parcel], first: int, last: int,
    blank: Callable[[int], Mapping[str, Any]],
) -> Block:
    """Return the rows first:last in order, with `blank(row)` in the gaps.

    Raises:
        ValueError: two suppliers sent the same row, or a blank row has
            entries on a ragged axis.
    """
    slots: list[bytes | None] = [None] * (last - first)
    for rows, payloads in received:
        for row, payload in zip(rows.tolist(), payloads, strict=True):
            if slots[row - first] is not None:
                raise ValueError(f'row {row} comes from two ranks')
            slots[row - first] = payload
    whole = [packer.pack(blank(first + i)) if p is None else p
             for i, p in enumerate(slots)]
    for i, p in enumerate(slots):
        if p is None and any(packer.sizes(whole[i])):
            raise ValueError(f'blank row {first + i} has ragged entries')
    return packer.unpack_many(whole)


def pieces(n: int, n_pieces: int) -> list[slice]:
    """Cut n entries into slices of about equal length, some maybe empty."""
    if n_pieces == 0:
        return []
    borders: NDArray[np.int64] = np.arange(n_pieces + 1) * n // n_pieces
    return [slice(int(a), int(b))
            for a, b in zip(borders[:-1], borders[1:], strict=True)]
