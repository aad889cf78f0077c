"""How far the shadows of two groups of points cover each other."""
from __future__ import annotations

import numpy as np

from mpiapp.records import Floats


def overlap_percent(a: Floats, b: Floats, direction: Floats) -> Floats:
    """Return 100 x the common area / the smaller area of two shadows.

    The convex hulls of a [..., n, 3] and b [..., m, 3], projected along
    `direction` [..., 3] (unit vectors), are compared; the result [...] lies
    in 0-100.  NaN where a hull has no area or anything is not finite.
    """
    import shapely

    first, second = across(direction)
    shapes = [_hull(np.stack([_along(x, first), _along(x, second)], axis=-1))
              for x in (a, b)]
    areas = np.minimum(*(shapely.area(shape) for shape in shapes))
    common = shapely.area(shapely.intersection(*shapes))
    percent = 100 * common / np.where(areas > 0, areas, np.nan)
    return np.asarray(np.clip(percent, 0, 100))


def across(direction: Floats) -> tuple[Floats, Floats]:
    """Return two unit vectors [..., 3] that complete a right-handed frame."""
    least = np.argmin(np.abs(direction), axis=-1)
    first = np.cross(direction, np.eye(3)[least])
    with np.errstate(invalid='ignore'):
        first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return first, np.cross(direction, first)


def _along(points: Floats, axis: Floats) -> Floats:
    return np.asarray(np.einsum('...ij,...j->...i', points, axis))


def _hull(points: Floats) -> Floats:
    """Return polygons [...] (shapely) of points [..., n, 2]."""
    import shapely

    # a single point has no area: NaN in the end
    finite = np.asarray(np.isfinite(points).all(axis=(-2, -1), keepdims=True))
    corners = shapely.points(np.where(finite, points, 0.0))
    return np.asarray(shapely.convex_hull(shapely.multipoints(corners)))
