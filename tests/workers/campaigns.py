"""Small result files of known molecules, for the tests of ensembles."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX
from mpiapp.store.campaign import write_campaign
from mpiapp.store.reader import Campaign, load
from mpiapp.store.sources import MemorySource
from mpiapp.units import KCAL_PER_EV
from mpiapp.workers.ensembles import add_ensembles
from mpiapp.workers.molecule import EnsembleSettings
from tests.chemistry.ensemble_molecules import Molecule, embedded, moved

META = {'program': 'reopt', 'options': {'boltzmann': True},
        'settings': {}, 'potential': {'name': 'none'},
        'inputs': [{'path': 'a.sdf', 'sha256': '', 'n_records': 0}]}
SMILES = 'CCCCO'

embedded = lru_cache(embedded)


def record(
    row: int, molecule: Molecule | None, name: str = 'a',
    kcal: float = 0.0, **changes: Any,
) -> dict[str, Any]:
    """Return a converged record, `kcal` above -5000 eV."""
    values: dict[str, Any] = {
        'file_number': 0, 'record': row, 'mseq': 1, 'name': name,
        'status': 1, 'e_total': -5000.0 + kcal / KCAL_PER_EV, 'rank': 0}
    if molecule is not None:
        values |= {
            'n_atoms': len(molecule.numbers), 'numbers': molecule.numbers,
            'x_start': molecule.positions, 'x_final': molecule.positions,
            'bonds': molecule.bonds,
            'bond_orders': np.full(len(molecule.bonds), 2),
            'formal_charges': np.zeros(len(molecule.numbers))}
    return values | changes


def conformers(n: int, smiles: str = SMILES) -> list[Molecule]:
    """Return n different conformers."""
    return embedded(smiles, n)[:n]


def turned(molecule: Molecule, seed: int = 0) -> Molecule:
    """Return the same conformer elsewhere in space."""
    return moved(molecule, np.random.default_rng(seed))


def write(
    path: Path, records: Sequence[dict[str, Any]],
    settings: EnsembleSettings | None = None, comm: Any = None,
    n_records: int = 0, meta: Any = None, ensembles: bool = True,
) -> Campaign:
    """Write a result file with ensembles, its rows dealt to the ranks."""
    comm = comm or SerialComm()

    def extend(part: Path) -> None:
        if ensembles:
            add_ensembles(comm, part, settings or EnsembleSettings())
    mine = {i: values for i, values in enumerate(records)
            if i % comm.size == comm.rank}
    write_campaign(
        comm, path, RELAX, n_records or len(records),
        MemorySource(RELAX, mine), meta or META, {}, extend=extend)
    return load(path)
