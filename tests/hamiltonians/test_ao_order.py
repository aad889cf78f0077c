"""Orders of atomic orbitals: permutations from shells."""
from __future__ import annotations

import numpy as np
import pytest

from mpiapp.hamiltonians.ao_order import (
    ORDERS, atoms_of, in_shell, momenta_of, permutation, proved, shells_size
)
from mpiapp.records import Rejection

SHELLS = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]


@pytest.mark.parametrize('order, ang, places', [
    ('e3nn', 1, [2, 0, 1]), ('e3nn', 2, [0, 1, 2, 3, 4]),
    ('psi4', 1, [1, 2, 0]), ('psi4', 2, [4, 2, 0, 1, 3]),
    ('psi4', 3, [6, 4, 2, 0, 1, 3, 5]), ('pyscf', 1, [0, 1, 2])])
def test_places_are_those_of_the_tables(
    order: str, ang: int, places: list[int],
) -> None:
    assert in_shell(order, ang) == (places, [1.0] * len(places))


def test_orca_turns_the_signs_of_high_m() -> None:
    _, signs = in_shell('orca', 3)
    assert signs == [-1.0, 1, 1, 1, 1, 1, -1.0]


@pytest.mark.parametrize('order', ORDERS)
def test_there_and_back_is_exact(
    order: str, rng: np.random.Generator,
) -> None:
    n = shells_size(SHELLS)
    matrix = rng.normal(size=(n, n))
    turn = permutation(order, SHELLS)
    np.testing.assert_array_equal(turn.back(turn.here(matrix)), matrix)
    np.testing.assert_array_equal(turn.here(turn.back(matrix)), matrix)


def test_functions_know_their_atom_and_momentum() -> None:
    assert shells_size(SHELLS) == 20
    assert atoms_of(SHELLS).tolist() == [0] * 16 + [1] * 4
    assert momenta_of(SHELLS).tolist() == (
        [0] + [1] * 3 + [2] * 5 + [3] * 7 + [0] + [1] * 3)


def test_the_overlap_finds_the_order_and_refuses_none(
    rng: np.random.Generator,
) -> None:
    n = shells_size(SHELLS)
    true = rng.normal(size=(n, n))
    true = true + true.T
    stored = permutation('psi4', SHELLS).back(true)
    turn, off = proved(ORDERS, stored, true, SHELLS)
    assert (turn.order, off) == ('psi4', 0.0)
    with pytest.raises(Rejection, match='overlap_mismatch'):
        proved(('pyscf', 'e3nn'), stored, true, SHELLS)
