"""Models and molecules of the measurements.

Models of the MACE-OFF23 shapes have random weights: they tell what an
evaluation costs and whether two ways agree, nothing about molecules.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.records import Structure

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17, 35, 53)
#: A; distance of the planes of the dimer
STACKING = 4.5
#: A; distance of small fragments before they are relaxed together
GRID = 3.2
PYRENE = 'c1cc2ccc3cccc4ccc(c1)c2c34'
#: 58 atoms: C, H, N, O, S, F and Cl
ORGANIC = 'CCCCCCOc1ccc(cc1F)-c1ccc(s1)C(=O)Nc1cc(Cl)cnc1OCC'


@dataclass(frozen=True)
class Shape:
    """Hidden irreps and cut-off, A, of a model."""

    hidden: str
    r_max: float


SHAPES = {
    'small': Shape('96x0e', 4.5),
    'medium': Shape('128x0e+128x1o', 5.0),
}
#: for tests and quick looks
TINY = Shape('8x0e', 4.0)


def write_model(shape: Shape, path: Path) -> None:
    """Write a MACE model of that shape with random float64 weights."""
    import torch

    from mpiapp.potentials.mace.importing import import_mace
    import_mace()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    try:
        torch.save(build(shape, -13.6 * np.array(ELEMENTS)), path)
    finally:
        torch.set_default_dtype(before)


def build(shape: Shape, e0: Any) -> Any:
    """Return a MACE module of that shape, its weights drawn by torch.

    `e0` [n_elements] eV are its isolated-atom energies.
    """
    import torch
    from e3nn import o3
    from mace import modules
    first, later = (modules.interaction_classes[name] for name in (
        'RealAgnosticInteractionBlock',
        'RealAgnosticResidualInteractionBlock'))
    return modules.ScaleShiftMACE(
        r_max=shape.r_max, num_bessel=8, num_polynomial_cutoff=5, max_ell=3,
        interaction_cls_first=first, interaction_cls=later,
        num_interactions=2, num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(shape.hidden),
        MLP_irreps=o3.Irreps('16x0e'),
        atomic_energies=e0,
        # far fewer than there are: activations, and with them energies
        # and forces, reach the size of those of a trained model
        avg_num_neighbors=2.0, atomic_numbers=list(ELEMENTS),
        correlation=3, gate=torch.nn.functional.silu,
        radial_MLP=[64, 64, 64], atomic_inter_scale=1.0,
        atomic_inter_shift=0.0)


def pyrene_dimer() -> Structure:
    """Return two pyrenes, 52 atoms, stacked in parallel."""
    numbers, positions = embedded(PYRENE)
    centred = positions - positions.mean(axis=0)
    # rows of the last factor are the principal axes, the normal last
    flat = centred @ np.linalg.svd(centred)[2].T
    return Structure(
        0, 0, 0, np.tile(numbers, 2),
        np.concatenate([flat, flat + [0.0, 0.0, STACKING]]))


def organic_molecule() -> Structure:
    """Return a drug-like molecule of 58 atoms."""
    return Structure(0, 0, 0, *embedded(ORGANIC))


def embedded(smiles: str) -> tuple[Any, Any]:
    """Return numbers [n_atoms] and MMFF-relaxed positions [n_atoms, 3] A."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(molecule, randomSeed=7)
    _spread_fragments(molecule)
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=2000)
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()],
                       np.int32)
    return numbers, molecule.GetConformer().GetPositions()


def _spread_fragments(molecule: Any) -> None:
    """Put fragments, which are embedded on each other, on a grid."""
    from rdkit import Chem
    fragments = Chem.GetMolFrags(molecule)
    if len(fragments) == 1:
        return
    conformer = molecule.GetConformer()
    positions = conformer.GetPositions()
    for i, atoms in enumerate(map(list, fragments)):
        place = GRID * np.array([i % 2, i // 2 % 2, i // 4])
        moved = positions[atoms] - positions[atoms].mean(axis=0) + place
        for atom, x in zip(atoms, moved):
            conformer.SetAtomPosition(int(atom), x.tolist())
