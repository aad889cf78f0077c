"""Molecules to measure on: real ones, with all hydrogens, hashed (R4)."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.benchmarks import shapes
from mpiapp.bonding import bond_list
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.records import Batch, Floats, Structure

#: name to SMILES; atoms in the name's order of size, 3 to 146
SMILES = {
    'water': 'O',
    'ethanol': 'CCO',
    'benzene': 'c1ccccc1',
    'water-cluster': 'O.O.O.O.O.O',
    'alanine-dipeptide': 'CC(=O)NC(C)C(=O)NC',
    'caffeine': 'Cn1cnc2c1c(=O)n(C)c(=O)n2C',
    'naphthol-ether': 'CCCCOc1ccc2ccccc2c1',
    'organic': shapes.ORGANIC,
    'steroid': 'CC(C)CCCC(C)C1CCC2C1(CCC3C2CC=C4C3(CCC(C4)O)C)C',
    'long-amide': 'CCCCCCCCCCCCCCCC(=O)NCCCCCCCCCCCCCCCC',
    'long-alkane': 'C' * 48,
}
#: closest approach, as a share of the sum of covalent radii, and in A
NEAREST, NEAREST_A = 0.6, 0.6
#: eV/A; largest GFN2-xTB force of a relaxed molecule
FORCE_CEILING = 10.0
#: degrees; a carbon with two neighbours is linear
LINEAR = 150.0
#: bundled dimers of 154 to 238 atoms
LIBRARY = 'dimers/library_sample.sdf'


class Unphysical(Exception):
    """A molecule that nothing may be measured on."""


def names() -> list[str]:
    """Return the names that a matrix may use beside files."""
    return [*SMILES, 'pyrene-dimer', 'library-dimer']


def molecule(name: str) -> Structure:
    """Return a molecule by its name, or the first record of a file.

    `name` may be FILE or FILE:RECORD, of any format that is read.

    Raises:
        InputError: no such name or record.
        Unphysical: it is there, but nothing to measure on.
    """
    found = _known(name) if name in names() else _of_file(name)
    check_physical(found.numbers, found.positions, found.charge)
    return found


@lru_cache(maxsize=32)
def _known(name: str) -> Structure:
    if name == 'pyrene-dimer':
        return shapes.pyrene_dimer()
    if name == 'library-dimer':
        return _of_file(str(data_file(LIBRARY)))
    return Structure(0, 0, 0, *shapes.embedded(SMILES[name]), title=name)


@lru_cache(maxsize=32)
def _of_file(name: str) -> Structure:
    import tempfile

    from mpiapp.records import Rejection
    from mpiapp.structures import Collection
    path, _, record = name.rpartition(':')
    if not record.isdigit():
        path, record = name, '0'
    if not Path(path).is_file():
        raise InputError(f'no molecule and no file {name!r}; known names: '
                         f'{", ".join(names())}')
    with tempfile.TemporaryDirectory() as spool:
        collection = Collection.open([path], Path(spool))
        if int(record) >= len(collection):
            raise InputError(f'{path} has {len(collection)} records, no '
                             f'number {record}')
        try:
            return collection.load(int(record))
        except Rejection as error:
            raise InputError(f'{name}: {error}') from error


def check_physical(
    numbers: Any, positions: Floats, charge: int = 0,
    forces_of: Callable[[Any, Floats, int], Floats] | None = None,
) -> None:
    """Raise Unphysical, saying why, unless this may be a real molecule.

    Overlapping atoms, carbons without their hydrogens, and forces [eV/A]
    beyond the ceiling are refused.  `forces_of` computes these; default:
    GFN2-xTB, where it is installed.
    """
    if not np.isfinite(positions).all():
        raise Unphysical('positions that are not finite')
    check_distances(numbers, positions)
    check_carbons(numbers, positions)
    forces = (forces_of or _gfn2_forces)(numbers, positions, charge)
    largest = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
    if not largest <= FORCE_CEILING:
        raise Unphysical(f'a force of {largest:.1f} eV/A (GFN2-xTB; at most '
                         f'{FORCE_CEILING:g}): not relaxed')


def check_distances(numbers: Any, positions: Floats) -> None:
    """Raise Unphysical where two atoms overlap."""
    from ase.data import covalent_radii
    if len(numbers) < 2:
        return
    d = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(d, np.inf)
    radii = covalent_radii[numbers]
    least = np.maximum(NEAREST * (radii[:, None] + radii[None]), NEAREST_A)
    i, j = np.unravel_index(int(np.argmin(d / least)), d.shape)
    if d[i, j] < least[i, j]:
        raise Unphysical(f'atoms {min(i, j)} and {max(i, j)} are '
                         f'{d[i, j]:.2f} A apart')


def check_carbons(numbers: Any, positions: Floats) -> None:
    """Raise Unphysical where a carbon lacks hydrogens.

    Two neighbours at an angle, or one that is not O or N, are no carbon of
    a closed-shell molecule: a file without hydrogens looks so.
    """
    bonds = bond_list(np.asarray(numbers, np.int32), positions)
    for i in np.flatnonzero(np.asarray(numbers) == 6):
        near = np.concatenate([bonds[bonds[:, 0] == i, 1],
                               bonds[bonds[:, 1] == i, 0]])
        lacking = len(near) < 2
        if len(near) == 1:
            lacking = int(numbers[near[0]]) not in (7, 8)
        elif len(near) == 2:
            lacking = _angle(positions[i], *positions[near]) < LINEAR
        if lacking:
            raise Unphysical(f'carbon {i} has {len(near)} neighbours and '
                             'lacks hydrogens')


def _angle(centre: Floats, a: Floats, b: Floats) -> float:
    u, v = a - centre, b - centre
    cosine = u @ v / (np.linalg.norm(u) * np.linalg.norm(v))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _gfn2_forces(
    numbers: Any, positions: Floats, charge: int,
) -> Floats:
    from mpiapp.potentials import PotentialOptions, build
    potential = build(PotentialOptions('gfn2', device='cpu'))
    found = potential.evaluate(Batch.join(
        [(numbers, positions, charge, (int(sum(numbers)) - charge) % 2)]))
    if found.failures:
        raise Unphysical('GFN2-xTB fails on it: '
                         f'{next(iter(found.failures.values()))[1]}')
    return found.forces


def set_sha256(molecules: Sequence[Structure]) -> str:
    """Return the SHA-256 of atoms and positions (to 1e-6 A) of a set."""
    digest = hashlib.sha256()
    for m in molecules:
        digest.update(np.asarray(m.numbers, '<i4').tobytes())
        digest.update(np.round(m.positions * 1e6).astype('<i8').tobytes())
    return digest.hexdigest()
