"""What every potential must do, for each file found and each precision."""
import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, names, resolve
from mpiapp.potentials.mace import available
from mpiapp.records import Batch, InputError

WATER, ETHANOL, THIOPHENE = 'O', 'CCO', 'c1ccsc1'

#: allowed differences: energy eV, force eV/A
EXACT = (0.0, 0.0)
#: sums in another order
ROUNDING = {'float64': (1e-9, 1e-9), 'float32': (2e-5, 2e-4)}
#: constants that a model file stores in float32 turn with an error
TURNING = {'float64': (1e-7, 1e-6), 'float32': (2e-5, 2e-4)}
#: an SCF stops at up to 1e-6 Hartree, on either side of the limit
SCF = (1e-5, 1e-4)
#: the numbers of a molecule do not depend on what is beside it
SERIAL = {'lj', 'gfn1', 'gfn2', 'tblite', 'native', 'hf/sto-3g', 'sparrow'}


def supported(calculator, dtype):
    """Tell whether a potential has that precision; all have float64."""
    try:
        resolve(PotentialOptions(calculator, dtype=dtype))
    except InputError:
        if dtype == 'float64':
            raise
        return False
    return True


def backends(calculator):
    """Return the ways to compute a potential that are installed."""
    return available() if calculator == 'mace' else ['auto']


#: the plain name `dft` means a method too costly for the same checks
NAMES = [*(set(names()) - {'dft'}), 'hf/sto-3g']

CASES = [(name, dtype, backend) for name in sorted(NAMES)
         for dtype in ('float64', 'float32') if supported(name, dtype)
         for backend in backends(name)]


@pytest.fixture(params=CASES, ids='-'.join)
def case(request, tools):
    name, dtype, backend = request.param
    return request.param, tools.potential(name, dtype, backend=backend)


def tolerance(key):
    """Return what symmetry operations may change."""
    name, dtype, _ = key
    by_scf = {'gfn1', 'gfn2', 'tblite', 'hf/sto-3g'}
    return SCF if name in by_scf else ROUNDING[dtype]


def batch_tolerance(key):
    """Return what the other molecules of a batch may change."""
    return EXACT if SERIAL & {key[0], key[2]} else ROUNDING[key[1]]


def assert_close(found, expected, allowed):
    energy, force = allowed
    assert np.abs(found.energies - expected.energies).max() <= energy
    assert np.abs(found.forces - expected.forces).max() <= force


def three(tools):
    return [(*tools.embed(s), 0, 0) for s in (WATER, ETHANOL, THIOPHENE)]


def test_shapes_and_dtypes(case, tools):
    batch = tools.many(three(tools))
    found = case[1].evaluate(batch)
    assert found.energies.shape == found.e_model_minus_e0.shape == (3,)
    assert found.forces.shape == batch.positions.shape
    assert {found.energies.dtype, found.forces.dtype,
            found.e_model_minus_e0.dtype} == {np.dtype(np.float64)}
    assert not found.failures
    assert np.isfinite(found.energies).all()
    assert np.isfinite(found.forces).all()


def test_attributes(case, tools):
    (_, dtype, backend), potential = case
    assert potential.dtype == dtype
    assert potential.bytes_per_atom > 0
    assert isinstance(potential.accepts_charge, bool)
    assert isinstance(potential.topology_guards, bool)
    assert (potential.finisher is None) == (dtype == 'float64')
    assert potential.elements is None or 6 in potential.elements
    described = potential.describe()
    assert described['name'] == potential.name
    assert described['dtype'] == dtype
    assert {'backend', 'guard'} <= set(described)
    assert backend in ('auto', described['backend'])
    assert all(isinstance(v, str) for v in described.values())


def test_input_is_not_changed(case, tools):
    batch = tools.many(three(tools))
    before = {k: v.copy() for k, v in vars(batch).items()}
    case[1].evaluate(batch)
    for name, array in vars(batch).items():
        np.testing.assert_array_equal(array, before[name])


def test_batch_equals_single_molecules(case, tools):
    key, potential = case
    molecules = three(tools)
    batch = tools.many(molecules)
    together = potential.evaluate(batch)
    for i, molecule in enumerate(molecules):
        alone = potential.evaluate(tools.many([molecule]))
        energy, force = batch_tolerance(key)
        assert abs(alone.energies[0] - together.energies[i]) <= energy
        difference = alone.forces - together.forces[batch.part(i)]
        assert np.abs(difference).max() <= force


def test_a_molecule_alone_is_bitwise_repeatable(case, tools):
    molecules = [tools.many([m]) for m in three(tools)]
    potential = case[1]
    first = [potential.evaluate(b) for b in molecules]
    for i in (2, 0, 1, 1, 2, 0):
        again = potential.evaluate(molecules[i])
        assert again.energies.tobytes() == first[i].energies.tobytes()
        assert again.forces.tobytes() == first[i].forces.tobytes()


def test_order_of_molecules_does_not_matter(case, tools):
    key, potential = case
    molecules = three(tools)
    forward = potential.evaluate(tools.many(molecules))
    backward = potential.evaluate(tools.many(molecules[::-1]))
    energy, _ = batch_tolerance(key)
    assert np.abs(forward.energies - backward.energies[::-1]).max() <= energy


def test_order_of_atoms_does_not_matter(case, tools):
    key, potential = case
    numbers, positions = tools.embed(ETHANOL)
    order = np.random.default_rng(0).permutation(len(numbers))
    found = potential.evaluate(tools.one(numbers, positions))
    mixed = potential.evaluate(tools.one(numbers[order], positions[order]))
    energy, force = tolerance(key)
    assert abs(found.energies[0] - mixed.energies[0]) <= energy
    assert np.abs(found.forces[order] - mixed.forces).max() <= force


@pytest.mark.parametrize('shift', [3.7, 1e4])
def test_translation_does_not_matter(case, tools, shift):
    key, potential = case
    numbers, positions = tools.embed(ETHANOL)
    here = potential.evaluate(tools.one(numbers, positions))
    there = potential.evaluate(
        tools.one(numbers, positions + [shift, -shift, 0.3]))
    assert_close(there, here, tolerance(key))


def test_rotation_turns_the_forces(case, tools):
    from scipy.spatial.transform import Rotation
    key, potential = case
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    numbers, positions = tools.embed(THIOPHENE)
    here = potential.evaluate(tools.one(numbers, positions))
    turned = potential.evaluate(tools.one(numbers, positions @ turn.T))
    energy, force = SCF if key[0] != 'mace' else TURNING[key[1]]
    assert abs(here.energies[0] - turned.energies[0]) <= energy
    assert np.abs(here.forces @ turn.T - turned.forces).max() <= force


#: step A and allowed error eV/A: float32 energies are good to 1e-6 eV
DIFFERENCES = {'float64': (1e-3, 5e-3), 'float32': (5e-3, 2e-2)}


def test_forces_are_finite_differences(case, tools):
    key, potential = case
    numbers, positions = tools.embed(ETHANOL)
    step, allowed = DIFFERENCES[key[1]]
    probes = [(0, 0), (2, 1), (5, 2)]
    moved = []
    for atom, axis in probes:
        for sign in (1, -1):
            x = positions.copy()
            x[atom, axis] += sign * step
            moved.append((numbers, x, 0, 0))
    energies = potential.evaluate(tools.many(moved)).energies
    forces = potential.evaluate(tools.one(numbers, positions)).forces
    slopes = (energies[::2] - energies[1::2]) / (2 * step)
    expected = [-forces[probe] for probe in probes]
    # an embedded geometry is no minimum: there is something to compare
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(slopes, expected, rtol=2e-3, atol=allowed)


def test_isolated_atom_has_no_force(case, tools):
    found = case[1].evaluate(tools.one([1], [[1.0, 2.0, 3.0]], unpaired=1))
    if case[1].name == 'sparrow:DFTB0':
        assert 'no open shells' in found.failures[0][1]
        return
    assert not found.failures
    assert np.isfinite(found.energies[0])
    assert np.abs(found.forces).max() < 1e-9


def test_far_apart_energies_add(case, tools):
    """Two methanes 200 A apart; what is left is their electrostatics."""
    key, potential = case
    numbers, positions = tools.embed('C')
    alone = potential.evaluate(tools.one(numbers, positions))
    pair = potential.evaluate(tools.one(
        np.tile(numbers, 2),
        np.concatenate([positions, positions + [200.0, 0, 0]])))
    energy, force = tolerance(key)
    assert abs(pair.energies[0] - 2 * alone.energies[0]) <= 2 * energy
    difference = pair.forces - np.tile(alone.forces, (2, 1))
    assert np.abs(difference).max() <= force


def test_empty_batch(case):
    empty = Batch(np.empty(0, np.int32), np.empty((0, 3)),
                  np.zeros(1, np.int64), np.empty(0, np.int32),
                  np.empty(0, np.int32))
    found = case[1].evaluate(empty)
    assert found.energies.shape == found.e_model_minus_e0.shape == (0,)
    assert found.forces.shape == (0, 3)
    assert not found.failures


def bad_molecules(tools, potential):
    """Return (reason, molecule) of what can't be evaluated."""
    numbers, positions = tools.embed(WATER)
    lost = positions.copy()
    lost[1, 2] = np.nan
    together = np.zeros_like(positions)
    bad = [('nan', (numbers, lost, 0, 0)), ('', (numbers, together, 0, 0))]
    # uranium, or 119, which nobody knows
    known = potential.elements or set(range(119))
    strange = next(z for z in (92, 119) if z not in known)
    return bad + [('element', ([strange, 1], [[0, 0, 0], [0, 0, 2.0]], 0, 0))]


def test_a_bad_molecule_fails_alone(case, tools):
    key, potential = case
    good = (*tools.embed(ETHANOL), 0, 0)
    alone = potential.evaluate(tools.many([good]))
    for reason, molecule in bad_molecules(tools, potential):
        batch = tools.many([molecule, good])
        found = potential.evaluate(batch)
        assert set(found.failures) == {0}
        word, text = found.failures[0]
        assert word == (reason or word) and text
        assert np.isnan(found.energies[0])
        assert np.isnan(found.forces[batch.part(0)]).all()
        energy, force = batch_tolerance(key)
        assert abs(found.energies[1] - alone.energies[0]) <= energy
        difference = found.forces[batch.part(1)] - alone.forces
        assert np.abs(difference).max() <= force


def test_model_part_is_the_energy_but_for_a_constant(case, tools):
    """The part left out belongs to the atoms, whatever their positions."""
    key, potential = case
    numbers, positions = tools.embed(ETHANOL)
    found = potential.evaluate(tools.many([
        (numbers, positions, 0, 0), (numbers, 1.02 * positions, 0, 0)]))
    part = found.e_model_minus_e0
    if key[0] == 'mace':
        assert abs(part[1] - part[0]) > 0.01
        e0 = found.energies - part
        assert abs(e0[1] - e0[0]) < 1e-9
        assert e0[0] < -100.0
    else:
        assert np.isnan(part).all()


def test_nothing_is_printed(case, tools, capfd):
    case[1].evaluate(tools.many(three(tools)))
    case[1].evaluate(tools.many([bad_molecules(tools, case[1])[1][1]]))
    assert capfd.readouterr() == ('', '')
