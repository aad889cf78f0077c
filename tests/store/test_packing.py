"""Rows survive packing; what doesn't fit its column is refused."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpiapp.records import RELAX, Column, Schema
from mpiapp.store.packing import (
    RowPacker, cut_text, layout, schema_from_json, schema_json
)

OTHER = Schema((
    Column('flag', 'a', 'b1', '1', ''),
    Column('count', 'a', 'u2', '1', '', default=0),
    Column('cell', 'a', 'f4', 'angstrom', '', shape=(2, 3)),
    Column('half', 'b', 'f2', '1', ''),
    Column('label', 'b', 'S5', '', '', default='none'),
    Column('h', 'm', 'f4', 'eV', '', shape=(2,), ragged='orbital'),
    Column('q', 'm', 'f8', 'e', '', ragged='atom'),
    Column('z', 'm', 'i4', '1', '', ragged='atom'),
))


def test_a_row_comes_back_as_it_was(values: Any) -> None:
    row = values(5, n_atoms=117)
    packer = RowPacker(RELAX)
    back = packer.unpack(packer.pack(row))
    for name, value in row.items():
        assert np.array_equal(back[name], value), name
    assert list(back) == [c.name for c in RELAX.columns]


def test_missing_columns_get_their_fill_values() -> None:
    packer = RowPacker(RELAX)
    back, expected = packer.unpack(packer.pack({})), RELAX.complete({})
    for name, value in expected.items():
        np.testing.assert_array_equal(back[name], value)


def test_other_kinds_of_columns_and_axes_come_back() -> None:
    row = {'flag': True, 'count': 65535, 'half': np.nan, 'label': 'é',
           'cell': np.arange(6).reshape(2, 3), 'h': np.ones((4, 2)),
           'q': [0.5, -0.5, 1.0], 'z': [1, 2, 3]}
    packer = RowPacker(OTHER)
    back = packer.unpack(packer.pack(row))
    for name, value in row.items():
        np.testing.assert_array_equal(back[name], value)
    assert packer.sizes(packer.pack(row)) == (4, 3)
    assert packer.unpack(packer.pack({}))['label'] == 'none'


def test_many_rows_unpack_to_columns_in_order(values: Any) -> None:
    packer = RowPacker(RELAX)
    rows = [values(i) for i in (3, 1, 2)]
    block = packer.unpack_many([packer.pack(r) for r in rows])
    assert block.fixed['record'].tolist() == [3, 1, 2]
    assert block.lengths['atom'].tolist() == [r['n_atoms'] for r in rows]
    np.testing.assert_array_equal(
        block.ragged['x_final'], np.concatenate([r['x_final']
                                                 for r in rows]))
    assert len(packer.unpack_many([])) == 0


@pytest.mark.parametrize('changes, said', [
    ({'steps': 3.7}, 'steps'),
    ({'steps': 2**40}, 'steps'),
    ({'steps': 'many'}, 'steps'),
    ({'name': 7}, 'name'),
    ({'x_final': np.zeros((2, 3))}, 'x_final'),
    ({'x_start': np.zeros((3, 2))}, 'x_start'),
])
def test_a_value_that_does_not_fit_is_refused_by_name(
    values: Any, changes: dict[str, Any], said: str,
) -> None:
    row = {**values(1), **changes}
    with pytest.raises(ValueError, match=said):
        RowPacker(RELAX).pack(row)


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(KeyError, match='energy'):
        RowPacker(RELAX).pack({'energy': 1.0})


@given(st.text(), st.integers(1, 12))
def test_text_is_cut_between_characters(text: str, width: int) -> None:
    data = cut_text(text, width)
    assert len(data) <= width
    kept = data.decode('utf-8')
    clean = text.replace('\0', ' ').encode('utf-8', 'replace').decode()
    assert clean.startswith(kept)
    # nothing more would have fitted
    rest = clean[len(kept):]
    assert not rest or len(data) + len(rest[0].encode()) > width


@given(st.binary(max_size=700))
def test_foreign_bytes_are_no_row(data: bytes) -> None:
    packer = RowPacker(RELAX)
    try:
        lengths = packer.sizes(data)
    except ValueError:
        return
    assert packer.head + lengths[0] * packer.bytes_by_axis[0] == len(data)


@pytest.mark.parametrize('schema', [RELAX, OTHER])
def test_a_schema_comes_back_from_json(schema: Schema) -> None:
    assert schema_from_json(schema_json(schema)) == schema
    assert layout(schema_from_json(schema_json(schema))) == layout(schema)


@pytest.mark.parametrize('text', [
    '3', '[]x', '[{"name": "a"}]', '[3]',
    schema_json(Schema((Column('a', 'b', 'O', '', ''),))),
])
def test_a_wrong_schema_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        schema_from_json(text)
