"""The examples of docs/file_format.md run as they stand."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mpiapp.records import RELAX

TEXT = (Path(__file__).parents[2] / 'docs' / 'file_format.md').read_text(
    encoding='utf-8')
BLOCKS = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)


def test_there_are_examples_of_all_three_libraries() -> None:
    for package in ('h5py', 'pandas', 'xarray'):
        assert any(f'import {package}\n' in block for block in BLOCKS)


@pytest.mark.parametrize('block', BLOCKS, ids=[
    block.split('\n')[0] for block in BLOCKS])
def test_an_example_runs_and_gives_what_it_says(
    write_result: Any, values: Any, tmp_path: Path, block: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if 'h5netcdf' in block:
        pytest.importorskip('h5netcdf')
    write_result()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, 'docs/file_format.md', 'exec'), names)
    energies = [values(i)['e_total'] for i in range(6)]
    best = energies.index(min(energies))
    if 'positions' in names:
        assert (names['positions'] == values(best)['x_final']).all()
        assert names['fmax'] == 0.005
    elif 'atoms' in names:
        assert (names['atoms'].positions == values(best)['x_final']).all()
        assert names['lowest'].min() == min(energies)
    elif 'mean' in names:
        assert float(names['mean']) == pytest.approx(sum(energies) / 6)
        assert names['results'].sizes == {'record': 6}
    else:
        assert names['energies']['e_total'].tolist() == energies


def test_the_document_names_every_column_group() -> None:
    for group in {c.group for c in RELAX.columns}:
        assert f'`/{group}`' in TEXT
