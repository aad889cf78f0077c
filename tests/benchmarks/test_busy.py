"""The busy share of ranks with helper processes is measured."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mpiapp.benchmarks import busy
from mpiapp.errors import InputError
from tests.jobs import needs_mpirun

#: below the goal of 0.85, as in tests/mpi/test_tune.py
BUSY_EXACT = 0.75


def test_each_case_and_tick_has_a_line_of_medians(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shares = iter([0.5, 0.9, 0.9, 0.7, 0.8, 0.8])

    def once(options: Any, case: str, tick: float, folder: Path) -> Any:
        share = next(shares)
        return {'wall': 1.0, 'busy': share, 'useful': share - 0.1,
                'manager': 0.01, 'trials_per_hour': 100 * share}
    monkeypatch.setattr(busy, 'once', once)
    out = tmp_path / 'x.json'
    assert busy.main(['--cases', 'async', '--json', str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[2:]] == [
        ['async', '0.1', '80.0%', '70.0%', '1.00%', '80'],
        ['async', '0.02', '80.0%', '70.0%', '1.00%', '80']]
    runs = json.loads(out.read_text())['runs']
    assert [r['busy'] for r in runs[0]['runs']] == [0.5, 0.9, 0.8]


def test_a_study_that_fails_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    def once(*args: Any) -> Any:
        raise InputError('no mpirun')
    monkeypatch.setattr(busy, 'once', once)
    assert busy.main(['--cases', 'exact']) == 2
    assert 'no mpirun' in capsys.readouterr().err


@needs_mpirun
@pytest.mark.slow
def test_ranks_with_helpers_are_busy_in_exact_mode(
    tmp_path: Path,
) -> None:
    pytest.importorskip('scine_sparrow')
    out = tmp_path / 'x.json'
    assert busy.main(['--cases', 'exact', '--ticks', '0.02', '--repeats',
                      '1', '--n-trials', '4', '--json', str(out)]) == 0
    found = json.loads(out.read_text())['runs'][0]['runs'][0]
    assert BUSY_EXACT <= found['useful'] <= found['busy'] <= 1
