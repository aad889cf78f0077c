"""What every potential offers: the protocol, its options, shared helpers."""
from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mpiapp.records import Batch, Evaluation, Floats, InputError

DTYPES = ('float64', 'float32')
DEVICES = ('auto', 'cpu', 'cuda')


@dataclass(frozen=True)
class PotentialOptions:
    """The choice of a potential.

    `model` is a model's short name and `model_path` a file (both for mace
    alone; the file counts when both are given, and neither means the
    bundled model).  `dtype` is the arithmetic of the model, energies are
    float64 sums in any case.  `solvent` names an ALPB solvent (tblite),
    `functional` a method of sparrow; sparrow:PM6 names both at once.

    Raises:
        InputError: two functionals are named.
    """

    calculator: str = 'mace'
    model: str | None = None
    model_path: str | None = None
    dtype: str = 'float64'
    device: str = 'auto'
    backend: str = 'auto'
    threads: int = 1
    solvent: str | None = None
    functional: str | None = None

    def __post_init__(self) -> None:
        """Take the calculator and its functional apart."""
        name, colon, functional = self.calculator.partition(':')
        if not colon or name != 'sparrow':
            return
        if self.functional not in (None, functional):
            raise InputError(f'--calculator {self.calculator}, but '
                             f'--functional {self.functional}')
        object.__setattr__(self, 'calculator', name)
        object.__setattr__(self, 'functional', functional)


class Potential(Protocol):
    """Energies and forces of batches of molecules.

    `elements` are the atomic numbers it knows (None: any).  A potential
    with `accepts_charge` computes the charge and the unpaired electrons of
    the batch, others ignore both.  `topology_guards` is False for toy
    potentials under which molecules may rearrange.  `bytes_per_atom` is the
    working memory that one more atom in a batch takes.  `finisher` is the
    float64 potential of the same model for the closing single point of a
    float32 relaxation (None where `dtype` is float64).

    Optional: a method `hessian(numbers, positions, charge, unpaired)` gives
    d2E/dx2 [3n, 3n], eV/A^2, NaN where it fails, and `hessian_kind` says how
    (analytic or autograd).  Searches for saddle points compare it with
    finite differences, and use these where there is none.
    """

    @property
    def name(self) -> str:
        """Name such as mace:student or gfn2."""

    @property
    def elements(self) -> frozenset[int] | None:
        """Atomic numbers it knows; None: any."""

    @property
    def accepts_charge(self) -> bool:
        """Whether charge and unpaired electrons enter the energy."""

    @property
    def topology_guards(self) -> bool:
        """Whether a changed bond list means a broken result."""

    @property
    def bytes_per_atom(self) -> float:
        """Working memory of one more atom in a batch, in bytes."""

    @property
    def dtype(self) -> str:
        """Arithmetic of the model: float64 or float32."""

    @property
    def finisher(self) -> Potential | None:
        """The float64 potential of the same model, if this one is not."""

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces; never raise for one bad molecule."""

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def choose(kind: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return value if it is allowed, else raise InputError."""
    if value not in allowed:
        raise InputError(f'unknown {kind} {value!r}; '
                         f'allowed: {", ".join(allowed)}')
    return value


def require_plain(options: PotentialOptions, solvent: bool = False,
                  functional: bool = False) -> None:
    """Raise InputError for options that only other potentials have.

    For potentials without model files that compute in float64 on the CPU;
    `solvent` and `functional` tell whether this one has any.
    """
    name = options.calculator
    if options.model or options.model_path:
        raise InputError(f'{name} has no model files: leave out --model '
                         'and --model-path, or use --calculator mace')
    if options.dtype != 'float64':
        raise InputError(f'{name} computes in float64 only, '
                         f'not in {options.dtype}')
    if options.device == 'cuda':
        raise InputError(f'{name} runs on the CPU only: '
                         '--device cpu or auto')
    if options.backend != 'auto':
        raise InputError(f'{name} has no back end {options.backend!r}; '
                         'allowed: auto')
    if options.solvent and not solvent:
        raise InputError(f'{name} has no solvent model; gfn1 and gfn2 do')
    if options.functional and not functional:
        raise InputError(f'{name} has no functional to choose; sparrow has')


def unusable(
    batch: Batch,
    elements: frozenset[int] | None,
    name: str,
) -> dict[int, tuple[str, str]]:
    """Return a failure for each molecule that can't be evaluated.

    These have a position that is not finite, or an atomic number outside
    `elements` (None: any) of the potential `name`.
    """
    lost = np.any(~np.isfinite(batch.positions), axis=1)
    strange = np.zeros(len(batch.numbers), bool)
    if elements is not None:
        strange = ~np.isin(batch.numbers, list(elements))
    failures = {}
    for i in range(len(batch)):
        part = batch.part(i)
        if strange[part].any():
            number = batch.numbers[part][strange[part]][0]
            failures[i] = (
                'element', f'{name} does not know atomic number {number}')
        elif lost[part].any():
            failures[i] = ('nan', 'positions are not finite')
    return failures


def settle(
    batch: Batch,
    energies: Floats,
    forces: Floats,
    e_model_minus_e0: Floats,
    failures: Mapping[int, tuple[str, str]],
) -> Evaluation:
    """Return an Evaluation in which what failed or is not finite is NaN.

    The arrays are those of `Evaluation`; they are filled in here and must
    be the caller's own.
    """
    failed = dict(failures)
    for i in range(len(batch)):
        part = batch.part(i)
        finite = np.isfinite(energies[i]) and np.isfinite(forces[part]).all()
        if i not in failed and not finite:
            failed[i] = ('nan', 'energy or forces are not finite')
        if i in failed:
            energies[i] = e_model_minus_e0[i] = np.nan
            forces[part] = np.nan
    return Evaluation(energies, forces, e_model_minus_e0, failed)
