"""The worked example of docs/add_a_hessian.md is run as it stands."""
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.saddle.surfaces import PotentialSurface, compared
from tests.jobs import run

ROOT = Path(__file__).resolve().parents[2]
DOC = ROOT / 'docs' / 'add_a_hessian.md'
DATA = ROOT / 'data/saddles/small_reactions.extxyz'


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the code of the document, its potential in the folder."""
    found = re.findall(r'```python\n(.*?)```', DOC.read_text(), re.DOTALL)
    (tmp_path / 'springs.py').write_text(found[0])
    monkeypatch.chdir(tmp_path)
    return list(found)


def test_the_example_searches_with_its_own_hessian(
    blocks: list[str], capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(blocks) == 2
    exec(compile(blocks[1], str(DOC), 'exec'), {'DATA': DATA})
    about, result = capsys.readouterr().out.splitlines()
    assert about.startswith('analytic within')
    reason, n_calls, n_hess, n_displaced = result.split()
    assert int(n_calls) >= int(n_hess) > 0 and n_displaced == '0'
    assert reason not in ('calculator_error', 'nan_hessian')


def test_the_head_of_the_example_is_the_derivative_of_its_forces(
    blocks: list[str], tools,
) -> None:
    potential = build(PotentialOptions('springs.py'))
    numbers, positions = tools.embed('CO')
    surface = PotentialSurface(potential, numbers, 0, 0, potential.hessian)
    assert compared(surface, positions) < 1e-4
    assert np.abs(surface.hessian(positions)).max() > 1.0


def test_the_program_takes_the_file(blocks: list[str]) -> None:
    ended = run('tssearch', '--data', DATA, '--max-samples', 1,
                '--calculator', 'springs.py', '--start-from', 'ts',
                '--n-steps', 5, '--output', 'x.h5', '--max-failed', 1)
    assert ended.code == 0, ended.output
    assert 'calculator   springs, Hessian analytic (within' in ended.output
