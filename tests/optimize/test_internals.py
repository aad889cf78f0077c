"""Internal coordinates: choice, derivatives, and the model Hessian."""
import numpy as np
import pytest

from mpiapp.optimize.internals.metric import FLOOR, Frame, Place
from mpiapp.optimize.internals.primitives import slopes, values
from mpiapp.optimize.internals.topology import choose, covalent_radii

STEP = 1e-5  # A, of central differences
DERIVATIVE = 1e-8  # their error is of order STEP^2
EXACT = 1e-9  # relative; a few thousand roundings
CARBON, HYDROGEN = 6, 1


def ethane():
    """Return numbers and positions [8, 3] A of staggered ethane."""
    up = np.array([[1.02, 0, 0.39], [-0.51, 0.883, 0.39],
                   [-0.51, -0.883, 0.39]]) + [0, 0, 0.765]
    x = np.concatenate([[[0, 0, -0.765], [0, 0, 0.765]], up, -up])
    return np.array([CARBON] * 2 + [HYDROGEN] * 6), x


def butyne(turn=0.0):
    """Return H3C-C#C-CH3, one methyl turned by `turn` radian."""
    z = np.array([-2.08, -0.6, 0.6, 2.08])
    angles = np.arange(3) * 2 * np.pi / 3
    left = np.stack([1.02 * np.cos(angles), 1.02 * np.sin(angles),
                     np.full(3, -2.45)], 1)
    right = np.stack([1.02 * np.cos(angles + turn),
                      1.02 * np.sin(angles + turn), np.full(3, 2.45)], 1)
    carbons = np.stack([0 * z, 0 * z, z], 1)
    return (np.array([CARBON] * 4 + [HYDROGEN] * 6),
            np.concatenate([carbons, left, right]))


def shaken(molecule, size=0.05):
    """Return the molecule with atoms moved at random."""
    numbers, x = molecule
    return numbers, x + np.random.default_rng(1).normal(0, size, x.shape)


def sizes(numbers, x):
    """Return how many bonds, contacts, bends, lines, torsions there are."""
    c, n_bonds = choose(numbers, x)
    return (n_bonds, len(c.pairs) - n_bonds, len(c.bends), len(c.lines),
            len(c.torsions))


def test_ethane_has_the_coordinates_of_the_textbook():
    n_bonds, _, n_bends, n_lines, n_torsions = sizes(*ethane())
    assert (n_bonds, n_bends, n_lines, n_torsions) == (7, 12, 0, 9)


def test_torsions_reach_across_a_straight_chain():
    _, _, _, n_lines, n_torsions = sizes(*butyne())
    assert (n_lines, n_torsions) == (2, 9)


def test_crowded_atoms_have_distances_alone():
    x = np.array(np.meshgrid(*[range(3)] * 3), float).reshape(3, -1).T * 2.2
    n_bonds, n_contacts, n_bends, _, _ = sizes(np.full(27, 18), x)
    c, _ = choose(np.full(27, 18), x)
    crowded = np.bincount(c.pairs[:n_bonds].ravel(), minlength=27) > 6
    assert not np.isin(c.bends[:, 1], np.flatnonzero(crowded)).any()
    assert n_bends and (n_bonds, n_contacts) >= (54, 0)


@pytest.mark.parametrize('molecule', [ethane, butyne])
def test_slopes_are_the_derivatives(molecule):
    numbers, x = shaken(molecule())
    c, _ = choose(numbers, x)
    way = np.random.default_rng(2).normal(size=x.shape)
    numeric = c.difference(values(c, x + STEP * way),
                           values(c, x - STEP * way)) / (2 * STEP)
    np.testing.assert_allclose(slopes(c, x).forward(way.ravel()), numeric,
                               atol=DERIVATIVE * np.abs(numeric).max())


def test_rigid_motions_change_no_coordinate_but_lines():
    numbers, x = shaken(butyne(0.4))
    c, _ = choose(numbers, x)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    change = c.difference(values(c, x @ turn.T + 5.0), values(c, x))
    change[c.starts[2]:c.starts[3]] = 0.0
    assert np.abs(change).max() < EXACT


def test_a_torsion_goes_the_short_way_round():
    numbers, x = butyne(np.pi - 0.1)
    c, _ = choose(numbers, x)
    _, end = butyne(np.pi + 0.1)
    change = c.difference(values(c, end), values(c, x))[c.starts[3]:]
    assert np.abs(change) == pytest.approx(0.2, abs=EXACT)


def unrolled(band, cartesians):
    """Return the symmetric matrix of a band, its columns in our order."""
    n, width = band.shape
    lower = np.zeros((n, n))
    for k in range(width):
        lower[np.arange(k, n), np.arange(n - k)] = band[:n - k, k]
    matrix = np.zeros((n, n))
    matrix[np.ix_(cartesians, cartesians)] = np.tril(lower, -1).T + lower
    return matrix


@pytest.mark.parametrize('molecule', [ethane, butyne])
def test_gram_is_the_product_of_its_factors(molecule):
    numbers, x = shaken(molecule())
    frame = Frame.at(numbers, x)
    s, c = slopes(frame.coordinates, x), frame.coordinates
    rows = np.array([s.forward(e) for e in np.eye(x.size)]).T
    wanted = rows.T @ (frame.stiffness[:, None] * rows)
    np.testing.assert_allclose(
        unrolled(s.gram(frame.stiffness), c.cartesians), wanted,
        atol=EXACT * wanted.max())


def chain(n_atoms):
    """Return a zigzag of carbon atoms, numbered at random."""
    k = np.random.default_rng(8).permutation(n_atoms)
    return (np.full(n_atoms, CARBON),
            np.stack([1.25 * k, 0.4 * (-1.0)**k, 0.0 * k], 1))


def test_the_band_of_a_chain_does_not_grow_with_its_length():
    widths = [choose(*chain(n))[0].band[0] for n in (40, 160)]
    assert widths[0] == widths[1] < 40  # contacts reach to the fifth atom


def test_the_matrix_of_parts_far_apart_falls_into_blocks():
    numbers, x = shaken(ethane())
    alone, _ = choose(numbers, x)
    both, _ = choose(np.tile(numbers, 2), np.concatenate([x, x + 8.0]))
    assert both.band[0] == alone.band[0]


def test_a_gradient_keeps_its_cartesian_form_and_its_model_move():
    numbers, x = shaken(butyne())
    place = Place.at(Frame.at(numbers, x), x)
    gradient = np.random.default_rng(4).normal(size=x.size)
    pull = place.decompose(gradient)
    np.testing.assert_allclose(place.backward(pull), gradient, atol=EXACT)
    move = place.solve(gradient)
    np.testing.assert_allclose(pull, place.weigh(place.forward(move)),
                               atol=1e-6)


def test_a_followed_torsion_stretches_no_bond():
    numbers, x = shaken(ethane(), 0.0)
    frame = Frame.at(numbers, x)
    place, c = Place.at(frame, x), frame.coordinates
    change = np.zeros(c.size + x.size)
    change[c.starts[3]:c.size] = 0.3
    move = place.project(change)
    end = place.follow(change, move)
    q = values(c, end)
    stretch = np.abs(q[:7] - place.q[:7]).max()
    straight = np.abs(values(c, x + move.reshape(-1, 3))[:7]
                      - place.q[:7]).max()
    assert stretch < straight / 4


@pytest.mark.parametrize('number', range(1, 87))
def test_every_element_up_to_radon_has_a_stiff_bond(number):
    length = covalent_radii()[number] + covalent_radii()[HYDROGEN]
    numbers, x = np.array([number, 1]), np.array([[0, 0, 0], [0, 0, length]])
    frame = Frame.at(numbers, x)
    assert frame.coordinates.pairs.tolist() == [[0, 1]]
    assert 5.0 < frame.stiffness[0] < 100.0  # eV/A^2, as real bonds have


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('x', [
    np.zeros((3, 3)), np.zeros((1, 3)), [[0, 0, 0], [0, 0, 1e-9]],
    [[0, 0, -1], [0, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 1e6]],
], ids=['coincident', 'one atom', 'collision', 'straight', 'apart'])
def test_odd_geometries_have_a_metric(x):
    x = np.array(x, float)
    place = Place.at(Frame.at(np.full(len(x), CARBON), x), x)
    move = place.solve(np.ones(x.size))
    assert np.isfinite(move).all()
    assert np.abs(move).max() <= 1.01 / FLOOR
