"""Excimer classes by R group and substituent, and how they changed."""
from __future__ import annotations

from collections import Counter

import numpy as np

from mpiapp.reporting.blocks import CLASS_COLOURS, Bars, Block, Heat, Series
from mpiapp.reporting.subject import CLASSES, Subject

ORDER = 20
TITLE = 'Classes'
PROGRAMS: tuple[str, ...] = ()

#: names of shares: of what, title
SHARES = (('excimer', 'Strong or weak excimers'),
          ('strong', 'Strong excimers'))


def blocks(subject: Subject) -> list[Block]:
    """Return heat maps of the library, or bars of the molecules."""
    classes = subject.classes()
    if {word for word, ok in zip(classes, subject.converged, strict=True)
            if ok} <= {'none'}:
        return []
    found: list[Block] = list(heat_maps(subject, classes))
    if not found:
        found.append(by_molecule(subject, classes))
    return [*found, before_after(subject, classes)]


def heat_maps(subject: Subject, classes: list[str]) -> list[Heat]:
    """Return the share of a class for each R group and substituent.

    Counted over converged records, duplicates included; [] where no record
    has both groups.
    """
    groups = subject.words('r_group')
    screens = subject.words('screen_group')
    cells: dict[tuple[str, str], list[str]] = {}
    for r, s, word, ok in zip(groups, screens, classes, subject.converged,
                              strict=True):
        if ok and r not in ('', '?') and s not in ('', '?'):
            cells.setdefault((r, s), []).append(word)
    rows = list(dict.fromkeys(r for r, _ in cells))
    columns = list(dict.fromkeys(s for _, s in cells))
    if len(cells) < 2:
        return []
    return [Heat(
        f'classes_{name}', title, rows, columns,
        [[_share(cells.get((r, s)), name) for s in columns] for r in rows],
        '%', 100.0, 0,
        [[f'{len(cells.get((r, s), []))} conformers' for s in columns]
         for r in rows],
        'Share of converged conformers, each counted once whatever its '
        'energy; the weighted shares are among the molecules.')
        for name, title in SHARES]


def _share(words: list[str] | None, name: str) -> float:
    if not words:
        return float('nan')
    wanted = ('strong',) if name == 'strong' else ('strong', 'weak')
    return 100 * sum(w in wanted for w in words) / len(words)


def by_molecule(subject: Subject, classes: list[str]) -> Bars:
    """Return the classes of the molecules with the most excimers."""
    counts: dict[str, Counter[str]] = {}
    for name, word, ok in zip(subject.molecule, classes, subject.converged,
                              strict=True):
        if ok:
            counts.setdefault(name, Counter())[word] += 1
    names = sorted(counts, key=lambda n: (
        -(counts[n]['strong'] + counts[n]['weak']), n))[:24]
    return Bars(
        'classes_by_molecule', 'Classes of the conformers', 'conformers',
        names, [Series(word, [counts[n][word] for n in names],
                       CLASS_COLOURS[word])
                for word in CLASSES if any(counts[n][word] for n in names)],
        'Converged records; at most 24 molecules, most excimers first.',
        True)


def before_after(subject: Subject, classes: list[str]) -> Heat:
    """Return how many records went from one class to another."""
    before = subject.classes('_start')
    pairs = Counter(
        (a, b) for a, b, ok in zip(before, classes, subject.converged,
                                   strict=True) if ok)
    words = [w for w in CLASSES if any(w in pair for pair in pairs)]
    values = [[float(pairs[a, b]) for b in words] for a in words]
    return Heat(
        'class_changes', 'Classes before (rows) and after (columns)', words,
        words, values, '', float(np.max(values, initial=1.0)), 0,
        caption='Converged records by the class of their best pair of '
        'chromophores.')
