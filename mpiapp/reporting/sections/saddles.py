"""`tssearch`: how many searches end in a transition state, at what cost."""
from __future__ import annotations

from collections import Counter

import numpy as np

from mpiapp.reporting.blocks import (
    BLUE, GREY, RED, Bars, Block, Fact, Facts, Heat, Histogram, Scatter, Series
)
from mpiapp.reporting.sections.convergence import nice_edges
from mpiapp.reporting.subject import Subject

ORDER = 15
TITLE = 'Transition states'
PROGRAMS = ('tssearch',)


def blocks(subject: Subject) -> list[Block]:
    """Return shares of success, ends, costs and modes."""
    if not subject.has('n_calls', 'n_hess', 'n_neg'):
        return []
    found: list[Block] = [Facts(facts(subject)), outcomes(subject)]
    shares = by_start(subject)
    if shares is not None:
        found.append(shares)
    for name, title, label in (
            ('n_calls', 'Evaluations of a search',
             'evaluations of energy and forces'),
            ('n_hess', 'Hessians of a search', 'Hessians'),
            ('rmsd_to_reference', 'Distance to the known transition state',
             'RMSD, Å')):
        block = by_success(subject, name, title, label)
        if block is not None:
            found.append(block)
    modes = eigenvalues(subject)
    return [*found, modes] if modes is not None else found


def facts(subject: Subject) -> list[Fact]:
    """Count searches, transition states and their ends."""
    n, good = len(subject.table), subject.converged
    ends = Counter(subject.words('ends'))
    items = [
        Fact('searches', f'{n:,}'),
        Fact('transition states', f'{int(good.sum()):,}',
             f'{100 * good.mean():.1f} % of all' if n else '')]
    if good.any():
        items.append(Fact(
            'evaluations', f'{np.median(subject.values("n_calls")[good]):g}',
            'median of the searches that found one, Hessians apart'))
        items.append(Fact(
            'Hessians', f'{np.median(subject.values("n_hess")[good]):g}',
            'median of the same'))
    if ends['ok'] or ends['half'] or ends['other']:
        items.append(Fact(
            'right ends', f'{ends["ok"]:,}', f'downhill on both sides; one '
            f'right: {ends["half"]}, others: {ends["other"]}'))
    return items


def outcomes(subject: Subject) -> Bars:
    """Return how the searches ended."""
    words = [r or s for r, s in zip(
        subject.words('reason'), subject.status_words, strict=True)]
    counts = Counter(words).most_common()
    return Bars('outcomes', 'How the searches ended', 'searches',
                [w for w, _ in counts],
                [Series('searches', [n for _, n in counts], BLUE)])


def by_start(subject: Subject) -> Heat | None:
    """Return the share of success by start and noise."""
    if not subject.has('noise', 'start_from'):
        return None
    cells: dict[tuple[str, str], list[bool]] = {}
    noise = [f'{v:g} Å' for v in subject.values('noise')]
    for start, level, ok in zip(subject.words('start_from'), noise,
                                subject.converged, strict=True):
        cells.setdefault((start, level), []).append(bool(ok))
    rows = sorted({k[0] for k in cells})
    columns = sorted({k[1] for k in cells}, key=lambda w: float(w[:-2]))
    if not rows:
        return None
    return Heat(
        'success', 'Transition states by start and noise', rows, columns,
        [[100 * float(np.mean(cells[r, c])) if (r, c) in cells
          else float('nan') for c in columns] for r in rows], '%', 100.0, 0,
        [[f'{len(cells.get((r, c), []))} searches' for c in columns]
         for r in rows], 'Noise: standard deviation of one coordinate.')


def by_success(
    subject: Subject, name: str, title: str, label: str,
) -> Histogram | None:
    """Return a column of the searches that succeeded and of the others."""
    if not subject.has(name):
        return None
    values = subject.values(name)
    ok = np.isfinite(values) & (values >= 0)
    if not ok.any():
        return None
    series = [Series(word, values[ok & which], colour)
              for word, which, colour in (
                  ('transition state', subject.converged, BLUE),
                  ('other', ~subject.converged, GREY))
              if (ok & which).any()]
    return Histogram(name, title, label, series, nice_edges(values[ok]))


def eigenvalues(subject: Subject) -> Scatter | None:
    """Return the two lowest eigenvalues at the end of each search."""
    if not subject.has('lambda0', 'lambda1'):
        return None
    x, y = subject.values('lambda0'), subject.values('lambda1')
    rows = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not len(rows):
        return None
    return Scatter(
        'eigenvalues', 'Lowest eigenvalues at the end',
        'lowest, eV/(Å² amu)', 'second lowest, eV/(Å² amu)', x[rows],
        y[rows], (~subject.converged[rows]).astype(int).tolist(),
        [('transition state', BLUE), ('other', RED)],
        [subject.names[r] for r in rows], rows.tolist(),
        'A transition state lies left of zero and above it.')
