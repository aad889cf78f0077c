"""The table of known saddles has a line for each case, and totals."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpiapp.benchmarks import saddles


def test_lines_and_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / 'x.json'
    assert saddles.main([
        '--methods', 'multimode', '--calculators', 'sparrow:DFTB0', '--sets',
        'small', '--most', '2', '--json', str(out)]) == 0
    text = capsys.readouterr().out
    assert 'hcn_hnc' in text and 'nh3_inversion' in text
    assert '2 of  2' in text.splitlines()[-1]
    cases = json.loads(out.read_text())
    assert [c['reason'] for c in cases] == ['ts', 'ts']
    assert all(c['n_neg'] == 1 and c['ends'] == 'ok' for c in cases)


def test_an_unknown_calculator_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert saddles.main(['--calculators', 'b3lyp', '--methods', 'gad',
                         '--sets', 'small', '--most', '1']) == 2
    assert 'unknown calculator' in capsys.readouterr().err
