"""What flows between the steps: structures, work results, column tables.

Everything here is a frozen dataclass or a table of them.  A *row* is the
result of one record: a dictionary from column name to value, complete after
`Schema.complete`.  Row number = position of the record in the concatenation
of the input files, broken records included; it is the identity everywhere.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp import measures
from mpiapp.errors import InputError, Rejection

__all__ = [
    'Batch', 'Column', 'DESCRIPTORS', 'DONE', 'ENERGIES', 'Evaluation',
    'FAILURES', 'Finished', 'Floats', 'GEOMETRY', 'IDENTITY', 'InputError',
    'Ints', 'Item', 'RELAX', 'RUN', 'Rejection', 'Row', 'Schema', 'Status',
    'Stream', 'Structure', 'Suspended', 'status_codes', 'taken',
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Row = dict[str, Any]


class Status(IntEnum):
    """State of one record; the same vocabulary in every program."""

    PENDING = 0
    CONVERGED = 1
    UNCONVERGED = 2
    FAILED = 3
    REJECTED = 4
    BROKEN = 5
    SKIPPED = 6


@dataclass(frozen=True)
class Column:
    """One column of the result file.

    `dtype` is a numpy dtype string; text is fixed length ('S32'), UTF-8.
    `ragged` names the axis that differs from row to row ('atom'); then
    `shape` is the trailing shape of one entry of that axis.  `volatile`
    columns (timings, ranks) may differ between runs of one campaign.
    """

    name: str
    group: str
    dtype: str
    unit: str
    description: str
    default: Any = None
    shape: tuple[int, ...] = ()
    ragged: str = ''
    volatile: bool = False

    @property
    def fill(self) -> Any:
        """Value of a row that has none."""
        if self.default is not None:
            return self.default
        kind = np.dtype(self.dtype).kind
        return {'f': np.nan, 'S': '', 'b': False}.get(kind, -1)


@dataclass(frozen=True)
class Schema:
    """The columns of one kind of campaign, in file order."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        if len(set(names)) != len(names):
            raise ValueError('duplicate column names')

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(column.name == name for column in self.columns)

    @property
    def fixed(self) -> tuple[Column, ...]:
        """Columns with one entry a row."""
        return tuple(c for c in self.columns if not c.ragged)

    @property
    def ragged(self) -> tuple[Column, ...]:
        """Columns whose length differs from row to row."""
        return tuple(c for c in self.columns if c.ragged)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the ragged axes, in order of first use."""
        return tuple(dict.fromkeys(c.ragged for c in self.ragged))

    def complete(self, values: Mapping[str, Any]) -> Row:
        """Return a row with every column; unknown names raise KeyError."""
        unknown = set(values) - {c.name for c in self.columns}
        if unknown:
            raise KeyError(f'no such columns: {sorted(unknown)}')
        row: Row = {c.name: values.get(c.name, c.fill) for c in self.fixed}
        for c in self.ragged:
            row[c.name] = values[c.name] if c.name in values \
                else self.filled(c, values)
        return row

    def filled(self, column: Column, values: Mapping[str, Any]) -> Any:
        """Return a ragged column that a row lacks, filled.

        As long as the columns of the same axis that the row has.
        """
        n = next((len(values[c.name]) for c in self.ragged
                  if c.ragged == column.ragged and c.name in values), 0)
        return np.full((n, *column.shape), column.fill, column.dtype)


@dataclass(frozen=True)
class Structure:
    """One molecule, as it was read.

    `bonds` [n_bonds, 2] are atom indices; `orders` [n_bonds] are bond orders
    times 2 (aromatic 3, dative 1), empty where the format has none.  `tags`
    keeps the data items of the file in their order, as text.  `flat`: the
    file calls the coordinates a drawing (2D) and every z is zero.
    """

    row: int
    file_number: int
    record: int
    numbers: NDArray[np.int32]
    positions: Floats
    charge: int = 0
    formal_charges: NDArray[np.int32] = field(
        default_factory=lambda: np.empty(0, np.int32))
    unpaired: int = 0
    bonds: Ints = field(default_factory=lambda: np.empty((0, 2), np.int64))
    orders: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    title: str = ''
    tags: Mapping[str, str] = field(default_factory=dict)
    flat: bool = False


@dataclass(frozen=True)
class Batch:
    """Molecules to evaluate together, one after the other in flat arrays.

    `numbers` [n_atoms_total], `positions` [n_atoms_total, 3] A, `offsets`
    [n + 1] (molecule i has the atoms offsets[i]:offsets[i + 1]), `charges`
    [n] e and `unpaired` [n] electrons.  Potentials never change them.
    """

    numbers: NDArray[np.int32]
    positions: Floats
    offsets: Ints
    charges: NDArray[np.int32]
    unpaired: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def join(cls, molecules: Iterable[tuple[Any, Any, int, int]]) -> Batch:
        """Join (numbers, positions, charge, unpaired) tuples."""
        parts = list(molecules)
        sizes = [len(p[0]) for p in parts]
        return cls(
            np.concatenate([np.asarray(p[0], np.int32) for p in parts]),
            np.concatenate([np.asarray(p[1], np.float64).reshape(-1, 3)
                            for p in parts]),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.asarray([p[2] for p in parts], np.int32),
            np.asarray([p[3] for p in parts], np.int32),
        )

    def part(self, i: int) -> slice:
        """Return the slice of molecule i in the flat arrays."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))


@dataclass(frozen=True)
class Evaluation:
    """What a potential returns for a `Batch` of n molecules.

    `energies` [n] eV float64, `forces` [n_atoms_total, 3] eV/A float64,
    `e_model_minus_e0` [n] eV float64 (NaN where the method has no such
    part).  `failures` maps the index of a molecule that could not be
    evaluated to (reason word, message); its energy and forces are NaN.
    """

    energies: Floats
    forces: Floats
    e_model_minus_e0: Floats
    failures: Mapping[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A record to work on; `state` is that of a suspended earlier try."""

    row: int
    state: bytes = b''


class Stream(Protocol):
    """The records of one rank, as its worker sees them.

    `dry` tells that the list has ended for good.
    """

    dry: bool

    def take(self, n: int, wait: bool = True) -> list[Item]:
        """Return up to n records.

        None means that the list has ended or, without `wait`, that nothing
        is there at this moment.
        """

    def stopping(self) -> bool:
        """Tell whether all ranks are to stop, work in flight suspended."""


@dataclass(frozen=True)
class Finished:
    """What a worker yields when a record is done: its row of values."""

    row: int
    values: Mapping[str, Any]
    atom_steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Suspended:
    """What a worker yields for running work when the job is stopping.

    `state` [bytes] is whatever the worker needs to go on exactly where it
    was; the engine hands it back on resume.
    """

    row: int
    state: bytes


def taken(columns: Iterable[Column], *names: str) -> tuple[Column, ...]:
    """Return the columns of these names, in their order."""
    return tuple(c for c in columns if c.name in names)


IDENTITY = (
    Column('file_number', 'records', 'i4', '1',
           'position of the input file in the given order, from 0'),
    Column('record', 'records', 'i8', '1',
           'record number in its file, counted over all records, from 0'),
    Column('mseq', 'records', 'i8', '1', 'tag mseq of the input; -1: none'),
    Column('name', 'records', 'S96', '', 'molecule name'),
    Column('r_group', 'records', 'S32', '', 'R group of the library row'),
    Column('screen_group', 'records', 'S32', '', 'substituent of the row'),
    Column('match', 'records', 'S16', '',
           'how the molecule table was matched: mseq, structure, none'),
    Column('cip', 'records', 'S128', '', 'CIP labels, e.g. 3R,17S'),
    Column('charge', 'records', 'i4', 'e', 'total charge that was computed',
           default=0),
    Column('input_charge', 'records', 'i4', 'e', 'formal charge as read',
           default=0),
    Column('charge_ignored', 'records', 'i1', '1',
           '1: charged, but the model knows no charge', default=0),
    Column('n_added_hydrogens', 'records', 'i4', '1',
           'hydrogens added by the charge policy, at the end', default=0),
    Column('n_atoms', 'records', 'i4', '1', 'atoms, added ones included',
           default=0),
    Column('unpaired', 'records', 'i4', '1', 'unpaired electrons',
           default=0),
)

RUN = (
    Column('status', 'results', 'i4', '1', 'see attribute codes', default=0),
    Column('reason', 'results', 'S24', '', 'reason word, empty if none'),
    Column('message', 'results', 'S160', '', 'reason in words'),
    Column('steps', 'results', 'i4', '1', 'optimiser steps', default=0),
    Column('fmax_final', 'results', 'f8', 'eV/angstrom',
           'largest force on an atom at the final geometry'),
    Column('retries', 'results', 'i4', '1',
           'how often the record was tried before', default=0),
    Column('evaluations_float32', 'results', 'i4', '1',
           'evaluations of the first stage of two', default=0),
    Column('float32_energy_error', 'results', 'f8', 'eV',
           'float32 less float64 where the first stage ended'),
    Column('float32_force_error', 'results', 'f8', 'eV/angstrom',
           'largest difference of a force there'),
    Column('seconds', 'results', 'f8', 's', 'time spent on the record',
           volatile=True),
    Column('rank', 'results', 'i4', '1', 'rank that finished it',
           volatile=True),
    Column('finished_at', 'results', 'f8', 's',
           'when: seconds since 1970, by the clock of the rank\'s machine',
           volatile=True),
)

ENERGIES = (
    Column('e_start', 'energies', 'f8', 'eV', 'total energy, start geometry'),
    Column('e_total', 'energies', 'f8', 'eV', 'total energy, final geometry'),
    Column('e_model_minus_e0', 'energies', 'f8', 'eV',
           'sum of atomic energies without the isolated-atom part (MACE)'),
    Column('moe_energy_kcal', 'energies', 'f8', 'kcal/mol',
           'tag E of the input'),
)

GEOMETRY = (
    Column('numbers', 'geometry', 'i4', '1', 'atomic numbers',
           ragged='atom'),
    Column('x_start', 'geometry', 'f8', 'angstrom',
           'positions before, centred', shape=(3,), ragged='atom'),
    Column('x_final', 'geometry', 'f8', 'angstrom', 'positions after',
           shape=(3,), ragged='atom'),
    Column('formal_charges', 'geometry', 'i1', 'e',
           'formal charges; all 0 where the input has none', default=0,
           ragged='atom'),
    Column('bonds', 'geometry', 'i4', '1',
           'numbers of the bonded atoms in the record, from 0', shape=(2,),
           ragged='bond'),
    Column('bond_orders', 'geometry', 'i1', '1',
           'bond order times 2, aromatic 3, dative 1; 0: bond by distance',
           ragged='bond'),
    Column('rmsd_start_final', 'geometry', 'f8', 'angstrom',
           'RMSD of all atoms after superposition'),
)


def _of_class(prefix: str, of: str) -> list[Column]:
    return [Column(f'{prefix}{name}{end}', 'descriptors', dtype, unit,
                   f'{of} {when}: {text}',
                   default='none' if dtype == 'S8' else None)
            for end, when in measures.MOMENTS
            for name, dtype, unit, text in measures.CLASS]


def _of_measures(
    prefix: str, of: str, names: Iterable[tuple[str, str, str]],
    dtype: str = 'f8', ragged: str = '',
) -> list[Column]:
    return [Column(f'{prefix}{name}{end}', 'descriptors', dtype, unit,
                   f'{of} {when}: {text}', ragged=ragged)
            for end, when in measures.MOMENTS
            for name, unit, text in names]


DESCRIPTORS = (
    *_of_class('', 'best pair'),
    *[Column(f'descriptor_note{end}', 'descriptors', 'S48', '',
             f'what to know of the descriptors {when}, '
             'or why there are none')
      for end, when in measures.MOMENTS],
    *[Column(f'best_pair{end}', 'descriptors', 'i4', '1',
             f'number of the best pair {when} among all; -1: none')
      for end, when in measures.MOMENTS],
    *[Column(f'best_names{end}', 'descriptors', 'S40', '',
             f'chromophores of the best pair {when}, a-b')
      for end, when in measures.MOMENTS],
    *_of_measures('', 'best pair', measures.PAIR),
    *_of_measures('', 'best pair', [
        ('planarity_rms', 'angstrom', 'rms distance of the ring atoms from '
         'their plane, the larger of both')]),
    *_of_measures('', 'bridge', [
        ('bridge_dihedral', 'degree', 'first dihedral of the bridge')]),
    *_of_class('compat_', 'compatibility mode'),
    *_of_measures('compat_', 'compatibility mode', measures.COMPAT),
    Column('n_halves', 'descriptors', 'i4', '1',
           'halves of the molecule that hold a chromophore', default=0),
    Column('chromophore_name', 'descriptors', 'S16', '',
           'aromatic system, fused<n> if unknown', ragged='chromophore'),
    Column('chromophore_atom', 'descriptors', 'i4', '1',
           'its lowest atom in the record, from 0', ragged='chromophore'),
    Column('chromophore_size', 'descriptors', 'i4', '1', 'its ring atoms',
           ragged='chromophore'),
    Column('chromophore_half', 'descriptors', 'i4', '1',
           'half of the molecule it belongs to', ragged='chromophore'),
    *_of_measures('chromophore_', 'chromophore', [
        ('planarity_rms', 'angstrom', 'rms distance from its plane'),
        ('axis_quality', '1', '(s1 - s2) / s1 of its singular values; no '
         'long axis below 0.05')], 'f4', 'chromophore'),
    Column('pair_a', 'descriptors', 'i4', '1',
           'number of chromophore a in the record', ragged='pair'),
    Column('pair_b', 'descriptors', 'i4', '1',
           'number of chromophore b in the record', ragged='pair'),
    *[Column(f'pair_class{end}', 'descriptors', 'i1', '1',
             f'class {when}: 2 strong, 1 weak, 0 monomer, -1 not classified '
             '(both in one half, or no geometry)', ragged='pair')
      for end, when in measures.MOMENTS],
    *_of_measures('pair_', 'pair', measures.PAIR, 'f4', 'pair'),
    Column('dihedral_name', 'descriptors', 'S16', '',
           'bridge_<arm><k> or biaryl_<k>', ragged='dihedral'),
    Column('dihedral_atoms', 'descriptors', 'i4', '1',
           'the four atoms in the record, from 0', shape=(4,),
           ragged='dihedral'),
    *_of_measures('', 'dihedral', [
        ('dihedral_angle', 'degree', '-180..180')], 'f8', 'dihedral'),
)

RELAX = Schema(IDENTITY + RUN + ENERGIES + GEOMETRY + DESCRIPTORS)

#: what a record must have to need no more work, by status
DONE = frozenset({Status.CONVERGED, Status.UNCONVERGED, Status.REJECTED,
                  Status.BROKEN, Status.SKIPPED})
#: what counts against --max-failed
FAILURES = frozenset({Status.FAILED, Status.REJECTED, Status.BROKEN})


def status_codes(statuses: Iterable[Status] = Status) -> dict[str, int]:
    """Return the status vocabulary as stored beside the status column."""
    return {s.name.lower(): int(s) for s in statuses}
