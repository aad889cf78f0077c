"""One conformer of a molecule: embedded by ETKDGv3, minimised by MMFF94s.

Everything here depends on the molecule and the number of the attempt alone,
so that conformers are the same whoever makes them, in whatever order.
Energies are kcal/mol.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.checks import check_structure
from mpiapp.chemistry.folding import Pair, folded_bounds, folds
from mpiapp.chemistry.isomers import isomers, open_stereo
from mpiapp.chemistry.knots import knotted
from mpiapp.chemistry.molecules import TableRow
from mpiapp.chemistry.stereo import (
    Stereo, carried_labels, labels_lost, stereo_labels
)
from mpiapp.records import Floats, Rejection, Structure

#: what becomes of an attempt
OUTCOMES = ('made', 'not_embedded', 'unsound', 'stereo_changed', 'knotted')
MADE = 'made'
#: starts that RDKit tries for one attempt before it gives up
STARTS = 20


@dataclass(frozen=True)
class Recipe:
    """What decides a conformer besides molecule and attempt number.

    `folded` is the share of attempts that start stacked, `seed` a number
    that makes another ensemble, `max_iterations` those of the minimiser.
    """

    stereo: str = 'one'
    folded: float = 0.5
    max_iterations: int = 5000
    seed: int = 0
    allow_charged: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of a molecule before any work.

    `left_open` are the centres and double bonds without a label, as
    `open_stereo` names them; `force_field` is MMFF94s or UFF.
    """

    n_atoms: int
    charge: int
    left_open: tuple[str, ...]
    force_field: str


@dataclass(frozen=True, eq=False)
class Subject:
    """A molecule ready to be embedded; the conformers of one rank share it.

    `structure` has the atoms and bonds, without positions; `wanted` are the
    labels of each isomer, `folds` what folded starts bring together, and
    `bounds` their matrices as far as they have been made (None: impossible).
    """

    smiles: str
    structure: Structure
    force_field: str
    isomers: tuple[Any, ...]
    wanted: tuple[Stereo, ...]
    folds: tuple[Pair, ...]
    bounds: dict[int, NDArray[Any] | None] = field(default_factory=dict)

    def bounds_of(self, fold: int) -> NDArray[Any] | None:
        """Return the bounds matrix [n, n] A of a fold; made once."""
        if fold not in self.bounds:
            # all isomers have the same bonds: the first stands for them
            self.bounds[fold] = folded_bounds(
                self.isomers[0], self.folds[fold])
        return self.bounds[fold]


@dataclass(frozen=True, eq=False)
class Attempt:
    """What came of an attempt; energy and positions only where `made`."""

    number: int
    isomer: int
    outcome: str
    folded: bool = False
    converged: bool = False
    energy: float = np.nan
    positions: Floats | None = None


def facts(row: TableRow, recipe: Recipe) -> Facts:
    """Look at a molecule of the table, cheaply.

    Raises:
        Rejection: no conformer can be made of it: `fragments`, `charged`,
            `element`, `bond`, `force_field`, `stereo`, `one_atom`.
    """
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(row.smiles)
    n_fragments = len(Chem.GetMolFrags(molecule))
    if n_fragments != 1:
        raise Rejection('fragments', f'the SMILES has {n_fragments} parts; '
                                     'a conformer is that of one molecule')
    charge = Chem.GetFormalCharge(molecule)
    if charge and not recipe.allow_charged:
        raise Rejection('charged', f'the molecule has the charge {charge:+d}')
    left_open = open_stereo(molecule)
    if left_open and recipe.stereo == 'refuse':
        raise Rejection('stereo', 'the SMILES leaves open: '
                        + ' '.join(left_open))
    whole = Chem.AddHs(molecule)
    if whole.GetNumAtoms() < 2:
        raise Rejection('one_atom', 'a single atom has no conformers')
    _check_bonds(whole)
    return Facts(whole.GetNumAtoms(), charge, left_open, _field_for(whole))


def prepare(row: TableRow, recipe: Recipe) -> Subject:
    """Do what all conformers of a molecule share.

    Raises:
        Rejection: as `facts`, or no isomer can be made (`stereo`).
    """
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    known = facts(row, recipe)
    with BlockLogs():
        made = isomers(Chem.MolFromSmiles(row.smiles), recipe.stereo)
        whole = tuple(Chem.AddHs(m) for m in made)
    return Subject(
        row.smiles, structure_of(whole[0], row.name), known.force_field,
        whole, tuple(map(carried_labels, whole)),
        tuple(folds(whole[0])) if recipe.folded else ())


def attempt(subject: Subject, recipe: Recipe, number: int) -> Attempt:
    """Make conformer `number` (from 0) of a molecule.

    Isomers take turns; of the attempts of each a share is folded, where the
    molecule can be.
    """
    from rdkit.rdBase import BlockLogs

    turn, isomer = divmod(number, len(subject.isomers))
    fold = fold_number(turn, recipe.folded) if subject.folds else -1
    with BlockLogs():
        bounds = None if fold < 0 else subject.bounds_of(
            fold % len(subject.folds))
        blank = Attempt(number, isomer, MADE, bounds is not None)
        molecule = _embedded(subject, recipe, blank, bounds)
        if molecule is None:
            return replace(blank, outcome='not_embedded')
        energy, converged = _minimised(
            molecule, subject.force_field, recipe.max_iterations)
    positions = np.array(molecule.GetConformer().GetPositions())
    outcome = _judged(subject, isomer, energy, positions)
    if outcome != MADE:
        return replace(blank, outcome=outcome)
    return replace(blank, energy=energy, converged=converged,
                   positions=positions)


def seed_of(smiles: str, number: int, seed: int = 0) -> int:
    """Return a seed from the molecule and the attempt, 0 to 2^31 - 1."""
    text = f'{seed}\n{smiles}\n{number}'
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], 'little') & 0x7fffffff


def fold_number(turn: int, share: float) -> int:
    """Return the number of this folded start, from 0; -1: not folded.

    Of the turns 0 to n - 1, round down n * share are folded, evenly spread.
    """
    # a tenth is not exact in binary: what falls short by 1e-9 is meant
    before, after = (int(n * share + 1e-9) for n in (turn, turn + 1))
    return before if after > before else -1


def bare_structure(row: TableRow) -> Structure:
    """Return atoms and bonds of a molecule, equal for all its isomers."""
    from rdkit import Chem

    whole = Chem.AddHs(Chem.MolFromSmiles(row.smiles))
    return structure_of(whole, row.name)


def structure_of(molecule: Any, title: str) -> Structure:
    """Return RDKit's molecule as a structure without positions.

    Aromatic bonds are written as single and double ones.
    """
    from rdkit import Chem

    molecule = Chem.Mol(molecule)
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    atoms = list(molecule.GetAtoms())
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(),
              round(2 * b.GetBondTypeAsDouble()))
             for b in molecule.GetBonds()]
    table = np.array(bonds, np.int64).reshape(-1, 3)
    charges = np.array([a.GetFormalCharge() for a in atoms], np.int32)
    return Structure(
        0, 0, 0, np.array([a.GetAtomicNum() for a in atoms], np.int32),
        np.zeros((len(atoms), 3)), charge=int(charges.sum()),
        formal_charges=charges,
        unpaired=sum(a.GetNumRadicalElectrons() for a in atoms),
        bonds=table[:, :2], orders=table[:, 2], title=title)


def _check_bonds(molecule: Any) -> None:
    """Raise Rejection (`bond`) for bonds that SD files do not have."""
    known = {'SINGLE', 'DOUBLE', 'TRIPLE', 'AROMATIC'}
    other = {b.GetBondType().name for b in molecule.GetBonds()} - known
    if other:
        raise Rejection('bond', f'it has a bond of the kind '
                                f'{" ".join(sorted(other)).lower()}')


def _field_for(molecule: Any) -> str:
    """Return the force field that knows all atoms of a molecule."""
    from rdkit.Chem import rdForceFieldHelpers as fields
    from rdkit.rdBase import BlockLogs

    if any(a.GetAtomicNum() == 0 for a in molecule.GetAtoms()):
        raise Rejection('element', 'the SMILES has an atom * that is no '
                                   'element')
    with BlockLogs():
        if fields.MMFFHasAllMoleculeParams(molecule):
            return 'MMFF94s'
        if fields.UFFHasAllMoleculeParams(molecule):
            return 'UFF'
    raise Rejection('force_field', 'neither MMFF94s nor UFF has parameters '
                                   'for all its atoms')


def _embedded(
    subject: Subject, recipe: Recipe, blank: Attempt,
    bounds: NDArray[Any] | None,
) -> Any:
    """Return a molecule with one conformer, None if that fails."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    molecule = Chem.Mol(subject.isomers[blank.isomer])
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed_of(
        subject.smiles, blank.number, recipe.seed)
    # the distance matrix of 150 atoms and more hardly ever embeds otherwise
    parameters.useRandomCoords = True
    parameters.maxIterations = STARTS
    parameters.numThreads = 1
    if bounds is not None:
        parameters.SetBoundsMat(bounds)
    failed = rdDistGeom.EmbedMolecule(molecule, parameters) < 0
    return None if failed else molecule


def _minimised(
    molecule: Any, force_field: str, max_iterations: int,
) -> tuple[float, bool]:
    """Minimise in place; return the energy and whether it converged."""
    from rdkit.Chem import rdForceFieldHelpers as fields

    if force_field == 'UFF':
        field = fields.UFFGetMoleculeForceField(molecule)
    else:
        field = fields.MMFFGetMoleculeForceField(
            molecule, fields.MMFFGetMoleculeProperties(molecule, force_field))
    field.Initialize()
    converged = field.Minimize(maxIts=max_iterations) == 0
    return float(field.CalcEnergy()), converged


def _judged(
    subject: Subject, isomer: int, energy: float, positions: Floats,
) -> str:
    """Return `made`, or what is wrong with a conformer."""
    if not np.isfinite(energy):
        return 'unsound'
    structure = replace(subject.structure, positions=positions)
    try:
        check_structure(structure)
    except Rejection:
        return 'unsound'
    if knotted(structure, positions):
        return 'knotted'
    found = stereo_labels(structure, positions)
    lost = labels_lost(subject.wanted[isomer], found)
    return 'stereo_changed' if lost else MADE
