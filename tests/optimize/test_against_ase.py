"""Our optimisers walk the path of ASE's, geometry by geometry."""
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import FIRE, LBFGS
from ase.parallel import DummyMPI

from mpiapp.optimize import optimizer
from mpiapp.optimize.convergence import converged
from mpiapp.optimize.driver import Limits, relax

FMAX = 0.005  # eV/A, the default of the programs
SAME_PATH = 1e-10  # A; same formulas in the same order leave rounding only
SAME_ENERGY = 1e-5  # eV; error left at FMAX in a well of a few eV/A^2
LIMIT = 300  # steps; far more than any of these needs


class Toy(Calculator):
    """A toy surface as an ASE calculator."""

    implemented_properties = ['energy', 'forces']

    def __init__(self, surface):
        super().__init__()
        self.surface = surface

    def calculate(self, atoms=None, properties=(),
                  system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = self.surface(self.atoms.positions)
        self.results = {'energy': energy, 'forces': forces}


def path_of_ase(method, surface, x, limit=LIMIT, **options):
    """Return all geometries, the start included."""
    atoms = Atoms(f'Ar{len(x)}', positions=x, calculator=Toy(surface))
    run = method(atoms, logfile=None, comm=DummyMPI(), **options)
    path = []
    run.attach(lambda: path.append(atoms.positions.copy()))
    run.run(fmax=FMAX, steps=limit)
    return path


def path_of_ours(method, surface, x, limit=LIMIT):
    """Return all geometries, the start included."""
    state, path = method.init(x, np.full(len(x), 18)), [x]
    while len(path) <= limit:
        energy, forces = surface(path[-1])
        if converged(forces, FMAX):
            break
        state, x = method.step(state, path[-1], energy, forces)
        path.append(x)
    return path


def assert_same_path(ours, theirs):
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=SAME_PATH)


@pytest.mark.parametrize('name', ['lbfgs', 'ase-lbfgs'])
@pytest.mark.parametrize('n_atoms', [2, 7, 13])
def test_lbfgs_takes_the_steps_of_ase(surface, toys, name, n_atoms):
    x = toys.cluster(n_atoms, seed=n_atoms)
    ours = path_of_ours(optimizer(name), surface, x)
    assert_same_path(ours, path_of_ase(LBFGS, surface, x))
    assert 2 < len(ours) < LIMIT


@pytest.mark.parametrize('options', [
    {'memory': 1}, {'memory': 4}, {'alpha': 20.0}, {'damping': 0.6},
    {'maxstep': 0.03},
], ids=str)
def test_lbfgs_options_mean_what_they_mean_in_ase(toys, options):
    x = toys.cluster(8, seed=1)
    ours = path_of_ours(optimizer('lbfgs', **options), toys.morse, x)
    assert_same_path(ours, path_of_ase(LBFGS, toys.morse, x, **options))
    assert len(ours) > 5


@pytest.mark.parametrize('n_atoms', [2, 7])
def test_fire_takes_the_steps_of_ase(surface, toys, n_atoms):
    x = toys.cluster(n_atoms, seed=n_atoms)
    ours = path_of_ours(optimizer('fire'), surface, x)
    assert_same_path(ours, path_of_ase(FIRE, surface, x))


def test_fire_and_lbfgs_reach_the_same_minimum(toys):
    x = toys.cluster(4, seed=3)
    energies = [
        toys.morse(path_of_ours(optimizer(name), toys.morse, x)[-1])[0]
        for name in ('fire', 'lbfgs')
    ]
    # a tetrahedron has 6 pairs, all at the bottom of 1 eV
    assert energies == pytest.approx([-6.0, -6.0], abs=SAME_ENERGY)


@pytest.mark.parametrize('limit', [0, 1, 5, LIMIT])
def test_driver_counts_steps_as_ase_does(toys, limit):
    x = toys.cluster(7, seed=2)
    theirs = path_of_ase(LBFGS, toys.morse, x, limit)
    source = toys.Source([toys.task(0, x)])
    result, = relax(source, toys.batched(toys.morse), optimizer('lbfgs'),
                    Limits(FMAX, limit), 1, lambda: False)
    assert result.steps == len(theirs) - 1
    assert result.evaluations == len(theirs)
    np.testing.assert_allclose(result.positions, theirs[-1],
                               rtol=0, atol=SAME_PATH)
    wanted = 'converged' if limit == LIMIT else 'step_limit'
    assert result.outcome == wanted
