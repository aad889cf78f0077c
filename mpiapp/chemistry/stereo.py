"""Stereochemistry of a geometry: CIP labels and hindered biaryl axes."""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mpiapp.chemistry.bonds import shortened
from mpiapp.chemistry.graph import CACHE_SIZE, Graph, graph_of, molecule_of
from mpiapp.records import Floats, Structure

#: of the four ortho positions, so many must be taken to hinder an axis
MIN_BLOCKED = 2
#: sine of the dihedral from which on an axis has a hand: nearer to the plane
#: the sign is noise, and the barrier is passed
HANDED = 0.5
#: heavy neighbours of an ortho atom with a substituent or a fused ring
_BLOCKED_DEGREE = 3


@dataclass(frozen=True)
class Stereo:
    """Labels of one geometry.

    `cip`: labels of centres by atom number from 1, as in '3R,17S';
    `double_bonds` likewise, as in '4=5E'.  `axes`: for each hindered biaryl
    axis its two atoms (from 0) and the sign of the dihedral across it, 0
    within 30 degrees of the plane.
    """

    cip: str = ''
    double_bonds: str = ''
    axes: tuple[tuple[tuple[int, int], int], ...] = ()


@dataclass(frozen=True)
class _Template:
    """Per graph: molecule, centres to leave out, four atoms of each axis."""

    molecule: Any
    not_centres: frozenset[int]
    axes: tuple[tuple[int, int, int, int], ...]


def stereo_labels(structure: Structure, positions: Floats) -> Stereo:
    """Return the labels at `positions` [n_atoms, 3] A.

    Empty for a structure without bond orders (xyz), or with such bonds that
    RDKit can't make sense of them.
    """
    template = _template_of(graph_of(structure))
    if template is None:
        return Stereo()
    axes = tuple(((b, c), _sign_of_dihedral(positions[[a, b, c, d]]))
                 for a, b, c, d in template.axes)
    molecule = _perceived(template.molecule, positions)
    return Stereo(_cip(molecule, template.not_centres),
                  _double_bonds(molecule), axes)


def carried_labels(molecule: Any) -> Stereo:
    """Return the labels that RDKit's molecule carries, without axes."""
    from rdkit import Chem

    Chem.AssignStereochemistry(molecule, cleanIt=True, force=True)
    return Stereo(_cip(molecule, _resonant_centres(molecule)),
                  _double_bonds(molecule))


def labels_lost(wanted: Stereo, found: Stereo) -> bool:
    """Tell whether a centre or double bond is not labelled as wanted."""
    there = {text for labels in (found.cip, found.double_bonds)
             for text in labels.split(',')}
    return any(text and text not in there
               for labels in (wanted.cip, wanted.double_bonds)
               for text in labels.split(','))


def stereo_changed(a: Stereo, b: Stereo) -> str:
    """Return '' for equal labels, else what differs, first to second.

    An axis has changed where both geometries are twisted, and otherwise.
    """
    if a == b:
        return ''
    flat = {place for stereo in (a, b) for place, sign in stereo.axes
            if not sign}
    before, after = _by_place(a, flat), _by_place(b, flat)
    places = list(dict.fromkeys([*before, *after]))
    return shortened([
        f'{place} {before.get(place, "none")} -> {after.get(place, "none")}'
        for place in places if before.get(place) != after.get(place)])


def _by_place(
    stereo: Stereo, left_out: set[tuple[int, int]],
) -> dict[str, str]:
    """Return labels and signs, but of some axes, by what they belong to."""
    texts = [text for text in (*stereo.cip.split(','),
                               *stereo.double_bonds.split(',')) if text]
    found = {text[:-1]: text[-1] for text in texts}
    for (i, j), sign in stereo.axes:
        if (i, j) not in left_out:
            found[f'axis {i + 1}-{j + 1}'] = f'{sign:+d}'
    return found


@lru_cache(CACHE_SIZE)
def _template_of(graph: Graph) -> _Template | None:
    molecule = molecule_of(graph) if graph.orders else None
    if molecule is None:
        return None
    return _Template(molecule, _resonant_centres(molecule),
                     tuple(_hindered_axes(molecule)))


def _perceived(template: Any, positions: Floats) -> Any:
    """Return a copy of the molecule with the stereo of a geometry."""
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    molecule = Chem.Mol(template)
    conformer = Chem.Conformer(molecule.GetNumAtoms())
    conformer.SetPositions(np.ascontiguousarray(positions, np.float64))
    conformer.Set3D(True)
    molecule.AddConformer(conformer)
    with BlockLogs():
        Chem.AssignStereochemistryFrom3D(molecule, replaceExistingTags=True)
    return molecule


def _cip(molecule: Any, not_centres: frozenset[int]) -> str:
    return ','.join(
        f'{atom.GetIdx() + 1}{atom.GetProp("_CIPCode")}'
        for atom in molecule.GetAtoms()
        if atom.HasProp('_CIPCode') and atom.GetIdx() not in not_centres)


def _double_bonds(molecule: Any) -> str:
    from rdkit.Chem import BondStereo

    kinds = {BondStereo.STEREOE: 'E', BondStereo.STEREOZ: 'Z'}
    return ','.join(
        f'{bond.GetBeginAtomIdx() + 1}={bond.GetEndAtomIdx() + 1}'
        f'{kinds[bond.GetStereo()]}'
        for bond in molecule.GetBonds() if bond.GetStereo() in kinds)


def _resonant_centres(molecule: Any) -> frozenset[int]:
    """Return P and S with two bare oxygens, which are equal by resonance.

    RDKit takes P(=O)[O-] for two different neighbours, and would call the
    phosphorus of a deprotonated phosphonate a stereocentre.
    """
    found = set()
    for atom in molecule.GetAtoms():
        bare = [n for n in atom.GetNeighbors()
                if n.GetAtomicNum() == 8 and n.GetDegree() == 1]
        if atom.GetAtomicNum() in (15, 16) and len(bare) > 1:
            found.add(atom.GetIdx())
    return frozenset(found)


def _hindered_axes(molecule: Any) -> list[tuple[int, int, int, int]]:
    """Return (ortho, axis atom, axis atom, ortho) of each hindered axis.

    An axis is an acyclic single bond of two aromatic ring atoms whose ortho
    atoms differ on either side, at least two of the four being blocked.  The
    ortho atom of higher canonical rank defines the dihedral.
    """
    from rdkit import Chem

    ranks = list(Chem.CanonicalRankAtoms(molecule, breakTies=False))
    axes = []
    for bond in molecule.GetBonds():
        b, c = bond.GetBeginAtom(), bond.GetEndAtom()
        if (bond.IsInRing() or bond.GetBondTypeAsDouble() != 1
                or not (b.GetIsAromatic() and c.GetIsAromatic())):
            continue
        sides = [_ortho(b, c), _ortho(c, b)]
        blocked = sum(_is_blocked(atom) for side in sides for atom in side)
        if blocked < MIN_BLOCKED or any(
                len({ranks[o.GetIdx()] for o in side}) != 2
                for side in sides):
            continue
        a, d = (max((ranks[o.GetIdx()], o.GetIdx()) for o in side)[1]
                for side in sides)
        axes.append((a, b.GetIdx(), c.GetIdx(), d))
    return axes


def _ortho(atom: Any, other: Any) -> list[Any]:
    """Return the ring neighbours of an axis atom."""
    return [n for n in atom.GetNeighbors()
            if n.GetIdx() != other.GetIdx() and n.GetAtomicNum() > 1]


def _is_blocked(atom: Any) -> bool:
    heavy = [n for n in atom.GetNeighbors() if n.GetAtomicNum() > 1]
    return len(heavy) >= _BLOCKED_DEGREE


def _sign_of_dihedral(points: Floats) -> int:
    """Return the sign of the dihedral angle over four points [4, 3].

    0 where its sine is below HANDED.
    """
    first, axis, last = np.diff(points, axis=0)
    normals = np.cross(first, axis), np.cross(axis, last)
    length = np.linalg.norm(normals[0]) * np.linalg.norm(normals[1])
    sine = np.dot(first, normals[1]) * np.linalg.norm(axis)
    return int(np.sign(sine)) if abs(sine) > HANDED * length else 0
