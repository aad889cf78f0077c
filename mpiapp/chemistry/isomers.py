"""Stereoisomers of a SMILES that leaves centres or double bonds open."""
from __future__ import annotations

from typing import Any

from mpiapp.chemistry.stereo import carried_labels
from mpiapp.records import Rejection

#: what may be done about centres that a SMILES leaves open
POLICIES = ('one', 'enumerate', 'refuse')
#: so many open centres are enumerated (1,024 isomers); more are refused
MOST_OPEN = 10
#: tries to embed an isomer before it counts as impossible
_TRIES = 5


def open_stereo(molecule: Any) -> tuple[str, ...]:
    """Return what a molecule leaves open, by atom number from 1.

    '8' is a tetrahedral centre, '30=31' a double bond.
    """
    atoms, bonds = _open(molecule)
    ends = [molecule.GetBondWithIdx(i) for i in bonds]
    return (*(str(i + 1) for i in atoms),
            *(f'{b.GetBeginAtomIdx() + 1}={b.GetEndAtomIdx() + 1}'
              for b in ends))


def isomers(molecule: Any, policy: str) -> tuple[Any, ...]:
    """Return stereoisomers of a molecule without explicit hydrogens.

    `one`: open double bonds get their larger groups trans (cis in a ring),
    and of the patterns of the open centres that can be embedded it is the
    first in the order of the CIP labels: R before S, in atom order.
    `enumerate`: all that can be embedded, in that order.  `refuse`: none is
    open.  Atoms keep their numbers.

    Raises:
        Rejection: (`stereo`) open centres under `refuse`, too many of them,
            or no pattern that can be embedded.
    """
    left_open = open_stereo(molecule)
    if not left_open:
        return (molecule,)
    if policy == 'refuse':
        raise Rejection('stereo', 'the SMILES leaves open: '
                        + ' '.join(left_open))
    in_ring = _any_in_ring(molecule)
    if policy == 'one':
        molecule = _trans(molecule)
    if len(open_stereo(molecule)) > MOST_OPEN:
        raise Rejection('stereo', f'{len(left_open)} open centres and double '
                        f'bonds, at most {MOST_OPEN} are enumerated: write '
                        'some into the SMILES')
    # only rings make a pattern impossible
    found = (i for i in _ordered(molecule)
             if not in_ring or _can_be_embedded(i))
    made = tuple(found) if policy == 'enumerate' else tuple(
        i for i, _ in zip(found, range(1)))
    if not made:
        raise Rejection('stereo', 'no stereoisomer can be embedded')
    return made


def _open(molecule: Any) -> tuple[list[int], list[int]]:
    """Return the atoms and the bonds that could have a label and have none.

    A double bond with an end that bears nothing but an implicit hydrogen,
    as of an imine, can have none in a SMILES.
    """
    from rdkit import Chem

    kinds = Chem.StereoType.Atom_Tetrahedral, Chem.StereoType.Bond_Double
    found: tuple[list[int], list[int]] = ([], [])
    for info in Chem.FindPotentialStereo(Chem.Mol(molecule)):
        if info.type in kinds \
                and info.specified != Chem.StereoSpecified.Specified:
            found[kinds.index(info.type)].append(info.centeredOn)
    atoms, bonds = found
    return atoms, [i for i in bonds if _has_branches(
        molecule.GetBondWithIdx(i))]


def _has_branches(bond: Any) -> bool:
    return all(atom.GetDegree() > 1
               for atom in (bond.GetBeginAtom(), bond.GetEndAtom()))


def _any_in_ring(molecule: Any) -> bool:
    atoms, bonds = _open(molecule)
    return any(molecule.GetAtomWithIdx(i).IsInRing() for i in atoms) \
        or any(molecule.GetBondWithIdx(i).IsInRing() for i in bonds)


def _trans(molecule: Any) -> Any:
    """Return a copy whose open double bonds have larger groups trans."""
    from rdkit import Chem

    copy = Chem.Mol(molecule)
    for i in _open(molecule)[1]:
        bond = copy.GetBondWithIdx(i)
        begin, end = bond.GetBeginAtom(), bond.GetEndAtom()
        bond.SetStereoAtoms(_larger_branch(copy, begin, end),
                            _larger_branch(copy, end, begin))
        bond.SetStereo(Chem.BondStereo.STEREOCIS if bond.IsInRing()
                       else Chem.BondStereo.STEREOTRANS)
    # RDKit's labels are made from directions, and others are dropped
    Chem.SetDoubleBondNeighborDirections(copy)
    Chem.AssignStereochemistry(copy, cleanIt=True, force=True)
    return copy


def _larger_branch(molecule: Any, atom: Any, other: Any) -> int:
    """Return the neighbour of `atom` that the most atoms hang on."""
    def size(neighbour: Any) -> tuple[int, int]:
        seen = {atom.GetIdx(), neighbour.GetIdx()}
        edge = [neighbour]
        while edge:
            reached = {n.GetIdx() for a in edge for n in a.GetNeighbors()}
            edge = [molecule.GetAtomWithIdx(i) for i in reached - seen]
            seen |= reached
        return len(seen), -neighbour.GetIdx()
    branches = [n for n in atom.GetNeighbors()
                if n.GetIdx() != other.GetIdx()]
    return int(max(branches, key=size).GetIdx())


def _ordered(molecule: Any) -> list[Any]:
    """Return all isomers in the order of their labels."""
    from rdkit import Chem
    from rdkit.Chem import EnumerateStereoisomers as rdkit_isomers

    # RDKit's Python files have no types
    tools: Any = rdkit_isomers
    options = tools.StereoEnumerationOptions(
        onlyUnassigned=True, unique=True, maxIsomers=2**MOST_OPEN)

    def key(isomer: Any) -> tuple[str, str, str]:
        labels = carried_labels(isomer)
        letters = [''.join(t[-1] for t in text.split(',') if t)
                   for text in (labels.cip, labels.double_bonds)]
        return letters[0], letters[1], Chem.MolToSmiles(isomer)
    return sorted(tools.EnumerateStereoisomers(molecule, options=options),
                  key=key)


def _can_be_embedded(isomer: Any) -> bool:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        whole = Chem.AddHs(isomer)
        parameters: Any = rdDistGeom.ETKDGv3()
        parameters.randomSeed = 1
        parameters.useRandomCoords = True
        parameters.maxIterations = _TRIES
        return bool(rdDistGeom.EmbedMolecule(whole, parameters) >= 0)
