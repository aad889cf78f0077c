"""The named benchmark dimers: what they are made of, where they start."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.dimer_names import ORIGINAL, REFERENCE, SINGLE_POINT
from mpiapp.chemistry.dimers import n_aromatic
from mpiapp.records import Floats, InputError, Structure


@dataclass(frozen=True, eq=False)
class Monomer:
    """A molecule before it is optimised: `numbers` [n], `positions` A."""

    name: str
    numbers: NDArray[np.int32]
    positions: Floats


@dataclass(frozen=True, eq=False)
class Dimer:
    """Two molecules in the geometry of a file.

    `numbers` [n_atoms] and `positions` [n_atoms, 3] A: the first `n_first`
    atoms are those of the first monomer.  Without a file there are no
    positions.  `monomers` names both; empty names are of no interest.
    """

    key: str
    monomers: tuple[str, str]
    numbers: NDArray[np.int32]
    n_first: int
    n_aromatic: int
    positions: Floats | None = None


@dataclass(frozen=True)
class Recipe:
    """How a named dimer is made and from where it starts.

    `frame` is that of a bundled set ('S22-11'), empty where there is none.
    `gated` ones count in the mean error of energies.
    """

    monomers: tuple[str, str]
    frame: str
    starts: tuple[str, ...]
    gated: bool = False


#: where a monomer comes from: SMILES, or a frame and whether the second part
MONOMERS: Mapping[str, str | tuple[str, bool]] = {
    'benzene': 'c1ccccc1',
    'pyridine': ('S66-25', False),
    'uracil': ('S66-28', True),
    'pyrazine': ('S22-12', False),
    'indole': ('S22-14', True),
    'adenine': ('S22-15', False),
    'thymine': ('S22-15', True),
    'naphthalene': 'c1ccc2ccccc2c1',
    'pyrene': 'c1cc2ccc3cccc4ccc(c1)c2c34',
}
_SLIPPED = ('pd_long', 'pd_short', 'pd_diag')
_EVEN = ('sandwich', 'sandwich_off')
_CROSS = ('cross', 'cross_near')


def _twice(name: str, frame: str, *starts: str,
           gated: bool = False) -> Recipe:
    return Recipe((name, name), frame, starts, gated)


#: every named dimer
RECIPES: Mapping[str, Recipe] = {
    'benzene_pd': _twice('benzene', 'S22-11', REFERENCE, *_SLIPPED,
                         ORIGINAL, gated=True),
    'benzene_pd_s66': _twice('benzene', 'S66-24', REFERENCE, gated=True),
    'benzene_t': _twice('benzene', 'S22-20', REFERENCE, 't'),
    'benzene_t_s66': _twice('benzene', 'S66-47', REFERENCE),
    'benzene_sandwich': _twice('benzene', 'NBC10-BzBz_S-3.9', *_EVEN),
    'pyridine_pd': _twice('pyridine', 'S66-25', REFERENCE, gated=True),
    'benzene_pyridine': Recipe(('benzene', 'pyridine'), 'S66-27',
                               (REFERENCE,), True),
    'benzene_uracil': Recipe(('benzene', 'uracil'), 'S66-28',
                             (REFERENCE,), True),
    'pyrazine': _twice('pyrazine', 'S22-12', REFERENCE, gated=True),
    'indole_benzene': Recipe(('benzene', 'indole'), 'S22-14',
                             (REFERENCE,), True),
    'adenine_thymine': Recipe(('adenine', 'thymine'), 'S22-15',
                              (REFERENCE,), True),
    'naphthalene_pd': _twice('naphthalene', '', *_SLIPPED, ORIGINAL),
    'naphthalene_cross': _twice('naphthalene', '', *_CROSS),
    'naphthalene_t': _twice('naphthalene', '', 't'),
    'naphthalene_sandwich': _twice('naphthalene', '', *_EVEN),
    'pyrene_pd': _twice('pyrene', '', *_SLIPPED, ORIGINAL),
    'pyrene_cross': _twice('pyrene', '', *_CROSS),
    'pyrene_sandwich': _twice('pyrene', '', *_EVEN),
}


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a named dimer; InputError for another name."""
    if name not in RECIPES:
        raise InputError(f'unknown dimer {name!r}; there are '
                         f'{", ".join(RECIPES)}')
    return RECIPES[name]


def starts_of(name: str, asked: Sequence[str]) -> tuple[str, ...]:
    """Return the starts of a dimer among those asked for.

    None asked for: its own.  `reference` is one of those with a frame,
    `original` one of those that the original looked at; `single_point`
    is no start.
    """
    recipe = recipe_of(name)
    if not asked:
        return recipe.starts
    possible = {REFERENCE: bool(recipe.frame), SINGLE_POINT: False,
                ORIGINAL: ORIGINAL in recipe.starts}
    return tuple(start for start in dict.fromkeys(asked)
                 if possible.get(start, True))


def dimer_of(key: str, monomers: tuple[str, str],
             structure: Structure) -> Dimer:
    """Return the dimer of a frame that tells the atoms of its first part.

    Raises:
        InputError: it does not, or tells nonsense.
    """
    numbers = np.asarray(structure.numbers, np.int32)
    text = structure.tags.get('first', '')
    n_first = int(text) if text.isdigit() else 0
    if not 0 < n_first < len(numbers):
        raise InputError(f'dimer {key}: first={text!r} of {len(numbers)} '
                         'atoms')
    return Dimer(key, monomers, numbers, n_first,
                 n_aromatic(numbers, structure.positions),
                 structure.positions)


def dimer_of_monomers(key: str, monomers: Sequence[Monomer]) -> Dimer:
    """Return a dimer of which no geometry is known."""
    first, second = monomers
    return Dimer(
        key, (first.name, second.name),
        np.concatenate([first.numbers, second.numbers]), len(first.numbers),
        sum(n_aromatic(m.numbers, m.positions) for m in monomers))


def part_of(dimer: Dimer, name: str, second: bool) -> Monomer:
    """Return one monomer of a dimer of a file."""
    assert dimer.positions is not None
    part = slice(dimer.n_first, None) if second else slice(dimer.n_first)
    return Monomer(name, dimer.numbers[part], dimer.positions[part])


def embedded(name: str, smiles: str) -> Monomer:
    """Return a molecule from SMILES: ETKDG seed 42, MMFF94.

    Raises:
        InputError: RDKit finds no coordinates.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if rdDistGeom.EmbedMolecule(molecule, randomSeed=42) != 0:
        raise InputError(f'SMILES {smiles}: no coordinates found')
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return Monomer(name, np.array(numbers, np.int32),
                   np.array(molecule.GetConformer().GetPositions()))
