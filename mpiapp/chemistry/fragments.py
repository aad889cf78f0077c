"""Pieces of molecules: cut at BRICS bonds, open ends closed by hydrogen.

The rules of BRICS (Degen et al., ChemMedChem 2008, 3, 1503) are RDKit's.
"""
from __future__ import annotations

from typing import Any

#: heavy atoms of the smallest piece that is of use
MIN_HEAVY = 3


def fragments(smiles: str) -> list[str]:
    """Return canonical SMILES of the pieces of a molecule, sorted.

    Neutral closed-shell pieces only, the whole molecule left out; without
    stereo labels.  A molecule without BRICS bonds has no pieces.
    """
    from rdkit import Chem
    from rdkit.Chem import BRICS
    from rdkit.rdBase import BlockLogs

    cut: Any = BRICS.BreakBRICSBonds
    whole = Chem.MolFromSmiles(smiles)
    Chem.RemoveStereochemistry(whole)
    itself = canonical(smiles)
    with BlockLogs():
        broken = cut(whole)
        pieces = {_capped(piece) for piece in
                  Chem.GetMolFrags(broken, asMols=True)}
    return sorted(p for p in pieces if p and p != itself)


def canonical(smiles: str) -> str:
    """Return a canonical SMILES without stereo labels."""
    from rdkit import Chem
    write: Any = Chem.CanonSmiles
    return str(write(smiles, useChiral=0))


def _capped(piece: Any) -> str:
    """Return a piece whose open ends are hydrogen, '' if it is of no use."""
    from rdkit import Chem

    whole = Chem.RWMol(piece)
    for atom in whole.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetAtomicNum(1)
            atom.SetIsotope(0)
    try:
        Chem.SanitizeMol(whole)
        plain = Chem.RemoveHs(whole)
    except Chem.MolSanitizeException:
        return ''
    useful = (plain.GetNumHeavyAtoms() >= MIN_HEAVY
              and Chem.GetFormalCharge(plain) == 0 and not _is_open(plain))
    return canonical(Chem.MolToSmiles(plain)) if useful else ''


def is_radical(smiles: str) -> bool:
    """Tell whether a molecule has unpaired electrons."""
    from rdkit import Chem
    return _is_open(Chem.MolFromSmiles(smiles))


def _is_open(molecule: Any) -> bool:
    return any(a.GetNumRadicalElectrons() for a in molecule.GetAtoms())


def atomic_numbers(smiles: str) -> list[int]:
    """Return the atomic numbers of a molecule, hydrogens included."""
    from rdkit import Chem
    molecule = Chem.MolFromSmiles(smiles)
    return [] if molecule is None else [
        a.GetAtomicNum() for a in Chem.AddHs(molecule).GetAtoms()]


def has_aromatic(smiles: str) -> bool:
    """Tell whether a molecule has an aromatic ring."""
    from rdkit import Chem
    return any(a.GetIsAromatic() for a in Chem.MolFromSmiles(smiles)
               .GetAtoms())
