"""The worked example of docs/add_a_potential.md is run as it stands."""
import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mpiapp import potentials

DOC = (Path(potentials.__file__).resolve().parents[2]
       / 'docs' / 'add_a_potential.md')


@pytest.fixture
def blocks(tmp_path, monkeypatch):
    """Return the code of the document, its potential in place."""
    found = re.findall(r'```python\n(.*?)```', DOC.read_text(), re.DOTALL)
    (tmp_path / 'born.py').write_text(found[0])
    monkeypatch.setattr(
        potentials, '__path__', [*potentials.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield found
    sys.modules.pop('mpiapp.potentials.born', None)


def test_example_is_found_and_used_as_written(blocks, capsys):
    assert len(blocks) == 2
    exec(compile(blocks[1], str(DOC), 'exec'), {})
    assert capsys.readouterr().out.startswith('[')


def test_forces_of_the_example_are_finite_differences(blocks, tools):
    potential = potentials.build(potentials.PotentialOptions('born'))
    numbers, positions = tools.embed('CCO')
    forces = potential.evaluate(tools.one(numbers, positions)).forces
    energies = []
    for step in (1e-4, -1e-4):
        moved = positions.copy()
        moved[3, 1] += step
        found = potential.evaluate(tools.one(numbers, moved))
        energies.append(found.energies[0])
    slope = (energies[0] - energies[1]) / 2e-4
    # the error of central differences is 1e-8 of the third derivative
    assert slope == pytest.approx(-forces[3, 1], abs=1e-5)
    assert abs(slope) > 0.01


def test_example_fails_one_molecule_and_not_the_batch(blocks, tools):
    potential = potentials.build(potentials.PotentialOptions('born'))
    together = np.zeros((2, 3))
    found = potential.evaluate(tools.many(
        [([1, 1], together, 0, 0), (*tools.embed('CCO'), 0, 0)]))
    assert set(found.failures) == {0}


def test_functions_named_in_the_document_exist():
    text = DOC.read_text()
    from mpiapp.potentials import base, mace
    for name in ('unusable', 'settle', 'require_plain'):
        assert name in text and hasattr(base, name)
    assert 'BACKENDS' in text and mace.BACKENDS
    assert 'ALIASES' in text and potentials.ALIASES
