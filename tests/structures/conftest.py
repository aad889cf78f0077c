"""Inputs of the tests of step 1."""
from pathlib import Path

import pytest


@pytest.fixture
def dimers(data_dir: Path) -> Path:
    """The folder of the aromatic dimers."""
    return data_dir / 'dimers'


@pytest.fixture
def bad_inputs(data_dir: Path) -> Path:
    """The folder of odd and broken files."""
    return data_dir / 'bad_inputs'


@pytest.fixture
def water() -> str:
    """A good record: V2000, 3D, one data item."""
    return ('water\n  test              3D\n\n'
            '  3  2  0  0  0  0  0  0  0  0999 V2000\n'
            '    0.0000    0.0000    0.1173 O   0  0\n'
            '    0.0000    0.7572   -0.4692 H   0  0\n'
            '    0.0000   -0.7572   -0.4692 H   0  0\n'
            '  1  2  1  0\n'
            '  1  3  1  0\n'
            'M  END\n>  <E>\n-1.5\n\n$$$$\n')
