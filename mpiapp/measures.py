"""Names, units and meanings of the descriptors; docs/descriptors.md."""
from __future__ import annotations

#: of a pair of chromophores; the fields of chemistry.planes.PairMeasures
PAIR: tuple[tuple[str, str, str], ...] = (
    ('plane_angle', 'degree', 'angle between the planes, 0-90'),
    ('d12', 'angstrom', 'centroid of b above the plane of a'),
    ('d21', 'angstrom', 'centroid of a above the plane of b'),
    ('d_asym', 'angstrom', 'difference of d12 and d21'),
    ('vertical', 'angstrom',
     'distance along the mean normal; NaN above 60 degrees'),
    ('centroid', 'angstrom', 'distance of the centroids'),
    ('slip', 'angstrom',
     'distance across the mean normal; NaN above 60 degrees'),
    ('slip_long', 'angstrom', 'slip along the mean long axis'),
    ('slip_short', 'angstrom', 'slip across the mean long axis'),
    ('twist', 'degree', 'angle of the long axes about the mean normal, 0-90'),
    ('tilt_long', 'degree', 'part of the plane angle about the long axis'),
    ('tilt_short', 'degree', 'part of the plane angle about the short axis'),
    ('stack_angle', 'degree',
     'angle of the centroids\' line and the mean normal'),
    ('contact', 'angstrom', 'shortest C...C distance of the ring atoms'),
    ('overlap', 'percent', 'overlap of the shadows along the mean normal'),
    ('overlap_gated', 'percent',
     'overlap where vertical is 2.5-4.5 and contact up to 4.5, else 0'),
)

#: of compatibility mode; the fields of chemistry.compat.CompatMeasures
COMPAT: tuple[tuple[str, str, str], ...] = (
    ('plane_angle', 'degree', 'angle between the planes of the ring sets'),
    ('distance', 'angstrom', 'centroid of set 2 above the plane of set 1'),
    ('overlap', 'percent', 'overlap of the shadows at any distance'),
    ('centroid', 'angstrom', 'distance of the centroids'),
    ('slip', 'angstrom', 'centroid of set 2 beside the normal of set 1'),
    ('tilt', 'degree', 'angle of the normals seen along the centroids\' '
     'line, 0-180, their signs arbitrary'),
    ('bridge_l', 'degree', 'dihedral of four atoms, not a bonded chain'),
    ('bridge_r', 'degree', 'dihedral of four atoms, not a bonded chain'),
)

#: both geometries: suffix of the columns, words
MOMENTS = (('', 'after'), ('_start', 'before'))

#: what is known of a class besides the measures: name, dtype, unit, text
CLASS: tuple[tuple[str, str, str, str], ...] = (
    ('classification', 'S8', '',
     'strong or weak excimer, monomer; none: not classified'),
    ('excimer_score', 'f8', '1', 'likeness to an excimer, 0-1'),
    ('dark', 'i1', '1', '1: eclipsed excimer, emission forbidden; '
     '-1: not classified'),
)
