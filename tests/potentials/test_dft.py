"""DFT by PySCF: names, energies, forces, charges, failures."""
import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build, dft, resolve
from mpiapp.records import InputError
from mpiapp.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

METHOD = 'pbe-d3bj/sto-3g'
#: eV/A; the integration grid moves with the atoms, which is left out
GRID = 5e-4
#: Hartree; error of density fitting for two atoms
FITTING = 2e-4
#: A
STEP = 1e-3


@pytest.fixture(scope='module')
def method():
    return build(PotentialOptions(METHOD))


@pytest.mark.parametrize('name, parts', [
    ('dft', ('pbe-d3bj', 'def2-svp')),
    ('PBE-D3BJ/def2-SVP', ('pbe-d3bj', 'def2-svp')),
    ('hf/sto-3g', ('hf', 'sto-3g')),
])
def test_names_are_functional_and_basis(name, parts):
    assert dft.method_of(name) == parts


@pytest.mark.parametrize('name, said', [
    ('nothing/sto-3g', 'nothing'), ('pbe/no-basis', 'basis'),
    ('pbe-d9/sto-3g', 'PBE_D9'), ('pbe/', 'functional/basis'),
    ('pbe/sto-3g/x', 'functional/basis'),
])
@pytest.mark.filterwarnings('ignore:Basis may be available')
def test_what_pyscf_does_not_know_is_refused(name, said):
    with pytest.raises(InputError, match=said):
        build(PotentialOptions(name))


@pytest.mark.parametrize('options', [
    {'model': 'small'}, {'model_path': 'x'}, {'solvent': 'water'},
    {'dtype': 'float32'}, {'backend': 'native'},
])
def test_options_of_other_potentials_are_refused(options):
    with pytest.raises(InputError):
        resolve(PotentialOptions(METHOD, **options))


def test_hydrogen_has_its_textbook_energy(tools):
    """Szabo, Ostlund, Modern Quantum Chemistry, table 3.11: -1.1167."""
    x = np.array([[0, 0, 0], [0, 0, 1.4 * ANGSTROM_PER_BOHR]])
    found = build(PotentialOptions('hf/sto-3g')).evaluate(
        tools.one(np.array([1, 1]), x))
    assert found.energies[0] / EV_PER_HARTREE == pytest.approx(
        -1.1167, abs=FITTING)


def test_forces_are_the_slope_of_the_energy(method, tools):
    numbers, positions = tools.embed('O')
    forces = method.evaluate(tools.one(numbers, positions)).forces
    for atom, axis in ((0, 0), (1, 1), (2, 2)):
        energies = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[atom, axis] += sign * STEP
            energies.append(method.energies(
                tools.one(numbers, moved)).energies[0])
        slope = (energies[0] - energies[1]) / (2 * STEP)
        assert forces[atom, axis] == pytest.approx(-slope, abs=GRID)


def test_energies_alone_are_those_of_the_evaluation(method, tools):
    batch = tools.one(*tools.embed('O'))
    alone, whole = method.energies(batch), method.evaluate(batch)
    assert alone.energies == pytest.approx(whole.energies, abs=1e-9)
    assert np.isnan(alone.forces).all() and not alone.failures


def test_dispersion_lowers_the_energy(method, tools):
    batch = tools.one(*tools.embed('C'))
    plain = build(PotentialOptions('pbe/sto-3g')).energies(batch).energies[0]
    assert -0.2 < method.energies(batch).energies[0] - plain < -1e-3


def test_charge_and_radicals_enter_the_energy(method, tools):
    numbers, x = np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 0.97]])
    anion, radical, even = (
        method.energies(tools.one(numbers, x, charge, unpaired)).energies[0]
        for charge, unpaired in ((-1, 0), (0, 1), (0, 0)))
    assert abs(anion - radical) > 1
    # an impossible number of unpaired electrons is taken as the nearest
    assert even == radical


def test_an_scf_that_does_not_converge_is_a_failure(
    method, tools, monkeypatch,
):
    monkeypatch.setattr(dft, 'MAX_CYCLE', 1)
    monkeypatch.setattr(dft, 'CONV_TOL', 1e-30)
    found = method.energies(tools.one(*tools.embed('O')))
    assert 'not converged' in found.failures[0][1]
    assert np.isnan(found.energies[0])
