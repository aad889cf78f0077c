"""Molecules from SMILES: the molecule table, a .smi file, single ones."""
from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mpiapp.chemistry.molecules import MoleculeTable, check_names, table_row
from mpiapp.records import InputError


def read_smi(path: str | os.PathLike[str]) -> MoleculeTable:
    """Read a file of lines `SMILES name`; empty lines do not count.

    A line without a name is called <file stem>_<number>, from 1.

    Raises:
        InputError: unreadable file, SMILES or names, no molecule.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: the SMILES file cannot be read: '
                         f'{error}') from error
    fields = [line.split(maxsplit=1) for line in lines if line.strip()]
    return _table(path, [
        (f[0], ' '.join(f[1].split()) if len(f) > 1 else f'{path.stem}_{i}')
        for i, f in enumerate(fields, 1)])


def table_of(smiles: Sequence[str]) -> MoleculeTable:
    """Return a table of single SMILES, called molecule_<number>, from 1.

    Raises:
        InputError: a SMILES can't be read.
    """
    return _table(Path('--smiles'), [
        (text, f'molecule_{i}') for i, text in enumerate(smiles, 1)])


def _table(path: Path, items: Iterable[tuple[str, str]]) -> MoleculeTable:
    rows = [table_row(path, i, {'name': name, 'r_group': '',
                                'screen_group': '', 'smiles': smiles})
            for i, (smiles, name) in enumerate(items, 1)]
    check_names(path, rows)
    return MoleculeTable(tuple(rows))
