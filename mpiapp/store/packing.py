"""Rows as bytes: the form in which journals and ranks hand them on.

A packed row is the fixed columns as one little-endian struct without gaps,
then one uint64 length for each ragged axis, then the arrays of the ragged
columns in the schema's order.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.json_text import parsed
from mpiapp.records import Column, Ints, Row, Schema

#: kinds of numpy dtype a column may have
KINDS = frozenset('iufbS')
#: codes of single numbers that struct packs fastest
CODES = {'i1': 'b', 'i2': 'h', 'i4': 'i', 'i8': 'q', 'u1': 'B', 'u2': 'H',
         'u4': 'I', 'u8': 'Q', 'f4': 'f', 'f8': 'd'}


def schema_json(schema: Schema) -> str:
    """Return the columns as JSON text, the same for equal schemas."""
    columns = [dataclasses.asdict(c) for c in schema.columns]
    return json.dumps(columns, sort_keys=True)


def schema_from_json(text: str) -> Schema:
    """Return the schema of `schema_json`.

    Raises:
        ValueError: not a list of columns, or a dtype that can't be stored.
    """
    try:
        columns = tuple(
            Column(**{**c, 'shape': tuple(c['shape'])})
            for c in parsed(text))
        kinds = {np.dtype(c.dtype).kind for c in columns}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f'not a list of columns: {error}') from error
    if not kinds <= KINDS:
        raise ValueError(f'cannot store dtypes of kind {kinds - KINDS}')
    return Schema(columns)


def layout(schema: Schema) -> list[tuple[Any, ...]]:
    """Return what must agree for the bytes of two schemas to agree."""
    return [(c.name, little(c).str, tuple(c.shape), c.ragged)
            for c in schema.columns]


def schema_digest(schema: Schema) -> str:
    """Return the sha256 of the layout."""
    return hashlib.sha256(repr(layout(schema)).encode()).hexdigest()


def cut_text(text: str | bytes, width: int) -> bytes:
    """Return UTF-8 of at most `width` bytes, cut between characters.

    NUL ends a text in the file, so that inside one it becomes a space;
    what is no character becomes a question mark.
    """
    if isinstance(text, bytes):
        text = text.decode('utf-8', 'replace')
    data = text.encode('utf-8', 'replace')
    if len(data) > width:
        data = data[:width].decode('utf-8', 'ignore').encode()
    return data.replace(b'\0', b' ') if b'\0' in data else data


def little(column: Column) -> np.dtype[Any]:
    """Return the dtype of one entry as it is stored; bool as int8."""
    dtype = np.dtype(column.dtype).newbyteorder('<')
    return np.dtype(np.int8) if dtype.kind == 'b' else dtype


@dataclass(frozen=True)
class Block:
    """Rows as columns: what is written to the campaign file at once.

    `fixed` [n_rows] is a structured array, `ragged` maps a column to its
    flat array [total, ...], `lengths` an axis to the row lengths [n_rows].
    """

    fixed: NDArray[Any]
    ragged: Mapping[str, NDArray[Any]]
    lengths: Mapping[str, Ints]

    def __len__(self) -> int:
        return len(self.fixed)


class RowPacker:
    """Packs and unpacks the rows of one schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.axes = schema.axes
        self.dtype = np.dtype([
            (c.name, little(c), c.shape) for c in schema.fixed])
        self._names = frozenset(c.name for c in schema.columns)
        self._plan = [(c.name, *_converter(c)) for c in schema.fixed]
        self._struct = struct.Struct(
            '<' + ''.join(_code(c) for c in schema.fixed))
        self._lengths = struct.Struct(f'<{len(self.axes)}Q')
        self._ragged = [
            (self.axes.index(c.ragged), c.name, little(c), tuple(c.shape),
             little(c).itemsize * int(np.prod(c.shape)))
            for c in schema.ragged]
        self._fills = {
            c.name: np.full(c.shape, c.fill, little(c)).tobytes()
            for c in schema.ragged}
        self.head = self._struct.size + self._lengths.size
        bytes_by_axis = [0] * len(self.axes)
        for axis, _, _, _, size in self._ragged:
            bytes_by_axis[axis] += size
        self.bytes_by_axis = tuple(bytes_by_axis)

    def pack(self, values: Mapping[str, Any]) -> bytes:
        """Return the row as bytes; missing columns get their fill values.

        Raises:
            KeyError: a name that is no column.
            ValueError: a value that doesn't fit its column.
        """
        if not values.keys() <= self._names:
            raise KeyError('no such columns: '
                           f'{sorted(values.keys() - self._names)}')
        lengths, arrays = self._pack_ragged(values)
        fixed = [convert(values[name]) if name in values else fill
                 for name, convert, fill in self._plan]
        try:
            head = self._struct.pack(*fixed)
        except (struct.error, OverflowError):
            head = self._struct.pack(*self._careful(fixed))
        return b''.join((head, self._lengths.pack(*lengths), *arrays))

    def _pack_ragged(
        self, values: Mapping[str, Any],
    ) -> tuple[list[int], list[bytes]]:
        given = {
            name: np.asarray(values[name], dtype)
            for _, name, dtype, _, _ in self._ragged if name in values}
        lengths = [-1] * len(self.axes)
        for axis, name, _, shape, _ in self._ragged:
            if name not in given:
                continue
            n = len(given[name])
            if given[name].shape[1:] != shape and n:
                raise ValueError(f'column {name}: an entry has shape '
                                 f'{given[name].shape[1:]}, not {shape}')
            if lengths[axis] not in (-1, n):
                raise ValueError(
                    f'column {name}: {n} entries, but other columns of axis '
                    f'{self.axes[axis]} have {lengths[axis]}')
            lengths[axis] = n
        lengths = [max(n, 0) for n in lengths]
        arrays = [
            given[name].tobytes() if name in given
            else self._fills[name] * lengths[axis]
            for axis, name, _, _, _ in self._ragged]
        return lengths, arrays

    def _careful(self, fixed: Sequence[Any]) -> list[Any]:
        """Convert what struct refused, or name the column at fault."""
        result = []
        for column, value in zip(self.schema.fixed, fixed, strict=True):
            if isinstance(value, bytes):
                result.append(value)
                continue
            result.append(_exact(column, value))
        return result

    def sizes(self, payload: bytes | memoryview) -> tuple[int, ...]:
        """Return the lengths of the ragged axes.

        Raises:
            ValueError: the bytes are no row of this schema.
        """
        if len(payload) < self.head:
            raise ValueError('too short for a row')
        lengths = self._lengths.unpack_from(payload, self._struct.size)
        rest = sum(n * size for n, size
                   in zip(lengths, self.bytes_by_axis, strict=True))
        if self.head + rest != len(payload):
            raise ValueError('length of the row does not fit its columns')
        return lengths

    def status_of(self, payload: bytes) -> int:
        """Return the value of column `status`, 1 where there is none."""
        if 'status' not in (self.dtype.names or ()):
            return 1
        dtype, offset = self.dtype.fields['status'][:2]  # type: ignore
        return int(np.frombuffer(payload, dtype, 1, offset)[0])

    def unpack(self, payload: bytes) -> Row:
        """Return the row, complete; texts as str, numbers as Python's."""
        block = self.unpack_many([payload])
        return block_row(self.schema, block)

    def unpack_many(self, payloads: Sequence[bytes]) -> Block:
        """Return the rows as columns, in the given order."""
        lengths = np.array([self.sizes(p) for p in payloads], np.int64)
        lengths = lengths.reshape(len(payloads), len(self.axes))
        size = self._struct.size
        fixed = np.frombuffer(
            b''.join(p[:size] for p in payloads), self.dtype)
        ragged: dict[str, NDArray[Any]] = {}
        starts = np.full(len(payloads), self.head)
        for axis, name, dtype, shape, width in self._ragged:
            stops = starts + lengths[:, axis] * width
            data = b''.join(
                p[a:b] for p, a, b in zip(
                    payloads, starts.tolist(), stops.tolist(), strict=True))
            ragged[name] = np.frombuffer(data, dtype).reshape(-1, *shape)
            starts = stops
        return Block(fixed, ragged, {
            axis: lengths[:, i] for i, axis in enumerate(self.axes)})


def block_row(schema: Schema, block: Block) -> Row:
    """Return the only row of a block of one."""
    row: Row = {}
    for column in schema.columns:
        if column.ragged:
            row[column.name] = block.ragged[column.name].copy()
            continue
        value = block.fixed[column.name][0]
        kind = np.dtype(column.dtype).kind
        if column.shape:
            row[column.name] = value.copy()
        elif kind == 'S':
            row[column.name] = value.decode('utf-8', 'replace')
        else:
            row[column.name] = bool(value) if kind == 'b' else value.item()
    return row


def _exact(column: Column, value: Any) -> Any:
    """Return a number in its column's type, or say that it is none."""
    dtype = little(column)
    try:
        with np.errstate(over='ignore'):
            exact = dtype.type(value)
        fits = exact == value if dtype.kind != 'f' \
            else bool(np.isinf(exact) == np.isinf(float(value)))
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(f'column {column.name}: {value!r} does not fit '
                         f'{column.dtype}')
    return exact.item()


def _code(column: Column) -> str:
    code = CODES.get(little(column).str[1:])
    if code and not column.shape:
        return code
    return f'{little(column).itemsize * int(np.prod(column.shape))}s'


def _converter(column: Column) -> tuple[Callable[[Any], Any], Any]:
    """Return how a value is made ready for struct, and the fill value."""
    dtype, shape = little(column), column.shape
    if dtype.kind == 'S' and not shape:
        def text(value: Any) -> bytes:
            if value is None:
                value = column.fill
            elif not isinstance(value, (str, bytes)):
                raise ValueError(f'column {column.name}: {value!r} is no '
                                 'text')
            return cut_text(value, dtype.itemsize)
        return text, text(column.fill)
    if shape or dtype.str[1:] not in CODES:
        def raw(value: Any) -> bytes:
            array = np.asarray(value, dtype)
            if array.shape != shape:
                raise ValueError(f'column {column.name}: shape '
                                 f'{array.shape}, not {shape}')
            return array.tobytes()
        return raw, raw(np.full(shape, column.fill, dtype))

    def number(value: Any) -> Any:
        return column.fill if value is None else value
    return number, column.fill
