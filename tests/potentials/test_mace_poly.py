"""The polynomial form of the contraction: its terms, values, slopes."""
from functools import lru_cache

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.potentials.mace import contraction
from mpiapp.potentials.mace import graph as graphs
from mpiapp.potentials.mace import poly
from mpiapp.potentials.mace.convolution import convolution
from mpiapp.records import InputError

# of TorchScript, which e3nn is made of
pytestmark = [pytest.mark.filterwarnings('ignore::DeprecationWarning'),
              pytest.mark.filterwarnings('ignore::UserWarning')]

#: sums in another order, of numbers of the size of 1
ROUNDING = 1e-12
#: whole molecules, eV and eV/A
ENERGY, FORCE = 1e-9, 1e-9
#: within the elements H C N S of the random models
SULPHUR = 'CSc1ccc(C#N)cc1'


@lru_cache(maxsize=8)
def dense(outputs, correlation, max_ell=3, n_elements=3, n_channels=4):
    """Return mace-torch's contraction with random float64 weights."""
    import torch

    from mpiapp.potentials.mace.importing import import_mace
    import_mace()
    from e3nn import o3
    from mace.modules.symmetric_contraction import SymmetricContraction
    irreps = o3.Irreps.spherical_harmonics(max_ell)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    try:
        return SymmetricContraction(
            (irreps * n_channels).sort()[0].simplify(),
            o3.Irreps(outputs) * n_channels, correlation,
            num_elements=n_elements)
    finally:
        torch.set_default_dtype(before)


def inputs(n_atoms=5, n_channels=4, n_components=16, n_elements=3):
    """Return random components and one-hot elements of some atoms."""
    import torch
    rng = np.random.default_rng(11)
    x = rng.normal(size=(n_atoms, n_channels, n_components))
    species = rng.integers(0, n_elements, n_atoms)
    return (torch.tensor(x, requires_grad=True),
            torch.tensor(np.eye(n_elements)[species]))


def value_and_slope(module, x, y):
    import torch
    out = module(x, y)
    weights = torch.linspace(-1.0, 2.0, out.numel(), dtype=x.dtype)
    return out.detach(), torch.autograd.grad(
        (out * weights.view_as(out)).sum(), x)[0]


@pytest.mark.parametrize('outputs, counts, cancelled', [
    ('0e', (1, 16, 77), 0), ('1o', (3, 35, 290), 12)])
def test_numbers_of_terms(outputs, counts, cancelled, monkeypatch):
    part = dense(outputs, 3).contractions[0]
    terms = contraction.terms_of(part, 3)
    assert [terms.count(d) for d in (1, 2, 3)] == [
        *counts[:2], counts[2] - cancelled]
    monkeypatch.setattr(contraction, 'CANCELLED', -1.0)
    terms = contraction.terms_of(part, 3)
    assert [terms.count(d) for d in (1, 2, 3)] == list(counts)
    # each monomial feeds one output only
    assert len(np.unique(terms.factors, axis=0)) == sum(counts)


@pytest.mark.parametrize('outputs', ['0e', '0e+1o', '0e+1o+2e'])
@pytest.mark.parametrize('correlation', [1, 2, 3])
def test_value_and_slope_are_those_of_the_dense_form(outputs, correlation):
    module = dense(outputs, correlation)
    x, y = inputs()
    expected = value_and_slope(module, x, y)
    found = value_and_slope(poly.polynomial(module), x, y)
    for a, b in zip(found, expected):
        assert a.shape == b.shape
        assert b.abs().max() > 0.1
        assert (a - b).abs().max() <= ROUNDING * b.abs().max()


def test_pieces_of_a_large_batch_give_the_same(monkeypatch):
    module = poly.polynomial(dense('0e+1o', 3))
    x, y = inputs(n_atoms=9)
    whole = value_and_slope(module, x, y)
    monkeypatch.setattr(poly, 'CHUNK', 1)
    pieces = value_and_slope(module, x, y)
    for a, b in zip(whole, pieces):
        assert (a - b).abs().max() <= ROUNDING * a.abs().max()


def test_elements_that_are_absent_cost_nothing():
    import torch
    module = poly.polynomial(dense('0e', 2))
    x, _ = inputs()
    module(x, torch.eye(3, dtype=torch.float64)[[1, 1, 1, 1, 1]])
    assert [key[0] for key in module.matrices] == [1]


def test_a_second_derivative_is_refused():
    """The other parts of a model have one: the sum would look right."""
    import torch
    x, y = inputs()
    out = poly.polynomial(dense('0e', 3))(x, y).sum()
    with pytest.raises(RuntimeError, match='first derivatives only'):
        torch.autograd.grad(out, x, create_graph=True)


def test_the_hessian_of_a_model_is_refused(tools):
    """The way in which mace-torch computes it."""
    potential = tools.potential('mace', backend='poly')
    batch = tools.one(*tools.embed('C'))
    graph = graphs.build(batch, [0], potential.species_of(), 5.0)
    with pytest.raises(RuntimeError, match='first derivatives only'):
        potential.model.module(
            potential.inputs(graph), training=True, compute_force=True)


def test_another_kind_of_contraction_is_refused():
    import torch
    module = torch.nn.Module()
    product = torch.nn.Module()
    product.symmetric_contractions = torch.nn.Identity()
    module.products = [product]
    with pytest.raises(InputError, match='Identity'):
        poly.replace_contractions(module)


@pytest.mark.parametrize('inputs_, n_edges', [
    ('4x0e', 20), ('4x0e+4x1o', 20), ('4x0e', 0)])
def test_convolution_sums_the_messages_of_e3nn(inputs_, n_edges):
    import torch
    from e3nn import o3
    from mace.modules.irreps_tools import tp_out_irreps_with_instructions
    harmonics = o3.Irreps.spherical_harmonics(3)
    target = (harmonics * 4).sort()[0].simplify()
    middle, instructions = tp_out_irreps_with_instructions(
        o3.Irreps(inputs_), harmonics, target)
    product = o3.TensorProduct(
        o3.Irreps(inputs_), harmonics, middle, instructions=instructions,
        shared_weights=False, internal_weights=False).double()
    rng = np.random.default_rng(4)
    n_atoms = 6
    edges = torch.tensor(rng.integers(0, n_atoms - 1, (2, n_edges)))
    x, attributes, weights = (
        torch.tensor(rng.normal(size=size)) for size in (
            (n_atoms, product.irreps_in1.dim), (n_edges, harmonics.dim),
            (n_edges, product.weight_numel)))
    found = convolution(product).double()(x, attributes, weights, edges)
    messages = product(x[edges[0]], attributes, weights)
    expected = torch.zeros_like(found).index_add(0, edges[1], messages)
    assert found.shape == (n_atoms, middle.dim)
    assert (found - expected).abs().max() <= 10 * ROUNDING
    assert bool(expected.any()) == bool(n_edges)


def test_a_convolution_of_another_kind_is_left_alone():
    from e3nn import o3
    product = o3.FullTensorProduct('2x0e+2x1o', '1x0e+1x1o')
    assert convolution(product) is None


@pytest.mark.parametrize('kind', ['scaled', 'heads', 'plain', None])
def test_models_give_the_same_energies_and_forces(tools, random_models, kind):
    path = kind and random_models[kind]
    molecules = [(*tools.embed(s), 0, 0) for s in (SULPHUR, 'CS', 'C')]
    batch = tools.many(molecules)
    expected = tools.potential('mace', model_path=path).evaluate(batch)
    fast = tools.potential('mace', model_path=path, backend='poly')
    assert fast.describe()['backend'] == 'poly'
    found = fast.evaluate(batch)
    assert np.abs(expected.forces).max() > 0.1
    assert np.abs(found.energies - expected.energies).max() < ENERGY
    assert np.abs(found.forces - expected.forces).max() < FORCE


def test_float32_ends_in_float64_of_the_same_kind(tools):
    sample = [tools.structure(*tools.embed('CCO'))]
    potential = build(
        PotentialOptions(backend='poly', dtype='float32'), sample)
    assert potential.describe()['backend'] == 'poly'
    assert potential.dtype == 'float32'
    assert potential.finisher.dtype == 'float64'
    assert potential.finisher.describe()['backend'] == 'poly'
    assert potential.finisher.describe()['guard'].startswith('passed: 1')
