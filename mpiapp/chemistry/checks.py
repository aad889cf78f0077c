"""Guards before the work: can this structure be computed at all?"""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mpiapp.bonding import bond_list
from mpiapp.chemistry.bonds import atom_name
from mpiapp.chemistry.graph import graph_of, n_missing_hydrogens
from mpiapp.records import Floats, Ints, Rejection, Structure

MIN_DISTANCE = 0.5  # A
#: A; no atom of a molecule is farther from its first.  Sums of squares of
#: wild numbers overflow, and LAPACK does not return from infinity.
LARGEST_RADIUS = 5e3
#: bond lengths of real molecules, in sums of covalent radii; drawings have
#: one length for all bonds, and C-H in them is too long or C-C too short
PLAUSIBLE_BOND = (0.7, 1.3)
#: angles at a carbon that lost hydrogens; wider ones are found in cumulenes
#: and bent nitriles, narrower ones in transition states
BENT_DEGREES = (85.0, 130.0)
#: a single-bonded neighbour of a bare carbon is farther off than this, A, and
#: than this share of the sum of covalent radii; C-O in CO, C-N in cyanides
#: and triple bonds are shorter, and C-S in CS
BARE_CARBON_BOND, BARE_CARBON_SHARE = 1.28, 0.88
#: three angles at a carbon of a fullerene sum up to 348, at sp3 to 328; the
#: bonds of the smallest, C20 with 324, are 1.45 A on average, single ones 1.54
PLANAR_DEGREES, SINGLE_BOND = 340.0, 1.5
HALOGENS = frozenset({9, 17, 35, 53})


def check_structure(structure: Structure) -> None:
    """Raise Rejection for the first of these that fails.

    At least 2 atoms (`unparsable`), finite coordinates in space, none
    farther out than a molecule can be (`no_coordinates`), explicit hydrogens
    (`no_hydrogens`), no two atoms within 0.5 A (`atoms_overlap`).
    """
    _check_size(structure)
    _check_coordinates(structure)
    _check_hydrogens(structure)
    _check_distances(structure)


def check_elements(structure: Structure, elements: Iterable[int] | None,
                   model: str) -> None:
    """Raise Rejection (`element`) if the model lacks one; None: it has all."""
    if elements is None:
        return
    known = frozenset(elements)
    unknown = set(structure.numbers.tolist()) - known
    if unknown:
        raise Rejection('element', f'{model} does not know '
                        f'{symbols(unknown)}; it knows {symbols(known)}')


def _check_size(structure: Structure) -> None:
    n_atoms = len(structure.numbers)
    if n_atoms < 2:
        raise Rejection('unparsable', f'{"1 atom" if n_atoms else "no atoms"}'
                                      ' in the record; at least 2 are needed')


def _check_coordinates(structure: Structure) -> None:
    positions = structure.positions
    if not np.isfinite(positions).all():
        i = int(np.argwhere(~np.isfinite(positions).all(axis=1))[0, 0])
        raise Rejection('no_coordinates', f'a coordinate of '
                        f'{atom_name(structure.numbers, i)} is not finite')
    _check_extent(structure)
    if not positions.any():
        raise Rejection('no_coordinates', 'all coordinates are zero')
    if structure.flat:
        raise Rejection('no_coordinates', 'the record is a 2D drawing')
    if not positions[:, 2].any() and not _bonds_plausible(structure):
        raise Rejection('no_coordinates', 'all z are zero and the bond '
                                          'lengths are those of a drawing')


def _check_extent(structure: Structure) -> None:
    """Refuse what is no molecule by its size; it may be anywhere."""
    positions = structure.positions
    # the first atom and not the centroid, whose sum may overflow
    with np.errstate(over='ignore'):
        far = ~(np.abs(positions - positions[0]) < LARGEST_RADIUS)
    if far.any():
        i = int(np.argwhere(far)[0, 0])
        raise Rejection(
            'no_coordinates', f'{atom_name(structure.numbers, i)} is more '
            f'than {LARGEST_RADIUS:g} A from the first atom')


def _bonds_plausible(structure: Structure) -> bool:
    from ase.data import covalent_radii

    pairs = structure.bonds
    lengths = np.linalg.norm(structure.positions[pairs[:, 0]]
                             - structure.positions[pairs[:, 1]], axis=1)
    ratio = lengths / covalent_radii[structure.numbers[pairs]].sum(axis=1)
    low, high = PLAUSIBLE_BOND
    return bool(((ratio > low) & (ratio < high)).all())


def _check_hydrogens(structure: Structure) -> None:
    if len(structure.bonds):
        missing = n_missing_hydrogens(graph_of(structure))
        if missing > structure.unpaired:
            raise Rejection('no_hydrogens',
                            f'{missing} hydrogens are not explicit')
    elif not (structure.numbers == 1).any():
        bare = _bare_carbon(structure)
        if bare is not None:
            raise Rejection(
                'no_hydrogens', 'there is no hydrogen, and by its neighbours '
                f'{atom_name(structure.numbers, bare)} should have some')


def _bare_carbon(structure: Structure) -> int | None:
    """Return a carbon that must have lost hydrogens, by its neighbours."""
    neighbours = _neighbours(bond_list(structure.numbers,
                                       structure.positions))
    for i in np.flatnonzero(structure.numbers == 6).tolist():
        around = neighbours.get(i, [])
        if _lacks_hydrogens(structure.numbers[around],
                            structure.positions[around]
                            - structure.positions[i]):
            return i
    return None


def _neighbours(bonds: Ints) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for i, j in bonds.tolist():
        found.setdefault(i, []).append(j)
        found.setdefault(j, []).append(i)
    return found


def _lacks_hydrogens(numbers: NDArray[np.int32], arms: Floats) -> bool:
    """Judge a carbon by its neighbours: numbers [n], vectors [n, 3] A."""
    from ase.data import covalent_radii

    lengths = np.linalg.norm(arms, axis=1)
    if len(arms) == 1:
        return bool(lengths[0] > max(
            BARE_CARBON_BOND, BARE_CARBON_SHARE
            * (covalent_radii[6] + covalent_radii[numbers[0]])))
    if len(arms) == 2 and set(numbers.tolist()) <= HALOGENS:
        return False  # CF2, CCl2: carbenes
    units = arms / lengths[:, None]
    cosines = (units @ units.T)[np.triu_indices(len(arms), 1)]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    low, high = BENT_DEGREES
    bent = bool(((angles > low) & (angles < high)).all())
    return bent and (len(arms) == 2 or (
        len(arms) == 3 and bool(angles.sum() < PLANAR_DEGREES)
        and bool(lengths.mean() > SINGLE_BOND)))


def _check_distances(structure: Structure) -> None:
    from scipy.spatial import cKDTree

    # Exactly two: the nearest other atom of each.
    distances, nearest = cKDTree(structure.positions).query(
        structure.positions, k=2)
    i = int(np.argmin(distances[:, 1]))
    if distances[i, 1] > MIN_DISTANCE:
        return
    j = int(next(k for k in nearest[i] if k != i))
    i, j = sorted((i, j))
    raise Rejection('atoms_overlap', f'{atom_name(structure.numbers, i)} and '
                    f'{atom_name(structure.numbers, j)} are '
                    f'{distances[:, 1].min():.3f} A apart')


def symbols(numbers: Iterable[int]) -> str:
    """Return elements in words, by atomic number."""
    from ase.data import chemical_symbols

    return ' '.join(chemical_symbols[number] for number in sorted(numbers))
