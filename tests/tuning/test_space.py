"""The search space: bounds, texts of the command line, numbers."""
from __future__ import annotations

import pytest

from mpiapp.errors import InputError
from mpiapp.tuning.sampling import grid
from mpiapp.tuning.space import (
    Dimension, Space, named_once, parse_range, parse_value
)
from mpiapp.workers.toy_samples import SPACE


@pytest.mark.parametrize('low, high, kind, log, message', [
    (0.5, 0.1, 'float', False, 'bounds of x are reversed: 0.5 is above 0.1'),
    (0.1, 0.1, 'float', False, 'equal'),
    (0.0, 0.1, 'float', True, 'logarithmic'),
    (0.5, 3.0, 'int', False, 'whole numbers'),
    (0.5, float('inf'), 'float', False, 'finite'),
])
def test_wrong_bounds_are_named(
    low: float, high: float, kind: str, log: bool, message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        Dimension('x', kind, 1, low, high, log).check()


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(InputError, match='no parameter is left'):
        Space(()).check()


def test_parameters_survive_as_numbers() -> None:
    params = {'dt': 0.1 + 0.2, 'reach': 1 / 3, 'patience': 7,
              'adaptive': False}
    space = Space(SPACE.dimensions, {'dt_min': 1e-6})
    back = space.decode(space.encode(params))
    assert back == {**params, 'dt_min': 1e-6}
    assert type(back['patience']) is int
    assert type(back['adaptive']) is bool


def test_a_baseline_out_of_its_bounds_is_told() -> None:
    assert SPACE.outside(SPACE.baseline()) == []
    space = Space((Dimension('x', 'float', 5.0, 0.0, 1.0),))
    assert space.outside({'x': 5.0}) == ['x = 5 is outside 0..1']


@pytest.mark.parametrize('text, found', [
    ('dt=0.1:0.2', ('dt', 0.1, 0.2, None)),
    ('dt=1e-3:1:log', ('dt', 1e-3, 1.0, True)),
    ('dt=0:1:lin', ('dt', 0.0, 1.0, False)),
])
def test_ranges_are_read(text: str, found: tuple[object, ...]) -> None:
    assert parse_range(text) == found


@pytest.mark.parametrize('text', [
    'dt', 'dt=1', '=1:2', 'dt=1:2:cubic', 'dt=a:b', 'dt=1:2:log:3'])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(InputError, match='--range'):
        parse_range(text)


def test_values_are_read_in_their_kind() -> None:
    assert parse_value('a=3') == ('a', 3)
    assert parse_value('a=3e-1') == ('a', 0.3)
    assert parse_value('a=True') == ('a', True)
    with pytest.raises(InputError, match='--fix a=b'):
        parse_value('a=b')
    with pytest.raises(InputError, match='a is named twice'):
        named_once('--fix', ['a', 'b', 'a'])


def test_a_grid_covers_all_ends_within_the_bounds() -> None:
    points = grid(SPACE)
    assert len(points) == 3 * 3 * 3 * 2
    assert all(not SPACE.outside(p) for p in points)
    assert {p['dt'] for p in points} >= {0.0005, 0.005}
    assert {p['patience'] for p in points} == {3, 12, 20}
    many = Space(tuple(Dimension(f'x{i}', 'float', 0.5) for i in range(20)))
    with pytest.raises(InputError, match='points'):
        grid(many)
