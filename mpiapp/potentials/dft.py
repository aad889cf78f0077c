"""Kohn-Sham DFT and Hartree-Fock by PySCF, on NVIDIA GPUs by GPU4PySCF.

Named by functional and basis, as `--calculator pbe-d3bj/def2-svp`; a suffix
-d3bj, -d3 or -d4 adds that dispersion correction.  Coulomb and exchange use
density fitting; heavy elements have the core potential of the basis, and
those that it cannot describe are refused.  Every evaluation starts from the
same guess, so that its result does not depend on what was computed before.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpiapp.potentials.base import (
    Potential, PotentialOptions, settle, unusable
)
from mpiapp.potentials.gaussians import (
    known_elements, molecule_of, n_electrons
)
from mpiapp.potentials.kohn_sham import gpu_fault
from mpiapp.records import (
    Batch, Evaluation, Floats, InputError, Rejection, Structure
)
from mpiapp.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

#: what the plain name `dft` stands for
DEFAULT = 'pbe-d3bj/def2-svp'
#: Hartree; the change of the energy at which the SCF has converged
CONV_TOL = 1e-9
#: largest number of SCF cycles before the second-order solver takes over
MAX_CYCLE = 80
#: one more atom of a molecule in def2-svp: integrals and grid, in bytes
BYTES_PER_ATOM = 3e7


def method_of(calculator: str) -> tuple[str, str]:
    """Return (functional, basis) of a name such as pbe-d3bj/def2-svp.

    Raises:
        InputError: not of this form.
    """
    name = DEFAULT if calculator == 'dft' else calculator
    parts = name.split('/')
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise InputError(f'--calculator {calculator}: write functional/basis,'
                         ' such as pbe-d3bj/def2-svp or hf/sto-3g')
    return parts[0].strip().lower(), parts[1].strip().lower()


def resolve(options: PotentialOptions) -> PotentialOptions:
    """Return the options; raise InputError for those of other potentials."""
    method_of(options.calculator)
    for value, flag in ((options.model, '--model'),
                        (options.model_path, '--model-path'),
                        (options.solvent, '--solvent'),
                        (options.functional, '--functional')):
        if value:
            raise InputError(f'{options.calculator} takes no {flag}')
    if options.dtype != 'float64':
        raise InputError(f'{options.calculator} computes in float64 only')
    if options.backend not in ('', 'auto'):
        raise InputError(f'{options.calculator} has no back end '
                         f'{options.backend!r}; allowed: auto')
    return options


def build(
    options: PotentialOptions,
    structures_sample: Sequence[Structure] = (),
) -> Potential:
    """Build the potential.

    Raises:
        InputError: a package is not installed, or PySCF does not know the
            functional, its dispersion correction or the basis.
    """
    functional, basis = method_of(options.calculator)
    try:
        from pyscf import lib
    except ImportError as error:
        raise InputError(f'--calculator {options.calculator} needs the '
                         f'package pyscf: {error}') from error
    lib.num_threads(options.threads)
    on_gpu = wants_gpu(options.device)
    potential = KohnSham(options.calculator, functional, basis, on_gpu)
    potential.check()
    return replace(potential, elements=known_elements(basis))


def wants_gpu(device: str) -> bool:
    """Tell whether to compute on a GPU; `device` is auto, cpu or cuda.

    Raises:
        InputError: cuda is asked for, but GPU4PySCF or a GPU is missing.
    """
    if device == 'cpu':
        return False
    fault = gpu_fault()
    if device == 'cuda' and fault:
        raise InputError(f'--device cuda: GPU4PySCF cannot run here '
                         f'({fault}); it comes with the extra "gpu"')
    return not fault


@dataclass(frozen=True)
class KohnSham:
    """A functional in a basis; restricted without unpaired electrons."""

    name: str
    functional: str
    basis: str
    on_gpu: bool = False
    elements: frozenset[int] | None = None
    accepts_charge: bool = True
    topology_guards: bool = True
    bytes_per_atom: float = BYTES_PER_ATOM
    dtype: str = 'float64'
    finisher: Potential | None = None

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return energies and forces, molecule by molecule."""
        return self._all(batch, energy_and_forces)

    def energies(self, batch: Batch) -> Evaluation:
        """Return energies alone, forces NaN: no gradient is computed."""
        return self._all(batch, energy_alone)

    def describe(self) -> dict[str, str]:
        """Return what is stored in the result file."""
        from importlib.metadata import version
        return {
            'name': self.name,
            'backend': 'gpu4pyscf' if self.on_gpu else 'pyscf',
            'method': f'{self.functional}/{self.basis}',
            'coulomb_exchange': 'density fitting, default auxiliary basis',
            'core_potentials': 'those of the basis, where it has them',
            'scf': f'energy converged to {CONV_TOL:g} Hartree; second-order '
                   f'solver after {MAX_CYCLE} cycles',
            'dtype': self.dtype,
            'pyscf': version('pyscf'),
            'guard': 'none needed: reference path',
        }

    def check(self) -> None:
        """Raise InputError if PySCF can't run the method: try it on H2."""
        batch = Batch.join([([1, 1], [[0, 0, 0], [0, 0, 0.74]], 0, 0)])
        try:
            self._field(batch, 0).kernel()
        except (ImportError, KeyError, RuntimeError, ValueError,
                AttributeError, NotImplementedError, Rejection) as error:
            raise InputError(
                f'--calculator {self.name}: PySCF cannot run it '
                f'({type(error).__name__}: {error}); examples: '
                'pbe-d3bj/def2-svp, b3lyp/6-31g*, hf/sto-3g') from error

    def _all(
        self, batch: Batch, one: Callable[[Any], tuple[float, Any]],
    ) -> Evaluation:
        energies = np.zeros(len(batch))
        forces = np.zeros_like(batch.positions)
        failures = unusable(batch, self.elements, self.name)
        for i in set(range(len(batch))) - set(failures):
            try:
                energies[i], forces[batch.part(i)] = one(
                    solved(self._field(batch, i)))
            except MemoryError:
                raise
            except Exception as error:  # of PySCF, its grids and bases
                failures[i] = (
                    'calculator_error',
                    f'PySCF: {type(error).__name__}: {error}')
        if one is energy_alone:
            return alone(batch, energies, failures)
        return settle(batch, energies, forces,
                      np.full(len(batch), np.nan), failures)

    def _field(self, batch: Batch, i: int) -> Any:
        """Return the mean-field object of molecule i."""
        from pyscf import dft, scf
        part = batch.part(i)
        electrons = n_electrons(batch.numbers[part], self.basis,
                                int(batch.charges[i]))
        unpaired = int(batch.unpaired[i])
        if (electrons - unpaired) % 2:
            unpaired = electrons % 2
        molecule = molecule_of(
            batch.numbers[part], batch.positions[part], self.basis,
            int(batch.charges[i]), unpaired)
        if self.functional == 'hf':
            field = (scf.UHF if unpaired else scf.RHF)(molecule)
        else:
            field = (dft.UKS if unpaired else dft.RKS)(
                molecule, xc=self.functional)
        field = field.density_fit()
        field.conv_tol, field.max_cycle = CONV_TOL, MAX_CYCLE
        return field.to_gpu() if self.on_gpu else field


def solved(field: Any) -> Any:
    """Return the converged mean field.

    Raises:
        RuntimeError: neither DIIS nor the second-order solver converges.
    """
    field.kernel()
    if not field.converged:
        field = field.newton()
        field.kernel(field.mo_coeff, field.mo_occ)
    if not field.converged:
        raise RuntimeError('the SCF has not converged, neither by DIIS nor '
                           'by the second-order solver')
    return field


def energy_alone(field: Any) -> tuple[float, Floats]:
    """Return the energy, eV, and no forces."""
    return float(field.e_tot) * EV_PER_HARTREE, np.zeros(3)


def energy_and_forces(field: Any) -> tuple[float, Floats]:
    """Return the energy, eV, and the forces [n_atoms, 3], eV/A."""
    gradient = np.asarray(field.nuc_grad_method().kernel())  # Hartree/bohr
    return (float(field.e_tot) * EV_PER_HARTREE,
            -gradient * (EV_PER_HARTREE / ANGSTROM_PER_BOHR))


def alone(
    batch: Batch, energies: Floats, failures: dict[int, tuple[str, str]],
) -> Evaluation:
    """Return an evaluation without forces."""
    energies = energies.copy()
    energies[list(failures)] = np.nan
    return Evaluation(energies, np.full_like(batch.positions, np.nan),
                      np.full(len(batch), np.nan), failures)
