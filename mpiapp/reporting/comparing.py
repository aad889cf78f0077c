"""Two campaigns side by side: the same records, what became of them."""
from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.chemistry.ranking import agreement
from mpiapp.records import Ints
from mpiapp.reporting.blocks import (
    BLUE, CLASS_COLOURS, GREY, ORANGE, Bars, Block, Fact, Facts, Field, Heat,
    Histogram, Report, Scatter, Section, Series, Table, Text
)
from mpiapp.reporting.sections.convergence import nice_edges
from mpiapp.reporting.sections.settings import PARTS, flat
from mpiapp.reporting.sections.study import PREFIX
from mpiapp.reporting.sections.summary import speed_facts
from mpiapp.reporting.subject import CLASSES, Results, Subject
from mpiapp.units import KCAL_PER_EV

#: kcal/mol; energies nearer than this are ties
DECIMALS = 4
#: measure, label, unit
MEASURES = (('vertical', 'vertical distance', 'Å'), ('slip', 'slip', 'Å'),
            ('overlap_gated', 'overlap', '%'))


@dataclass(frozen=True)
class Pair:
    """Two campaigns; `rows` [n, 2] are the records that both have."""

    a: Subject
    b: Subject
    rows: Ints

    @property
    def both(self) -> Ints:
        """Return the rows [n, 2] of records that converged in both."""
        ok = self.a.converged[self.rows[:, 0]] \
            & self.b.converged[self.rows[:, 1]]
        return np.asarray(self.rows[ok])


def report_of_two(a: Results, b: Results) -> Report:
    """Return the report of what differs between two result files."""
    pair = Pair(Subject(a), Subject(b),
                common(Subject(a), Subject(b)))
    parts = (('overview', 'Overview', overview(pair)),
             ('energies', 'Energies', energies(pair)),
             ('geometry', 'Geometry', geometry(pair)),
             ('shares', 'Molecules', shares(pair)),
             ('settings', 'Settings that differ', settings(pair)))
    return Report(
        f'{a.path.stem} and {b.path.stem}',
        f'A: {a.path} · B: {b.path}',
        [Section(name, title, blocks) for name, title, blocks in parts
         if blocks])


def common(a: Subject, b: Subject) -> Ints:
    """Return the rows [n, 2] of records that are the same in both.

    The same record of the same input file (by sha256); where no file is the
    same or there are none, the same name, or whatever identifies an item,
    and the same number among those alike.
    """
    for key in (by_file, by_name):
        at = {k: i for i, k in enumerate(key(b)) if k is not None}
        found = [(i, at[k]) for i, k in enumerate(key(a))
                 if k is not None and k in at]
        if found:
            return np.array(found, np.int64)
    return np.empty((0, 2), np.int64)


def by_file(subject: Subject) -> list[Hashable]:
    """Return sha256 and number of each record; None where unknown."""
    inputs = subject.results.meta.get('inputs') or []
    if not subject.has('file_number', 'record'):
        return [None] * len(subject.table)
    hashes = [str(i.get('sha256') or '') for i in inputs]
    return [(hashes[f], int(r)) if 0 <= f < len(hashes) and hashes[f]
            else None for f, r in zip(
                subject.table['file_number'], subject.table['record'],
                strict=True)]


def by_name(subject: Subject) -> list[Hashable]:
    """Return what identifies an item, with its number among those alike."""
    # trials of a study are the same if their settings are
    columns = [subject.names, *(subject.words(n) for n in (
        'method', 'potential', 'start', 'kick', *(
            c for c in subject.table.columns if c.startswith(PREFIX)))
        if subject.has(n))]
    seen: Counter[Hashable] = Counter()
    keys: list[Hashable] = []
    for words in zip(*columns, strict=True):
        keys.append((*words, seen[words]))
        seen[words] += 1
    return keys


def overview(pair: Pair) -> list[Block]:
    """Count common records, compare their states and the speed."""
    n = len(pair.rows)
    words = [(pair.a.status_words[i], pair.b.status_words[j])
             for i, j in pair.rows]
    same = sum(x == y for x, y in words)
    blocks: list[Block] = [Facts([
        Fact('records of A', f'{len(pair.a.table):,}'),
        Fact('records of B', f'{len(pair.b.table):,}'),
        Fact('in both', f'{n:,}'),
        Fact('same state', f'{same:,}'),
        Fact('converged in both', f'{len(pair.both):,}')])]
    if not n:
        return [*blocks, Text('The files have no record in common.')]
    blocks.append(counts_map('states', 'States, A (rows) and B (columns)',
                             words, sorted({w for p in words for w in p})))
    a = {f.label: f.value for f in speed_facts(pair.a)}
    b = {f.label: f.value for f in speed_facts(pair.b)}
    return [*blocks, speeds(a, b)] if a or b else blocks


def counts_map(
    name: str, title: str, words: Sequence[tuple[str, str]],
    order: Sequence[str],
) -> Heat:
    """Return how often each pair of words occurs."""
    counts = Counter(words)
    values = [[float(counts[x, y]) for y in order] for x in order]
    return Heat(name, title, order, order, values, '',
                float(np.max(values, initial=1.0)))


def speeds(a: dict[str, str], b: dict[str, str]) -> Table:
    """Return the figures of speed of both."""
    labels = list(dict.fromkeys([*a, *b]))
    return Table('speed', 'Speed of the last runs', [
        Field('figure', 'figure', labels),
        Field('a', 'A', [a.get(k, '') for k in labels]),
        Field('b', 'B', [b.get(k, '') for k in labels])], terminal=20)


def energies(pair: Pair) -> list[Block]:
    """Compare relative energies, within molecules and conformers of both."""
    rows = pair.both
    table = rank_table(pair, rows)
    if table is None:
        return []
    x, y = relative(pair, rows)
    d = y - x
    classes = pair.a.classes()
    return [
        Facts([Fact('largest difference',
                    f'{np.abs(d).max():.4f} kcal/mol',
                    'of a relative energy, B less A'),
               Fact('root mean square', f'{np.sqrt((d**2).mean()):.4f} '
                    'kcal/mol')]),
        Scatter('energy_ab', 'Relative energies', 'A, kcal/mol',
                'B, kcal/mol', x, y,
                [CLASSES.index(classes[i]) for i, _ in rows],
                [(c, CLASS_COLOURS[c]) for c in CLASSES],
                [pair.a.molecule[i] for i, _ in rows],
                rows[:, 0].tolist(),
                'Above the lowest conformer of each molecule, in A and in B '
                'on its own; colours are the classes in A.', True),
        Histogram('energy_difference', 'Difference of relative energies',
                  'B less A, kcal/mol',
                  [Series('conformers', d, BLUE)], nice_edges(d)),
        table]


def relative(pair: Pair, rows: Ints) -> tuple[Any, Any]:
    """Return energies [n] above the lowest common one, in A and in B."""
    import pandas
    frame = pandas.DataFrame({
        'molecule': [pair.a.molecule[i] for i in rows[:, 0]],
        'a': pair.a.values('e_total')[rows[:, 0]],
        'b': pair.b.values('e_total')[rows[:, 1]]})
    lowest = frame.groupby('molecule')[['a', 'b']].transform('min')
    above = (frame[['a', 'b']] - lowest) * KCAL_PER_EV
    return (np.round(above['a'].to_numpy(), DECIMALS),
            np.round(above['b'].to_numpy(), DECIMALS))


def rank_table(pair: Pair, rows: Ints) -> Table | None:
    """Return how far the order of the conformers of a molecule agrees.

    None where nothing converged in both, or without energies.
    """
    if not len(rows) or not (pair.a.has('e_total')
                             and pair.b.has('e_total')):
        return None
    x, y = relative(pair, rows)
    molecules: dict[str, list[int]] = {}
    for k, i in enumerate(rows[:, 0]):
        molecules.setdefault(pair.a.molecule[i], []).append(k)
    found = [agreement(x[k], y[k]) for k in molecules.values()]
    return Table('ranking', 'Order of the conformers', [
        Field('molecule', 'molecule', list(molecules)),
        Field('n', 'n', [f.n for f in found], 0),
        Field('tau', 'Kendall tau', [f.tau for f in found], 2),
        Field('same', 'same lowest',
              ['yes' if f.same_lowest else 'no' for f in found]),
        Field('loss', 'loss', [f.loss for f in found], 2, 'kcal/mol',
              hint='how far above B\'s lowest the lowest of A lies in B')],
        terminal=20)


def geometry(pair: Pair) -> list[Block]:
    """Compare the measures of the best pairs and their classes."""
    rows = pair.both
    blocks: list[Block] = []
    if pair.a.compat != pair.b.compat:
        return [Text('A and B measure by different definitions (full and '
                     'compatibility mode): geometries and classes are not '
                     'compared.')]
    for name, full, unit in MEASURES:
        label = pair.a.called(name, full)
        x = pair.a.measure(name)[rows[:, 0]]
        y = pair.b.measure(name)[rows[:, 1]]
        ok = np.isfinite(x) & np.isfinite(y)
        if ok.any():
            blocks.append(Scatter(
                f'{name}_ab', label.capitalize(), f'A, {unit}',
                f'B, {unit}', x[ok], y[ok], [0] * int(ok.sum()),
                [('conformer', BLUE)],
                [pair.a.molecule[i] for i in rows[ok, 0]],
                rows[ok, 0].tolist(), diagonal=True))
    a, b = pair.a.classes(), pair.b.classes()
    words = [(a[i], b[j]) for i, j in rows]
    order = [c for c in CLASSES if any(c in w for w in words)]
    if set(order) - {'none'}:
        blocks.append(counts_map(
            'classes_ab', 'Classes, A (rows) and B (columns)', words, order))
    return blocks


def shares(pair: Pair) -> list[Block]:
    """Compare the excimer shares of the molecules by their names."""
    a, b = pair.a.boltzmann, pair.b.boltzmann
    if a is None or b is None:
        return []
    a, b = a.set_index('label'), b.set_index('label')
    names = [n for n in a.index if n in b.index]
    columns = ('frac_excimer', 'frac_excimer_spread')
    if not names or a.loc[names, columns[0]].isna().all():
        return []
    (x, dx), (y, dy) = ([100 * t.loc[names, c].to_numpy(np.float64)
                         for c in columns] for t in (a, b))
    first = np.argsort(-np.nan_to_num(np.abs(y - x)), kind='stable')[:24]
    return [
        Bars('shares_ab', f'Share of excimers at {pair.a.temperature:g} K '
             f'(A) and {pair.b.temperature:g} K (B)', '%',
             [names[i] for i in first],
             [Series('A', x[first], GREY, dx[first]),
              Series('B', y[first], ORANGE, dy[first])],
             f'{len(first)} of {len(names)} molecules, largest differences '
             'first.'),
        Table('shares', 'Share of excimers', [
            Field('molecule', 'molecule', names),
            Field('a', 'A', x, 1, '%', dx), Field('b', 'B', y, 1, '%', dy),
            Field('difference', 'B - A', y - x, 1, '%')], terminal=20)]


def settings(pair: Pair) -> list[Block]:
    """List the settings and versions that are not the same."""
    a, b = ({(part, name): text for part in PARTS for name, text in flat(
        s.results.meta.get(part))} for s in (pair.a, pair.b))
    keys = [k for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k)]
    if not keys:
        return [Text('All settings and versions are the same.')]
    return [Table('differences', 'Settings', [
        Field('part', 'part', [k[0] for k in keys]),
        Field('name', 'name', [k[1] for k in keys]),
        Field('a', 'A', [a.get(k, '') for k in keys]),
        Field('b', 'B', [b.get(k, '') for k in keys])], terminal=20)]
