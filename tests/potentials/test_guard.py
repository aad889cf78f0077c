"""The guard keeps what agrees with the reference and refuses the rest."""
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build, mace
from mpiapp.potentials.guard import TOLERANCES, check, made_structure

# TorchScript, which e3nn is made of, is deprecated
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')

SMILES = ('CCO', 'c1ccsc1')


@dataclass(frozen=True, eq=False)
class Wrong:
    """A potential whose energies or forces are off by a factor."""

    of: Any
    energy: float = 1.0
    force: float = 1.0

    def __getattr__(self, name):
        return getattr(self.of, name)

    def evaluate(self, batch):
        found = self.of.evaluate(batch)
        return replace(found, energies=found.energies * self.energy,
                       forces=found.forces * self.force)


@pytest.fixture(scope='module')
def sample(tools):
    return [tools.structure(*tools.embed(s)) for s in SMILES]


def test_float32_passes_with_its_finisher(sample):
    potential = build(PotentialOptions(dtype='float32'), sample)
    assert potential.dtype == 'float32'
    assert potential.finisher.dtype == 'float64'
    assert potential.describe()['guard'].startswith('passed: 2 structures')


def test_a_potential_agrees_with_itself_exactly(tools, sample):
    exact = tools.potential('mace')
    report = check(exact, exact, sample)
    assert (report.energy, report.force, report.excess) == (0.0, 0.0, 0.0)
    assert report.passed


@pytest.mark.parametrize('factors', [{'energy': 1 + 1e-6},
                                     {'force': 1.001}, {'force': -1.0},
                                     {'force': np.nan}])
def test_a_wrong_fast_path_is_refused(tools, sample, factors, monkeypatch):
    exact, fast = (tools.potential('mace', d) for d in ('float64', 'float32'))
    monkeypatch.setattr(mace, 'load_backend',
                        lambda name, options: Wrong(fast, **factors))
    chosen = mace.proven(
        'poly', PotentialOptions(dtype='float32'), exact, sample)
    assert chosen.dtype == 'float64'
    assert chosen.describe()['guard'].startswith('refused: 2 structures')
    # the reference itself is untouched
    assert exact.describe()['guard'] == 'none needed: reference path'


def test_the_worst_numbers_are_kept(tools, sample):
    exact = tools.potential('mace')
    batches = [tools.one(s.numbers, s.positions) for s in sample]
    forces = [exact.evaluate(b).forces for b in batches]
    report = check(Wrong(exact, force=1.01), exact, sample)
    assert report.force == pytest.approx(
        0.01 * max(np.abs(f).max() for f in forces), rel=1e-6)
    assert report.n_compared == 2
    assert report.excess > 1.0


def test_structures_that_the_reference_cannot_do_are_left_out(tools, sample):
    iodine = tools.structure([53, 1], [[0, 0, 0], [0, 0, 1.6]])
    exact = tools.potential('mace')
    assert check(exact, exact, [iodine, *sample]).n_compared == 2


def test_without_fit_structures_one_is_made(tools):
    iodine = tools.structure([53, 1], [[0, 0, 0], [0, 0, 1.6]])
    for sample in ((), (iodine,)):
        potential = build(PotentialOptions(dtype='float32'), sample)
        assert potential.dtype == 'float32'
        assert potential.describe()['guard'].startswith(
            'passed: 1 structures')


@pytest.mark.parametrize('elements, n_atoms', [
    ({1, 6, 8}, 5), ({3, 9}, 2), ({1}, 2)])
def test_a_made_structure_has_the_elements_of_the_model(elements, n_atoms):
    made = made_structure(elements)
    assert set(made.numbers.tolist()) <= elements
    assert len(made.numbers) == n_atoms


def test_what_was_compared_with_nothing_is_refused(tools):
    exact = tools.potential('mace')
    report = check(exact, exact, [])
    assert not report.passed and str(report).startswith('refused')


def test_tolerances_leave_room_below_the_default_fmax():
    assert TOLERANCES['float32'].force < 0.005 / 10
    assert TOLERANCES['float64'].force < TOLERANCES['float32'].force
