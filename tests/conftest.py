"""What every test may use: random numbers, the bundled data, GPU skips."""
import os
from pathlib import Path

# Read when numpy and torch are loaded, so set before either is imported.
for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(_name, '1')

import numpy as np  # noqa: E402
import pytest  # noqa: E402

SEED = 20261121


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that starts alike in every test."""
    return np.random.default_rng(SEED)


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """Return the folder of the bundled data."""
    return Path(__file__).resolve().parent.parent / 'data'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu where torch sees none."""
    marked = [item for item in items if item.get_closest_marker('gpu')]
    if not marked:
        return
    import torch
    if torch.cuda.is_available():
        return
    for item in marked:
        item.add_marker(pytest.mark.skip(reason='torch sees no GPU'))
