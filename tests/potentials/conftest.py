"""Molecules, potentials and small random models for the tests."""
import tempfile
from functools import lru_cache

import numpy as np
import pytest

from mpiapp.potentials import PotentialOptions, build
from mpiapp.records import Batch, Structure


@lru_cache(maxsize=32)
def embed(smiles):
    """Return numbers and rough 3D positions of a molecule, read-only."""
    from rdkit import Chem
    from rdkit.Chem import AllChem
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()], np.int32)
    positions = mol.GetConformer().GetPositions()
    numbers.flags.writeable = positions.flags.writeable = False
    return numbers, positions


def one(numbers, positions, charge=0, unpaired=0):
    """Return a batch of one molecule whose arrays can't be written to."""
    return many([(numbers, positions, charge, unpaired)])


def many(molecules):
    """Return a batch of (numbers, positions, charge, unpaired) tuples."""
    batch = Batch.join(molecules)
    for array in vars(batch).values():
        array.flags.writeable = False
    return batch


def structure(numbers, positions):
    """Return a record of the molecule, as a reader would."""
    return Structure(0, 0, 0, numbers, positions)


@lru_cache(maxsize=16)
def potential(
    calculator, dtype='float64', model_path=None, backend='auto',
):
    """Return a potential, built once a session."""
    options = PotentialOptions(calculator, dtype=dtype,
                               model_path=model_path, backend=backend)
    # not mock.patch.dict, which takes back all that build sets for native
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', cache_folder().name)
        return build(options)


@lru_cache(maxsize=1)
def cache_folder():
    """Return the cache of converted models of this session."""
    return tempfile.TemporaryDirectory(prefix='mpiapp-tests-')


@pytest.fixture(scope='session')
def tools():
    """Give the helpers of this file to tests, which can't import it."""
    class Tools:
        pass
    for f in (embed, one, many, structure, potential, cache_folder):
        setattr(Tools, f.__name__, staticmethod(f))
    return Tools


@pytest.fixture(scope='session')
def random_models(tmp_path_factory):
    """Return files of tiny MACE models with random float64 weights.

    `scaled` has pair repulsion and isolated-atom energies of the size of
    all-electron calculations; `heads` has two heads; `plain` is of the
    older class without scale and shift.
    """
    import torch

    from mpiapp.potentials.mace.importing import import_mace
    import_mace()
    folder = tmp_path_factory.mktemp('models')
    e0 = np.array([-16.3, -1037.6, -1490.7, -10836.5])
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    try:
        models = {
            'scaled': tiny('ScaleShiftMACE', e0, pair_repulsion=True,
                           atomic_inter_scale=0.7, atomic_inter_shift=0.1),
            'heads': tiny('ScaleShiftMACE', np.stack([2 * e0, e0]),
                          heads=['other', 'default'],
                          atomic_inter_scale=[0.7, 0.9],
                          atomic_inter_shift=[0.1, -0.2]),
            'plain': tiny('MACE', e0),
        }
    finally:
        torch.set_default_dtype(before)
    paths = {name: str(folder / f'{name}.model') for name in models}
    for name, model in models.items():
        torch.save(model, paths[name])
    return paths


def tiny(kind, e0, **options):
    """Return a MACE model for H C N S with random weights."""
    import torch
    from e3nn import o3
    from mace import modules
    block = modules.interaction_classes['RealAgnosticResidualInteractionBlock']
    return getattr(modules, kind)(
        r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=1,
        interaction_cls=block, interaction_cls_first=block,
        num_interactions=2, num_elements=4,
        hidden_irreps=o3.Irreps('8x0e'), MLP_irreps=o3.Irreps('8x0e'),
        atomic_energies=e0, avg_num_neighbors=8.0,
        atomic_numbers=[1, 6, 7, 16], correlation=2,
        gate=torch.nn.functional.silu, radial_MLP=[8], **options)
