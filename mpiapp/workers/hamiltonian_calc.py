"""The fresh SCF of a frame, kept for a resume or for another run."""
from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mpiapp.potentials.kohn_sham import FieldSettings, Solution
from mpiapp.records import Floats
from mpiapp.workers.hamiltonian_frames import Ready

log = logging.getLogger('mpiapp')

#: a change of what is kept makes older files useless
VERSION = 2


@dataclass(frozen=True)
class Calculated:
    """An SCF and its forces [n, 3], None where none are wanted."""

    solution: Solution
    forces: Floats | None
    seconds_forces: float = 0.0


def key_of(ready: Ready, settings: FieldSettings, forces: bool) -> str:
    """Return a name that no other geometry or setting has."""
    frame = ready.frame
    text = json.dumps({**asdict(settings), 'memory': 0, 'forces': forces,
                       'charge': frame.charge, 'version': VERSION},
                      sort_keys=True)
    whole = hashlib.sha256(text.encode())
    whole.update(np.ascontiguousarray(frame.numbers, '<i4').tobytes())
    whole.update(np.ascontiguousarray(frame.positions, '<f8').tobytes())
    return whole.hexdigest()


def pack(made: Calculated, key: str) -> bytes:
    """Return a result as bytes that only `key` opens again."""
    s = made.solution
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        'key': key, 'converged': s.converged, 'energy': s.energy,
        'density': s.density, 'fock': s.fock, 'eps': s.eps,
        'coeff': s.coeff, 'occ': s.occ, 'cycles': s.cycles,
        'energies': s.energies, 'start_energy': s.start_energy,
        'seconds': s.seconds, 'rescue': s.rescue,
        'plain_cycles': s.plain_cycles, 'plain_seconds': s.plain_seconds,
        'seconds_forces': made.seconds_forces}
    if made.forces is not None:
        arrays['forces'] = made.forces
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpack(data: bytes, key: str) -> Calculated | None:
    """Return what `pack` kept; None if damaged or of another key."""
    if not data:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if str(file['key']) != key:
                return None
            solution = Solution(
                bool(file['converged']), float(file['energy']),
                file['density'], file['fock'], file['eps'], file['coeff'],
                file['occ'], int(file['cycles']),
                tuple(map(float, file['energies'])),
                float(file['start_energy']), float(file['seconds']),
                str(file['rescue']), plain_cycles=int(file['plain_cycles']),
                plain_seconds=float(file['plain_seconds']))
            forces = file['forces'] if 'forces' in file else None
            return Calculated(solution, forces,
                              float(file['seconds_forces']))
    except (BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
        log.warning('a kept SCF is of no use, it is made anew: %s', error)
        return None


def from_cache(folder: str, key: str) -> Calculated | None:
    """Return a result of an earlier run with the very same settings."""
    try:
        data = (Path(folder) / f'{key}.npz').read_bytes()
    except OSError:
        return None
    return unpack(data, key)


def into_cache(folder: str, key: str, made: Calculated) -> None:
    """Keep a result for later runs; a full disk is told, not fatal."""
    path = Path(folder) / f'{key}.npz'
    part = path.with_name(f'.{key}.{os.getpid()}.part')
    try:
        part.write_bytes(pack(made, key))
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        log.warning('--calc-cache %s: %s', folder, error)
