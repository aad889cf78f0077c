"""The conformers that are worth a better method.

Limits and score are those of the original's DFT stage, with one difference:
energies are relative to the lowest conformer of the same molecule, where the
original took the lowest of all molecules.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpiapp.records import Floats, Ints

#: deg, A, %
MAX_ANGLE, MAX_DISTANCE, MIN_OVERLAP = 50.0, 4.6, 30.0
PER_MOLECULE = 2
MOST = 96
#: K, of the weights in the score
TEMPERATURE = 298.0
CLASS_POINTS = {'strong': 2.0, 'weak': 1.0}
#: A; the distance that scores best
BEST_DISTANCE = 3.45


@dataclass(frozen=True)
class Candidates:
    """Conformers of one molecule: `rows`, and what they are judged by.

    `score` [n] as below; only those within the limits, best first.
    """

    rows: Ints
    score: Floats


def score(
    columns: Mapping[str, Floats], classes: Sequence[str], weight: Floats,
    rel_energy: Floats,
) -> Floats:
    """Return class + 2 overlap - 0.8 |d - 3.45| - angle/180 + 1.5 w - 0.02 E.

    `columns` have plane_angle [deg], vertical [A] and overlap [%], each [n];
    the class gives 2, 1 or 0 points, `rel_energy` [n] is kcal/mol above the
    lowest conformer of the molecule.
    """
    points = np.array([CLASS_POINTS.get(word, 0.0) for word in classes])
    return np.asarray(
        points + 2 * columns['overlap'] / 100
        - 0.8 * np.abs(columns['vertical'] - BEST_DISTANCE)
        - 0.5 * columns['plane_angle'] / 90
        + 1.5 * weight - 0.02 * rel_energy)


def candidates(
    rows: Ints, columns: Mapping[str, Floats], classes: Sequence[str],
    weight: Floats, rel_energy: Floats, most: int = PER_MOLECULE,
) -> Candidates:
    """Return the best conformers of one molecule that are within the limits.

    None where the columns are missing.  Equal scores: the lower row first.
    """
    if not {'plane_angle', 'vertical', 'overlap'} <= columns.keys():
        return Candidates(rows[:0], np.empty(0))
    scores = score(columns, classes, weight, rel_energy)
    within = np.flatnonzero(
        (columns['plane_angle'] <= MAX_ANGLE)
        & (columns['vertical'] <= MAX_DISTANCE)
        & (columns['overlap'] >= MIN_OVERLAP) & np.isfinite(scores))
    best = within[np.lexsort([rows[within], -scores[within]])][:most]
    return Candidates(rows[best], scores[best])


def shortlist(
    molecules: Sequence[Candidates], most: int = MOST,
) -> Candidates:
    """Return the best of all molecules, at most so many, best first."""
    if not molecules:
        return Candidates(np.empty(0, np.int64), np.empty(0))
    rows = np.concatenate([m.rows for m in molecules])
    scores = np.concatenate([m.score for m in molecules])
    best = np.lexsort([rows, -scores])[:most]
    return Candidates(rows[best], scores[best])
