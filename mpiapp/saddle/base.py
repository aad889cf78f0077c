"""What a search takes and gives: samples, settings, results, surfaces.

Stable: the names and meanings in this file and in `parameters` are what
`tssearch` and `hpo` share.  New fields get defaults and come last.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpiapp.records import Floats, Status

METHODS = ('gad', 'multimode', 'sella')
#: when a search ends: index and force, or the index alone (the original)
STOPS = ('both', 'index')
#: how eigenvalues below zero are counted: any, or those below -1e-6
COUNTS = ('proj_tol', 'projected')
#: the TS that ends are compared with: the file's, or the calculator's own
REFERENCES = ('file', 'own')

#: what a search may come to, and the status it has in result files
REASONS: dict[str, Status] = {
    'ts': Status.CONVERGED,
    'index_only': Status.UNCONVERGED,
    'minimum': Status.UNCONVERGED,
    'higher_order': Status.UNCONVERGED,
    'step_limit': Status.UNCONVERGED,
    'plateau': Status.UNCONVERGED,
    'dissociated': Status.BROKEN,
    'collapsed': Status.BROKEN,
    'calculator_error': Status.FAILED,
    'nan_hessian': Status.FAILED,
    'internals_error': Status.FAILED,
    'timeout': Status.FAILED,
    'too_small': Status.REJECTED,
    'bad_input': Status.REJECTED,
    'element': Status.REJECTED,
}
#: reasons of searches that gave no geometry to judge
NO_RESULT = frozenset({
    'calculator_error', 'nan_hessian', 'internals_error', 'timeout',
    'too_small', 'bad_input', 'element'})


@dataclass(frozen=True, eq=False)
class Sample:
    """One start of one reaction.

    `number` counts the reactions of all input files, faulty ones included,
    `draw` the noise draws of one; together they are its identity.  `start`,
    `reactant`, `ts` and `product` are [n_atoms, 3] A, the last three None
    where the file has none.  `noise` is the standard deviation of one
    coordinate, A: the RMS displacement of an atom is sqrt(3) times that.
    `fault` is ('', '') or the reason and the message why nothing can be
    searched; then `start` may be empty.  `about` keeps further data of the
    file as text.
    """

    number: int
    draw: int
    name: str
    numbers: NDArray[np.int32]
    start: Floats
    reactant: Floats | None = None
    ts: Floats | None = None
    product: Floats | None = None
    charge: int = 0
    unpaired: int = 0
    start_from: str = 'ts'
    noise: float = 0.0
    noise_seed: int = 42
    fault: tuple[str, str] = ('', '')
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)


@dataclass(frozen=True)
class SearchSettings:
    """How to search; `parameters.check` fills in and checks `params`.

    `params` overrides the baseline of the method's parameters by name.
    `fmax` [eV/A] is the largest force on an atom of a stationary point (a
    fixed test, never tuned), `stop` one of `STOPS`, `max_steps` None is the
    method's default.  `timeout` [s] bounds one sample, hangs in native code
    included, where a helper process does the work.  `count` is one of
    `COUNTS`.  `min_distance` [A] tells collapsed atoms and is not tuned.
    `early_stop` ends `gad` and `multimode` where nothing changes any more.
    `finish`: steps of Newton's method once there is one negative mode
    (None: those of `multimode` alone).  `original_mode`: v is a
    mass-weighted eigenvector applied to Cartesian forces, as the original
    had it.  `ends`: look at what lies downhill of a saddle.  `reference` is
    one of `REFERENCES`.
    """

    method: str = 'multimode'
    params: Mapping[str, Any] = field(default_factory=dict)
    fmax: float = 0.03
    stop: str = 'both'
    max_steps: int | None = None
    timeout: float | None = None
    count: str = 'proj_tol'
    min_distance: float = 0.5
    early_stop: bool = True
    finish: bool | None = None
    original_mode: bool = False
    ends: bool = False
    reference: str = 'file'


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search came to; numbers that nothing is known of are NaN.

    `reason` is a word of `REASONS`, `message` words for people.  `n_calls`
    counts evaluations of energy and forces, those inside Hessians by finite
    differences apart in `n_displaced`; `n_hess` Hessians; `n_escape`
    escapes; what a reference and a check of the ends take is not counted.
    `lambda0`, `lambda1` are the lowest vibrational eigenvalues of the
    mass-weighted Hessian, eV/(A^2 amu); `n_neg` counts those below zero, -1
    if unknown.
    `fmax` eV/A, `energy` eV, `positions` [n, 3] A of the last geometry.
    `reference` [n, 3] A is the TS that it is compared with, empty if there
    is none; `rmsd_to_reference` [A] is to that, `same_connectivity` 1, 0 or
    -1 (no reference): bond graph as that of the reference.  `ends` says
    what lies downhill on both sides where it was asked: '' not asked, else
    'ok', 'half', 'other', 'unknown'.
    """

    reason: str
    message: str = ''
    steps: int = 0
    n_calls: int = 0
    n_hess: int = 0
    n_displaced: int = 0
    n_escape: int = 0
    n_neg: int = -1
    lambda0: float = np.nan
    lambda1: float = np.nan
    fmax: float = np.nan
    energy: float = np.nan
    positions: Floats = field(default_factory=lambda: np.empty((0, 3)))
    rmsd_to_reference: float = np.nan
    same_connectivity: int = -1
    ends: str = ''
    seconds: float = 0.0
    early_stopped: bool = False
    reference: Floats = field(default_factory=lambda: np.empty((0, 3)))

    @property
    def status(self) -> Status:
        """Status in the vocabulary of all programs."""
        return REASONS[self.reason]

    @property
    def is_ts(self) -> bool:
        """Whether it is a saddle point: index, force and geometry."""
        return self.reason == 'ts'

    @property
    def has_index_one(self) -> bool:
        """Whether the original would have called it a success."""
        return self.n_neg == 1


@dataclass(frozen=True, eq=False)
class Point:
    """Energy, eV, and forces [n_atoms, 3], eV/A, at one geometry."""

    energy: float
    forces: Floats


class SurfaceError(Exception):
    """A surface can't be evaluated: a word of `REASONS` and a message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f'{reason}: {message}')
        self.reason = reason
        self.message = message


class Stopped(Exception):
    """All ranks are to stop: the sample is to be searched again."""


class Surface(Protocol):
    """The potential energy surface of one molecule, which counts calls.

    `n_calls`, `n_hess`, `n_displaced` as in `SearchResult`; a search sets
    them to 0 at its start.  `masses` [n] amu.
    """

    numbers: NDArray[np.int32]
    masses: Floats
    n_calls: int
    n_hess: int
    n_displaced: int

    @property
    def kind(self) -> str:
        """How Hessians are made: analytic, autograd, or fd."""

    @property
    def bonded(self) -> bool:
        """Whether a bond graph has a meaning here."""

    @property
    def flat(self) -> NDArray[np.bool_] | None:
        """Coordinates [3n] that a toy moves in; None: a molecule in space,
        whose rigid motions are found from its geometry."""

    def point(self, positions: Floats) -> Point:
        """Return energy and forces; raises SurfaceError."""

    def hessian(self, positions: Floats) -> Floats:
        """Return d2E/dx2 [3n, 3n], eV/A^2; raises SurfaceError."""


#: a function that tells whether the job is to stop
Stopping = Callable[[], bool]


def never() -> bool:
    """Tell that nothing is to stop."""
    return False
