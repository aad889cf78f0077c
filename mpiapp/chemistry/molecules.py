"""The molecule table: which molecule is this record a conformer of?"""
from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.bonding import bond_list
from mpiapp.chemistry.graph import CACHE_SIZE, Graph, graph_of, molecule_of
from mpiapp.records import InputError, Rejection, Structure

COLUMNS = ('name', 'r_group', 'screen_group', 'smiles')
#: those that a table must have
REQUIRED = ('name', 'smiles')
#: tags that name a molecule, the first choice first
NAME_TAGS = ('name', 'Name', 'NAME', 'ID', '_Name', 'molname')
#: mseq of a record without that tag
NO_MSEQ = -1
_NUMBER = re.compile('[0-9]{1,18}')
#: titles of programs that write no names: an energy, as CREST and xtb do
_ENERGY = re.compile(
    r'(?:(?:(?:total )?energy|etot|e)(?: ?[:=] ?| ))?'
    r'[-+]?[0-9]*\.[0-9]+(?:[ed][-+]?[0-9]+)?'
    r'(?: ?(?:eh|hartree|a\.u\.|ev|kcal/mol|kj/mol))?'
    r'(?: gnorm:.*| ?!.*)?', re.IGNORECASE)


@dataclass(frozen=True)
class Match:
    """Names of a record: by its `mseq`, by `structure`, or `none`."""

    name: str
    r_group: str
    screen_group: str
    match: str
    mseq: int


@dataclass(frozen=True)
class TableRow:
    """One molecule; canonical SMILES are made when first asked for."""

    name: str
    r_group: str
    screen_group: str
    smiles: str
    formula: str

    @cached_property
    def canonical(self) -> str:
        """Neutral, flat canonical SMILES."""
        from rdkit import Chem

        return _neutral_smiles(Chem.MolFromSmiles(self.smiles))

    @cached_property
    def skeleton(self) -> str:
        """SMILES of heavy atoms and which are bonded, nothing else."""
        from rdkit import Chem

        return _skeleton_smiles(Chem.MolFromSmiles(self.smiles))


@dataclass(frozen=True, eq=False)
class MoleculeTable:
    """Molecules in the order of the file: row number (from 1) = mseq."""

    rows: tuple[TableRow, ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> MoleculeTable:
        """Read a CSV file; raises InputError for what is wrong with it."""
        rows = read_rows(path)
        check_names(Path(path), rows)
        return cls(tuple(rows))

    def match(self, structure: Structure,
              allow_mismatch: bool = False) -> Match:
        """Return the row of a record; raises Rejection (`mismatch`).

        The row `mseq` if that is the molecule, else the only row that is.
        `allow_mismatch` names others mol_<mseq> instead.
        """
        mseq = mseq_of(structure)
        formula = neutral_formula(structure)
        if 1 <= mseq <= len(self.rows):
            row = self.rows[mseq - 1]
            if row.formula == formula and _is_molecule(row, structure):
                return Match(row.name, row.r_group, row.screen_group,
                             'mseq', mseq)
        rows = [row for row in self.rows if row.formula == formula
                and _is_molecule(row, structure)]
        if len(rows) == 1:
            return Match(rows[0].name, rows[0].r_group, rows[0].screen_group,
                         'structure', mseq)
        if allow_mismatch:
            number = structure.record if mseq == NO_MSEQ else mseq
            return Match(f'mol_{number}', '?', '?', 'none', mseq)
        raise Rejection('mismatch', self._why_not(mseq, formula, rows))

    def _why_not(self, mseq: int, formula: str, rows: list[TableRow]) -> str:
        if rows:
            names = ' '.join(row.name for row in rows[:3])
            return f'{formula} is {len(rows)} rows of the table: {names}'
        text = f'{formula} (neutral form) is no row of the table'
        if 1 <= mseq <= len(self.rows):
            row = self.rows[mseq - 1]
            text += f'; row mseq {mseq} is {row.name}, {row.formula}'
        return text


def default_name(structure: Structure, file_stem: str) -> str:
    """Name a record without a table: title, a name tag, else the file's.

    An energy in the place of the title is none.
    """
    title = ' '.join(structure.title.split())
    if title and not _ENERGY.fullmatch(title):
        return title
    for tag in NAME_TAGS:
        if name := ' '.join(structure.tags.get(tag, '').split()):
            return name
    mseq = mseq_of(structure)
    return f'{file_stem}_{structure.record if mseq == NO_MSEQ else mseq}'


def mseq_of(structure: Structure) -> int:
    """Return the tag mseq, -1 if there is none that is a number."""
    text = structure.tags.get('mseq', '').strip()
    return int(text) if _NUMBER.fullmatch(text) else NO_MSEQ


def neutral_formula(structure: Structure) -> str:
    """Return the formula with as many H as make the molecule neutral."""
    from ase.data import chemical_symbols

    return _hill([chemical_symbols[number] for number in structure.numbers],
                 structure.charge)


def _hill(symbols: Sequence[str], charge: int) -> str:
    """Write carbon, hydrogen, then the others in alphabetical order."""
    counts = Counter(symbols)
    counts['H'] -= charge
    first = ['C', 'H'] if counts.get('C') else []
    order = first + sorted(set(counts) - set(first))
    return ''.join(f'{symbol}{counts[symbol] if counts[symbol] != 1 else ""}'
                   for symbol in order if counts.get(symbol))


def read_rows(path: str | os.PathLike[str]) -> list[TableRow]:
    """Return the rows of a CSV file, names that occur twice included.

    Raises:
        InputError: unreadable, a column is missing, a row without name, a
            SMILES that is none.
    """
    path = Path(path)
    try:
        with open(path, newline='', encoding='utf-8-sig') as source:
            reader = csv.DictReader(source, strict=True)
            _check_columns(path, reader.fieldnames or ())
            return [table_row(path, i, values)
                    for i, values in enumerate(reader, 1)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path}: the molecule table cannot be read: '
                         f'{error}') from error


def _check_columns(path: Path, found: Any) -> None:
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise InputError(f'{path}: no column {" and ".join(missing)} in the '
                         f'first line; found {", ".join(found) or "nothing"}')


def table_row(
    path: Path, number: int, values: Mapping[str, Any],
) -> TableRow:
    """Return a row of a table; raises InputError for what is wrong."""
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    texts = [(values.get(name) or '').strip() for name in COLUMNS]
    with BlockLogs():
        molecule = Chem.MolFromSmiles(texts[-1]) if texts[-1] else None
    if molecule is None:
        raise InputError(f'{path}: row {number} ({texts[0] or "no name"}): '
                         f'the SMILES {texts[-1][:60]!r} can not be read')
    if not texts[0]:
        raise InputError(f'{path}: row {number} has no name')
    symbols = [a.GetSymbol() for a in Chem.AddHs(molecule).GetAtoms()]
    formula = _hill(symbols, Chem.GetFormalCharge(molecule))
    return TableRow(texts[0], texts[1], texts[2], texts[3], formula)


def check_names(path: Path, rows: list[TableRow]) -> None:
    """Raise InputError for a table without rows or with a name twice."""
    if not rows:
        raise InputError(f'{path}: the molecule table has no rows')
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if row.name in seen:
            raise InputError(f'{path}: rows {seen[row.name]} and {number} '
                             f'have the same name {row.name!r}')
        seen[row.name] = number


def _is_molecule(row: TableRow, structure: Structure) -> bool:
    """Compare by canonical SMILES; without bond orders by connectivity."""
    if len(structure.orders):
        return row.canonical == _smiles_of(graph_of(structure))
    bonds = bond_list(structure.numbers, structure.positions)
    return row.skeleton == _skeleton_of(Graph(
        np.asarray(structure.numbers, np.int32).tobytes(), bonds.tobytes(),
        np.full(len(bonds), 2, np.int64).tobytes(), b''))


@lru_cache(CACHE_SIZE)
def _smiles_of(graph: Graph) -> str:
    molecule = molecule_of(graph)
    return '' if molecule is None else _neutral_smiles(molecule)


@lru_cache(CACHE_SIZE)
def _skeleton_of(graph: Graph) -> str:
    from rdkit import Chem

    molecule = Chem.RWMol()
    for number in np.frombuffer(graph.numbers, np.int32).tolist():
        molecule.AddAtom(Chem.Atom(number))
    for i, j in np.frombuffer(graph.bonds, np.int64).reshape(-1, 2).tolist():
        molecule.AddBond(i, j, Chem.BondType.SINGLE)
    return _skeleton_smiles(molecule)


def _neutral(molecule: Any) -> Any:
    from rdkit.Chem.MolStandardize.rdMolStandardize import Uncharger
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        return Uncharger().uncharge(molecule)


def _neutral_smiles(molecule: Any) -> str:
    """Return canonical SMILES: neutral, no stereo, no explicit H.

    Read and written once more, since what is aromatic or explicit in a
    SMILES may depend on what it was made from.
    """
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        flat = Chem.Mol(_neutral(Chem.RemoveHs(molecule)))
        Chem.RemoveStereochemistry(flat)
        text = Chem.MolToSmiles(flat, isomericSmiles=False)
        return str(Chem.MolToSmiles(Chem.MolFromSmiles(text)))


def _skeleton_smiles(molecule: Any) -> str:
    from rdkit import Chem

    skeleton = Chem.RWMol()
    heavy = [a for a in molecule.GetAtoms() if a.GetAtomicNum() > 1]
    number = {a.GetIdx(): skeleton.AddAtom(Chem.Atom(a.GetAtomicNum()))
              for a in heavy}
    for bond in molecule.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if ends[0] in number and ends[1] in number:
            skeleton.AddBond(number[ends[0]], number[ends[1]],
                             Chem.BondType.SINGLE)
    for atom in skeleton.GetAtoms():
        atom.SetNoImplicit(True)
    skeleton.UpdatePropertyCache(strict=False)
    return str(Chem.MolToSmiles(skeleton))
