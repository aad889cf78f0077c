"""Excimer classes and scores of pairs of rings.

Limits and formulas are those of pyrene_analyzer 1.1.0 (github
fulopjoz/pyrene-dimer-analyzer); systems.py names their sources.
"""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.systems import Limits
from mpiapp.records import Floats, Ints

#: class codes: the text of code i is CLASSES[i + 1]
CLASSES = ('none', 'monomer', 'weak', 'strong')
NONE, MONOMER, WEAK, STRONG = -1, 0, 1, 2
#: A; nearer than this no stack of rings is real (full mode)
WEAK_FROM = 2.8
#: degrees and A; stacks within both are eclipsed, their emission forbidden
DARK_TWIST, DARK_SLIP = 10.0, 0.5
#: degrees; below it compatibility mode warns of a dark excimer
DARK_ANGLE = 5.0
#: A; no score is lost up to the first slip, all of it at the second
_SLIPS = (2.5, 7.5)
#: degrees; below it the score is lowered, and the width of that dip
_ECLIPSED, _DIP = 10.0, 10.0


def classify(angle: Floats, distance: Floats, overlap: Floats,
             limits: Limits, weak_from: float = -np.inf) -> Ints:
    """Return class codes [...]; -1 (none) where the angle is NaN.

    Weak pairs are at least `weak_from` A apart.
    """
    strong = ((angle < limits.strong_angle)
              & (distance >= limits.strong_from)
              & (distance <= limits.strong_to)
              & (overlap > limits.strong_overlap))
    weak = ((angle < limits.weak_angle) & (distance < limits.weak_distance)
            & (distance >= weak_from) & (overlap > limits.weak_overlap))
    codes = np.where(strong, STRONG, np.where(weak, WEAK, MONOMER))
    return np.where(np.isnan(angle), NONE, codes)


def excimer_score(angle: Floats, distance: Floats, overlap: Floats,
                  slip: Floats, limits: Limits,
                  eclipsed_by: Floats | None = None) -> Floats:
    """Return scores [...] in 0-1; NaN where the angle is.

    `eclipsed_by` [...] is the angle of the last factor, the plane angle by
    default; that factor, and that of the slip, is 1 where unknown.
    """
    span = limits.weak_distance - limits.strong_to
    by_distance = np.where(
        distance < limits.strong_from,
        1 - (limits.strong_from - distance) / limits.strong_from,
        1 - np.maximum(distance - limits.strong_to, 0)
        / (span if span > 0 else np.inf))
    by_distance = np.where(
        (distance > 0) & ((distance < limits.weak_distance)
                          | (distance <= limits.strong_to)),
        np.clip(by_distance, 0, 1), 0)
    width = limits.weak_angle - limits.strong_angle
    by_angle = np.clip(1 - np.maximum(angle - limits.strong_angle, 0)
                       / (width if width > 0 else 1e-300), 0, 1)
    base = (0.6 * np.clip(overlap / 100, 0, 1) + 0.2 * by_distance
            + 0.2 * by_angle)
    by_slip = np.clip(1 - (slip - _SLIPS[0]) / (_SLIPS[1] - _SLIPS[0]), 0, 1)
    score = base * np.where(np.isnan(slip), 1, by_slip) * _eclipsed(
        angle if eclipsed_by is None else eclipsed_by)
    return np.asarray(np.clip(score, 0, 1))


def dark(codes: Ints, twist: Floats, slip: Floats) -> NDArray[np.bool_]:
    """Tell which excimers [...] are eclipsed, full mode."""
    return np.asarray((codes >= WEAK) & (twist < DARK_TWIST)
                      & (slip < DARK_SLIP))


def dark_by_angle(codes: Ints, angle: Floats) -> NDArray[np.bool_]:
    """Tell which excimers [...] compatibility mode warns of."""
    return np.asarray((codes >= WEAK) & (angle < DARK_ANGLE))


def geometry_warnings(angle: float, distance: float,
                      warn_angle: float) -> str:
    """Return the original's warnings of a conformer, '' if there are none."""
    if not angle > warn_angle:
        return ''
    text = (f'interplane_distance unreliable at angle {angle:.1f} deg '
            f'(>{warn_angle:.0f} deg)')
    if distance < 2.0:
        text += '; CRITICAL: likely measuring edge-to-face, not pi-pi distance'
    return text


def _eclipsed(angle: Floats) -> Floats:
    dip = 1 - 0.5 * np.exp(-np.asarray(angle)**2 / (2 * _DIP**2))
    return np.where(np.asarray(angle) < _ECLIPSED, dip, 1.0)
