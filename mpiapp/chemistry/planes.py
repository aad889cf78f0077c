"""Planes of flat groups of atoms, and how two of them lie to each other.

Everything works on one geometry, [n_atoms, 3], as well as on many at once,
[..., n_atoms, 3]; results have the shape [...].  Lengths in A, angles in
degrees.  What is not defined is NaN, nothing raises.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.hulls import overlap_percent
from mpiapp.records import Floats

#: below this (s1 - s2) / s1 a group is as long as wide: no long axis
MIN_AXIS_QUALITY = 0.05
#: degrees; above it the planes have no common normal to measure along
MAX_PLANE_ANGLE = 60.0
#: A; stacked rings: the vertical distance, and the nearest carbons
STACKED = (2.5, 4.5)
MAX_CONTACT = 4.5
#: cosines below it are zero but for rounding: two axes without a common sense
_PERPENDICULAR = 1e-9
#: second singular value over the first, below which points are on a line
_COLLINEAR = 1e-6
#: A; larger coordinates are no geometry, and LAPACK may hang on infinity
_LARGEST = 1e100


@dataclass(frozen=True)
class Plane:
    """The plane of least squares through a group of atoms.

    Unit vectors [..., 3]; their signs are arbitrary.  `long_axis` is the
    largest singular direction, `short_axis` = normal x long_axis; both NaN
    where `axis_quality` (s1 - s2) / s1 < 0.05.  `planarity_rms`: root mean
    square distance of the atoms from the plane.
    """

    centroid: Floats
    normal: Floats
    long_axis: Floats
    short_axis: Floats
    planarity_rms: Floats
    axis_quality: Floats


@dataclass(frozen=True)
class PairMeasures:
    """How two planes lie to each other; docs/descriptors.md defines all.

    Equal for (a, b) and (b, a).  `vertical`, `slip`, `slip_long` and
    `slip_short` are NaN above 60 degrees; what needs a long axis (slip_long,
    slip_short, twist, tilt_long, tilt_short) is NaN where one has none.
    """

    plane_angle: Floats
    d12: Floats
    d21: Floats
    d_asym: Floats
    vertical: Floats
    centroid: Floats
    slip: Floats
    slip_long: Floats
    slip_short: Floats
    twist: Floats
    tilt_long: Floats
    tilt_short: Floats
    stack_angle: Floats
    contact: Floats
    overlap: Floats
    overlap_gated: Floats


def plane(points: Floats) -> Plane:
    """Fit a plane to points [..., n, 3] A.

    All NaN for fewer than three points or any that is not finite; without
    normal and axes for points on a line.
    """
    points = np.asarray(points, np.float64)
    if points.shape[-2] < 3:
        points = np.full((*points.shape[:-2], 3, 3), np.nan)
    finite = np.asarray((np.abs(points) < _LARGEST).all(axis=(-2, -1)))
    usable = _where(finite, points, 0.0, 2)
    middle = usable.mean(axis=-2)
    _, s, axes = np.linalg.svd(usable - middle[..., None, :],
                               full_matrices=False)
    with np.errstate(invalid='ignore', divide='ignore'):
        quality = np.where(finite, (s[..., 0] - s[..., 1]) / s[..., 0],
                           np.nan)
    flat = np.asarray(finite & (s[..., 1] > _COLLINEAR * s[..., 0]))
    normal = _where(flat, axes[..., 2, :], np.nan)
    long_axis = _where(flat & np.asarray(quality >= MIN_AXIS_QUALITY),
                       axes[..., 0, :], np.nan)
    rms = np.where(finite, s[..., 2] / np.sqrt(points.shape[-2]), np.nan)
    return Plane(_where(finite, middle, np.nan), normal, long_axis,
                 cross(normal, long_axis), rms, quality)


def pair_measures(
    a_points: Floats, b_points: Floats,
    contact_a: Floats | None = None, contact_b: Floats | None = None,
) -> PairMeasures:
    """Measure two groups of atoms [..., n, 3] and [..., m, 3] A.

    `contact_a` and `contact_b` [..., k, 3] are the points (the carbons) of
    the shortest distance, all points by default.
    """
    a_points = np.asarray(a_points, np.float64)
    b_points = np.asarray(b_points, np.float64)
    a, b = plane(a_points), plane(b_points)
    between = b.centroid - a.centroid
    mean = mean_normal(a.normal, b.normal, between)
    angle = plane_angle(a.normal, b.normal)
    vertical = np.abs(_dot(between, mean))
    sideways = between - _dot(between, mean)[..., None] * mean
    common = angle <= MAX_PLANE_ANGLE
    slip = np.where(common, _norm(sideways), np.nan)
    long_axis, twist = _long_axes(a, b, mean, sideways)
    short_axis = cross(mean, long_axis)
    turn = _rotation(a.normal, b.normal, angle)
    overlap = overlap_percent(a_points, b_points, mean)
    contact = closest(a_points if contact_a is None else contact_a,
                      b_points if contact_b is None else contact_b)
    d12, d21 = (np.abs(_dot(between, p.normal)) for p in (a, b))
    return PairMeasures(
        plane_angle=angle, d12=d12, d21=d21, d_asym=np.abs(d12 - d21),
        vertical=np.where(common, vertical, np.nan), centroid=_norm(between),
        slip=slip,
        slip_long=np.where(common, np.abs(_dot(sideways, long_axis)), np.nan),
        slip_short=np.where(common, np.abs(_dot(sideways, short_axis)),
                            np.nan),
        twist=twist,
        tilt_long=np.abs(_dot(turn, long_axis)),
        tilt_short=np.abs(_dot(turn, short_axis)),
        stack_angle=np.degrees(np.arctan2(_norm(sideways), vertical)),
        contact=contact, overlap=overlap,
        overlap_gated=_gated(overlap, np.where(common, vertical, np.nan),
                             contact),
    )


def plane_angle(first: Floats, second: Floats) -> Floats:
    """Return the angle [...] between planes by their normals [..., 3]."""
    second = _aligned(first, second)
    # exact near 0, where the arc cosine is not
    return np.asarray(np.degrees(
        2 * np.arctan2(_norm(first - second), _norm(first + second))))


def mean_normal(first: Floats, second: Floats, between: Floats) -> Floats:
    """Return the unit mean [..., 3] of two normals of arbitrary sign.

    Of perpendicular normals both means are as good: the one nearer to the
    line `between` the centroids is taken.
    """
    return _mean_axis(first, second, between)


def cross(a: Floats, b: Floats) -> Floats:
    """Return cross products [..., 3]; numpy's costs twice as much on few."""
    return np.stack([
        a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
        a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
        a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]], axis=-1)


def closest(a: Floats, b: Floats) -> Floats:
    """Return the shortest distance [...] of points [..., n, 3] to others."""
    apart = np.asarray(a)[..., :, None, :] - np.asarray(b)[..., None, :, :]
    if 0 in apart.shape[-3:-1]:
        return np.full(apart.shape[:-3], np.nan)
    with np.errstate(over='ignore', invalid='ignore'):
        return np.asarray(
            np.sqrt((apart**2).sum(axis=-1).min(axis=(-2, -1))))


def _long_axes(a: Plane, b: Plane, mean: Floats,
               sideways: Floats) -> tuple[Floats, Floats]:
    """Return the mean long axis across `mean` and the angle of the two."""
    first, second = (
        _unit(p.long_axis - _dot(p.long_axis, mean)[..., None] * mean)
        for p in (a, b))
    return (_mean_axis(first, second, sideways),
            plane_angle(first, second))


def _rotation(first: Floats, second: Floats, angle: Floats) -> Floats:
    """Return the rotation vector [..., 3] (degrees), one normal to another.

    Zero for parallel normals.
    """
    axis = cross(first, _aligned(first, second))
    length = _norm(axis)
    return axis * (angle / np.where(length == 0, 1, length))[..., None]


def _gated(overlap: Floats, vertical: Floats, contact: Floats) -> Floats:
    """Return the overlap of pairs in contact, 0 for others."""
    near = ((vertical >= STACKED[0]) & (vertical <= STACKED[1])
            & (contact <= MAX_CONTACT))
    return np.where(near | np.isnan(overlap), overlap, 0.0)


def _mean_axis(first: Floats, second: Floats, guide: Floats) -> Floats:
    """Return the mean of two axes, the smaller angle between them halved."""
    sums = _unit(first + _aligned(first, second))
    others = _unit(first - _aligned(first, second))
    tie = np.abs(_dot(first, second)) < _PERPENDICULAR
    swap = tie & (np.abs(_dot(guide, others)) > np.abs(_dot(guide, sums)))
    return np.where(swap[..., None], others, sums)


def _aligned(first: Floats, second: Floats) -> Floats:
    """Return the second axis with the sign that is nearer to the first."""
    return np.where(_dot(first, second)[..., None] < 0, -second, second)


def _where(condition: NDArray[np.bool_], values: Floats, other: float,
           n_axes: int = 1) -> Floats:
    """Choose for whole vectors or matrices."""
    shape = condition.shape + (1,) * n_axes
    return np.where(condition.reshape(shape), values, other)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray((a * b).sum(axis=-1))


def _norm(a: Floats) -> Floats:
    return np.asarray(np.sqrt((a * a).sum(axis=-1)))


def _unit(a: Floats) -> Floats:
    """Return unit vectors, NaN where there is no direction."""
    length = _norm(a)
    return a / np.where(length > _PERPENDICULAR, length, np.nan)[..., None]
