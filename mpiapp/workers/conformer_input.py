"""What `conformers` starts from: molecules, and where results will lie."""
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mpiapp.chemistry.embedding import Facts, Recipe, facts
from mpiapp.chemistry.molecules import MoleculeTable
from mpiapp.chemistry.smiles_input import read_smi, table_of
from mpiapp.errors import InputError
from mpiapp.records import Rejection

#: molecules that a message names
MOST_NAMED = 8


@dataclass(frozen=True)
class Paths:
    """The files of a campaign; `stem` is their common beginning."""

    stem: Path

    @property
    def sdf(self) -> Path:
        """The conformers."""
        return self._ending('.sdf')

    @property
    def result(self) -> Path:
        """The row of each molecule."""
        return self._ending('.h5')

    @property
    def attempts(self) -> Path:
        """All attempts, and beside it the journals."""
        return self._ending('_attempts.h5')

    def _ending(self, end: str) -> Path:
        return self.stem.with_name(self.stem.name + end)


def read_molecules(
    smiles_csv: str, smi: str, smiles: Sequence[str],
) -> tuple[MoleculeTable, dict[str, Any]]:
    """Return the molecules, and what is stored about where they came from.

    One of the three is given.

    Raises:
        InputError: the input can't be read.
    """
    if smiles:
        table = table_of(smiles)
        path, content = '--smiles', '\n'.join(smiles).encode()
    else:
        path = smiles_csv or smi
        table = MoleculeTable.read(path) if smiles_csv else read_smi(path)
        content = Path(path).read_bytes()
    return table, {'path': path, 'n_records': len(table.rows),
                   'sha256': hashlib.sha256(content).hexdigest()}


def look(
    table: MoleculeTable, recipe: Recipe,
    hints: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[int, Facts], dict[int, tuple[str, str]]]:
    """Look at every molecule; return what is known, and what is refused.

    Both are by row from 0; what is refused has a reason and a message, which
    ends in the hint of the reason, if there is one.

    Raises:
        InputError: all are refused.
    """
    known: dict[int, Facts] = {}
    refused: dict[int, tuple[str, str]] = {}
    for i, row in enumerate(table.rows):
        try:
            known[i] = facts(row, recipe)
        except Rejection as error:
            hint = hints.get(error.reason, '')
            refused[i] = error.reason, error.message + hint
    if not known:
        lines = [f'  {table.rows[i].name}: {reason}: {message}' for
                 i, (reason, message) in list(refused.items())[:MOST_NAMED]]
        raise InputError(f'none of {len(refused)} molecules can be embedded'
                         '\n' + '\n'.join(lines))
    return known, refused
