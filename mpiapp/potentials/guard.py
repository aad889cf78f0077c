"""Compare a fast way to compute a model with its float64 reference."""
from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from mpiapp.potentials.base import Potential
from mpiapp.records import Batch, Floats, Structure

METHANE = frozenset({1, 6})


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted differences.

    `energy` eV/atom, `force` eV/A, and `relative`, which allows for each
    molecule that share of its largest force besides: starts that are not
    relaxed have forces of 1e2 eV/A, in whose rounding nobody is interested.
    """

    energy: float
    force: float
    relative: float


#: By the arithmetic of the fast path.  float32: measured on 16 library
#: starts (154-238 atoms), as they are and rattled by 0.1 A, with two models:
#: 1e-7 eV/atom, 1e-5 eV/A, 1e-6 of the force; larger models get a margin,
#: and the force stays 1/25 of the default fmax.  The back end native has an
#: offset of 1e-6 (library) to 1e-5 eV/atom (CO2) with the student, which two
#: conformers have in common (0.002 kcal/mol), and float32 paths end with a
#: float64 energy anyway.  float64: sums in another order.
TOLERANCES = {
    'float32': Tolerance(energy=1e-5, force=2e-4, relative=1e-5),
    'float64': Tolerance(energy=1e-7, force=1e-6, relative=1e-7),
}


@dataclass(frozen=True)
class GuardReport:
    """Outcome of a comparison: the worst numbers and what was allowed.

    `energy` eV/atom and `force` eV/A are the largest differences over all
    molecules; `excess` is the largest ratio of a difference to what is
    allowed (above 1: refused; infinite where one path failed).
    """

    n_compared: int
    energy: float
    force: float
    excess: float
    tolerance: Tolerance

    @property
    def passed(self) -> bool:
        """Whether something was compared, and all differences allowed."""
        return self.n_compared > 0 and self.excess <= 1.0

    def __str__(self) -> str:
        if not self.n_compared:
            return 'refused: no structure could be compared'
        verdict = 'passed' if self.passed else 'refused'
        return (
            f'{verdict}: {self.n_compared} structures, '
            f'dE {self.energy:.1e} eV/atom, dF {self.force:.1e} eV/A '
            f'(allowed {self.tolerance.energy:.0e}, '
            f'{self.tolerance.force:.0e} + {self.tolerance.relative:.0e} |F|)')


def comparable(
    structures: Sequence[Structure], elements: Set[int] | None,
) -> list[Structure]:
    """Return the structures of these elements, or a made one if none is.

    What was compared with nothing is proved by nothing: the first records
    of an input may all be of other elements than the model's.
    """
    fit = [s for s in structures
           if elements is None or set(map(int, s.numbers)) <= elements]
    return fit or [made_structure(elements or METHANE)]


def made_structure(elements: Set[int]) -> Structure:
    """Return methane, or two atoms of the first element that is known."""
    if METHANE <= elements:
        corners = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
        return Structure(0, 0, 0, np.array([6, 1, 1, 1, 1], np.int32),
                         np.vstack([np.zeros(3), 0.64 * corners]))
    from ase.data import covalent_radii
    number = min(elements)
    apart = 2.2 * float(covalent_radii[number])
    return Structure(0, 0, 0, np.array([number] * 2, np.int32),
                     np.array([[0.0, 0.0, 0.0], [apart, 0.0, 0.0]]))


def check(
    fast: Potential,
    reference: Potential,
    structures: Sequence[Structure],
    tolerance: Tolerance | None = None,
) -> GuardReport:
    """Compare two potentials of one model on the given structures.

    Structures that the reference can't evaluate are left out.  The
    tolerance is that of the fast path's arithmetic unless one is given.
    """
    allowed = tolerance or TOLERANCES[fast.dtype]
    worst = np.zeros(3)  # energy, force, excess
    n_compared = 0
    for structure in structures:
        batch = Batch.join([(structure.numbers, structure.positions,
                             structure.charge, structure.unpaired)])
        expected = reference.evaluate(batch)
        if expected.failures:
            continue
        found = fast.evaluate(batch)
        n_compared += 1
        if found.failures:
            worst[:] = np.inf
            continue
        n_atoms = max(1, len(structure.numbers))
        energy = _difference(found.energies, expected.energies) / n_atoms
        force = _difference(found.forces, expected.forces)
        slack = allowed.relative * np.abs(expected.forces).max(initial=0.0)
        excess = max(energy / allowed.energy, force / (allowed.force + slack))
        worst = np.maximum(worst, (energy, force, excess))
    return GuardReport(
        n_compared, float(worst[0]), float(worst[1]), float(worst[2]),
        allowed)


def _difference(a: Floats, b: Floats) -> float:
    """Return the largest absolute difference, infinite where one is NaN."""
    largest = np.abs(a - b).max(initial=0.0)
    return float(largest) if np.isfinite(largest) else np.inf
