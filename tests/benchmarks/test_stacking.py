"""The measurement of stacks: known geometries, and a line for each way."""
from pathlib import Path

import numpy as np
import pytest

from mpiapp.benchmarks import stacking

#: degrees and A; rounding of an arc cosine near 1
ROUNDING = 1e-5


def hexagon(height: float, tilt: float = 0.0) -> np.ndarray:
    turns = np.arange(6) * np.pi / 3
    flat = 1.4 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    return flat @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) + [
        0, 0, height]


@pytest.mark.parametrize('height, tilt', [(3.5, 0.0), (5.0, 30.0),
                                          (4.0, 90.0)])
def test_distance_and_angle_of_two_rings(height: float, tilt: float) -> None:
    found = stacking.face_to_face(hexagon(0), hexagon(height, tilt))
    assert np.abs(np.array(found) - [height, tilt]).max() < ROUNDING


def test_a_line_for_each_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / 'in.csv'
    table.write_text('name,r_group,screen_group,smiles\n'
                     'A,,,c1ccc2cc(OCCOc3ccc4ccccc4c3)ccc2c1\nB,,,C\n')
    assert stacking.main(['--smiles-csv', str(table), '--names', 'A',
                          '--attempts', '2']) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[:3] for line in lines] == [
        ['A', 'ordinary', '2'], ['A', 'folded', '2']]


def test_a_bundled_ensemble_is_read(data_dir: Path) -> None:
    (_, row, ensemble), = stacking.of_files(
        [str(data_dir / 'dimers/moe_et_5.sdf')])
    assert len(ensemble) == 5
    assert '[O-]' not in row.smiles and '@' in row.smiles


def test_a_missing_table_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert stacking.main(['--smiles-csv', '/nowhere.csv']) == 2
    assert 'cannot be read' in capsys.readouterr().err
