"""Conformers for the tests of ensembles: made, moved, renumbered."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpiapp.chemistry.skeleton import Skeleton, skeleton_of
from mpiapp.records import Floats, Ints

#: molecules whose graphs have 2 to 82944 automorphisms of heavy atoms
SYMMETRIC = (
    'CC(C)(C)c1ccccc1',
    'FC(F)(F)CC(C)(C)C',
    'c1ccccc1Cc1ccccc1',
    'CC(C)(C)c1cc(C(C)(C)C)cc(C(C)(C)C)c1',
    'O=P(O)(Oc1ccccc1)Oc1ccccc1',
    'CC(C)(C)[Si](C(C)(C)C)(C(C)(C)C)C(C)(C)C',
)


@dataclass(frozen=True)
class Molecule:
    """Atoms, bonds and one geometry [n_atoms, 3] A."""

    numbers: Ints
    bonds: Ints
    positions: Floats

    @property
    def skeleton(self) -> Skeleton:
        return skeleton_of(self.numbers, self.bonds)

    @property
    def heavy(self) -> Floats:
        return self.positions[self.skeleton.atoms]


def embedded(smiles: str, n: int = 1, seed: int = 7) -> list[Molecule]:
    """Return n conformers of a SMILES, with hydrogens."""
    from rdkit import Chem
    from rdkit.Chem.rdDistGeom import EmbedMultipleConfs

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    EmbedMultipleConfs(molecule, n, randomSeed=seed)
    assert molecule.GetNumConformers() == n
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
    bonds = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx())
                      for b in molecule.GetBonds()])
    return [Molecule(numbers, bonds, np.array(c.GetPositions()))
            for c in molecule.GetConformers()]


def renumbered(molecule: Molecule, order: Ints) -> Molecule:
    """Return the molecule with its atoms in another order."""
    place = np.argsort(order)
    return Molecule(molecule.numbers[order], place[molecule.bonds],
                    molecule.positions[order])


def moved(molecule: Molecule, rng: np.random.Generator,
          noise: float = 0.0) -> Molecule:
    """Return the molecule turned, shifted and shaken by `noise` [A]."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    positions = (molecule.positions + rng.normal(
        scale=noise, size=molecule.positions.shape)) @ q + rng.normal(size=3)
    return Molecule(molecule.numbers, molecule.bonds, positions)


def mirrored(molecule: Molecule) -> Molecule:
    """Return the mirror image."""
    return Molecule(molecule.numbers, molecule.bonds,
                    molecule.positions * [1, 1, -1])
