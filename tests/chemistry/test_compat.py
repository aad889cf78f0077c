"""Compatibility mode gives the numbers of the original."""
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpiapp.chemistry.chromophores import chromophores_of
from mpiapp.chemistry.classes import WEAK, classify, geometry_warnings
from mpiapp.chemistry.compat import (
    NO_HULL, RingSets, calibrated, compat_measures, dihedral, ring_sets
)
from mpiapp.chemistry.descriptors import (
    descriptor_graph, descriptor_settings, measure_pairs
)
from mpiapp.chemistry.systems import limits_of
from mpiapp.structures import Collection

#: the original's numbers have 13 to 16 digits; ours differ by the order of
#: sums and, for small angles, by its arc cosine
ROUNDING = 1e-6

LIMITS = limits_of('binaphthalene')
#: all_dimers_original_analysis.csv of the original: angle, distance, overlap,
#: centroid distance, slip, both dihedrals
ORIGINAL = [
    (66.83963981802223, 1.1742931752594155, 0.0, 7.860545806670516,
     7.772336580289392, 118.76310138941855, np.nan),
    (8.958666302862785, 3.5095496417212964, 37.69926904473586,
     4.560887968252522, 2.912861200133735, 119.67020123727566, np.nan),
    (52.18297073793422, 1.9698920431924745, 0.0, 7.59108975174672,
     7.331041464706161, -119.34518017666299, 148.14885578444935),
    (86.26253935472614, 0.521224776546036, 0.0, 8.43633631927654,
     8.420219428510102, -130.09727734218674, -37.69572315594258),
]
NAMES = ('plane_angle', 'distance', 'overlap', 'centroid', 'slip',
         'bridge_l', 'bridge_r')


@pytest.fixture(scope='module')
def table(data_dir: Path):
    """Rows of the original's table of conformers without coordinates."""
    with open(data_dir / 'dimers/moe_analysis_sample.csv',
              newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def ensemble(data_dir: Path):
    """The graph and the 200 geometries of a binaphthyl dimer."""
    anions = Collection.open([data_dir / 'dimers/moe_binaph_H_10.sdf'])
    with np.load(data_dir / 'dimers/moe_binaph_H_200.npz') as file:
        positions = file['milliangstrom'] / 1e3
    structure = anions.load(3)
    assert np.abs(positions[3] - structure.positions).max() < 1e-9
    return descriptor_graph(structure, structure.positions), positions


def column(table, name):
    return np.array([float(row[name]) for row in table])


@pytest.mark.parametrize('row', range(4))
def test_the_numbers_of_the_original_come_out(data_dir, row):
    made = Collection.open([data_dir / 'dimers/moe_chrysene_4.sdf'])
    structure = made.load(row)
    system = descriptor_settings('', 'pyrene').compat
    sets = ring_sets(descriptor_graph(structure, structure.positions), system)
    assert len(sets.first) == len(sets.second) == 18
    found = compat_measures(sets, structure.positions)
    for name, value in zip(NAMES, ORIGINAL[row], strict=True):
        assert getattr(found, name) == pytest.approx(
            value, abs=ROUNDING, nan_ok=True), name


def test_library_molecules_have_two_sets_of_twenty(library):
    for row in range(len(library)):
        structure = library.load(row)
        sets = ring_sets(descriptor_graph(structure, structure.positions))
        assert len(set(sets.first)) == len(set(sets.second)) == 20
        assert not set(sets.first) & set(sets.second)


def test_the_ensemble_has_22_excimers_by_ring_sets(ensemble):
    graph, positions = ensemble
    found = compat_measures(ring_sets(graph), positions)
    codes = classify(found.plane_angle, found.distance, found.overlap,
                     LIMITS)
    assert (codes >= WEAK).sum() == 22


def test_the_ensemble_has_81_excimers_by_naphthyls(ensemble):
    """The same measures and limits, for the best pair of naphthyls."""
    graph, positions = ensemble
    chromophores = chromophores_of(graph)
    excimer = np.zeros(len(positions), bool)
    for pair in chromophores.pairs:
        if not pair.same_half:
            sets = RingSets(chromophores.systems[pair.a].atoms,
                            chromophores.systems[pair.b].atoms, (None, None))
            found = compat_measures(sets, positions)
            excimer |= classify(found.plane_angle, found.distance,
                                found.overlap, LIMITS) >= WEAK
    assert excimer.sum() == 81


def test_the_symmetric_distance_makes_one_excimer_fewer(ensemble):
    graph, positions = ensemble
    chromophores = chromophores_of(graph)
    found = measure_pairs(chromophores, positions)
    across = [not pair.same_half for pair in chromophores.pairs]
    for overlap in (found.overlap, found.overlap_gated):
        codes = classify(found.plane_angle, found.vertical, overlap, LIMITS)
        assert (codes[:, across] >= WEAK).any(axis=1).sum() == 80


def test_slip_and_distance_make_the_centroid_distance(table, ensemble):
    centroid, distance, slip = (column(table, name) for name in (
        'centroid_distance_A', 'interplane_distance_A', 'slip_stack_A'))
    assert np.abs(centroid**2 - distance**2 - slip**2).max() < 1e-9
    found = compat_measures(ring_sets(ensemble[0]), ensemble[1])
    assert np.abs(found.centroid**2 - found.distance**2
                  - found.slip**2).max() < 1e-9


def test_classes_of_the_table_follow_from_its_numbers(table):
    values = [column(table, name) for name in (
        'plane_angle_deg', 'interplane_distance_A', 'pi_overlap_pct')]
    # the table was made when weak pairs ended at 4.2 A, not 4.5
    then = classify(*values, replace(LIMITS, weak_distance=4.2))
    assert [row['classification'] == 'weak_excimer' for row in table] \
        == (then == WEAK).tolist()
    now = classify(*values, LIMITS)
    assert ((then == WEAK).sum(), (now == WEAK).sum()) == (28, 92)
    assert now.max() == WEAK


def test_warnings_of_the_table_follow_from_its_numbers(table):
    for row in table:
        assert geometry_warnings(
            float(row['plane_angle_deg']), float(row['interplane_distance_A']),
            LIMITS.warn_angle) == row['geometry_warnings']


def square(x, y, z):
    """Return a unit square [4, 3] with its lowest corner at a place."""
    return np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.]]) + [x, y, z]


def pair_of(first, second):
    points = np.concatenate([first, second])
    n = len(first)
    return compat_measures(RingSets(
        tuple(range(n)), tuple(range(n, len(points))), (None, None)), points)


def test_squares_by_hand():
    found = pair_of(square(0, 0, 0), square(0.5, 0, 3))
    for name, value in (('plane_angle', 0), ('distance', 3), ('slip', 0.5),
                        ('centroid', np.hypot(3, 0.5)), ('overlap', 50)):
        assert getattr(found, name) == pytest.approx(value, abs=ROUNDING)


def test_the_distance_is_that_from_the_first_plane_alone():
    upright = square(0, 0, 3)[:, [0, 2, 1]]
    there = pair_of(square(0, 0, 0), upright)
    back = pair_of(upright, square(0, 0, 0))
    assert there.plane_angle == pytest.approx(90, abs=ROUNDING)
    assert there.distance == pytest.approx(0.5)
    assert back.distance == pytest.approx(2.5)


def test_a_set_without_a_hull_overlaps_by_half():
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0.]])
    points = pair_of(line, square(0, 0, 3))
    assert points.overlap == NO_HULL


def test_positions_that_are_not_finite_measure_nothing():
    spoilt = square(0, 0, 3)
    spoilt[2, 1] = np.nan
    found = pair_of(square(0, 0, 0), spoilt)
    for name in NAMES:
        assert np.isnan(getattr(found, name)), name


def test_a_calibration_is_linear_and_not_below_zero():
    assert calibrated(np.array([4.2, 0.5]), 1.0, -0.7) == pytest.approx(
        [3.5, 0.0])


def test_a_molecule_without_two_systems_has_no_ring_sets(embed):
    structure = embed('c1ccc2ccccc2c1')
    assert ring_sets(descriptor_graph(
        structure, structure.positions)) is None


def test_without_the_pattern_the_two_largest_systems_are_taken(embed):
    structure = embed('c1ccccc1CCc1cccc2ccccc12')
    sets = ring_sets(descriptor_graph(structure, structure.positions))
    assert (len(sets.first), len(sets.second)) == (10, 6)


@pytest.mark.parametrize('degrees', [0, 60, -60, 179, -90])
def test_dihedrals_by_hand(degrees):
    angle = np.radians(degrees)
    points = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1.5],
                       [np.cos(angle), np.sin(angle), 1.5]])
    assert dihedral(points) == pytest.approx(degrees, abs=1e-9)
    assert np.isnan(dihedral(np.zeros((4, 3))))
