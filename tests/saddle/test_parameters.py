"""What can be tuned: ranges hold their baselines, bad values are told."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpiapp.records import InputError
from mpiapp.saddle.base import METHODS, SearchSettings
from mpiapp.saddle.parameters import (
    PARAMETERS, baseline, check, check_bounds, read_params
)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('ranges', ['hip', 'scine'])
def test_baselines_lie_in_their_ranges(method: str, ranges: str) -> None:
    for p in PARAMETERS[method]:
        if p.kind != 'bool':
            low, high = p.range_of(ranges)
            assert low <= p.baseline <= high and low < high, p.name
    assert check(SearchSettings(method)).params == baseline(method)


def test_fmax_is_a_test_and_not_a_parameter() -> None:
    assert all(p.name != 'fmax' for ps in PARAMETERS.values() for p in ps)


@pytest.mark.parametrize('method, params, words', [
    ('newton', {}, 'unknown method'),
    ('gad', {'speed': 1.0}, "no parameter 'speed'"),
    ('gad', {'escape_delta': 0.1}, "no parameter 'escape_delta'"),
    ('gad', {'dt': -0.1}, 'must be above 0'),
    ('gad', {'dt': float('nan')}, 'expected a number'),
    ('gad', {'dt': 0.2}, 'dt must lie between'),
    ('gad', {'plateau_patience': 2.5}, 'a whole number'),
    ('gad', {'plateau_shrink': 1.2}, 'at most 1'),
    ('sella', {'apply_eckart': 1}, 'true or false'),
    ('sella', {'delta0': 'large'}, 'expected a number'),
])
def test_bad_parameters_are_told(
    method: str, params: dict[str, object], words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        check(SearchSettings(method, params))


@pytest.mark.parametrize('bounds, words', [
    ({'delta0': (0.8, 0.15)}, 'reversed'),
    ({'apply_eckart': (0, 1)}, 'no range'),
    ({'speed': (0, 1)}, 'no range'),
    ({'sigma_dec': (0.5, 1.5)}, 'at most 1'),
])
def test_bad_bounds_are_told(
    bounds: dict[str, tuple[float, float]], words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        check_bounds('sella', bounds)
    check_bounds('sella', {'delta0': (0.1, 0.2)})


def test_exported_parameters_are_read(tmp_path: Path) -> None:
    path = tmp_path / 'best.json'
    path.write_text(json.dumps(
        {'method': 'sella', 'params': {'delta0': 0.3}, 'score': 1.0}))
    assert read_params(path) == ('sella', {'delta0': 0.3})


@pytest.mark.parametrize('text, words', [
    ('{', 'no JSON'), ('[]', 'expected an object'),
    ('{"method": "gad"}', 'expected an object'),
    ('{"method": "gad", "params": {"dt": 9}}', 'dt must lie'),
    ('{"method": "x", "params": {}}', 'unknown method'),
])
def test_bad_files_of_parameters_are_told(
    text: str, words: str, tmp_path: Path,
) -> None:
    path = tmp_path / 'best.json'
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_params(path)
    with pytest.raises(InputError, match='No such file'):
        read_params(tmp_path / 'none.json')
