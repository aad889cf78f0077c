"""Molecules of the chemistry tests."""
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mpiapp.records import Structure
from mpiapp.structures import Collection


@pytest.fixture(scope='session')
def library(data_dir: Path) -> Collection:
    """Four neutral starts of the library."""
    return Collection.open([data_dir / 'dimers/library_sample.sdf'])


@pytest.fixture(scope='session')
def anions(data_dir: Path) -> Collection:
    """Conformers of two deprotonated phosphonates."""
    return Collection.open([data_dir / 'dimers/moe_binaph_H_10.sdf',
                            data_dir / 'dimers/moe_et_5.sdf'])


@pytest.fixture
def table_path(data_dir: Path) -> Path:
    """The molecule table of the library."""
    return data_dir / 'dimers/binaph_dimer_smiles.csv'


def structure_of(smiles: str, hydrogens: bool = True) -> Structure:
    """Return a 3D structure with bonds, made from a SMILES."""
    from rdkit import Chem
    from rdkit.Chem.rdDistGeom import EmbedMolecule

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert EmbedMolecule(molecule, randomSeed=7) == 0
    if not hydrogens:
        molecule = Chem.RemoveHs(molecule)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    atoms = list(molecule.GetAtoms())
    bonds = list(molecule.GetBonds())
    charges = [a.GetFormalCharge() for a in atoms]
    return Structure(
        0, 0, 0, np.array([a.GetAtomicNum() for a in atoms], np.int32),
        np.array(molecule.GetConformer().GetPositions()),
        charge=sum(charges), formal_charges=np.array(charges, np.int32),
        unpaired=sum(a.GetNumRadicalElectrons() for a in atoms),
        bonds=np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx())
                        for b in bonds], np.int64).reshape(-1, 2),
        orders=np.array([int(2 * b.GetBondTypeAsDouble()) for b in bonds],
                        np.int64))


@pytest.fixture
def embed() -> Callable[..., Structure]:
    """The function that makes a structure from a SMILES."""
    return structure_of
