"""MMFF94s of RDKit, terms between fragments included.

A force field of bonds, while a batch holds none: they are perceived from
each geometry (distances, then bond orders for the total charge), so that the
energy is a function of the geometry alone.  What can't be perceived or has no
parameters is a failure of that molecule.  Between stacked rings it is too
repulsive: a negative control of `validate`, and a cheap potential of organic
molecules.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mpiapp.potentials.base import (
    Potential, PotentialOptions, require_plain, settle, unusable
)
from mpiapp.records import Batch, Evaluation, Floats, InputError, Structure
from mpiapp.units import KCAL_PER_EV

#: H C N O F Si P S Cl Br I
ELEMENTS = frozenset({1, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53})
#: tries of bond orders before a molecule is given up: no hang on large rings
MOST_TRIES = 100_000
#: force fields of as many molecules are kept (two monomers and a dimer each)
MOST_KEPT = 32


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options; raise InputError for those of other potentials."""
    require_plain(options)
    return options


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the potential; raise InputError where RDKit is missing."""
    try:
        import rdkit  # noqa: F401
    except ImportError as error:
        raise InputError(f'--calculator {options.calculator} needs the '
                         f'package rdkit: {error}') from error
    return ForceField()


@dataclass(frozen=True)
class ForceField:
    """The potential of this file."""

    name: str = 'mmff94s'
    elements: frozenset[int] | None = ELEMENTS
    accepts_charge: bool = True
    topology_guards: bool = True
    bytes_per_atom: float = 2e4
    dtype: str = 'float64'
    finisher: Potential | None = None

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces, molecule by molecule."""
        from rdkit import rdBase
        energies = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        failures = unusable(batch, self.elements, self.name)
        with rdBase.BlockLogs():
            for i in sorted(set(range(len(batch))) - set(failures)):
                try:
                    energies[i], forces[batch.part(i)] = _one(batch, i)
                except (RuntimeError, ValueError) as error:
                    text = str(error).strip().partition('\n')[0]
                    failures[i] = ('calculator_error', f'MMFF94s: {text}')
        return settle(batch, energies, forces,
                      np.full(len(batch), np.nan), failures)

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""
        from rdkit import __version__
        return {
            'name': self.name,
            'backend': 'rdkit',
            'method': 'MMFF94s, with terms between fragments',
            'dtype': self.dtype,
            'rdkit': __version__,
            'bonds': 'perceived from each geometry',
            'guard': 'none needed: reference path',
        }


def _one(batch: Batch, i: int) -> tuple[float, Floats]:
    """Return the energy, eV, and forces, eV/A, of molecule i."""
    from rdkit.Chem import rdForceFieldHelpers
    numbers = batch.numbers[batch.part(i)]
    positions = batch.positions[batch.part(i)]
    if len(numbers) == 1:
        return 0.0, np.zeros((1, 3))  # a lone atom has no terms
    # far from the origin the reader of bonds loses digits
    positions = positions - positions[0]
    bonds = _bonds(numbers.tobytes(), positions)
    molecule, properties = _typed(
        numbers.tobytes(), bonds, int(batch.charges[i]))
    molecule.GetConformer().SetPositions(np.ascontiguousarray(positions))
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
        molecule, properties, ignoreInterfragInteractions=False)
    slopes = np.array(field.CalcGrad()).reshape(-1, 3)
    return field.CalcEnergy() / KCAL_PER_EV, -slopes / KCAL_PER_EV


def _bare(numbers: bytes, positions: Floats | None = None) -> Any:
    """Return an RDKit molecule of atoms without bonds."""
    from rdkit import Chem
    molecule = Chem.RWMol()
    for number in np.frombuffer(numbers, np.int32).tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
    conformer = Chem.Conformer(molecule.GetNumAtoms())
    conformer.Set3D(True)
    if positions is not None:
        conformer.SetPositions(np.ascontiguousarray(positions))
    molecule.AddConformer(conformer)
    return molecule


def _bonds(
    numbers: bytes, positions: Floats,
) -> tuple[tuple[int, int], ...]:
    """Return the pairs of bonded atoms of a geometry, by distance."""
    from rdkit.Chem import rdDetermineBonds
    molecule = _bare(numbers, positions)
    rdDetermineBonds.DetermineConnectivity(molecule)
    return tuple(sorted(
        tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())))
        for b in molecule.GetBonds()))


@lru_cache(maxsize=MOST_KEPT)
def _typed(
    numbers: bytes, bonds: tuple[tuple[int, int], ...], charge: int,
) -> tuple[Any, Any]:
    """Return the molecule with bond orders, and its MMFF94s types.

    Raises:
        ValueError: the orders can't be found, or a type has no parameters.
    """
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers
    molecule = _bare(numbers)
    for i, j in bonds:
        molecule.AddBond(i, j, Chem.BondType.SINGLE)
    whole = _with_orders(molecule, charge)
    Chem.SanitizeMol(whole)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(
        whole, mmffVariant='MMFF94s')
    if properties is None:
        raise ValueError('there are no parameters for this molecule')
    return whole, properties


def _with_orders(molecule: Any, charge: int) -> Any:
    """Return the molecule with bond orders and formal charges.

    Of a neutral system each fragment is neutral, and they are done one by
    one: the search grows with the product of their possibilities.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds
    if charge:
        parts, indices = [molecule], [range(molecule.GetNumAtoms())]
    else:
        indices = []
        parts = list(Chem.GetMolFrags(
            molecule, asMols=True, sanitizeFrags=False,
            fragsMolAtomMapping=indices))
    whole = Chem.RWMol(molecule)
    for part, atoms in zip(parts, indices, strict=True):
        part = Chem.RWMol(part)
        rdDetermineBonds.DetermineBondOrders(
            part, charge=charge, embedChiral=False,
            maxIterations=MOST_TRIES)
        for bond in part.GetBonds():
            whole.GetBondBetweenAtoms(
                int(atoms[bond.GetBeginAtomIdx()]),
                int(atoms[bond.GetEndAtomIdx()]),
            ).SetBondType(bond.GetBondType())
        for atom in part.GetAtoms():
            mine = whole.GetAtomWithIdx(int(atoms[atom.GetIdx()]))
            mine.SetFormalCharge(atom.GetFormalCharge())
    return whole
