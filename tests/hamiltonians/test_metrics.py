"""Orbitals and metrics of small matrices with known answers."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.hamiltonians.algebra import basis_from, mulliken, orbitals_of
from mpiapp.hamiltonians.metrics import (
    METRICS, State, blocks, compare, of_forces, of_orbitals
)
from mpiapp.records import Floats

TOLERANCE = 1e-12
SHELLS = [(0, 0), (0, 1), (1, 0), (1, 0)]
WHERE = np.array([[0.0, 0, 0], [0, 0, 4.0]])
N = 6


def symmetric(rng: np.random.Generator, n: int = N) -> Floats:
    made = rng.normal(size=(n, n))
    return made + made.T


@pytest.fixture
def overlap(rng: np.random.Generator) -> Floats:
    made = rng.normal(size=(N, N)) * 0.1
    return np.eye(N) + made @ made.T


def state(h: Floats, s: Floats, energy: float = -1.0) -> State:
    return State(h, orbitals_of(h, basis_from(s), 2), energy, np.zeros(3),
                 np.zeros(2), np.zeros((2, 3)))


def test_orbitals_solve_the_generalised_problem(
    rng: np.random.Generator, overlap: Floats,
) -> None:
    h = symmetric(rng)
    o = orbitals_of(h, basis_from(overlap), 2)
    np.testing.assert_allclose(h @ o.coeff, overlap @ o.coeff * o.eps,
                               atol=TOLERANCE)
    np.testing.assert_allclose(o.coeff.T @ overlap @ o.coeff, np.eye(N),
                               atol=TOLERANCE)
    assert np.trace(o.density @ overlap) == pytest.approx(4.0)
    assert o.occ.tolist() == [2, 2, 0, 0, 0, 0]


def test_a_state_equals_itself(
    rng: np.random.Generator, overlap: Floats,
) -> None:
    one = state(symmetric(rng), overlap)
    found = compare(one, one, overlap, SHELLS, WHERE)
    assert set(found) <= {name for name, _, _ in METRICS}
    for name, value in found.items():
        wanted = 1.0 if 'similarity' in name else 0.0
        assert np.isnan(value) or value == pytest.approx(
            wanted, abs=TOLERANCE), name


def test_a_shift_by_the_overlap_moves_every_orbital_energy_alike(
    rng: np.random.Generator, overlap: Floats,
) -> None:
    h, d = symmetric(rng), 0.01
    found = compare(state(h + d * overlap, overlap), state(h, overlap),
                    overlap, SHELLS, WHERE)
    assert found['hamiltonian_diff'] == pytest.approx(
        d * np.abs(overlap).mean())
    for name in ('occupied_orbital_energy_mae', 'orbital_energy_mae_all',
                 'homo_error', 'lumo_error', 'wa_diag'):
        assert found[name] == pytest.approx(d, abs=TOLERANCE), name
    for name in ('gap_error', 'wa_offdiag', 'subspace_loss'):
        assert found[name] == pytest.approx(0.0, abs=TOLERANCE), name


def test_signs_of_orbitals_change_nothing(
    rng: np.random.Generator, overlap: Floats,
) -> None:
    h = symmetric(rng)
    one, other = state(h, overlap), state(h + 0.1 * symmetric(rng), overlap)
    before = of_orbitals(one.orbitals, other.orbitals, overlap)
    one.orbitals.coeff[:, 1] *= -1
    other.orbitals.coeff[:, 0] *= -1
    after = of_orbitals(one.orbitals, other.orbitals, overlap)
    assert before == pytest.approx(after, abs=TOLERANCE)


def test_degenerate_orbitals_are_one_space() -> None:
    h = np.diag([-1.0, -1.0, 0.0, 1.0, 2.0, 3.0])
    one = state(h, np.eye(N))
    turned = state(h, np.eye(N))
    c, s = np.cos(0.7), np.sin(0.7)
    turned.orbitals.coeff[:2, :2] = [[c, -s], [s, c]]
    found = of_orbitals(turned.orbitals, one.orbitals, np.eye(N))
    assert found['orbital_similarity_s'] == pytest.approx(1.0)
    assert found['subspace_loss'] == pytest.approx(0.0, abs=TOLERANCE)
    # column by column they look different: the original's measure
    assert found['orbital_coeff_similarity'] == pytest.approx(c)


def test_an_exchanged_orbital_is_one_lost_pair() -> None:
    one = state(np.diag([-2.0, -1.0, 0.0, 1, 2, 3]), np.eye(N))
    other = state(np.diag([-2.0, 0.5, -1.0, 1, 2, 3]), np.eye(N))
    found = of_orbitals(one.orbitals, other.orbitals, np.eye(N))
    assert found['subspace_loss'] == pytest.approx(1.0)
    assert found['orbital_similarity_s'] == pytest.approx(0.5)


def test_blocks_are_told_apart() -> None:
    off = np.zeros((N, N))
    off[0, 1:4] = off[1:4, 0] = 0.6  # s-p of atom 0
    found = blocks(off, SHELLS, WHERE)
    assert found['hamiltonian_diff'] == pytest.approx(6 * 0.6 / 36)
    assert found['h_mae_diagonal'] == pytest.approx(6 * 0.6 / 20)
    assert found['h_mae_offdiagonal'] == 0.0
    assert found['h_mae_sp'] == pytest.approx(6 * 0.6 / 18)
    assert found['h_mae_ss'] == found['h_mae_pp'] == 0.0
    assert found['h_mae_r3_6'] == 0.0
    assert np.isnan(found['h_mae_r0_3']) and np.isnan(found['h_mae_dd'])


def test_small_overlaps_are_dropped_or_raised() -> None:
    s = np.eye(3)
    s[0, 1] = s[1, 0] = 1 - 1e-10
    dropped, raised = basis_from(s), basis_from(s, raise_small=True)
    assert dropped.n_small == raised.n_small == 1
    assert dropped.root.shape == (3, 2) and raised.root.shape == (3, 3)
    assert dropped.smallest == pytest.approx(1e-10, rel=1e-4)
    o = orbitals_of(np.diag([-1.0, -1.0, 1.0]), dropped, 1)
    assert len(o.eps) == 2
    assert np.trace(o.density @ s) == pytest.approx(2.0)


def test_forces_have_components_and_norms() -> None:
    a, b = np.zeros((2, 3)), np.zeros((2, 3))
    a[0] = [3.0, 4.0, 0.0]
    b[0] = [5.0, 0.0, 0.0]
    found = of_forces(a, b)
    assert found['force_mae'] == pytest.approx(1.0)
    assert found['force_norm_diff'] == pytest.approx(0.0)
    assert found['force_max'] == pytest.approx(20**0.5)
    assert of_forces(None, b) == {}


def test_charges_sum_to_the_total(
    rng: np.random.Generator, overlap: Floats,
) -> None:
    o = orbitals_of(symmetric(rng), basis_from(overlap), 2)
    charges = mulliken(o.density, overlap, np.array([3, 1]),
                       np.array([0, 0, 0, 0, 1, 1]))
    assert charges.sum() == pytest.approx(0.0)
