"""MACE models against mace-torch's own calculator, and the digits kept."""
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.potentials.mace import available, graph, loading

# of TorchScript, which e3nn is made of, and of mace-torch's own torch.load
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]

#: a library-like fragment: C H N O S and an aryl, 29 atoms
FRAGMENT = 'N#CC(C#N)=Cc1ccc(s1)-c1ccc(OC)cc1'
#: within the elements H C N S of the random models
SULPHUR = 'CSc1ccc(C#N)cc1'

#: agreement that the project promises for this back end in float64
ENERGY, FORCE = 1e-6, 1e-6
#: mace-torch rounds coordinates of 10 A to float32: 1e-6 A on a stiff bond
FORCE_FLOAT32 = 5e-4


def calculator(path, dtype):
    from mace.calculators import MACECalculator
    return MACECalculator(model_paths=path, device='cpu', default_dtype=dtype)


def ase_result(path, dtype, numbers, positions):
    from ase import Atoms
    atoms = Atoms(numbers, positions - positions.mean(0), cell=[40] * 3)
    atoms.calc = calculator(path, dtype)
    return atoms.get_potential_energy(), atoms.get_forces()


@pytest.fixture
def student(data_dir):
    return str(data_dir / 'models' / 'student.model')


def test_float64_agrees_with_ase_on_the_student(tools, student):
    numbers, positions = tools.embed(FRAGMENT)
    energy, forces = ase_result(student, 'float64', numbers, positions)
    found = tools.potential('mace').evaluate(tools.one(numbers, positions))
    assert abs(found.energies[0] - energy) < ENERGY
    assert np.abs(found.forces - forces).max() < FORCE


@pytest.mark.parametrize('kind', ['scaled', 'heads', 'plain'])
def test_float64_agrees_with_ase_on_other_kinds(tools, random_models, kind):
    """Pair repulsion, several heads, and the class without scale-shift."""
    path = random_models[kind]
    numbers, positions = tools.embed(SULPHUR)
    energy, forces = ase_result(path, 'float64', numbers, positions)
    found = tools.potential('mace', 'float64', path).evaluate(
        tools.one(numbers, positions))
    assert np.abs(forces).max() > 0.1
    assert abs(found.energies[0] - energy) < ENERGY
    assert np.abs(found.forces - forces).max() < FORCE


@pytest.mark.parametrize('kind', ['scaled', 'heads', 'plain'])
def test_isolated_atoms_are_those_of_the_file(tools, random_models, kind):
    numbers, positions = tools.embed(SULPHUR)
    expected = {1: -16.3, 6: -1037.6, 7: -1490.7, 16: -10836.5}
    for dtype in ('float64', 'float32'):
        found = tools.potential('mace', dtype, random_models[kind]).evaluate(
            tools.one(numbers, positions))
        e0 = found.energies[0] - found.e_model_minus_e0[0]
        assert abs(e0 - sum(expected[z] for z in numbers)) < 1e-9


def test_float32_agrees_with_ase_on_forces(tools, student):
    numbers, positions = tools.embed(FRAGMENT)
    _, forces = ase_result(student, 'float32', numbers, positions)
    found = tools.potential('mace', 'float32').evaluate(
        tools.one(numbers, positions))
    assert np.abs(found.forces - forces).max() < FORCE_FLOAT32


def test_float32_forces_are_nearer_to_float64_than_ases(tools, student):
    """Edge vectors keep the digits that rounded coordinates lose."""
    numbers, positions = tools.embed(FRAGMENT)
    numbers = np.tile(numbers, 2)
    positions = np.concatenate([positions, positions + [60.0, 30.0, 0.0]])
    batch = tools.one(numbers, positions)
    exact = tools.potential('mace').evaluate(batch).forces
    ours = tools.potential('mace', 'float32').evaluate(batch).forces
    _, theirs = ase_result(student, 'float32', numbers, positions)
    assert rms(ours - exact) < 0.25 * rms(theirs - exact)


def rms(x):
    return float(np.sqrt(np.mean(x ** 2)))


def test_float32_energies_keep_the_digits_that_a_float32_sum_loses(
        tools, random_models):
    """|E| is 2e4 eV in each of five geometries; floats are 2e-3 apart."""
    path = random_models['scaled']
    numbers, positions = tools.embed(SULPHUR)
    step = np.zeros_like(positions)
    step[0, 0] = 0.01
    moved = [positions + k * step for k in range(5)]
    fast = tools.potential('mace', 'float32', path)
    exact = tools.potential('mace', 'float64', path)
    batch = tools.many([(numbers, x, 0, 0) for x in moved])
    ours = fast.evaluate(batch).energies
    expected = exact.evaluate(batch).energies
    naive = [ase_result(path, 'float32', numbers, x)[0] for x in moved]
    spacing = float(np.spacing(np.float32(abs(expected[0]))))
    assert spacing > 1e-3
    assert np.allclose(np.divide(naive, spacing) % 1, 0)
    changes = np.diff(expected)
    assert 5e-6 < np.abs(changes).min() < np.abs(changes).max() < spacing
    assert np.abs(np.diff(ours) - changes).max() < 1e-6
    assert np.abs(np.diff(naive) - changes).max() > 5e-6


@pytest.mark.parametrize('smiles', ['C', 'CCO', FRAGMENT])
def test_pairs_are_those_of_mace(tools, smiles):
    from mace.data.neighborhood import get_neighborhood
    _, positions = tools.embed(smiles)
    for cutoff in (1.2, 3.0, 5.0):
        edges, *_ = get_neighborhood(positions, cutoff)
        found = graph.pairs(positions, cutoff)
        assert set(map(tuple, found.T)) == set(map(tuple, edges.T))
        assert found.shape == edges.shape


def test_pairs_of_distant_fragments_cost_no_grid():
    positions = np.array([[0, 0, 0], [1, 0, 0], [1e7, 1e7, 1e7]], float)
    assert graph.pairs(positions, 5.0).tolist() == [[0, 1], [1, 0]]


def test_element_that_the_model_lacks_is_a_failure(tools, random_models):
    potential = tools.potential('mace', 'float64', random_models['scaled'])
    assert potential.elements == {1, 6, 7, 16}
    found = potential.evaluate(
        tools.many([(*tools.embed(s), 0, 0) for s in ('CCO', 'CCN')]))
    assert list(found.failures) == [0]
    assert found.failures[0][0] == 'element'
    assert '8' in found.failures[0][1]


def test_charge_is_ignored_as_stated(tools):
    potential = tools.potential('mace')
    assert not potential.accepts_charge
    numbers, positions = tools.embed('CCO')
    neutral, anion = (
        potential.evaluate(tools.one(numbers, positions, charge=c))
        for c in (0, -1))
    assert neutral.energies[0] == anion.energies[0]


def test_out_of_memory_fails_the_batch_and_not_the_program(
        tools, student, monkeypatch):
    import torch
    potential = build(PotentialOptions(model_path=student))
    batch = tools.many([(*tools.embed(s), 0, 0) for s in ('C', 'CCO')])

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError('CUDA out of memory.')

    monkeypatch.setattr(potential.model.module, 'forward', full)
    found = potential.evaluate(batch)
    assert {word for word, _ in found.failures.values()} == {'out_of_memory'}
    assert set(found.failures) == {0, 1}
    assert np.isnan(found.energies).all()


def test_other_errors_of_the_model_are_not_swallowed(
        tools, student, monkeypatch):
    potential = build(PotentialOptions(model_path=student))

    def broken(*args, **kwargs):
        raise RuntimeError('shapes do not match')

    monkeypatch.setattr(potential.model.module, 'forward', broken)
    with pytest.raises(RuntimeError, match='shapes'):
        potential.evaluate(tools.one(*tools.embed('C')))


HISTORY = """
import hashlib, sys
import numpy as np
from mpiapp.potentials import PotentialOptions, build
from mpiapp.records import Batch
batches = np.load(sys.argv[1])
potential = build(PotentialOptions(dtype=sys.argv[2], backend=sys.argv[3]))
for key in sys.argv[4]:
    found = potential.evaluate(Batch.join(
        [(batches['z' + key], batches['x' + key], 0, 0)]))
    print(key, hashlib.sha256(
        found.forces.tobytes() + found.energies.tobytes()).hexdigest())
"""


def digest(found):
    return hashlib.sha256(
        found.forces.tobytes() + found.energies.tobytes()).hexdigest()


@pytest.mark.parametrize('backend', available())
@pytest.mark.parametrize('dtype', ['float64', 'float32'])
def test_a_fresh_process_gives_the_same_bits(
        tools, tmp_path, dtype, backend):
    """Whatever was evaluated before, here and there."""
    molecules = {'a': FRAGMENT, 'b': 'O', 'c': 'CCOP(=O)(O)c1ccccc1'}
    arrays = {}
    for key, smiles in molecules.items():
        arrays['z' + key], arrays['x' + key] = tools.embed(smiles)
    np.savez(tmp_path / 'molecules.npz', **arrays)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1',
                   'XDG_CACHE_HOME': tools.cache_folder().name}
    root = str(Path(loading.__file__).resolve().parents[3])
    lines = subprocess.run(
        [sys.executable, '-c', HISTORY, str(tmp_path / 'molecules.npz'),
         dtype, backend, 'aacbabca'],
        env=environment, cwd=root, check=True, capture_output=True,
        text=True).stdout.splitlines()
    potential = tools.potential('mace', dtype, backend=backend)
    # together first, then in another order than there
    potential.evaluate(tools.many(
        [(*tools.embed(s), 0, 0) for s in molecules.values()]))
    here = {key: digest(potential.evaluate(tools.one(*tools.embed(smiles))))
            for key, smiles in reversed(molecules.items())}
    assert [line.split() for line in lines] == [
        [key, here[key]] for key in 'aacbabca']


@pytest.mark.skipif('native' not in available(), reason='no symmetrix-xl')
@pytest.mark.parametrize('dtype', ['float64', 'float32'])
def test_elements_met_before_change_no_bit_of_native(
        tools, monkeypatch, dtype):
    """They are atoms in each graph: matrices have more rows, of any size."""
    monkeypatch.setenv('XDG_CACHE_HOME', tools.cache_folder().name)
    potential = build(PotentialOptions(backend='native', dtype=dtype))
    numbers, positions = tools.embed('CCCCCCCC')
    pieces = [tools.one(numbers[:n], positions[:n])
              for n in range(2, len(numbers), 3)]
    before = [digest(potential.evaluate(piece)) for piece in pieces]
    potential.evaluate(tools.one(*tools.embed('O')))
    assert [digest(potential.evaluate(p)) for p in pieces] == before
