"""Superposition and centre."""
import numpy as np
import pytest

from mpiapp.chemistry.geometry import centred, superposed_rmsd

#: rounding of sums over some tens of atoms at distances of some angstrom
ROUNDING = 1e-12


@pytest.fixture
def points():
    return np.random.default_rng(3).normal(size=(20, 3))


def test_rigid_motions_do_not_count(points):
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert superposed_rmsd(points, points @ turn + [4, 5, 6]) < ROUNDING


def test_a_mirror_image_differs(points):
    assert superposed_rmsd(points, points * [1, 1, -1]) > 0.1


def test_a_known_distance_is_found():
    a = np.array([[0, 0, 0], [0, 0, 2.0]])
    b = np.array([[0, 0, 0], [0, 3.0, 0]])
    assert abs(superposed_rmsd(a, b) - 0.5) < ROUNDING


def test_inputs_are_left_alone(points):
    before = points.copy()
    superposed_rmsd(points, points + 1)
    centred(points)
    assert np.array_equal(points, before)


def test_the_centroid_becomes_the_origin():
    square = np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0.]])
    assert np.allclose(centred(square + 7), square, atol=ROUNDING)


@pytest.mark.parametrize('size', [1e160, 1e300, np.inf, np.nan])
def test_wild_numbers_have_no_rmsd(size):
    far = np.array([[0, 0, 0], [size, 0, 0]])
    with np.errstate(invalid='ignore'):
        assert np.isnan(superposed_rmsd(far, far))
