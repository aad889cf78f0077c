"""Energy over distance for the conformers of each molecule."""
from __future__ import annotations

import numpy as np

from mpiapp.reporting.blocks import CLASS_COLOURS, Block, Scatter
from mpiapp.reporting.subject import CLASSES, Subject

ORDER = 40
TITLE = 'Energy and distance'
PROGRAMS: tuple[str, ...] = ()

#: points that a page can show
MOST_POINTS = 20_000


def blocks(subject: Subject) -> list[Block]:
    """Return energies over the distance and over the overlap."""
    if not np.isfinite(subject.rel_energy).any():
        return []
    found: list[Block] = []
    for name, label, unit in (
            ('vertical', 'vertical distance', 'Å'),
            ('centroid', 'distance of the centroids', 'Å'),
            ('overlap_gated', 'overlap', '%')):
        block = scatter(
            subject, name, f'{subject.called(name, label)}, {unit}')
        if block is not None:
            found.append(block)
    return found


def scatter(subject: Subject, name: str, label: str) -> Scatter | None:
    """Return energies over one measure; None where no record has both."""
    measure, energy = subject.measure(name), subject.rel_energy
    rows = np.flatnonzero(np.isfinite(measure) & np.isfinite(energy))
    if not len(rows):
        return None
    n_all = len(rows)
    if n_all > MOST_POINTS:
        rows = rows[np.argsort(energy[rows], kind='stable')[:MOST_POINTS]]
    classes = subject.classes()
    caption = ('Converged records, kcal/mol above the lowest of the same '
               'molecule. Choose a molecule; a click opens a conformer.')
    if n_all > MOST_POINTS:
        caption += f' The {MOST_POINTS} of lowest energy of {n_all}.'
    return Scatter(
        f'energy_{name}', f'Energy over {label.partition(",")[0]}', label,
        'relative energy, kcal/mol', measure[rows], energy[rows],
        [CLASSES.index(classes[r]) for r in rows],
        [(c, CLASS_COLOURS[c]) for c in CLASSES],
        [subject.molecule[r] for r in rows], rows.tolist(), caption)
