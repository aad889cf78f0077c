"""Molecular graphs: the work of RDKit that all conformers share.

An ensemble has thousands of conformers of few molecules; what depends on
elements, bonds and charges alone is done once for each graph.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mpiapp.records import Structure

#: molecules whose RDKit work is remembered
CACHE_SIZE = 512

_BOND_TYPES = {1: 'DATIVE', 2: 'SINGLE', 3: 'AROMATIC', 4: 'DOUBLE',
               6: 'TRIPLE'}
#: elements whose usual valences make a missing hydrogen certain
_ORGANIC = frozenset({5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53})


@dataclass(frozen=True)
class Graph:
    """Elements, bonds, orders and formal charges, as hashable bytes."""

    numbers: bytes
    bonds: bytes
    orders: bytes
    charges: bytes


def graph_of(structure: Structure) -> Graph:
    """Return the graph of a structure, in the order of its atoms."""
    return Graph(
        np.asarray(structure.numbers, np.int32).tobytes(),
        np.asarray(structure.bonds, np.int64).tobytes(),
        np.asarray(structure.orders, np.int64).tobytes(),
        np.asarray(structure.formal_charges, np.int32).tobytes(),
    )


@lru_cache(CACHE_SIZE)
def molecule_of(graph: Graph) -> Any:
    """Return RDKit's sanitised molecule without conformer; None if it fails.

    Shared by all callers: copy it before changing it.
    """
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    molecule = unchecked(graph)
    try:
        with BlockLogs():
            Chem.SanitizeMol(molecule)
    except Chem.MolSanitizeException:
        return None
    return molecule


@lru_cache(CACHE_SIZE)
def n_missing_hydrogens(graph: Graph) -> int:
    """Return how many hydrogens the usual valences ask for in addition.

    A radical lacks as many as it has unpaired electrons.
    """
    molecule = unchecked(graph)
    molecule.UpdatePropertyCache(strict=False)
    return sum(atom.GetNumImplicitHs() for atom in molecule.GetAtoms()
               if atom.GetAtomicNum() in _ORGANIC)


def unchecked(graph: Graph) -> Any:
    """Return RDKit's molecule of a graph as it stands, not sanitised."""
    from rdkit import Chem

    numbers = np.frombuffer(graph.numbers, np.int32).tolist()
    charges = np.frombuffer(graph.charges, np.int32).tolist()
    molecule = Chem.RWMol()
    for i, number in enumerate(numbers):
        atom = Chem.Atom(number)
        if charges:
            atom.SetFormalCharge(charges[i])
        molecule.AddAtom(atom)
    _add_bonds(molecule, graph)
    return molecule.GetMol()


def _add_bonds(molecule: Any, graph: Graph) -> None:
    from rdkit import Chem

    pairs = np.frombuffer(graph.bonds, np.int64).reshape(-1, 2).tolist()
    orders = np.frombuffer(graph.orders, np.int64).tolist()
    for (i, j), order in zip(pairs, orders):
        molecule.AddBond(i, j, Chem.BondType.names[_BOND_TYPES[order]])
        if order == 3:
            molecule.GetBondBetweenAtoms(i, j).SetIsAromatic(True)
            for k in (i, j):
                molecule.GetAtomWithIdx(k).SetIsAromatic(True)
