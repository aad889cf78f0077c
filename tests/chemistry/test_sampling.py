"""Pieces, dimers and descriptors: what structures for labels come from."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpiapp.chemistry.arrangements import (
    DIMERS, NEAREST, TOUCH, Monomer, dimer, nearest_distance, pushed_apart
)
from mpiapp.chemistry.dimers import measure
from mpiapp.chemistry.fragments import canonical, fragments, has_aromatic
from mpiapp.chemistry.novelty import descriptor, disagreement, farthest


def benzene() -> Monomer:
    angle = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return Monomer(np.array([6] * 6 + [1] * 6, np.int32),
                   np.concatenate([1.39 * ring, 2.48 * ring]))


def test_pieces_are_closed_by_hydrogen_and_neutral() -> None:
    pieces = fragments('CC(=O)Oc1ccccc1C(=O)O')
    assert canonical('c1ccccc1') in pieces
    assert all('*' not in p and '[CH' not in p for p in pieces)
    assert pieces == sorted(pieces)


def test_a_molecule_without_brics_bonds_has_no_pieces() -> None:
    assert fragments('c1ccccc1') == [] and fragments('CCCC') == []


def test_aromatic_molecules_are_told_from_others() -> None:
    assert has_aromatic('Cc1ccccc1') and not has_aromatic('C1CCCCC1')


@pytest.mark.parametrize('kind, heights, slips', [
    ('stack', (2.89, 7.01), (0, 0.51)), ('slip', (2.89, 7.01), (0.49, 3.01))])
def test_stacks_have_the_distances_of_their_kind(
    rng: np.random.Generator, kind: str, heights: Any, slips: Any,
) -> None:
    one = benzene()
    numbers = np.tile(one.numbers, 2)
    seen = [measure(numbers, dimer(kind, one, one, rng), 12)
            for _ in range(60)]
    vertical = np.array([m.vertical for m in seen])
    slip = np.array([m.slip for m in seen])
    assert heights[0] < vertical.min() and vertical.max() < heights[1]
    assert slips[0] <= slip.min() and slip.max() < slips[1]
    # stacks beyond 4.4 A are there too: models tend to lose them
    assert (vertical > 4.4).sum() > 3 and (vertical < 3.5).sum() > 3


@pytest.mark.parametrize('numbers', [
    (8, 1, 1), (6, 8, 1, 1, 1, 1), (7, 7), (18,)])
def test_molecules_of_few_heavy_atoms_touch(
    rng: np.random.Generator, numbers: tuple[int, ...],
) -> None:
    one = Monomer(np.array(numbers, np.int32),
                  1.5 * rng.standard_normal((len(numbers), 3)))
    for second in (one, benzene()):
        x = dimer('contact', one, second, rng)
        apart = np.linalg.norm(
            x[:len(numbers), None] - x[None, len(numbers):], axis=2)
        assert NEAREST[0] - 1e-9 < apart.min() < NEAREST[1] + 1e-9


def test_t_shapes_are_perpendicular(rng: np.random.Generator) -> None:
    one = benzene()
    m = measure(np.tile(one.numbers, 2), dimer('t_shape', one, one, rng), 12)
    assert m.plane_angle > 80


@pytest.mark.parametrize('kind', DIMERS)
def test_no_dimer_has_atoms_on_one_another(
    rng: np.random.Generator, kind: str,
) -> None:
    one = benzene()
    for _ in range(20):
        x = dimer(kind, one, one, rng)
        d = np.linalg.norm(x[:12, None] - x[None, 12:], axis=2)
        assert d.min() > TOUCH - 1e-6


def test_touching_molecules_are_lifted_apart() -> None:
    x = np.concatenate([benzene().positions,
                        benzene().positions + [0.3, 0, 0.5]])
    apart = pushed_apart(x, 12)
    d = np.linalg.norm(apart[:12, None] - apart[None, 12:], axis=2)
    assert d.min() == pytest.approx(TOUCH)
    assert nearest_distance(apart) == pytest.approx(1.09, abs=0.01)


def test_a_descriptor_knows_no_rotation_and_no_order(
    rng: np.random.Generator,
) -> None:
    one = benzene()
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    order = rng.permutation(12)
    a = descriptor(one.numbers, one.positions)
    b = descriptor(one.numbers[order], one.positions[order] @ turn + 5.0)
    np.testing.assert_allclose(a, b, atol=1e-5)
    c = descriptor(one.numbers, 1.1 * one.positions)
    assert np.abs(a - c).max() > 0.05


def test_the_farthest_are_chosen_first() -> None:
    pool = np.array([[0.0], [0.1], [5.0], [2.0]])
    assert farthest(pool, np.array([[0.0]]), 2).tolist() == [2, 3]
    assert farthest(pool, np.empty((0, 1)), 9).tolist()[0] == 0
    assert sorted(farthest(pool, np.empty((0, 1)), 9)) == [0, 1, 2, 3]


def test_disagreement_is_that_of_the_worst_atom() -> None:
    a = np.zeros((2, 3))
    b = np.array([[0.0, 0, 0], [2.0, 0, 0]])
    assert disagreement([a, b]) == pytest.approx(1.0)
    assert disagreement([a, a]) == 0.0
