"""What goes into the relaxation driver and what comes out of it."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats

CONVERGED = 'converged'
STEP_LIMIT = 'step_limit'
TIME_LIMIT = 'time_limit'
NAN = 'nan'
EXPLODED = 'exploded'
CALCULATOR_ERROR = 'calculator_error'
OUT_OF_MEMORY = 'out_of_memory'

#: the words of `Relaxed.outcome`
OUTCOMES = (CONVERGED, STEP_LIMIT, TIME_LIMIT, NAN, EXPLODED,
            CALCULATOR_ERROR, OUT_OF_MEMORY)


@dataclass(frozen=True, eq=False)
class Task:
    """A molecule to relax; `key` is whatever identifies it to the caller.

    `numbers` [n_atoms], `positions` [n_atoms, 3] A, `charge` e, `unpaired`
    electrons.  `state` is that of a `Paused`: the relaxation goes on there.
    """

    key: int
    numbers: NDArray[np.integer[Any]]
    positions: Floats
    charge: int = 0
    unpaired: int = 0
    state: bytes = b''


@dataclass(frozen=True)
class Limits:
    """When a relaxation ends.

    `fmax` [eV/A] is the largest force of a converged geometry, `max_steps`
    counts optimiser steps (so one evaluation more), `record_timeout` [s] is
    compared with `Relaxed.seconds` after each evaluation.
    """

    fmax: float = 0.005
    max_steps: int = 500
    record_timeout: float | None = None


@dataclass(frozen=True, eq=False)
class Relaxed:
    """An ended relaxation; `outcome` is one of `OUTCOMES`.

    `e_start` and `e_final` [eV] are total energies at the start and at
    `positions` [n_atoms, 3] A, the last geometry with finite energy and
    forces, the lowest of them where a limit ended it; `e_model_minus_e0`
    [eV] and `fmax` [eV/A] belong to it too.  They are NaN, with the start
    positions, where no geometry could be evaluated.
    `seconds` is the molecule's share, by atoms, of the time of its rounds,
    `atom_steps` = n_atoms * evaluations.

    After two stages `rough_evaluations` are those of the rough potential
    among `evaluations`, and the errors [eV], [eV/A] are its energy less the
    fine one and the largest difference of a force, where the stage changed.
    """

    key: int
    outcome: str
    message: str
    e_start: float
    e_final: float
    e_model_minus_e0: float
    positions: Floats
    fmax: float
    steps: int
    evaluations: int
    seconds: float
    atom_steps: int
    rough_evaluations: int = 0
    rough_energy_error: float = np.nan
    rough_force_error: float = np.nan


@dataclass(frozen=True)
class Paused:
    """A relaxation that was stopped between two evaluations."""

    key: int
    state: bytes
