"""Rigid motions are left out of Hessians, also of linear molecules."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.records import Floats
from mpiapp.saddle.eckart import (
    cartesian_modes, motions_left_out, off_line, rigid_motions,
    vibrational_basis, vibrations, without_rigid
)
from mpiapp.saddle.finite import hessian_from
from mpiapp.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

MOLECULES = {
    'water': ('O 0 0 0; H 0 -.757 .587; H 0 .757 .587', 3),
    'carbon dioxide': ('C 0 0 0; O 0 0 1.18; O 0 0 -1.18', 4),
    # a linear molecule that does not lie on an axis
    'hydrogen cyanide': ('H -.6 -.6 -.6; C 0 0 0; N .66 .66 .66', 4),
}
#: cm^-1: both diagonalise the same matrix
CLOSE = 1e-3


def wavenumbers(values: Floats) -> Floats:
    """Return cm^-1 of eigenvalues, imaginary ones negative."""
    from ase import units
    scale = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    return np.sign(values) * scale * np.sqrt(np.abs(values))


@pytest.mark.parametrize('name', MOLECULES)
def test_frequencies_are_those_of_pyscf(name: str) -> None:
    from pyscf import gto, scf
    from pyscf.hessian import thermo
    text, n_modes = MOLECULES[name]
    molecule = gto.M(atom=text, basis='sto-3g', verbose=0)
    solution = scf.RHF(molecule).run()
    found = solution.Hessian().kernel()  # [n, n, 3, 3] Hartree/bohr^2
    theirs = thermo.harmonic_analysis(molecule, found, imaginary_freq=False)
    n = molecule.natm
    hessian = np.asarray(found).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
    modes = vibrations(
        hessian * EV_PER_HARTREE / ANGSTROM_PER_BOHR**2,
        molecule.atom_mass_list(isotope_avg=True),
        molecule.atom_coords() * ANGSTROM_PER_BOHR)
    assert len(modes.values) == n_modes
    np.testing.assert_allclose(
        np.sort(wavenumbers(modes.values)),
        np.sort(theirs['freq_wavenumber']), rtol=2e-6, atol=CLOSE)


@pytest.mark.parametrize('positions, n_rigid', [
    ([[0, 0, 0]], 3),
    ([[0, 0, 0], [0, 0, 1.1]], 5),
    ([[1, 1, 1], [2, 2, 2], [3.5, 3.5, 3.5]], 5),
    ([[0, 0, 0], [0, 0, 1.1], [0, 0.1, 2.2]], 6),
    ([[0, 0, 0], [0, 0, 1.1], [0, 1.1, 0], [1.1, 0, 0]], 6),
])
def test_rigid_motions_are_counted(
    positions: list[list[float]], n_rigid: int,
) -> None:
    x = np.array(positions)
    masses = np.linspace(1.0, 12.0, len(x))
    basis = rigid_motions(masses, x)
    assert basis.shape == (x.size, n_rigid)
    inside = vibrational_basis(masses, x)
    assert inside.shape == (x.size, x.size - n_rigid)
    np.testing.assert_allclose(
        np.eye(x.size), basis @ basis.T + inside @ inside.T, atol=1e-12)


def test_a_turned_molecule_has_the_same_vibrations(
    rng: np.random.Generator,
) -> None:
    from scipy.spatial.transform import Rotation
    x, masses = rng.normal(size=(4, 3)), np.array([1.0, 12, 14, 16])
    half = rng.normal(size=(12, 12))
    hessian = half + half.T
    turn = Rotation.random(random_state=3).as_matrix()
    blocks = np.kron(np.eye(4), turn)
    turned = vibrations(blocks @ hessian @ blocks.T, masses, x @ turn.T + 5)
    plain = vibrations(hessian, masses, x)
    np.testing.assert_allclose(plain.values, turned.values, atol=1e-9)
    assert plain.n_neg() == cartesian_modes(hessian, x).n_neg()


def test_rigid_motions_feel_nothing_after_projection(
    rng: np.random.Generator,
) -> None:
    x, masses = rng.normal(size=(3, 3)), np.array([1.0, 12, 16])
    half = rng.normal(size=(9, 9))
    left = without_rigid(half + half.T, masses, x)
    shift = np.tile([1.0, 0, 0], 3)
    turn = np.cross([0, 0, 1.0], x - masses @ x / masses.sum()).ravel()
    assert np.abs(left @ shift).max() < 1e-9
    assert np.abs(left @ turn).max() < 1e-9


def test_differences_of_a_parabola_are_its_hessian(
    rng: np.random.Generator,
) -> None:
    from mpiapp.saddle.finite import displaced
    half = rng.normal(size=(6, 6))
    hessian = half + half.T
    moved = displaced(rng.normal(size=(2, 3)))
    forces = -(moved.reshape(-1, 6) @ hessian).reshape(moved.shape)
    np.testing.assert_allclose(hessian_from(forces), hessian, atol=1e-9)


def test_atoms_off_a_line_are_measured() -> None:
    line = np.outer([0.0, 1.0, 2.5], [0.6, 0.0, 0.8])
    assert off_line(line) < 1e-12
    line[1] += np.array([0.0, 0.09, 0.0])
    assert off_line(line) == pytest.approx(0.06, rel=0.1)


@pytest.mark.parametrize('bends, off, left_out', [
    # both bends of a line lead down: the rotation about it is one of them
    ((-1.0, -1.0), 0.01, 5), ((-1.0, -1.0), 0.2, 6),
    # a bend that leads up is one whether it counts or not
    ((1.0, 1.0), 0.01, 6), ((-1.0, 1.0), 0.01, 6)])
def test_the_rotation_about_a_line_is_a_bend(
    bends: tuple[float, float], off: float, left_out: int,
) -> None:
    masses = np.array([1.0, 16.0, 1.0])
    x = np.array([[0.0, 0, -1], [off, 0, 0], [0, 0, 1]])
    hessian = np.zeros((9, 9))
    for axis, k in enumerate(bends):
        way = np.zeros((3, 3))
        way[:, axis] = 1.0, -2.0, 1.0
        hessian += k * np.outer(way.ravel(), way.ravel())
    assert motions_left_out(hessian, masses, x) == left_out
