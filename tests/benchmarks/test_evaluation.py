"""The measurement of evaluations: what it compares and what it refuses."""
import json

import numpy as np
import pytest

from mpiapp.benchmarks import evaluation, shapes

# of TorchScript, which e3nn is made of, and of mace-torch's own torch.load
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]


@pytest.fixture
def one_case(monkeypatch, tmp_path):
    """Let a small model and a small molecule be all there is to measure."""
    path = tmp_path / 'tiny.model'
    shapes.write_model(shapes.Shape('4x0e', 3.0), path)
    molecule = shapes.embedded('CO')
    structure = shapes.Structure(0, 0, 0, *molecule)
    monkeypatch.setattr(evaluation, 'cases', lambda folder: [
        ('tiny', str(path), 'methanol', structure)])
    monkeypatch.setattr(
        evaluation, 'available', lambda: ['poly', 'reference'])


def cells_of(tmp_path):
    return json.loads((tmp_path / 'out.json').read_text())['cells']


def test_every_way_and_precision_is_a_cell(one_case, tmp_path, capsys):
    code = evaluation.main(
        ['--rounds', '2', '--json', str(tmp_path / 'out.json')])
    assert code == 0
    cells = cells_of(tmp_path)
    assert [(c['dtype'], c['way']) for c in cells] == [
        (dtype, way) for dtype in ('float64', 'float32')
        for way in ('MACECalculator', 'reference', 'poly')]
    assert len(capsys.readouterr().out.splitlines()) == len(cells)
    for cell in cells:
        assert cell['state'] == 'ok'
        assert cell['cpu_ms'][0] <= cell['cpu_ms'][1] <= cell['cpu_ms'][2]
        assert cell['max_force'] > 0.0


def test_what_disagrees_gets_no_time(one_case, tmp_path, monkeypatch):
    right = evaluation.of_backend

    def wrong(name, path, dtype, structure):
        way = right(name, path, dtype, structure)
        if name != 'poly':
            return way
        return lambda x: (way(x)[0], way(x)[1] + 0.01)

    monkeypatch.setattr(evaluation, 'of_backend', wrong)
    code = evaluation.main(
        ['--rounds', '2', '--json', str(tmp_path / 'out.json')])
    assert code == 1
    poly = [c for c in cells_of(tmp_path) if c['way'] == 'poly']
    assert {c['state'] for c in poly} == {'refused'}
    assert not any('cpu_ms' in c for c in poly)


def test_sizes_of_the_molecules():
    assert len(shapes.organic_molecule().numbers) == 58
    dimer = shapes.pyrene_dimer()
    assert len(dimer.numbers) == 52
    first, second = np.split(dimer.positions, 2)
    np.testing.assert_allclose(
        second - first, np.tile([0, 0, shapes.STACKING], (26, 1)))
    # the planes are parallel to each other and at that distance
    assert np.ptp(first[:, 2]) < 0.1
