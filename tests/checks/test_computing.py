"""A method is tried on methane and water; the time comes from probes."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.checks import computing as checks
from mpiapp.checks.table import Doubt, Unfit
from mpiapp.partition import CostModel
from mpiapp.potentials import PotentialOptions, build, obtain
from mpiapp.records import Batch, Evaluation


class Changed:
    """A potential whose answers are changed."""

    def __init__(self, potential: Any, change: Any) -> None:
        self._potential, self._change = potential, change
        self.name, self.dtype = potential.name, potential.dtype
        self.elements = potential.elements

    def evaluate(self, batch: Batch) -> Evaluation:
        return self._change(self._potential.evaluate(batch))


@pytest.fixture(scope='module')
def lj() -> Any:
    return build(PotentialOptions('lj'))


@pytest.mark.parametrize('name', ['lj', 'gfn2', 'gfn1', 'mmff94s'])
def test_sound_methods_pass(name: str) -> None:
    potential = build(obtain(PotentialOptions(name)))
    assert checks.evaluates(potential).startswith('methane ')


def test_the_energies_are_those_of_the_bundled_model() -> None:
    potential = build(obtain(PotentialOptions(
        model='student', backend='poly', device='cpu')))
    assert potential.name in checks.ENERGIES
    assert checks.evaluates(potential).startswith('methane ')


@pytest.mark.parametrize('change, text', [
    (lambda e: replace(e, energies=e.energies + 1e-3), 'instead of'),
    (lambda e: replace(e, energies=e.energies * np.nan), 'instead of'),
    (lambda e: replace(e, forces=1.01 * e.forces), 'off the derivative'),
    (lambda e: replace(e, forces=e.forces * np.nan), 'off the derivative'),
    (lambda e: replace(e, failures={0: ('nan', 'no SCF')}), 'no SCF'),
])
def test_wrong_numbers_are_found(lj: Any, change: Any, text: str) -> None:
    with pytest.raises(Unfit, match=text):
        checks.evaluates(Changed(lj, change))


def test_a_method_that_is_not_needed_only_warns() -> None:
    with pytest.raises(Doubt, match='is not needed'):
        checks.try_method('no/such-basis')


@pytest.fixture
def opened(data_dir: Path, tmp_path: Path) -> checks.Input:
    return checks.open_input(
        [str(data_dir / 'dimers/library_sample.sdf')],
        lambda n: np.ones(n, bool), tmp_path)


def test_time_scales_with_ranks_and_a_limit_tells_how_many_jobs(
    opened: checks.Input,
) -> None:
    model = CostModel()
    sizes, times = [154, 156, 160], [0.1, 0.1, 0.1]
    one = checks.predicted(model, opened, sizes, [times], None)
    two = checks.predicted(model, opened, sizes, [times] * 2, None)
    assert 'on 1 rank(s)' in one and 'on 2 rank(s)' in two
    with pytest.raises(Doubt, match=r'about \d+ jobs of 10s'):
        checks.predicted(model, opened, sizes, [times], 10.0)
    with pytest.raises(Unfit, match='none of the conformers'):
        checks.predicted(model, opened, sizes, [[np.nan] * 3], None)


def test_broken_records_are_told_and_all_broken_is_a_failure(
    data_dir: Path, tmp_path: Path,
) -> None:
    text = (data_dir / 'dimers/library_sample.sdf').read_text()
    records = text.split('$$$$\n')
    cut = '\n'.join(records[0].split('\n')[:30]) + '\n'
    for name, content in (('some', [cut, records[1]]), ('all', [cut])):
        (tmp_path / f'{name}.sdf').write_text(
            '$$$$\n'.join([*content, '']))

    def read(name: str) -> str:
        return checks.readable(checks.open_input(
            [str(tmp_path / f'{name}.sdf')], lambda n: np.ones(n, bool),
            tmp_path))
    with pytest.raises(Doubt, match='1 of 2 that were read are broken'):
        read('some')
    with pytest.raises(Unfit, match='1 of 1'):
        read('all')


def test_probes_are_small_middling_and_large(opened: checks.Input) -> None:
    sizes = [len(s.numbers) for s in checks.probes(opened)]
    assert len(sizes) == 3 and sizes == sorted(sizes)
