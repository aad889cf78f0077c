"""Planes and pairs of planes against geometries with known answers."""
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiapp.chemistry.hulls import overlap_percent
from mpiapp.chemistry.planes import PairMeasures, pair_measures, plane
from mpiapp.structures import index_file, load

#: the published geometries have 4 decimals and more, the values three
PUBLISHED = 1e-3
#: of lengths of some angstrom and angles of some degrees, after an SVD
ROUNDING = 1e-9
#: angles of planes, from coordinates that were turned and rounded
ANGLE_ROUNDING = 1e-6
#: what two frames of one shadow may differ by, per cent
OVERLAP_ROUNDING = 1e-6

#: (key, atoms of the first molecule, what is known of it)
PUBLISHED_DIMERS = [
    ('S22-11', 12, {'vertical': 3.361, 'slip': 1.698, 'centroid': 3.765,
                    'contact': 3.375}),
    ('S66-24', 12, {'vertical': 3.498, 'slip': 1.645, 'centroid': 3.865,
                    'contact': 3.511}),
    ('S22-20', 12, {'centroid': 4.909, 'd12': 0.0, 'd21': 4.909}),
    ('S66-47', 12, {'centroid': 4.899}),
    ('S66-25', 11, {'vertical': 3.436, 'slip': 1.354, 'centroid': 3.693}),
    ('S66-27', 12, {'vertical': 3.448, 'slip': 1.541, 'centroid': 3.777}),
    ('S66-28', 12, {'vertical': 3.270, 'slip': 0.987, 'centroid': 3.416}),
    ('S22-12', 10, {'vertical': 3.237, 'slip': 1.274, 'centroid': 3.479}),
    ('S22-14', 12, {'vertical': 3.305, 'slip': 1.170, 'centroid': 3.506}),
    ('S22-15', 15, {'vertical': 3.166, 'slip': 0.270, 'centroid': 3.177}),
]
#: degrees, to the decimals that are published
PUBLISHED_ANGLES = [
    ('S22-20', 12, 90.0), ('S66-47', 12, 80.5), ('S66-25', 11, 4.5),
    ('S66-27', 12, 3.5), ('S66-28', 12, 5.7), ('S22-14', 12, 4.7),
    ('S22-15', 15, 4.7),
]


def naphthalene() -> np.ndarray:
    """Return the ring atoms [10, 3] of an ideal naphthalene, long axis x."""
    side = 1.4
    x, y = side * np.sqrt(3) / 2, side / 2
    ring = [(0, y), (x, 2 * y), (2 * x, y), (2 * x, -y), (x, -2 * y), (0, -y)]
    mirrored = [(-a, b) for a, b in ring if a > 0]
    return np.array([(a, b, 0) for a, b in ring + mirrored])


def turn(axis: int, degrees: float) -> np.ndarray:
    """Return the matrix of a rotation about a Cartesian axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return matrix


def moved(points, shift=(0, 0, 0), axis=2, degrees=0.0) -> np.ndarray:
    """Return points turned about an axis, then shifted."""
    return points @ turn(axis, degrees).T + np.asarray(shift)


def differences(a: PairMeasures, b: PairMeasures, skip=()) -> dict[str, float]:
    """Return by how much two sets differ; NaN equals NaN alone."""
    found = {}
    for name in (f.name for f in fields(a) if f.name not in skip):
        x, y = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        assert np.array_equal(np.isnan(x), np.isnan(y)), name
        found[name] = float(np.nan_to_num(np.abs(x - y)).max())
    return found


def published(data_dir: Path, key: str, n_first: int) -> PairMeasures:
    """Measure the heavy atoms of a published dimer."""
    name, number = key.lower().split('-')
    structure = load(index_file(data_dir / f'benchmarks/{name}.xyz'),
                     int(number) - 1)
    heavy, carbon = structure.numbers > 1, structure.numbers == 6
    first = np.arange(len(heavy)) < n_first
    x = structure.positions
    return pair_measures(x[heavy & first], x[heavy & ~first],
                         x[carbon & first], x[carbon & ~first])


@pytest.mark.parametrize('key, n_first, known', PUBLISHED_DIMERS,
                         ids=[d[0] for d in PUBLISHED_DIMERS])
def test_published_dimers_have_their_known_measures(data_dir, key, n_first,
                                                    known):
    found = published(data_dir, key, n_first)
    for name, value in known.items():
        assert abs(getattr(found, name) - value) < PUBLISHED, name


@pytest.mark.parametrize('key, n_first, angle', PUBLISHED_ANGLES)
def test_published_dimers_have_their_known_angles(data_dir, key, n_first,
                                                  angle):
    found = published(data_dir, key, n_first)
    assert round(float(found.plane_angle), 1) == angle


def test_a_t_shape_has_no_vertical_distance(data_dir):
    found = published(data_dir, 'S22-20', 12)
    assert np.isnan([found.vertical, found.slip]).all()
    assert found.overlap_gated == 0


def test_benzene_has_no_long_axis(data_dir):
    found = published(data_dir, 'S22-11', 12)
    for name in ('slip_long', 'slip_short', 'twist', 'tilt_long',
                 'tilt_short'):
        assert np.isnan(getattr(found, name))


def test_crossed_pyrazines_are_twisted(data_dir):
    assert abs(published(data_dir, 'S22-12', 10).twist - 90) < 0.1


def test_a_shifted_copy_has_its_shift_as_slip():
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (1.2, 0.5, 3.4)))
    expected = {
        'plane_angle': 0, 'd12': 3.4, 'd21': 3.4, 'd_asym': 0,
        'vertical': 3.4, 'slip': 1.3, 'slip_long': 1.2, 'slip_short': 0.5,
        'centroid': np.hypot(3.4, 1.3), 'twist': 0, 'tilt_long': 0,
        'tilt_short': 0, 'stack_angle': np.degrees(np.arctan(1.3 / 3.4)),
    }
    for name, value in expected.items():
        assert abs(getattr(found, name) - value) < ANGLE_ROUNDING, name


def test_an_eclipsed_copy_overlaps_wholly():
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (0, 0, 3.5)))
    assert abs(found.overlap - 100) < OVERLAP_ROUNDING
    assert found.overlap_gated == found.overlap
    assert abs(found.contact - 3.5) < ROUNDING
    assert found.stack_angle < ANGLE_ROUNDING


@pytest.mark.parametrize('height', [2.4, 4.6])
def test_rings_out_of_touch_overlap_only_without_the_gate(height):
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (0, 0, height)))
    assert abs(found.overlap - 100) < OVERLAP_ROUNDING
    assert found.overlap_gated == 0


def test_carbons_too_far_apart_close_the_gate():
    ring = naphthalene()
    other = moved(ring, (0, 0, 4))
    found = pair_measures(ring, other, ring[:1], other[:1] + [0, 0, 0.51])
    assert abs(found.contact - 4.51) < ROUNDING
    assert found.overlap > 99 and found.overlap_gated == 0


def test_half_of_two_squares_overlaps():
    square = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0.]])
    up = np.array([0, 0, 1.])
    assert abs(overlap_percent(square, square + [1, 0, 3], up)
               - 50) < OVERLAP_ROUNDING
    small = square / 2 + [0.25, 0.25, 3]
    assert abs(overlap_percent(square, small, up) - 100) < OVERLAP_ROUNDING
    assert overlap_percent(square, square + [5, 0, 3], up) == 0


@pytest.mark.parametrize('degrees', [0.0, 15.0, 60.0, 90.0])
def test_turning_about_the_normal_is_twist(degrees):
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (0, 0, 3.5), 2, degrees))
    assert abs(found.twist - degrees) < ANGLE_ROUNDING
    assert found.plane_angle < ANGLE_ROUNDING


def test_more_than_a_right_angle_of_twist_is_folded():
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (0, 0, 3.5), 2, 100))
    assert abs(found.twist - 80) < ANGLE_ROUNDING


@pytest.mark.parametrize('axis, name', [(0, 'tilt_long'), (1, 'tilt_short')])
def test_turning_about_an_axis_is_tilt_about_it(axis, name):
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (0, 0, 3.5), axis, 25))
    assert abs(found.plane_angle - 25) < ANGLE_ROUNDING
    assert abs(getattr(found, name) - 25) < ANGLE_ROUNDING
    other = {'tilt_long', 'tilt_short'} - {name}
    assert abs(getattr(found, other.pop())) < ANGLE_ROUNDING


@pytest.mark.parametrize('angle, defined', [(59.9, True), (60.1, False)])
def test_sixty_degrees_end_the_vertical_distance(angle, defined):
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (0, 0, 4), 0, angle))
    for name in ('vertical', 'slip', 'slip_long', 'slip_short'):
        assert np.isfinite(getattr(found, name)) == defined
    assert np.isfinite(found.centroid) and np.isfinite(found.stack_angle)


def test_vertical_and_slip_make_the_centroid_distance():
    ring = naphthalene()
    found = pair_measures(ring, moved(ring, (0.7, -1.1, 3.6), 0, 40))
    assert abs(found.vertical**2 + found.slip**2
               - found.centroid**2) < ROUNDING
    assert abs(found.slip_long**2 + found.slip_short**2
               - found.slip**2) < ROUNDING
    assert abs(found.tilt_long**2 + found.tilt_short**2
               - found.plane_angle**2) < ANGLE_ROUNDING


def test_planarity_is_the_distance_from_the_plane():
    points = np.array([[1, 0, .3], [-1, 0, .3], [0, 2, -.3], [0, -2, -.3]])
    found = plane(points)
    assert abs(found.planarity_rms - 0.3) < ROUNDING
    assert abs(abs(found.normal[2]) - 1) < ROUNDING
    assert abs(abs(found.long_axis[1]) - 1) < ROUNDING
    assert abs(np.dot(found.short_axis, found.long_axis)) < ROUNDING


#: positions and turns of a second ring
_SHIFTS = st.tuples(*[st.floats(-4, 4)] * 3)
_TURNS = st.tuples(*[st.floats(-180, 180)] * 3)


def _pair(shift, turns):
    ring = naphthalene()
    for axis, degrees in enumerate(turns):
        ring = moved(ring, (0, 0, 0), axis, degrees)
    return naphthalene(), ring + np.asarray(shift) + [0, 0, 1e-3]


def _far_from_limits(found: PairMeasures) -> bool:
    """Whether rounding can't carry a value over a limit or a tie."""
    return bool(
        abs(found.plane_angle - 60) > ANGLE_ROUNDING
        and 1e-4 < found.plane_angle < 89.99
        and found.twist < 89.99
        and min(abs(found.contact - 4.5), abs(found.vertical - 2.5),
                abs(found.vertical - 4.5)) > ANGLE_ROUNDING)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(_SHIFTS, _TURNS, _TURNS)
def test_what_is_measured_is_the_shape_alone(shift, turns, frame):
    """Swapping, renumbering, moving and mirroring change nothing."""
    a, b = _pair(shift, turns)
    found = pair_measures(a, b)
    if not _far_from_limits(found):
        return
    matrix = turn(0, frame[0]) @ turn(1, frame[1]) @ turn(2, frame[2])
    order = np.random.default_rng(0).permutation(len(a))
    same = {
        'renumbered': pair_measures(a[order], b[order[::-1]]),
        'moved': pair_measures(a @ matrix + 5, b @ matrix + 5),
        'mirrored': pair_measures(a * [1, 1, -1], b * [1, 1, -1]),
    }
    swapped = differences(found, pair_measures(b, a), ('d12', 'd21'))
    assert max(swapped.values()) < ANGLE_ROUNDING
    assert abs(found.d12 - pair_measures(b, a).d21) < ROUNDING
    for name, other in same.items():
        assert max(differences(found, other).values()) < 1e-5, name


def test_many_conformers_give_what_each_one_gives(rng):
    a = naphthalene() + rng.normal(scale=0.1, size=(7, 10, 3))
    b = moved(naphthalene(), (1, 0.5, 3.4)) + rng.normal(
        scale=0.1, size=(7, 10, 3))
    together = pair_measures(a, b)
    for i in range(7):
        alone = pair_measures(a[i], b[i])
        for field in fields(together):
            values = getattr(together, field.name)
            assert values.shape == (7,)
            assert abs(values[i] - getattr(alone, field.name)) < ROUNDING


def test_one_geometry_is_measured_against_many():
    ring = naphthalene()
    stack = np.stack([ring + [0.5, 0, h] for h in (3.3, 3.5)])
    found = pair_measures(ring, stack)
    assert np.abs(found.vertical - [3.3, 3.5]).max() < ROUNDING
    assert found.overlap.shape == found.twist.shape == (2,)


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e300])
def test_what_is_no_number_spoils_its_own_conformer_alone(bad):
    ring = naphthalene()
    stack = np.stack([ring, ring])
    stack[1, 3, 0] = bad
    found = pair_measures(stack, np.stack([ring + [0, 0, 3.5]] * 2))
    for field in fields(found):
        good, spoilt = getattr(found, field.name)
        if field.name != 'contact':
            assert np.isnan(spoilt), field.name
        assert np.isfinite(good), field.name


@pytest.mark.parametrize('points', [
    np.zeros((0, 3)), np.zeros((2, 3)), np.zeros((5, 3)),
    np.outer(np.arange(5.), [1, 2, 3]),
], ids=['none', 'two', 'one place', 'a line'])
def test_points_without_a_plane_measure_nothing(points):
    found = pair_measures(points, naphthalene() + [0, 0, 3.5])
    assert np.isnan([found.plane_angle, found.vertical, found.slip,
                     found.overlap, found.overlap_gated]).all()
