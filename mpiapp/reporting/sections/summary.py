"""What came of the campaign, in a dozen numbers."""
from __future__ import annotations

from collections import Counter

import numpy as np

from mpiapp.parallel.progress import clock
from mpiapp.records import FAILURES
from mpiapp.reporting.blocks import Block, Fact, Facts
from mpiapp.reporting.subject import Subject

ORDER = 0
TITLE = 'Summary'
PROGRAMS: tuple[str, ...] = ()

#: what the records of a program are, where they are no records of its input
RECORDS = {
    'hpo': 'trials of the study', 'tssearch': 'searches, one a sample',
    'validate': 'dimers by starts and methods',
    'bench inference': 'groups of cells'}


def blocks(subject: Subject) -> list[Block]:
    """Return counts, shares and speed."""
    items = [*record_facts(subject), *molecule_facts(subject),
             *geometry_facts(subject), *speed_facts(subject)]
    return [Facts(items)]


def record_facts(subject: Subject) -> list[Fact]:
    """Count records by how they ended."""
    status, n = subject.status, len(subject.status)
    failed = int(np.isin(status, [int(s) for s in FAILURES]).sum())
    counts = Counter(subject.status_words)
    tried = n - counts['skipped']
    of = 'all' if tried == n else f'{tried:,} that were not skipped'
    items = [
        Fact('records', f'{n:,}', RECORDS.get(
            subject.program, 'in all input files'
            if subject.has('file_number') else '')),
        Fact('converged', f'{counts["converged"]:,}',
             f'{100 * counts["converged"] / max(tried, 1):.1f} % of {of}'),
        Fact('failed', f'{failed:,}', 'failed, rejected or broken')]
    for word in ('unconverged', 'skipped', 'pending'):
        if counts[word]:
            items.append(Fact(word, f'{counts[word]:,}'))
    return items


def molecule_facts(subject: Subject) -> list[Fact]:
    """Count molecules, unique conformers and the share of excimers."""
    tables = subject.results.ensembles
    if not tables or not len(tables['molecules']):
        return []
    molecules = tables['molecules']
    items = [
        Fact('molecules', f'{int((molecules["n"] > 0).sum()):,}',
             'that have conformers in an ensemble'),
        Fact('unique conformers', f'{int(molecules["n_unique"].sum()):,}',
             'converged, without duplicates')]
    shown = subject.boltzmann
    if shown is not None and shown['frac_excimer'].notna().any():
        best = shown.loc[shown['frac_excimer'].idxmax()]
        items.append(Fact(
            'largest excimer share',
            f'{100 * best["frac_excimer"]:.1f} %',
            f'{best["label"]}, Boltzmann weights at '
            f'{subject.temperature:g} K'))
    return items


def geometry_facts(subject: Subject) -> list[Fact]:
    """Count excimers before and after."""
    if not (subject.has('classification')
            or subject.has('compat_classification')):
        return []
    after = Counter(c for c, ok in zip(
        subject.classes(), subject.converged, strict=True) if ok)
    before = Counter(c for c, ok in zip(
        subject.classes('_start'), subject.converged, strict=True) if ok)
    return [Fact(
        f'{word} excimers', f'{before[word]:,} → {after[word]:,}',
        'converged records, before → after') for word in ('strong', 'weak')]


def speed_facts(subject: Subject) -> list[Fact]:
    """Return time, rate and busy share of the last run."""
    ranks = subject.per_rank
    items = []
    if subject.has('steps') and (subject.values('steps') > 0).any():
        steps = subject.values('steps')
        items.append(Fact('median steps',
                          f'{int(np.median(steps[steps > 0]))}'))
    if not ranks:
        return items
    wall = float(subject.results.timeline.get('wall_seconds') or np.nan)
    n = sum(r['records'] for r in ranks)
    items += [
        Fact('ranks', f'{len(ranks)}'),
        Fact('time', clock(wall), 'last run, first pull to last result'),
        Fact('records/s', f'{n / max(wall, 1e-9):.3g}')]
    atom_steps = sum(r['atom_steps'] for r in ranks)
    if atom_steps and subject.program == 'reopt':
        work = sum(r['work'] for r in ranks)
        items.append(Fact('per atom-step', f'{1e6 * work / atom_steps:.1f} '
                          'us', 'time of work, one rank'))
    items.append(Fact('busy', f'{100 * busy_share(ranks):.1f} %',
                      'share of work until the list ended'))
    return items


def busy_share(ranks: list[dict[str, float]]) -> float:
    """Return the share of work in the time until the list had ended."""
    lost = sum(r['pull'] + r['storage'] for r in ranks)
    return 1 - lost / max(sum(r['until_dry'] for r in ranks), 1e-12)
