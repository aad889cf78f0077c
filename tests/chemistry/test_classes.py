"""Classes at their limits, scores against those of the original."""
import numpy as np
import pytest

from mpiapp.chemistry.classes import (
    MONOMER, NONE, STRONG, WEAK, WEAK_FROM, classify, dark, dark_by_angle,
    excimer_score, geometry_warnings
)
from mpiapp.chemistry.systems import limits_of

PYRENE = limits_of('pyrene')
BINAPHTHALENE = limits_of('binaphthalene')
#: sixteen printed digits
ROUNDING = 1e-12

#: plane angle, distance, overlap, slip, score: the first conformers of the
#: original's tables Et, iPr and cHex_rdkit_conformers.csv (pyrene), made
#: before it had a factor for eclipsed pairs
SCORES = np.array([
    (8.512271002923708, 4.120909432528771, 49.28164795732637,
     1.5814799122945877, 0.5904625296117654),
    (4.974328773436594, 4.049139343193696, 35.973199685504404,
     2.0962720731084095, 0.5285543623146025),
    (9.309064963340553, 4.152205725532382, 53.237148097867774,
     1.806829234162731, 0.6063714572041112),
    (6.576815217928952, 3.7893537346817245, 49.989612640222724,
     2.1337117456224313, 0.6775992421709053),
    (6.087608067565307, 4.101450723191174, 47.59810813096426,
     1.563644461983674, 0.5852259679879921),
    (8.525958682832977, 4.03636807049098, 50.77359228868446,
     0.6961481274652093, 0.6205495361093618),
])


@pytest.mark.parametrize('angle, distance, overlap, code', [
    (10, 3.5, 60, STRONG),
    (19.999, 3.3, 50.001, STRONG),
    (10, 3.7, 60, STRONG),
    (20, 3.5, 60, WEAK),
    (10, 3.299, 60, WEAK),
    (10, 3.701, 60, WEAK),
    (10, 3.5, 50, WEAK),
    (59.999, 4.499, 30.001, WEAK),
    (60, 3.5, 60, MONOMER),
    (10, 4.5, 60, MONOMER),
    (10, 3.5, 30, MONOMER),
    (np.nan, 3.5, 60, NONE),
    (61, np.nan, 0, MONOMER),
])
def test_classes_change_at_their_limits(angle, distance, overlap, code):
    found = classify(*np.array([[angle], [distance], [overlap]], float),
                     PYRENE)
    assert found.tolist() == [code]


def test_full_mode_takes_nothing_nearer_than_a_stack():
    values = np.array([[10.0, 10.0], [2.79, 2.8], [60.0, 60.0]])
    assert classify(*values, PYRENE, WEAK_FROM).tolist() == [MONOMER, WEAK]
    assert classify(*values, PYRENE).tolist() == [WEAK, WEAK]


def test_systems_differ_in_their_limits():
    values = np.array([[15.0], [3.1], [45.0]])
    assert classify(*values, BINAPHTHALENE).tolist() == [STRONG]
    assert classify(*values, PYRENE).tolist() == [WEAK]


def test_scores_are_those_of_the_original():
    angle, distance, overlap, slip, score = SCORES.T
    unknown = np.full(len(angle), np.nan)
    found = excimer_score(angle, distance, overlap, slip, PYRENE, unknown)
    assert np.abs(found - score).max() < ROUNDING


def test_an_eclipsed_pair_scores_less():
    angle, distance, overlap, slip, score = SCORES.T
    found = excimer_score(angle, distance, overlap, slip, PYRENE)
    dip = 1 - 0.5 * np.exp(-angle**2 / 200)
    assert np.abs(found - score * dip).max() < ROUNDING
    above = excimer_score(angle, distance, overlap, slip, PYRENE,
                          np.full(len(angle), 10.0))
    assert np.abs(above - score).max() < ROUNDING


@pytest.mark.parametrize('angle, distance, overlap, slip, score', [
    (15, 3.5, 100, 0, 1.0),
    (15, 3.5, 100, np.nan, 1.0),
    (15, 3.5, 100, 2.5, 1.0),
    (15, 3.5, 100, 5.0, 0.5),
    (15, 3.5, 100, 7.5, 0.0),
    (15, 3.5, 0, 0, 0.4),
    (40, 3.5, 0, 0, 0.3),
    (60, 3.5, 0, 0, 0.2),
    (90, 3.5, 0, 0, 0.2),
    (90, 4.1, 0, 0, 0.1),
    (90, 4.5, 0, 0, 0.0),
    (90, 1.65, 0, 0, 0.1),
    (90, 0.0, 0, 0, 0.0),
    (90, np.nan, 0, np.nan, 0.0),
])
def test_scores_by_hand(angle, distance, overlap, slip, score):
    found = excimer_score(*np.array(
        [[angle], [distance], [overlap], [slip]], float), PYRENE)
    assert abs(found[0] - score) < ROUNDING


def test_no_angle_no_score():
    assert np.isnan(excimer_score(*np.array([[np.nan], [3.5], [60], [0.]]),
                                  PYRENE))


def test_only_eclipsed_excimers_are_dark():
    codes = np.array([WEAK, STRONG, MONOMER, WEAK, WEAK, WEAK])
    twist = np.array([9.9, 0, 0, 10, 0, np.nan])
    slip = np.array([0.49, 0, 0, 0, 0.5, 0])
    assert dark(codes, twist, slip).tolist() == [True, True] + [False] * 4
    assert dark_by_angle(codes, np.array([4.9, 5, 1, 0, 90, np.nan])
                         ).tolist() == [True, False, False, True, False,
                                        False]


def test_warnings_follow_the_angle_and_the_distance():
    assert geometry_warnings(50.0, 1.0, 50) == ''
    assert geometry_warnings(np.nan, 1.0, 50) == ''
    far, near = (geometry_warnings(64.26, d, 50) for d in (7.4, 1.9))
    assert far == ('interplane_distance unreliable at angle 64.3 deg '
                   '(>50 deg)')
    assert near.startswith(far + '; CRITICAL: likely')
