"""Compatibility mode: the measures of pyrene_analyzer 1.1.0, as they were.

Kept to compare with its tables (github fulopjoz/pyrene-dimer-analyzer, MIT).
Its distance uses the first ring set's normal only, its planes may go through
a twisted biaryl, its overlap knows no distance: planes.py has better ones.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mpiapp.chemistry.aromatic import aromatic_molecule, aromatic_rings, merged
from mpiapp.chemistry.graph import CACHE_SIZE, Graph
from mpiapp.chemistry.hulls import overlap_percent
from mpiapp.chemistry.planes import cross, plane
from mpiapp.chemistry.systems import SYSTEMS, System, pattern_of
from mpiapp.records import Floats

#: the system that the original's re-optimisation looks for
DEFAULT_SYSTEM = next(s for s in SYSTEMS if s.name == 'binaphthalene')
#: per cent where a hull can't be made
NO_HULL = 50.0

Atoms = tuple[int, ...]


@dataclass(frozen=True)
class RingSets:
    """The two ring sets and the atoms of the two 'bridge dihedrals'.

    These are the first atoms of a search over the heavy atoms outside both
    ring sets; they need not be bonded to each other.
    """

    first: Atoms
    second: Atoms
    bridges: tuple[Atoms | None, Atoms | None]


@dataclass(frozen=True)
class CompatMeasures:
    """Measures [...] of two ring sets: degrees, A, per cent."""

    plane_angle: Floats
    distance: Floats
    overlap: Floats
    centroid: Floats
    slip: Floats
    tilt: Floats
    bridge_l: Floats
    bridge_r: Floats


@lru_cache(CACHE_SIZE)
def ring_sets(graph: Graph,
              system: System = DEFAULT_SYSTEM) -> RingSets | None:
    """Return the ring sets of a graph; None if there are no two."""
    molecule = aromatic_molecule(graph)
    matches = [frozenset(match) for match in
               molecule.GetSubstructMatches(pattern_of(system.smarts))]
    clusters = [c for c in merged(matches, 1) if len(c) >= system.min_atoms]
    if len(clusters) < 2:
        # RDKit's order of rings differs from version to version
        rings = sorted((r for r in aromatic_rings(molecule) if len(r) == 6),
                       key=min)
        every = merged(rings, 1)
        clusters = [c for c in every if len(c) >= system.min_atoms]
        if len(clusters) < 2:
            clusters = sorted(every, key=len, reverse=True)
        if len(clusters) < 2:
            return None
        if len(clusters) == 2:
            return _sets(molecule, clusters)
    return _sets(molecule, sorted(clusters, key=len, reverse=True)[:2])


def compat_measures(sets: RingSets, positions: Floats) -> CompatMeasures:
    """Measure geometries [..., n_atoms, 3] A; NaN where one is not finite."""
    a, b = (positions[..., list(atoms), :]
            for atoms in (sets.first, sets.second))
    first, second = plane(a), plane(b)
    n1, n2 = first.normal, second.normal
    between = second.centroid - first.centroid
    along = (between * n1).sum(axis=-1)
    cosine = (n1 * n2).sum(axis=-1)
    finite = np.isfinite(first.centroid + second.centroid).all(axis=-1)
    mean = n1 + np.where(cosine < 0, -1, 1)[..., None] * n2
    with np.errstate(invalid='ignore'):
        mean = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    overlap = overlap_percent(a, b, mean)
    return CompatMeasures(
        plane_angle=np.degrees(np.arccos(np.clip(np.abs(cosine), 0, 1))),
        distance=np.abs(along),
        overlap=np.where(finite & np.isnan(overlap), NO_HULL, overlap),
        centroid=np.linalg.norm(between, axis=-1),
        slip=np.linalg.norm(between - along[..., None] * n1, axis=-1),
        tilt=_tilt(n1, n2, between),
        bridge_l=_optional_dihedral(sets.bridges[0], positions),
        bridge_r=_optional_dihedral(sets.bridges[1], positions),
    )


def calibrated(distance: Floats, slope: float = 1.0,
               offset: float = 0.0) -> Floats:
    """Return distances [...] A after the original's linear correction."""
    return np.maximum(slope * np.asarray(distance) + offset, 0.0)


def dihedral(points: Floats) -> Floats:
    """Return the dihedrals [...], -180..180 degrees, of [..., 4, 3]."""
    steps = points[..., 1:, :] - points[..., :-1, :]
    first, axis, last = steps[..., 0, :], steps[..., 1, :], steps[..., 2, :]
    across, beyond = cross(first, axis), cross(axis, last)
    length = np.linalg.norm(axis, axis=-1)
    sine = (first * beyond).sum(axis=-1) * length
    cosine = (across * beyond).sum(axis=-1)
    with np.errstate(invalid='ignore'):
        return np.where((sine == 0) & (cosine == 0), np.nan,
                        np.degrees(np.arctan2(sine, cosine)))


def _optional_dihedral(atoms: Atoms | None, positions: Floats) -> Floats:
    if atoms is None:
        return np.full(positions.shape[:-2], np.nan)
    return dihedral(positions[..., list(atoms), :])


def _tilt(n1: Floats, n2: Floats, between: Floats) -> Floats:
    """Return the angle of the normals seen along the centroids' line."""
    length = np.linalg.norm(between, axis=-1, keepdims=True)
    with np.errstate(invalid='ignore', divide='ignore'):
        axis = between / length
        shadows = [n - (n * axis).sum(axis=-1, keepdims=True) * axis
                   for n in (n1, n2)]
        lengths = [np.linalg.norm(s, axis=-1) for s in shadows]
        cosine = (shadows[0] * shadows[1]).sum(axis=-1) \
            / (lengths[0] * lengths[1])
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    defined = (length[..., 0] > 0) & (lengths[0] > 0) & (lengths[1] > 0)
    return np.where(defined | np.isnan(length[..., 0]), angle, 0.0)


def _sets(molecule: Any, clusters: list[frozenset[int]]) -> RingSets:
    first, second = (tuple(sorted(cluster)) for cluster in clusters)
    return RingSets(first, second,
                    _bridges(molecule, frozenset(first + second)))


def _bridges(molecule: Any,
             rings: frozenset[int]) -> tuple[Atoms | None, Atoms | None]:
    """Return the atoms of both dihedrals, None where there are too few."""
    outside = [a.GetIdx() for a in molecule.GetAtoms()
               if a.GetIdx() not in rings and a.GetAtomicNum() != 1]
    parts: list[list[int]] = []
    for start in outside:
        if not any(start in part for part in parts):
            parts.append(_searched(molecule, start, frozenset(outside)))
    if len(parts) > 1:
        return _four(parts[0], 0), _four(parts[1], 0)
    if not parts:
        return None, None
    middle = len(parts[0]) // 2
    return (_four(parts[0], 0),
            _four(parts[0], middle) if middle >= 4 else None)


def _four(part: list[int], start: int) -> Atoms | None:
    four = part[start:start + 4]
    return tuple(four) if len(four) == 4 else None


def _searched(molecule: Any, start: int,
              among: frozenset[int]) -> list[int]:
    """Return the atoms joined to one, in the order of breadth-first search.

    Neighbours come in the order of the bonds in the file.
    """
    queue, found = [start], {start: None}
    for i in queue:
        for neighbour in molecule.GetAtomWithIdx(i).GetNeighbors():
            j = neighbour.GetIdx()
            if j in among and j not in found:
                found[j] = None
                queue.append(j)
    return list(found)
