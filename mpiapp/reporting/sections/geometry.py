"""Distance, slip, twist and overlap of the best pair, before and after."""
from __future__ import annotations

import numpy as np

from mpiapp.chemistry.systems import limits_of
from mpiapp.reporting.blocks import BLUE, GREY, Block, Histogram, Series
from mpiapp.reporting.subject import Subject

ORDER = 30
TITLE = 'Geometry, before and after'
PROGRAMS: tuple[str, ...] = ()

#: measure, title, label of the axis, its unit, least and most that are
#: shown, bins
MEASURES = (
    ('vertical', 'Distance of the planes', 'vertical distance', 'Å',
     2.5, 8.0, 44),
    ('slip', 'Slip', 'slip', 'Å', 0.0, 8.0, 40),
    ('twist', 'Twist', 'angle of the long axes', '°', 0.0, 90.0, 45),
    ('overlap_gated', 'Overlap', 'overlap', '%', 0.0, 100.0, 40),
    ('plane_angle', 'Angle of the planes', 'plane angle', '°',
     0.0, 90.0, 45),
    ('contact', 'Closest contact', 'shortest C···C distance', 'Å',
     2.5, 8.0, 44),
)
BINS_FOR = 200


def blocks(subject: Subject) -> list[Block]:
    """Return a histogram a measure that any record has."""
    found: list[Block] = []
    for name, title, label, unit, low, high, n_bins in MEASURES:
        after = subject.measure(name)[subject.converged]
        before = subject.measure(name, '_start')[subject.converged]
        after, before = (v[np.isfinite(v)] for v in (after, before))
        if not len(after) and not len(before):
            continue
        few = max(len(after), len(before)) < BINS_FOR
        edges = np.linspace(low, high, (n_bins // 2 if few else n_bins) + 1)
        found.append(Histogram(
            f'geometry_{name}', title,
            f'{subject.called(name, label)}, {unit}',
            [Series('before', before, GREY), Series('after', after, BLUE)],
            edges, note(before, after, low, high, 'both ring sets'
                        if subject.compat else 'best pair'),
            band(subject) if name == 'vertical' else ()))
    return found


def band(subject: Subject) -> tuple[tuple[float, float, str], ...]:
    """Return the distances of strong excimers, where all pairs share them.

    Nothing where pairs of unlike systems are judged by several limits.
    """
    of = subject.results.meta.get('descriptors') or {}
    known = of.get('strong_distance')
    if not known:
        return ()
    if subject.compat:
        systems = {str(of['compat_system'])}
    else:
        pairs = {w for w, ok in zip(subject.words('best_names'),
                                    subject.converged, strict=True)
                 if ok and w}
        systems = {w[:len(w) // 2] for w in pairs}
        if any(w != f'{w[:len(w) // 2]}-{w[:len(w) // 2]}' for w in pairs):
            return ()
    unknown = limits_of('')
    found = {tuple(known.get(s, (unknown.strong_from, unknown.strong_to)))
             for s in systems}
    return ((*found.pop(), 'strong excimers'),) if len(found) == 1 else ()


def note(before: np.ndarray, after: np.ndarray, low: float,
         high: float, of: str) -> str:
    """Tell the medians and what lies outside the axis."""
    words = [f'median {word} {np.median(v):.2f}' for word, v in (
        ('before', before), ('after', after)) if len(v)]
    outside = sum(int(((v < low) | (v > high)).sum())
                  for v in (before, after))
    if outside:
        words.append(f'{outside} outside the axis, in the last bins')
    return f'Converged records, {of}: {", ".join(words)}.'
