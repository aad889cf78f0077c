"""The ensembles of a campaign: all ranks share the molecules.

Works on a result file whose rows are in and that has not got its name yet.
What is told of a molecule depends on its rows alone, so that the tables are
the same on any number of ranks.
"""
from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.molecules import neutral_formula
from mpiapp.chemistry.shortlist import Candidates
from mpiapp.chemistry.skeleton import Skeleton
from mpiapp.parallel.agree import agree
from mpiapp.parallel.stop import StopWatch
from mpiapp.parallel.workqueue import WorkQueue
from mpiapp.records import Column, Floats, Ints, Schema, Status, Structure
from mpiapp.store.ensembles import add_tables
from mpiapp.store.molecules import groups_of, members_of
from mpiapp.store.reader import Campaign, RowReader, load_unsealed
from mpiapp.workers.ensemble_tables import tables_of
from mpiapp.workers.molecule import (
    COMPAT, Conformers, EnsembleSettings, Line, Told, tell
)

log = logging.getLogger('mpiapp')

DESCRIPTORS = 'descriptors'
CLASS = 'classification'
DARK = 'dark'
#: by which columns a conformer is judged in either mode
JUDGED = {
    'full': {'plane_angle': 'plane_angle', 'vertical': 'vertical',
             'overlap': 'overlap_gated'},
    'compat': {'plane_angle': 'compat_plane_angle',
               'vertical': 'compat_distance', 'overlap': 'compat_overlap'},
}
#: of columns that tell of the geometry before relaxation
START = '_start'
#: of columns with angles that go round: a plain mean of them means nothing
ROUND = ('bridge', 'dihedral')


def settings_from(options: Mapping[str, Any]) -> EnsembleSettings:
    """Pick the settings out of options; defaults where one is missing."""
    known = {f.name: options[f.name] for f in fields(EnsembleSettings)
             if f.name in options}
    if 'temperatures' in known:
        known['temperatures'] = tuple(known['temperatures'])
    return EnsembleSettings(**known)


def finale(
    options: Mapping[str, Any],
) -> Callable[[Any, Path], None] | None:
    """Return what adds the ensembles that options ask for; None: nothing.

    Options without `boltzmann` are those of a program that has none.
    """
    if not options.get('boltzmann', False):
        return None
    settings = settings_from(options)
    return lambda comm, path: add_ensembles(comm, path, settings)


def add_ensembles(
    comm: Any, path: Path, settings: EnsembleSettings,
) -> None:
    """Collective: make the tables of all molecules and write them.

    `path` is a result file with all its rows, not sealed yet.  A molecule
    that can't be analysed gets a line that says so.

    Raises:
        AgreedExit: the file can't be read or written.
    """
    # every rank has closed the file before any opens it again
    comm.barrier()
    with agree(comm, 'reading the rows again'):
        data = CampaignData(load_unsealed(path), settings)
        groups = data.groups() if comm.rank == 0 else None
    groups = comm.bcast(groups)
    with data.campaign.row_reader() as read:
        mine = [one for i in handed_out(comm, len(groups))
                for one in data.tell_group(groups[i], read)]
    gathered = comm.gather(mine)
    with agree(comm, 'writing the ensembles'):
        if gathered is not None:
            told = sorted((t for part in gathered for t in part),
                          key=lambda t: int(t.rows[0]))
            energies = data.campaign.table['e_total'].to_numpy()
            add_tables(path, described(settings, data, told), tables_of(
                told, data.campaign.n_records, energies,
                data.descriptors, settings))


def handed_out(
    comm: Any, n: int, watch: StopWatch | None = None,
) -> Iterator[int]:
    """Collective: yield numbers below n; each goes to one rank.

    None any more, on all ranks, once `watch` has a reason to stop on one.
    """
    if comm.size == 1:
        yield from takewhile(
            lambda _: watch is None or not watch.check(), range(n))
        return
    queue = WorkQueue(comm, np.arange(n))
    while len(taken := queue.pull(1)):
        yield int(taken[0])
        if watch is not None and (reason := watch.check()):
            queue.stop(reason)
    queue.close()


def described(
    settings: EnsembleSettings, data: CampaignData, told: Sequence[Told],
) -> dict[str, Any]:
    """Return what is stored of the settings, and how much was there.

    `n_alike` counts names of one record whose graph another such name has:
    conformers, maybe, that the file numbers.
    """
    status = data.status
    graphs = Counter(
        (one.molecule['graph'], one.molecule['charge']) for one in told
        if len(one.rows) == 1 and one.molecule.get('graph'))
    alike = sum(n for n in graphs.values() if n > 1) \
        if settings.group_by == 'name' else 0
    return {**asdict(settings), 'temperatures': list(settings.temperatures),
            'n_pending': int((status == Status.PENDING).sum()),
            'n_alike': alike}


def descriptor_columns(schema: Schema) -> list[Column]:
    """Return the columns that are averaged: numbers after relaxation."""
    return [c for c in schema.fixed if c.group == DESCRIPTORS
            and np.dtype(c.dtype).kind == 'f' and not c.shape
            and not c.name.endswith(START)
            and not any(word in c.name for word in ROUND)]


class CampaignData:
    """The columns of a campaign that the ensembles are made from."""

    def __init__(
        self, campaign: Campaign, settings: EnsembleSettings,
    ) -> None:
        self.campaign = campaign
        self.settings = settings
        self.descriptors = descriptor_columns(campaign.schema)
        table = campaign.table
        self.status = table['status'].to_numpy()
        self.n_atoms = table['n_atoms'].to_numpy()
        self.energies = table['e_total'].to_numpy(np.float64)
        self.values = {c.name: table[c.name].to_numpy(np.float64)
                       for c in self.descriptors}
        mode = settings.descriptors
        self.judged = {
            name: self.values[column] for name, column in JUDGED[mode].items()
            if column in self.values}
        self.prefix = COMPAT if mode == 'compat' else ''
        dark = table[self.prefix + DARK].to_numpy(np.float64) \
            if self.prefix + DARK in table else np.full(len(table), np.nan)
        # whole numbers have no NaN: what is below 0 is missing
        self.dark = np.where(dark < 0, np.nan, dark)

    def groups(self) -> list[Ints]:
        """Return the rows of each group, the longest work first."""
        groups = groups_of(
            self.campaign.table, self.campaign.meta.get('inputs', []),
            self.settings.group_by)
        costs = np.array([float(self.n_atoms[g].sum()) for g in groups])
        return [groups[i] for i in np.argsort(-costs, kind='stable')]

    def tell_group(self, rows: Ints, read: RowReader) -> list[Told]:
        """Return what is told of each molecule of a group."""
        try:
            return [tell(one, self.settings)
                    for one in self.molecules(rows, read)]
        except Exception as error:
            text = traceback.format_exception_only(error)[-1].strip()
            log.warning('the ensemble of %s is left out: %s',
                        self.campaign.table['name'][rows[0]], text)
            return [self.failed(rows, text)]

    def molecules(
        self, rows: Ints, read: RowReader,
    ) -> Iterator[Conformers]:
        """Yield the molecules of a group, one for each graph."""
        for one in members_of(self.campaign.table, rows, read):
            known = list(one.skeletons)
            final = zip(known, read('x_final', one.rows[known]), strict=True)
            positions = {i: x[one.skeletons[i].atoms] for i, x in final
                         if np.isfinite(x).all()}
            graphs = [skeleton.key for skeleton in one.skeletons.values()]
            yield self.conformers(
                one.rows, {'formula': formula(one.numbers),
                           'graph': graphs[0] if graphs else None},
                {i: one.skeletons[i] for i in positions}, positions)

    def conformers(
        self, rows: Ints, known: Line, skeletons: Mapping[int, Skeleton],
        positions: Mapping[int, Floats],
    ) -> Conformers:
        """Return the records of one molecule."""
        table = self.campaign.table
        return Conformers(
            rows, self.status[rows], self.words('reason', rows),
            self.energies[rows],
            {name: values[rows] for name, values in self.values.items()},
            self.words(self.prefix + CLASS, rows),
            self.words(COMPAT + CLASS, rows), self.dark[rows],
            {name: values[rows] for name, values in self.judged.items()},
            [table['cip'][row] for row in rows.tolist()],
            {**self.identity(rows), **known},
            bool((table['charge_ignored'].to_numpy()[rows] > 0).any()),
            skeletons, positions)

    def words(self, name: str, rows: Ints) -> list[str]:
        """Return a column of text, empty where the file has none."""
        table = self.campaign.table
        if name not in table:
            return [''] * len(rows)
        return [table[name][row] for row in rows.tolist()]

    def identity(self, rows: Ints) -> Line:
        """Return who the molecule is, by its lowest row."""
        first = int(rows[np.argmax(self.n_atoms[rows] > 0)])
        table = self.campaign.table
        return {name: table[name][first] for name in (
            'name', 'r_group', 'screen_group', 'charge')}

    def failed(self, rows: Ints, text: str) -> Told:
        """Return the line of a group that can't be analysed."""
        line = {**self.identity(rows), 'formula': '', 'n_records': len(rows),
                'first_row': int(rows[0]), 'note': f'not analysed: {text}'}
        return Told(line, [
            {**line, 'temperature': t} for t in self.settings.temperatures],
            [], line, rows, {}, Candidates(rows[:0], np.empty(0)), {})


def formula(numbers: NDArray[Any]) -> str:
    """Return the formula of atomic numbers."""
    return neutral_formula(Structure(
        0, 0, 0, np.asarray(numbers, np.int32), np.zeros((len(numbers), 3))))
