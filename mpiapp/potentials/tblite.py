"""GFN1-xTB and GFN2-xTB through tblite, with the true charge.

Every evaluation starts from tblite's own guess with a fresh calculator: a
restart from the wavefunction of the step before takes 1/1.4 of the time
(measured at 12 and 154 atoms), but its last digits depend on what was
computed before.  OpenMP's threads are those of OMP_NUM_THREADS at the start
of the process.
"""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.potentials.base import (
    Potential, PotentialOptions, require_plain, settle, unusable
)
from mpiapp.records import Batch, Evaluation, Floats, InputError, Structure
from mpiapp.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

METHODS = {'gfn1': 'GFN1-xTB', 'gfn2': 'GFN2-xTB', 'tblite': 'GFN2-xTB'}
#: tblite's own default: SCF energy converged to about 1e-6 Hartree
ACCURACY = 1.0
#: the f shell of these is part of the core: three valence electrons
LANTHANIDES = (58, 71)

log = logging.getLogger(__name__)


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options; raise InputError for those of other potentials."""
    require_plain(options, solvent=True)
    return options


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the potential; raise InputError where it can't run here.

    That is: tblite is not installed, or does not know the solvent.
    """
    try:
        import tblite.interface  # noqa: F401
    except ImportError as error:
        raise InputError(f'--calculator {options.calculator} needs the '
                         f'package tblite: {error}') from error
    potential = TightBinding(options.calculator, options.solvent or '')
    potential.check_solvent()
    return potential


@dataclass(frozen=True)
class TightBinding:
    """A GFN-xTB method, optionally in an ALPB solvent.

    The batch's unpaired electrons are taken where their parity is possible;
    otherwise 0 or 1, whichever the number of electrons allows.
    """

    name: str
    solvent: str = ''
    elements: frozenset[int] | None = frozenset(range(1, 87))
    accepts_charge: bool = True
    topology_guards: bool = True
    # molecules are computed one by one, so that this is the share of one
    # molecule of about 150 atoms and not a cost of larger batches
    bytes_per_atom: float = 3e5
    dtype: str = 'float64'
    finisher: Potential | None = None

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces, molecule by molecule."""
        energies = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        failures = unusable(batch, self.elements, self.name)
        for i in set(range(len(batch))) - set(failures):
            try:
                energies[i], forces[batch.part(i)] = self._one(batch, i)
            except RuntimeError as error:  # tblite's errors derive from it
                failures[i] = ('calculator_error', f'tblite: {error}')
        return settle(batch, energies, forces,
                      np.full(len(batch), np.nan), failures)

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""
        from importlib.metadata import version
        return {
            'name': self.name,
            'backend': 'tblite',
            'method': METHODS[self.name],
            'dtype': self.dtype,
            'tblite': version('tblite'),
            'accuracy': repr(ACCURACY),
            'electronic_temperature': '300 K',
            'solvent': f'ALPB {self.solvent}' if self.solvent else 'none',
            'unpaired': 'as given; 0 or 1 where its parity does not fit '
                        'the number of electrons',
            'guard': 'none needed: reference path',
        }

    def check_solvent(self) -> None:
        """Raise InputError if tblite does not know the solvent."""
        helium = np.zeros((1, 3))
        try:
            self._calculator(np.array([2], np.int32), helium, 0, 0)
        except (RuntimeError, UnicodeEncodeError) as error:
            raise InputError(
                f'solvent {self.solvent!r} is not known to tblite (water, '
                f'toluene, dmso, thf, ch2cl2, ... are): {error}') from error

    def _one(self, batch: Batch, i: int) -> tuple[float, Floats]:
        """Return the energy, eV, and forces, eV/A, of molecule i."""
        numbers = batch.numbers[batch.part(i)]
        charge = int(batch.charges[i])
        if charge > valence_electrons(numbers):
            # tblite computes on with a negative number of electrons and
            # overwrites memory that is not its own
            raise RuntimeError(f'charge {charge:+d}, but there are only '
                               f'{valence_electrons(numbers)} valence '
                               'electrons')
        result = self._calculator(
            numbers, batch.positions[batch.part(i)], charge,
            allowed_unpaired(numbers, charge, int(batch.unpaired[i])),
        ).singlepoint()
        energy = float(result.get('energy')) * EV_PER_HARTREE
        gradient = np.asarray(result.get('gradient'))  # Hartree/bohr
        return energy, -gradient * (EV_PER_HARTREE / ANGSTROM_PER_BOHR)

    def _calculator(
        self,
        numbers: NDArray[np.int32],
        positions: Floats,
        charge: int,
        unpaired: int,
    ) -> Any:
        from tblite.interface import Calculator

        # the logger's default is print, and stdout is not ours to write on
        calculator = Calculator(
            METHODS[self.name], numbers, positions / ANGSTROM_PER_BOHR,
            float(charge), unpaired, color=False, logger=log.debug)
        calculator.set('verbosity', 0)
        calculator.set('accuracy', ACCURACY)
        if self.solvent:
            calculator.add('alpb-solvation', self.solvent)
        return calculator


def valence_electrons(numbers: NDArray[np.int32]) -> int:
    """Return the electrons outside the closed shells that GFN-xTB omits.

    `numbers` [n_atoms] are atomic numbers up to 86.  Filled d and f shells
    count as core from group 12 on, the f shell of the lanthanides always.
    """
    cores = np.zeros(87, np.int32)
    for core, first, last in ((2, 3, 10), (10, 11, 18), (18, 19, 29),
                              (28, 30, 36), (36, 37, 47), (46, 48, 54),
                              (54, 55, 57), (68, 72, 79), (78, 80, 86)):
        cores[first:last + 1] = core
    cores[58:72] = np.arange(58, 72) - 3
    return int((numbers - cores[numbers]).sum())


def allowed_unpaired(
    numbers: NDArray[np.int32], charge: int, unpaired: int,
) -> int:
    """Return `unpaired`, or 0 or 1 if its parity is impossible.

    `numbers` [n_atoms] are atomic numbers, `charge` is in e.
    """
    first, last = LANTHANIDES
    core_f = (numbers >= first) & (numbers <= last)
    electrons = int(np.where(core_f, 3, numbers).sum()) - charge
    return unpaired if (electrons - unpaired) % 2 == 0 else electrons % 2
