"""What `distill label` labels: molecules, their pieces, and the items."""
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpiapp.chemistry.arrangements import DIMERS
from mpiapp.chemistry.checks import symbols
from mpiapp.chemistry.embedding import Recipe, facts
from mpiapp.chemistry.fragments import (
    atomic_numbers, canonical, fragments, has_aromatic, is_radical
)
from mpiapp.chemistry.molecules import TableRow, read_rows, table_row
from mpiapp.errors import InputError
from mpiapp.records import Rejection

#: sources and their shares of the structures
SHARES: Mapping[str, float] = {
    'conformer': 0.12, 'fragment': 0.10, 'md': 0.15, 'relax': 0.15,
    'rattle': 0.10, 'stack': 0.12, 'slip': 0.12, 't_shape': 0.06,
    'contact': 0.08}
#: sources that take pieces and whole molecules in turn
MIXED = ('md', 'relax', 'rattle')


@dataclass(frozen=True)
class Subject:
    """A molecule or a piece of one that structures are made of."""

    row: TableRow
    n_atoms: int
    is_fragment: bool
    aromatic: bool

    @property
    def name(self) -> str:
        """Its name, without the sign that joins the names of a dimer."""
        return self.row.name.replace('+', '_')


@dataclass(frozen=True)
class LabelItem:
    """One structure: its source, the subjects, and which of its kind."""

    kind: str
    parts: tuple[int, ...]
    number: int


@dataclass(frozen=True)
class Subjects:
    """What there is to label; `left_out` says what is not, and why."""

    all: tuple[Subject, ...]
    left_out: tuple[str, ...]


def read_held_back(path: str | Path) -> dict[str, str]:
    """Return the names of molecules never to be trained on, by SMILES.

    Raises:
        InputError: see `molecules.read_rows`.
    """
    try:
        return {canonical(r.smiles): r.name for r in read_rows(path)}
    except InputError as error:
        raise InputError(f'--held-back {error}') from error


def subjects_of(
    rows: Sequence[TableRow], held_back: Mapping[str, str], max_atoms: int,
    elements: Set[int] | None = None,
) -> Subjects:
    """Return the molecules and their pieces, without those held back.

    Molecules of other `elements` (atomic numbers) are left out.

    Raises:
        InputError: none is left.
    """
    found: list[Subject] = []
    left_out: list[str] = []
    seen: set[str] = set()
    recipe = Recipe()
    pieces: dict[str, TableRow] = {}

    def take(row: TableRow, smiles: str, is_fragment: bool) -> None:
        if smiles in seen:
            return
        seen.add(smiles)
        try:
            known = facts(row, recipe)
        except Rejection as error:
            left_out.append(f'{row.name}: {error.reason}: {error.message}')
            return
        why = unfit(smiles, known.n_atoms, max_atoms, elements)
        if why:
            left_out.append(f'{row.name}: {why}')
            return
        found.append(Subject(row, known.n_atoms, is_fragment,
                             has_aromatic(row.smiles)))

    for row in rows:
        smiles = canonical(row.smiles)
        if smiles in held_back:
            left_out.append(f'{row.name}: held back')
            continue
        take(row, smiles, False)
        for piece in fragments(row.smiles):
            pieces.setdefault(piece, piece_row(piece))
    for smiles, row in sorted(pieces.items()):
        if smiles in held_back:
            left_out.append(f'{held_back[smiles]} (a piece): held back')
            continue
        take(row, smiles, True)
    if not found:
        raise InputError('no molecule is left to label\n' + '\n'.join(
            f'  {line}' for line in left_out[:10]))
    return Subjects(tuple(found), tuple(left_out))


def unfit(
    smiles: str, n_atoms: int, max_atoms: int, elements: Set[int] | None,
) -> str:
    """Say why a molecule can't be labelled, '' if it can."""
    lacking = set() if elements is None else \
        set(atomic_numbers(smiles)) - elements
    if lacking:
        return f'teacher or sampler do not know {symbols(lacking)}'
    if is_radical(smiles):
        return 'a radical; labels are of closed shells'
    return f'{n_atoms} atoms' if n_atoms > max_atoms else ''


def piece_row(smiles: str) -> TableRow:
    """Return a row for a piece, named by its formula and its SMILES."""
    digest = hashlib.sha256(smiles.encode()).hexdigest()[:8]
    row = table_row(Path('fragments'), 1, {
        'name': digest, 'r_group': '', 'screen_group': '',
        'smiles': smiles})
    return TableRow(f'{row.formula}_{digest}', '', '', smiles, row.formula)


def items_of(
    subjects: Sequence[Subject], total: int, sources: Sequence[str],
    max_dimer: int,
) -> list[LabelItem]:
    """Return `total` items, dealt over sources and molecules in turn.

    A source that has no molecule gives its share to the others.

    Raises:
        InputError: no source has any molecule.
    """
    pools = {s: _pool(s, subjects, max_dimer) for s in sources}
    pools = {s: pool for s, pool in pools.items() if pool}
    if not pools:
        raise InputError(
            f'--sources {" ".join(sources)}: no molecule serves for these '
            f'(dimers have at most --max-dimer-atoms {max_dimer} atoms)')
    items: list[LabelItem] = []
    done = dict.fromkeys(pools, 0)
    for n in range(1, total + 1):
        # the source that is farthest behind its share
        whole = sum(SHARES[s] for s in pools)
        kind = max(pools, key=lambda s: n * SHARES[s] / whole - done[s])
        number, pool = done[kind], pools[kind]
        done[kind] += 1
        items.append(LabelItem(kind, pool[number % len(pool)],
                               number // len(pool)))
    return items


def _pool(
    source: str, subjects: Sequence[Subject], max_dimer: int,
) -> list[tuple[int, ...]]:
    """Return what a source is made of, in the order it is used."""
    every = range(len(subjects))
    if source in DIMERS:
        flat = [i for i in every if source == 'contact'
                or subjects[i].aromatic]
        pairs = [(i, j) for i in flat for j in flat if i <= j
                 and subjects[i].n_atoms + subjects[j].n_atoms <= max_dimer]
        # in an order of no system: pairs of one molecule are not first
        order = np.random.default_rng(len(pairs)).permutation(len(pairs))
        return [pairs[k] for k in order]
    if source == 'fragment':
        return [(i,) for i in every if subjects[i].is_fragment]
    if source == 'conformer':
        return [(i,) for i in every if not subjects[i].is_fragment]
    return [(i,) for i in every]


def seed_of(item: LabelItem, names: Sequence[str], seed: int) -> int:
    """Return a seed from what is made, not from where it stands."""
    text = f'{seed}\n{item.kind}\n{"+".join(names)}\n{item.number}'
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8],
                          'little')
