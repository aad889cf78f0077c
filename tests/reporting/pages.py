"""Result files of made-up campaigns, for the tests of reports."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX, Schema
from mpiapp.store.campaign import write_campaign
from mpiapp.store.sources import MemorySource
from mpiapp.workers.ensembles import add_ensembles
from mpiapp.workers.molecule import EnsembleSettings

R_GROUPS = ('Pyr', 'EtynPyr', 'DCV_Th', 'CNPh_Th')
SCREENS = ('H', 'Me', 'Et', 'nPr', 'iPr', 'nBu', 'tBu', 'cHex', 'MeO', 'OEt',
           'F', 'Cl', 'CF3', 'CN', 'NMe2', 'Ph')
NAMES = [(r, s) for r in R_GROUPS for s in SCREENS]
#: when the first record of the first rank was begun
START = 1.8e9
META = {
    'program': 'reopt', 'settings': {}, 'options': {'fmax': 0.005},
    'potential': {'name': 'none', 'note': '<b>&amp;</b>'},
    'inputs': [{'path': 'made_up.sdf', 'sha256': '0' * 64,
                'n_records': 1}],
    'packages': {'python': '3'}}
#: reason and message of a record that failed, status
FAULTS = ((4, 'charged', 'total charge -1, and the model knows no charge'),
          (3, 'nan', 'energy is not a number </script><img src=x>'),
          (2, 'step_limit', '500 steps, largest force 0.02 eV/A'),
          (5, 'bonds_changed', 'C12-O40 broke'))


def chain(n_atoms: int, rng: np.random.Generator) -> Any:
    """Return a folded chain [n_atoms, 3] with steps of 1.5 A."""
    steps = rng.normal(size=(n_atoms, 3))
    steps *= 1.5 / np.linalg.norm(steps, axis=1)[:, None]
    walk = np.cumsum(steps, axis=0)
    return walk - 0.4 * walk.mean(axis=0)


def record(row: int, n_atoms: int, rng: np.random.Generator,
           n_ranks: int) -> dict[str, Any]:
    """Return a record; every 41st failed in one way or another."""
    r_group, screen = NAMES[row % len(NAMES)]
    values: dict[str, Any] = {
        'file_number': 0, 'record': row, 'mseq': 1 + row % len(NAMES),
        'name': f'{r_group}_{screen}', 'r_group': r_group,
        'screen_group': screen, 'match': 'mseq', 'rank': row % n_ranks,
        'n_atoms': n_atoms, 'status': 1, 'seconds': 20 + 10 * rng.random(),
        'finished_at': START + 30.0 * (1 + row // n_ranks)}
    if row % 41 == 40:
        status, reason, message = FAULTS[row // 41 % len(FAULTS)]
        values |= {'status': status, 'reason': reason, 'message': message}
    if values['status'] in (3, 4):
        return values
    start = chain(n_atoms, rng)
    bonds = np.column_stack([np.arange(n_atoms - 1), np.arange(1, n_atoms)])
    values |= {
        'steps': int(rng.integers(20, 90)), 'fmax_final': 0.005
        * rng.random(), 'numbers': np.full(n_atoms, 6), 'x_start': start,
        'x_final': start + rng.normal(scale=0.3, size=start.shape),
        'bonds': bonds, 'bond_orders': np.full(len(bonds), 2),
        'formal_charges': np.zeros(n_atoms),
        'e_total': -5000.0 - 0.05 * rng.random(), 'best_pair': 0,
        'rmsd_start_final': rng.random()}
    return values | descriptors(rng)


def descriptors(rng: np.random.Generator) -> dict[str, Any]:
    """Return measures of a pair, both before and after."""
    found: dict[str, Any] = {'best_names': 'pyrene-pyrene'}
    for end, tight in (('', 0.5), ('_start', 1.2)):
        vertical = 3.4 + abs(rng.normal(scale=tight))
        found |= {f'{name}{end}': 90.0 * rng.random() for name in (
            'plane_angle', 'twist', 'overlap', 'overlap_gated')}
        found |= {f'{name}{end}': vertical + rng.random() for name in (
            'centroid', 'slip', 'contact', 'd12', 'd21')}
        found |= {f'vertical{end}': vertical,
                  f'excimer_score{end}': rng.random(),
                  f'classification{end}': 'strong' if vertical < 3.6
                  else 'weak' if vertical < 4.0 else 'monomer'}
    return found


def campaign(
    path: Path, n: int, n_atoms: int = 12, n_ranks: int = 4,
    seed: int = 1, settings: EnsembleSettings | None = None,
    **changes: Any,
) -> Path:
    """Write a campaign of `n` records of made-up molecules.

    `changes` map a column to a function of the row and its value.
    """
    rng = np.random.default_rng(seed)
    rows = {}
    for row in range(n):
        values = record(row, n_atoms, rng, n_ranks)
        for name, change in changes.items():
            if name in values:
                values[name] = change(row, values[name])
        rows[row] = values
    comm = SerialComm()
    share = 30.0 * n / n_ranks
    timeline = {
        'n_ranks': n_ranks, 'wall_seconds': share + 4.0,
        'host': ['node'] * n_ranks, 'work': [share] * n_ranks,
        'pull': [0.1] * n_ranks, 'storage': [0.2] * n_ranks,
        'idle': [1.0 * i for i in range(n_ranks)],
        'until_dry': [share] * n_ranks, 'records': [n / n_ranks] * n_ranks,
        'steps': [50.0 * n / n_ranks] * n_ranks,
        'atom_steps': [50.0 * n * n_atoms / n_ranks] * n_ranks}
    write_campaign(
        comm, path, RELAX, n, MemorySource(RELAX, rows), META, timeline,
        extend=lambda part: add_ensembles(
            comm, part, settings or EnsembleSettings()))
    return path


def other_kind(path: Path, schema: Schema, rows: dict[int, Any],
               program: str) -> Path:
    """Write a campaign of another program."""
    write_campaign(
        SerialComm(), path, schema, len(rows), MemorySource(schema, rows),
        {'program': program, 'settings': {}, 'inputs': []}, {})
    return path
