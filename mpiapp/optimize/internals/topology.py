"""Choose the internal coordinates of a molecule.

All bonds, bends and torsions, and the distances of atoms in contact: a
redundant set, as no single atom may be left without a stiff enough
description.  Straight bends get three numbers that are smooth at 180 degrees,
and torsions reach across them.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, compress, product

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.internals.coordinates import Coordinates
from mpiapp.optimize.internals.primitives import arms, bend
from mpiapp.records import Floats, Ints

Numbers = NDArray[np.integer]
Neighbours = list[list[int]]

#: bonded below this multiple of the sum of covalent radii
BOND_FACTOR = 1.25
#: in contact below this multiple of the sum of van der Waals radii
CONTACT_FACTOR = 1.1
#: straight above this angle, radian; below, the torsions of a chain are safe
STRAIGHT = np.deg2rad(165.0)
#: atoms with more neighbours are held by distances alone (clusters, metals)
MOST_NEIGHBOURS = 6
#: van der Waals radius [A] where none is known
SOME_RADIUS = 2.0


def choose(numbers: Numbers, positions: Floats) -> tuple[Coordinates, int]:
    """Return the coordinates and how many of their pairs are bonds.

    `numbers` [n_atoms], `positions` [n_atoms, 3] A.
    """
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    bonds = bonded(numbers, distances)
    neighbours = neighbour_lists(len(numbers), bonds)
    bends, lines = angles(neighbours, positions)
    torsions = dihedrals(bonds, neighbours, lines, positions)
    contacts = touching(numbers, distances, bonds)
    return Coordinates(
        len(numbers), np.concatenate([bonds, contacts]), table(bends, 3),
        table(lines, 3), table(torsions, 4)), len(bonds)


def table(rows: Sequence[tuple[int, ...]], width: int) -> Ints:
    """Return rows of atoms as an array [n, width], n may be 0."""
    return np.array(rows, np.int64).reshape(-1, width)


def bonded(numbers: Numbers, distances: Floats) -> Ints:
    """Return the bonds [n, 2], i < j, of distances [n_atoms, n_atoms] A."""
    radii = covalent_radii()[numbers]
    close = distances < BOND_FACTOR * (radii[:, None] + radii)
    return np.argwhere(np.triu(close, 1))


def neighbour_lists(n_atoms: int, bonds: Ints) -> Neighbours:
    """Return the bonded atoms of each atom, in order."""
    lists: Neighbours = [[] for _ in range(n_atoms)]
    for i, j in bonds.tolist():
        lists[i].append(j)
        lists[j].append(i)
    return [sorted(atoms) for atoms in lists]


def angles(
    neighbours: Neighbours, x: Floats,
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the bends and the straight ones among them, apart."""
    triples: list[tuple[int, ...]] = [
        (i, j, k) for j, around in enumerate(neighbours)
        if len(around) <= MOST_NEIGHBOURS
        for i, k in combinations(around, 2)]
    straight = angles_of(x, triples) > STRAIGHT
    bends = list(compress(triples, ~straight))
    return bends, list(compress(triples, straight))


def angles_of(x: Floats, triples: Sequence[tuple[int, ...]]) -> Floats:
    """Return the angles [n] at the middle atoms of triples, radian."""
    return bend(*arms(table(triples, 3), np.ascontiguousarray(x.T)))


def dihedrals(
    bonds: Ints, neighbours: Neighbours, lines: list[tuple[int, ...]],
    x: Floats,
) -> list[tuple[int, ...]]:
    """Return the torsions about each bond or straight chain, in order."""
    chains = sorted(set(chains_of_four(bonds, neighbours, lines)))
    first = angles_of(x, [chain[:3] for chain in chains])
    last = angles_of(x, [chain[1:] for chain in chains])
    return list(compress(chains, np.maximum(first, last) < STRAIGHT))


def chains_of_four(
    bonds: Ints, neighbours: Neighbours, lines: list[tuple[int, ...]],
) -> Iterator[tuple[int, ...]]:
    """Yield four atoms of each torsion, whatever the angles between."""
    through = {j: (i, k) for i, j, k in lines if len(neighbours[j]) == 2}
    for i, j in bonds.tolist():
        before, b = walk(through, j, i)
        after, c = walk(through, i, j)
        if b == c or max(len(neighbours[b]),
                         len(neighbours[c])) > MOST_NEIGHBOURS:
            continue
        for a, d in product(neighbours[b], neighbours[c]):
            if a in (before, c, d) or d in (after, b):
                continue
            yield (a, b, c, d) if b < c else (d, c, b, a)


def walk(
    through: dict[int, tuple[int, int]], previous: int, atom: int,
) -> tuple[int, int]:
    """Return (atom before, atom) where the straight chain ends."""
    start = previous
    while atom in through:
        ends = through[atom]
        onward = ends[0] if ends[1] == previous else ends[1]
        previous, atom = atom, onward
        if atom == start:
            break
    return previous, atom


def touching(numbers: Numbers, distances: Floats, bonds: Ints) -> Ints:
    """Return pairs [n, 2] in contact, three bonds or more apart."""
    radii = contact_radii()[numbers]
    n_atoms = len(numbers)
    near = np.eye(n_atoms, dtype=np.float32)
    near[bonds[:, 0], bonds[:, 1]] = near[bonds[:, 1], bonds[:, 0]] = 1
    close = distances < CONTACT_FACTOR * (radii[:, None] + radii)
    return np.argwhere(np.triu(close & (near @ near == 0), 1))


@lru_cache(maxsize=1)
def covalent_radii() -> Floats:
    """Return the covalent radii by atomic number, A."""
    from ase.data import covalent_radii as radii
    return np.array(radii, np.float64)


@lru_cache(maxsize=1)
def contact_radii() -> Floats:
    """Return the van der Waals radii by atomic number, A."""
    from ase.data import vdw_radii
    radii = np.full(len(covalent_radii()), SOME_RADIUS)
    known = np.array(vdw_radii, np.float64)[:len(radii)]
    radii[:len(known)] = np.where(np.isfinite(known), known, SOME_RADIUS)
    return radii
