"""What a report is about: a campaign, and what all sections ask of it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Ints, Schema, Status
from mpiapp.units import KCAL_PER_EV

if TYPE_CHECKING:
    import pandas

#: K; weights and shares are shown at the temperature next to it
ROOM = 298.0
#: states of the trials of a study
STATES = {'pruned': Status.SKIPPED, 'failed': Status.FAILED,
          'pending': Status.PENDING}
#: classes in the order of their strength
CLASSES = ('strong', 'weak', 'monomer', 'none')
#: what compatibility mode has in place of a measure, and what that is
COMPAT = {'vertical': ('distance', 'one-sided distance'),
          'overlap_gated': ('overlap', 'overlap at any distance')}


class Results(Protocol):
    """A result file as `mpiapp.store.reader.Campaign` offers it."""

    @property
    def path(self) -> Path:
        """Return where it is."""

    @property
    def schema(self) -> Schema:
        """Return its columns."""

    @property
    def n_records(self) -> int:
        """Return the number of its records."""

    @property
    def complete(self) -> bool:
        """Tell whether nothing is pending."""

    @property
    def meta(self) -> dict[str, Any]:
        """Return what all runs share."""

    @property
    def timeline(self) -> dict[str, Any]:
        """Return what differs from run to run."""

    @property
    def table(self) -> pandas.DataFrame:
        """Return the columns with one entry a record."""

    @property
    def ensembles(self) -> dict[str, pandas.DataFrame]:
        """Return the tables of the molecules."""

    @property
    def stages(self) -> Mapping[str, Results]:
        """Return the stages of a refinement."""

    def ragged(self, name: str, row: int) -> NDArray[Any]:
        """Return the entries of a record in a ragged column."""

    def row_reader(self) -> AbstractContextManager[Any]:
        """Return a function that reads ragged columns of many rows."""


class Subject:
    """A campaign with what several sections need, computed once."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.program = str(results.meta.get('program', ''))

    @cached_property
    def stages(self) -> dict[str, Subject]:
        """The relaxation and the stages of its refinement, in order."""
        return {'relaxation': self, **{
            name: Subject(of) for name, of in self.results.stages.items()}}

    @cached_property
    def table(self) -> pandas.DataFrame:
        """All columns with one entry a record."""
        return self.results.table

    def has(self, *names: str) -> bool:
        """Tell whether all these columns are there."""
        return set(names) <= set(self.table.columns)

    def values(self, name: str) -> Floats:
        """Return a column of numbers [n_records] as floats."""
        return self.table[name].to_numpy(np.float64)

    def words(self, name: str) -> list[str]:
        """Return a column of text, of empty words if it isn't there."""
        if name not in self.table.columns:
            return [''] * len(self.table)
        return [str(v) for v in self.table[name]]

    @cached_property
    def status(self) -> Ints:
        """Status of each record; of a study's trials that of their state."""
        if 'status' in self.table.columns:
            return self.table['status'].to_numpy(np.int64)
        return np.array([STATES.get(w, Status.CONVERGED)
                         for w in self.words('state')], np.int64)

    @cached_property
    def status_words(self) -> list[str]:
        """Status of each record, as a word."""
        return [Status(int(s)).name.lower() for s in self.status]

    @cached_property
    def converged(self) -> NDArray[np.bool_]:
        """Which records converged."""
        return np.asarray(self.status == Status.CONVERGED)

    @cached_property
    def names(self) -> list[str]:
        """A name of each record: its molecule, or what the program has."""
        for column in ('name', 'benchmark', 'molecule', 'label'):
            if column in self.table.columns:
                return self.words(column)
        word = 'trial' if self.program == 'hpo' else 'record'
        return [f'{word} {i}' for i in range(len(self.table))]

    @cached_property
    def molecule(self) -> list[str]:
        """What groups the records: the molecules of the ensembles.

        Isomers and charge states under one name are told apart, and so are
        methods: energies of two have no common zero.
        """
        tables = self.results.ensembles
        if not tables and len(self.methods) > 1:
            return [f'{name}, {self.methods[potential]}' for name, potential
                    in zip(self.names, self.words('potential'), strict=True)]
        if not tables:
            return self.names
        molecules = tables['molecules']
        labels = unique_labels(molecules['name'].tolist())
        numbers = tables['records']['molecule'].to_numpy()
        return [labels[n] if n >= 0 else name
                for n, name in zip(numbers, self.names, strict=True)]

    @cached_property
    def methods(self) -> dict[str, str]:
        """What the methods of `validate` are called, by potential.

        Their names in tables, or among options where two would be equal.
        """
        if not self.has('potential', 'method'):
            return {}
        found = dict(zip(self.words('potential'), self.words('method'),
                         strict=True))
        return found if len(set(found.values())) == len(found) \
            else {name: name for name in found}

    @cached_property
    def compat(self) -> bool:
        """Whether the run judged classes by the original's ring sets."""
        of = self.results.meta.get('descriptors') or {}
        return bool(of.get('mode') == 'compat')

    def measure(self, name: str, moment: str = '') -> Floats:
        """Return a measure of the best pair [n_records]; NaN if absent."""
        column = f'{name}{moment}'
        if self.compat:
            column = f'compat_{COMPAT.get(name, (name,))[0]}{moment}'
        if column not in self.table.columns:
            return np.full(len(self.table), np.nan)
        return self.values(column)

    def called(self, name: str, words: str) -> str:
        """Return what a measure is called; `words` in full mode."""
        return COMPAT[name][1] if self.compat and name in COMPAT else words

    def classes(self, moment: str = '') -> list[str]:
        """Return the class of each record; none where it has none."""
        prefix = 'compat_' if self.compat else ''
        return [w or 'none'
                for w in self.words(f'{prefix}classification{moment}')]

    @cached_property
    def rel_energy(self) -> Floats:
        """Energy above the lowest converged of its molecule, kcal/mol."""
        import pandas
        if not self.has('e_total'):
            return np.full(len(self.table), np.nan)
        energy = pandas.Series(np.where(
            self.converged, self.values('e_total'), np.nan))
        lowest = energy.groupby(self.molecule).transform('min')
        return ((energy - lowest) * KCAL_PER_EV).to_numpy(np.float64)

    @cached_property
    def temperature(self) -> float:
        """The temperature of the tables that is shown; NaN: no tables."""
        tables = self.results.ensembles
        if not tables or not len(tables['boltzmann']):
            return float('nan')
        known = tables['boltzmann']['temperature'].to_numpy()
        return float(known[np.argmin(np.abs(known - ROOM))])

    @cached_property
    def boltzmann(self) -> pandas.DataFrame | None:
        """The line of each molecule at that temperature."""
        if not np.isfinite(self.temperature):
            return None
        table = self.results.ensembles['boltzmann']
        shown = table[table['temperature'] == self.temperature]
        return shown.assign(label=unique_labels(shown['name'].tolist()))

    @cached_property
    def weight(self) -> Floats:
        """Boltzmann weight of each record; NaN outside the ensembles."""
        tables = self.results.ensembles
        column = f'boltz_weight_{self.temperature:g}K'
        if not tables or column not in tables['records']:
            return np.full(len(self.table), np.nan)
        return tables['records'][column].to_numpy(np.float64)

    @cached_property
    def per_rank(self) -> list[dict[str, float]]:
        """The figures of each rank in the last run; [] if unknown."""
        timeline = self.results.timeline
        keys = ('work', 'pull', 'storage', 'idle', 'until_dry', 'records',
                'steps', 'atom_steps')
        columns = {k: timeline[k] for k in keys
                   if isinstance(timeline.get(k), list)}
        if len(columns) < len(keys):
            return []
        return [{k: float(v[i]) for k, v in columns.items()}
                for i in range(len(columns['work']))]


def unique_labels(names: Sequence[str]) -> list[str]:
    """Return the names, equal ones numbered: a, a (2), a (3).

    A number that makes another one's name is passed over.
    """
    seen: dict[str, int] = {}
    taken = set(names)
    found = []
    for name in names:
        label = name
        while name in seen and label in taken:
            seen[name] += 1
            label = f'{name} ({seen[name]})'
        seen.setdefault(name, 1)
        taken.add(label)
        found.append(label)
    return found
