"""One closed-shell molecule under Kohn-Sham DFT, all its parts made once.

Integrals, grid and mean field are built once and serve every state that is
asked about: a fresh SCF, energies and forces of given orbitals, and restarts
from given densities.  Bohr, Hartree and Hartree/bohr throughout.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mpiapp.potentials.gaussians import basis_of
from mpiapp.records import Floats, InputError, Rejection

#: Hartree; a coarser end of the SCF whose cycles are counted as well
LOOSE_TOL = 1e-5
#: ways out for an SCF that has not converged, in this order
LADDER = ('level_shift', 'damping', 'newton')
#: a basis that has none of these is none
PROBES = ('H', 'C', 'Fe', 'I')
#: Hartree; shift of the virtual orbitals on the first rung
LEVEL_SHIFT = 0.3
#: part of the old Fock matrix that is kept on the second rung
DAMPING = 0.5


@dataclass(frozen=True)
class FieldSettings:
    """How a molecule is computed; `memory` in MB."""

    xc: str = 'pbe'
    basis: str = 'def2-svp'
    grid_level: int = 3
    prune: bool = False
    conv_tol: float = 1e-7
    max_cycle: int = 50
    small_rho_cutoff: float = 1e-12
    density_fit: bool = False
    on_gpu: bool = False
    memory: int = 4000


@dataclass(frozen=True)
class Solution:
    """What an SCF came to.

    `density`, `fock` [nao, nao]; `coeff` [nao, nmo], `eps` and `occ` [nmo]
    those of the end.  `energies` are those after each cycle, `start_energy`
    the energy of the density it began from, `seconds` those to the last
    cycle.  `rescue` names the rung that
    made it converge, empty where none was needed; `cycles` counts those of
    all rungs, `plain_cycles` and `plain_seconds` are those before any rung.
    `kept` is (eps, coeff, occ) after the cycle asked for,
    `start_gradient` the orbital gradient at cycle 0 where it was asked for.
    """

    converged: bool
    energy: float
    density: Floats
    fock: Floats
    eps: Floats
    coeff: Floats
    occ: Floats
    cycles: int
    energies: tuple[float, ...]
    start_energy: float
    seconds: float
    rescue: str = ''
    kept: tuple[Floats, Floats, Floats] | None = None
    start_gradient: float | None = None
    plain_cycles: int = 0
    plain_seconds: float = 0.0

    @property
    def loose_cycles(self) -> int:
        """Cycles until the energy changed by less than `LOOSE_TOL`."""
        before = (self.start_energy, *self.energies)
        for i, (old, new) in enumerate(
                zip(before, self.energies, strict=False)):
            if abs(new - old) < LOOSE_TOL:
                return i + 1
        return self.cycles


def gpu_fault() -> str:
    """Return why GPU4PySCF cannot run here; empty where it can."""
    try:
        import cupy
        import gpu4pyscf  # noqa: F401
        found = cupy.cuda.runtime.getDeviceCount() > 0
    except Exception as error:  # cupy has errors of its own
        return f'{type(error).__name__}: {error}'
    return '' if found else 'no GPU is visible'


def check_method(settings: FieldSettings) -> None:
    """Raise InputError if PySCF knows no such functional or basis."""
    try:
        from pyscf.dft import libxc
    except ImportError as error:
        raise InputError('hameval needs the package pyscf: '
                         f'{error}') from error
    try:
        libxc.parse_xc(settings.xc)
    except (KeyError, ValueError, AttributeError) as error:
        raise InputError(f'--xc {settings.xc}: PySCF knows no such '
                         f'functional ({error})') from error
    faults = [_fault_of(symbol, settings.basis) for symbol in PROBES]
    if all(faults):
        raise InputError(f'--basis {settings.basis}: PySCF knows no such '
                         f'basis ({faults[0]})')


def _fault_of(symbol: str, basis: str) -> str:
    """Return why a basis has no shells of an element, '' if it has."""
    try:
        basis_of(symbol, basis)
    except Rejection as error:
        return error.message
    return ''


def same_functional(one: str, other: str) -> bool:
    """Tell whether two names mean the same functional."""
    if one.strip().lower() == other.strip().lower():
        return True
    from pyscf.dft import libxc
    try:
        return bool(libxc.parse_xc(one) == libxc.parse_xc(other))
    except (KeyError, ValueError, AttributeError):
        return False


@dataclass
class Field:
    """A molecule ready to compute; `pulse` is called in every cycle.

    What `pulse` raises ends the computation: that is how a stop or a time
    limit reaches it.
    """

    molecule: Any
    settings: FieldSettings
    pulse: Callable[[], None] = lambda: None

    @cached_property
    def mean_field(self) -> Any:
        """The mean field with its grid, pruned by the minao density."""
        from pyscf import dft
        made = dft.RKS(self.molecule, xc=self.settings.xc)
        if self.settings.density_fit:
            made = made.density_fit()
        made.grids.level = self.settings.grid_level
        if not self.settings.prune:
            made.grids.prune = None
        made.small_rho_cutoff = self.settings.small_rho_cutoff
        made.conv_tol = self.settings.conv_tol
        made.max_cycle = self.settings.max_cycle
        made.max_memory = self.settings.memory
        made.chkfile = None
        if self.settings.on_gpu:
            made = made.to_gpu()
        if hasattr(made, 'initialize_grids'):
            made.initialize_grids(
                self.molecule, self.on_device(self.guess('minao', made)))
        return made

    @cached_property
    def hcore(self) -> Any:
        """The core Hamiltonian, on the device."""
        return self.mean_field.get_hcore()

    def on_device(self, array: Any) -> Any:
        """Return an array where the mean field wants it."""
        if not self.settings.on_gpu:
            return np.asarray(array)
        import cupy
        return cupy.asarray(array)

    def integrals(self) -> None:
        """Make now what PySCF would make in its first Fock matrix.

        The first SCF of a molecule is not to pay for the others, whose
        seconds are compared with its own.
        """
        made = self.mean_field
        self.hcore  # noqa: B018
        if self.settings.on_gpu:
            return
        if self.settings.density_fit:
            if made.with_df._cderi is None:
                made.with_df.build()
        elif made._eri is None and made._is_mem_enough():
            made._eri = self.molecule.intor('int2e', aosym='s8')

    def guess(self, name: str, mean_field: Any = None) -> Floats:
        """Return the density [nao, nao] of a named guess, untagged."""
        made = mean_field or self.mean_field
        return on_host(made.get_init_guess(self.molecule, name)).copy()

    def initial(self) -> Floats:
        """Return the Fock matrix of the minao guess."""
        density = self.on_device(self.guess('minao'))
        veff = self.mean_field.get_veff(self.molecule, density)
        return on_host(self.hcore + veff)

    def energy(self, density: Floats) -> float:
        """Return the energy of a density, without any SCF."""
        self.pulse()
        there = self.on_device(density)
        veff = self.mean_field.get_veff(self.molecule, there)
        return float(self.mean_field.energy_tot(there, self.hcore, veff))

    def forces(self, eps: Floats, coeff: Floats, occ: Floats) -> Floats:
        """Return minus the gradient [n, 3] with these orbitals."""
        self.pulse()
        orbitals = tuple(map(self.on_device, (eps, coeff, occ)))
        made = self.mean_field
        before = made.mo_energy, made.mo_coeff, made.mo_occ
        made.mo_energy, made.mo_coeff, made.mo_occ = orbitals
        try:
            method = made.nuc_grad_method()
            method.verbose = 0
            gradient = method.kernel(*orbitals)
        finally:
            made.mo_energy, made.mo_coeff, made.mo_occ = before
        return -on_host(gradient)

    def dipole(self, density: Floats) -> Floats:
        """Return the dipole [3], Debye; of ions about the origin."""
        return on_host(self.mean_field.dip_moment(
            self.molecule, self.on_device(density), unit='Debye',
            verbose=0))

    def gradient_norm(
        self, coeff: Floats, occ: Floats, fock: Floats,
    ) -> float:
        """Return the norm of the orbital gradient, per root of its size."""
        filled, empty = coeff[:, occ > 0], coeff[:, occ == 0]
        block = 2 * empty.T @ fock @ filled
        return float(np.linalg.norm(block) / np.sqrt(max(block.size, 1)))

    def solve(
        self, start: Floats, keep: int = 0, check: bool = True,
        rescue: bool = True,
        orbitals: tuple[Floats, Floats] | None = None,
        want_fock: bool = True,
    ) -> Solution:
        """Run the SCF from a density, with the ladder where it must be.

        `keep`: the cycle whose orbitals are kept, 0: none.  `check` adds
        the last diagonalisation that removes a level shift, `rescue` allows
        the ladder.  `orbitals` (coeff, occ) are those of `start`, for the
        gradient at cycle 0.  Without `want_fock` no Fock matrix of the end
        is built; that of the solution is empty.
        """
        self.integrals()
        began = time.perf_counter()
        told = _Told(keep, self.pulse)
        made = self.mean_field
        made.conv_check = check
        made.pre_kernel, made.post_kernel = told.before, told.after
        made.callback = told.cycle
        made.kernel(dm0=self.on_device(start))
        used = ''
        plain = len(told.energies), told.ended - began
        for rung in LADDER if rescue else ():
            if made.converged:
                break
            made = self._climbed(rung, told)
            used = rung
        slope = None
        if orbitals is not None and told.start_fock is not None:
            slope = self.gradient_norm(*orbitals, told.start_fock)
        return self._solution(made, told, used, began, start, slope,
                              want_fock, plain)

    def _climbed(self, rung: str, told: _Told) -> Any:
        """Go on from the last density by one rung; returns what ran."""
        made = self.mean_field
        density = made.make_rdm1()
        told.fock = None
        if rung == 'newton':
            solver = made.newton()
            solver.callback = told.macro
            solver.max_cycle = self.settings.max_cycle
            solver.kernel(made.mo_coeff, made.mo_occ)
            for name in ('mo_energy', 'mo_coeff', 'mo_occ', 'e_tot',
                         'converged'):
                setattr(made, name, getattr(solver, name))
            return made
        before = made.level_shift, made.damp
        try:
            if rung == 'level_shift':
                made.level_shift = LEVEL_SHIFT
            else:
                made.damp = DAMPING
            made.kernel(dm0=density)
        finally:
            made.level_shift, made.damp = before
        return made

    def _solution(
        self, made: Any, told: _Told, rescue: str, began: float,
        start: Floats, slope: float | None, want_fock: bool,
        plain: tuple[int, float],
    ) -> Solution:
        density = made.make_rdm1()
        fock = told.fock
        if not want_fock:
            fock = np.empty((0, 0))
        elif fock is None:
            fock = self.hcore + made.get_veff(self.molecule, density)
        energy = told.start_energy
        if energy is None:
            energy = self.energy(start)
        return Solution(
            bool(made.converged), float(made.e_tot),
            on_host(density).copy(), on_host(fock), on_host(made.mo_energy),
            on_host(made.mo_coeff), on_host(made.mo_occ),
            len(told.energies), tuple(told.energies), energy,
            (told.ended or time.perf_counter()) - began, rescue, told.kept,
            slope, *plain)


class _Told:
    """What the SCF tells while it runs."""

    def __init__(self, keep: int, pulse: Callable[[], None]) -> None:
        self._keep = keep
        self._pulse = pulse
        self.energies: list[float] = []
        self.ended = 0.0
        self.start_energy: float | None = None
        self.start_fock: Floats | None = None
        self.fock: Any = None
        self.kept: tuple[Floats, Floats, Floats] | None = None

    def before(self, inside: dict[str, Any]) -> None:
        """Note the energy of the density that the SCF begins from."""
        if self.start_energy is None:
            self.start_energy = float(inside['e_tot'])
            self.start_fock = on_host(inside['h1e'] + inside['vhf'])

    def cycle(self, inside: dict[str, Any]) -> None:
        """Note a cycle."""
        self._pulse()
        self.energies.append(float(inside['e_tot']))
        self.ended = time.perf_counter()
        if len(self.energies) == self._keep:
            self.kept = tuple(  # type: ignore[assignment]
                on_host(inside[name]).copy()
                for name in ('mo_energy', 'mo_coeff', 'mo_occ'))

    def macro(self, inside: dict[str, Any]) -> None:
        """Note an iteration of the second-order solver."""
        self._pulse()
        self.energies.append(float(inside['e_tot']))
        self.ended = time.perf_counter()

    def after(self, inside: dict[str, Any]) -> None:
        """Keep the last Fock matrix: no one need build it again."""
        # with a level shift the last one is made without it
        if inside.get('scf_conv') and inside.get('conv_check', True):
            self.fock = inside['fock']


def on_host(array: Any) -> Floats:
    """Return a plain float64 numpy array of one that may be on a GPU."""
    if hasattr(array, 'get') and not isinstance(array, np.ndarray):
        array = array.get()
    return np.array(array, np.float64, subok=False)
