"""How two states of one molecule differ: the table of metrics.

A state is a matrix, its orbitals and what PySCF made of them.  Every metric
has a name, a unit and a sentence in `METRICS`; signed errors are a less b.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpiapp.hamiltonians.algebra import Orbitals
from mpiapp.hamiltonians.ao_order import Shells, atoms_of, momenta_of
from mpiapp.records import Floats

#: Hartree; orbitals nearer in energy are one degenerate group
DEGENERATE = 1e-4
#: bohr; borders of the distance classes of atom blocks
DISTANCES = (3.0, 6.0, 9.0)
_LETTERS = 'spdf'
_PAIRS = tuple(a + b for i, a in enumerate(_LETTERS)
               for b in _LETTERS[i:])

#: name, unit, what it is
MATRIX = (
    ('hamiltonian_diff', 'Hartree', 'mean absolute difference of all '
     'entries'),
    ('hamiltonian_rms', 'Hartree', 'root mean square difference of all '
     'entries'),
    ('h_mae_diagonal', 'Hartree', 'mean absolute difference in the blocks '
     'of one atom'),
    ('h_mae_offdiagonal', 'Hartree', 'the same in the blocks of two atoms'),
    *((f'h_mae_{pair}', 'Hartree', f'the same in the {pair[0]}-{pair[1]} '
       'blocks') for pair in _PAIRS),
    ('h_mae_r0_3', 'Hartree', 'the same between atoms less than 3 bohr '
     'apart'),
    ('h_mae_r3_6', 'Hartree', 'the same from 3 to 6 bohr'),
    ('h_mae_r6_9', 'Hartree', 'the same from 6 to 9 bohr'),
    ('h_mae_r9', 'Hartree', 'the same from 9 bohr on'),
    ('wa_diag', 'Hartree', 'mean absolute diagonal of the difference in '
     'the orbitals of b'),
    ('wa_offdiag', 'Hartree', 'the same off the diagonal'),
)
ORBITAL = (
    ('occupied_orbital_energy_mae', 'Hartree', 'mean absolute difference of '
     'the occupied orbital energies'),
    ('orbital_energy_mae_all', 'Hartree', 'the same of all orbitals'),
    ('homo_error', 'Hartree', 'HOMO energy, a less b'),
    ('lumo_error', 'Hartree', 'LUMO energy, a less b'),
    ('gap_error', 'Hartree', 'gap, a less b'),
    ('orbital_coeff_similarity', '1', 'mean absolute cosine of the '
     'coefficients of occupied orbitals, column by column, no overlap: as '
     'the original'),
    ('orbital_similarity_s', '1', 'the same in the metric of the overlap, '
     'degenerate orbitals compared as one space'),
    ('subspace_loss', 'electron pair', 'occupied orbitals of a outside the '
     'occupied space of b; twice that are misplaced electrons'),
)
DENSITY = (
    ('energy_diff', 'Hartree', 'absolute difference of the energies'),
    ('energy_error', 'Hartree', 'energy, a less b'),
    ('energy_per_atom', 'Hartree', 'energy_diff by the number of atoms'),
    ('dipole_vec_error', 'Debye', 'norm of the difference of the dipoles'),
    ('mulliken_mae', 'e', 'mean absolute difference of Mulliken charges'),
)
FORCES = (
    ('force_mae', 'Hartree/bohr', 'mean absolute difference of all '
     'components; the original calls it forces_diff l2'),
    ('force_rmse', 'Hartree/bohr', 'root mean square difference of all '
     'components'),
    ('force_max', 'Hartree/bohr', 'largest norm of the difference on an '
     'atom'),
    ('force_norm_diff', 'Hartree/bohr', 'mean absolute difference of the '
     'norms'),
)
METRICS = (*MATRIX, *ORBITAL, *DENSITY, *FORCES)
#: what is known of the labels of a data set
LABELS = tuple(m for m in (*DENSITY, *FORCES)
               if m[0].startswith(('energy', 'force')))


@dataclass(frozen=True)
class State:
    """A matrix [nao, nao] and what follows from it.

    `dipole` [3] Debye, `charges` [n] e, `forces` [n, 3] Hartree/bohr or
    None.
    """

    hamiltonian: Floats
    orbitals: Orbitals
    energy: float
    dipole: Floats
    charges: Floats
    forces: Floats | None = None


def compare(
    a: State, b: State, overlap: Floats, shells: Shells, positions: Floats,
) -> dict[str, float]:
    """Return the metrics of a pair; positions [n, 3] in bohr."""
    difference = a.hamiltonian - b.hamiltonian
    return {
        **blocks(difference, shells, positions),
        **in_orbitals(difference, b.orbitals.coeff),
        **of_orbitals(a.orbitals, b.orbitals, overlap),
        **of_energies(a.energy, b.energy, len(positions)),
        'dipole_vec_error': float(np.linalg.norm(a.dipole - b.dipole)),
        'mulliken_mae': float(np.abs(a.charges - b.charges).mean()),
        **of_forces(a.forces, b.forces),
    }


def blocks(
    difference: Floats, shells: Shells, positions: Floats,
) -> dict[str, float]:
    """Return the mean absolute difference, whole and by blocks."""
    off = np.abs(difference)
    atoms, momenta = atoms_of(shells), momenta_of(shells)
    same = atoms[:, None] == atoms[None, :]
    low = np.minimum(momenta[:, None], momenta[None, :])
    high = np.maximum(momenta[:, None], momenta[None, :])
    gaps = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    gap = gaps[np.ix_(atoms, atoms)]
    edges = (0.0, *DISTANCES, np.inf)
    names = ('h_mae_r0_3', 'h_mae_r3_6', 'h_mae_r6_9', 'h_mae_r9')
    return {
        'hamiltonian_diff': float(off.mean()),
        'hamiltonian_rms': float(np.sqrt((difference**2).mean())),
        'h_mae_diagonal': mean_of(off, same),
        'h_mae_offdiagonal': mean_of(off, ~same),
        **{f'h_mae_{pair}': mean_of(
            off, (low == _LETTERS.index(pair[0]))
            & (high == _LETTERS.index(pair[1]))) for pair in _PAIRS},
        **{name: mean_of(off, ~same & (gap >= near) & (gap < far))
           for name, near, far in zip(names, edges, edges[1:],
                                      strict=False)},
    }


def mean_of(values: Floats, mask: np.ndarray) -> float:
    """Return the mean of the marked entries, NaN where none is."""
    return float(values[mask].mean()) if mask.any() else float('nan')


def in_orbitals(difference: Floats, coeff: Floats) -> dict[str, float]:
    """Return the difference in a basis of orbitals [nao, nmo]."""
    there = np.abs(coeff.T @ difference @ coeff)
    return {'wa_diag': float(np.diagonal(there).mean()),
            'wa_offdiag': mean_of(there, ~np.eye(len(there), dtype=bool))}


def of_orbitals(
    a: Orbitals, b: Orbitals, overlap: Floats,
) -> dict[str, float]:
    """Return the metrics of orbital energies and spaces."""
    n, most = a.n_occ, min(len(a.eps), len(b.eps))
    off = a.eps[:most] - b.eps[:most]
    lumo = float(off[n]) if n < most else float('nan')
    lap = a.occupied.T @ overlap @ b.occupied
    norms = (np.linalg.norm(a.occupied, axis=0)
             * np.linalg.norm(b.occupied, axis=0))
    cosines = np.abs(np.einsum('ij,ij->j', a.occupied, b.occupied)) / norms
    return {
        'occupied_orbital_energy_mae': float(np.abs(off[:n]).mean()),
        'orbital_energy_mae_all': float(np.abs(off).mean()),
        'homo_error': float(off[n - 1]), 'lumo_error': lumo,
        'gap_error': lumo - float(off[n - 1]),
        'orbital_coeff_similarity': float(cosines.mean()),
        'orbital_similarity_s': similarity(lap, b.eps[:n]),
        'subspace_loss': loss_of(a.occupied, b.occupied, lap, overlap),
    }


def loss_of(
    a: Floats, b: Floats, lap: Floats, overlap: Floats,
) -> float:
    """Return n_occ - |lap|^2, as the norm of what of a is outside b.

    The difference of two large numbers would leave their rounding.
    """
    rest = a - b @ lap.T
    return float(np.einsum('ij,ik,kj->', rest, overlap, rest, optimize=True))


def similarity(lap: Floats, eps: Floats) -> float:
    """Return the mean overlap of orbitals; `lap` [n_occ, n_occ].

    Orbitals of one energy have no identity of their own: such a group
    counts by the singular values of its block, the cosines of the angles
    between the two spaces.
    """
    cuts = np.flatnonzero(np.diff(eps) > DEGENERATE) + 1
    values = [
        np.linalg.svd(lap[np.ix_(group, group)], compute_uv=False)
        for group in np.split(np.arange(len(eps)), cuts)]
    return float(np.concatenate(values).mean())


def of_energies(a: float, b: float, n_atoms: int) -> dict[str, float]:
    """Return the metrics of two energies, Hartree."""
    return {'energy_diff': abs(a - b), 'energy_error': a - b,
            'energy_per_atom': abs(a - b) / n_atoms}


def of_forces(a: Floats | None, b: Floats | None) -> dict[str, float]:
    """Return the metrics of forces [n, 3]; none where one side has none."""
    if a is None or b is None:
        return {}
    off = a - b
    norms = np.linalg.norm(a, axis=1) - np.linalg.norm(b, axis=1)
    return {
        'force_mae': float(np.abs(off).mean()),
        'force_rmse': float(np.sqrt((off**2).mean())),
        'force_max': float(np.linalg.norm(off, axis=1).max()),
        'force_norm_diff': float(np.abs(norms).mean()),
    }
