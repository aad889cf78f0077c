"""The ways to relax that are compared, from a model file to minima."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from mpiapp.benchmarks.optimisers import Counted
from mpiapp.benchmarks.optimisers import calculator as as_calculator
from mpiapp.errors import InputError
from mpiapp.optimize import optimizer
from mpiapp.optimize.device.budget import budget_for
from mpiapp.optimize.device.flight import Surface
from mpiapp.optimize.device.hosted import HostSurface
from mpiapp.optimize.device.program import ROUNDS, Craft, relax_on_device
from mpiapp.optimize.driver import Limits, Relaxed, Task
from mpiapp.optimize.driver import relax as drive
from mpiapp.optimize.internal import Internal
from mpiapp.records import Floats, Structure

#: names of the ways, the yardstick first
ASE_MACE, ASE_NATIVE, TORCH_SIM, OURS = (
    'ase-mace', 'ase-native', 'torch-sim', 'ours')


@dataclass(frozen=True)
class Settings:
    """What all ways have in common, and what of it is ours.

    `backend`, `optimizer`, `dtype` and `batch` (molecules relaxed together,
    None: as many as the memory holds) are those of our way, `limits` and
    `device` those of all.  `on_device`: our steps are taken there.
    `n_together` molecules are relaxed in all where they are together.
    """

    limits: Limits
    device: str = 'cpu'
    backend: str = 'auto'
    optimizer: str = 'internal'
    dtype: str = 'float64'
    batch: int | None = 1
    on_device: bool = False
    n_together: int = 2

    @property
    def together(self) -> bool:
        """Whether molecules are relaxed together."""
        return self.batch != 1


@dataclass(frozen=True, eq=False)
class End:
    """One relaxation: how it ended, and what it cost.

    `evaluations` are those of energy and forces, `cpu` and `wall` seconds;
    of molecules that were relaxed together, shares by atom-steps.
    """

    outcome: str
    evaluations: int
    positions: Floats
    cpu: float
    wall: float
    on_gpu: bool = False


Way = Callable[[Sequence[Structure]], list[End]]


class Clock:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Return CPU and wall seconds."""
        return (time.process_time() - self._cpu,
                time.perf_counter() - self._wall)


def make(name: str, model_path: str, settings: Settings,
         sample: Sequence[Structure]) -> tuple[Way, dict[str, str]]:
    """Return the way and what describes it.

    Raises InputError, saying why, where it can't run here.
    """
    maker = {ASE_MACE: ase_mace, ASE_NATIVE: ase_native,
             TORCH_SIM: torch_sim, OURS: ours}[name]
    return maker(model_path, settings, sample)


def ase_mace(
    model_path: str, settings: Settings, sample: Sequence[Structure],
) -> tuple[Way, dict[str, str]]:
    """Make ASE's L-BFGS with mace-torch's own calculator in float64."""
    from mace.calculators import MACECalculator
    calculator: Any = MACECalculator(
        model_paths=model_path, device=settings.device,
        default_dtype='float64')
    compute, calls = calculator.calculate, [0]

    def calculate(*args: Any, **kwargs: Any) -> None:
        calls[0] += 1
        compute(*args, **kwargs)

    calculator.calculate = calculate

    def relax(structure: Structure) -> End:
        calls[0] = 0
        calculator.reset()
        end = by_ase(structure, calculator, settings.limits,
                     lambda: calls[0])
        return replace(end, on_gpu=settings.device == 'cuda')

    return one_by_one(relax), {'optimizer': 'ase LBFGS',
                               'potential': 'MACECalculator float64'}


def ase_native(
    model_path: str, settings: Settings, sample: Sequence[Structure],
) -> tuple[Way, dict[str, str]]:
    """Make ASE's L-BFGS with the native back end in float64."""
    if settings.device != 'cpu':
        raise InputError('native runs on the CPU only')
    potential, described = built(model_path, 'native', settings, 'float64',
                                 sample)

    def relax(structure: Structure) -> End:
        counted = Counted(potential)
        return by_ase(structure, as_calculator(structure, counted),
                      settings.limits, lambda: counted.calls)

    return one_by_one(relax), {'optimizer': 'ase LBFGS', **described}


def torch_sim(
    model_path: str, settings: Settings, sample: Sequence[Structure],
) -> tuple[Way, dict[str, str]]:
    """Make TorchSim's L-BFGS with its own MACE in float64."""
    if find_spec('torch_sim') is None:
        raise InputError('torch-sim-atomistic is not installed')
    from mpiapp.benchmarks import torchsim
    return torchsim.make(model_path, settings)


def ours(
    model_path: str, settings: Settings, sample: Sequence[Structure],
) -> tuple[Way, dict[str, str]]:
    """Make our driver with the back end and the optimiser of the settings."""
    potential, described = built(model_path, settings.backend, settings,
                                 settings.dtype, sample)
    method = optimizer(settings.optimizer)

    def relax(structures: Sequence[Structure]) -> list[End]:
        tasks = [Task(i, s.numbers, s.positions, s.charge, s.unpaired)
                 for i, s in enumerate(structures)][::-1]
        clock = Clock()

        def take(n: int, nothing_runs: bool = False) -> list[Task]:
            return [tasks.pop() for _ in range(min(n, len(tasks)))]
        found = list(
            relax_on_device(take, craft_of(potential, settings),
                            lambda: False) if settings.on_device
            else drive(take, potential.evaluate, method, settings.limits,
                       settings.batch or 1, lambda: False))
        cpu, wall = clock.read()
        ends = [e for e in found if isinstance(e, Relaxed)]
        return shared(sorted(ends, key=lambda e: e.key), cpu, wall,
                      settings.device == 'cuda')

    return relax, {
        'optimizer': settings.optimizer, **described,
        'steps': 'device' if settings.on_device else 'host'}


def craft_of(potential: Any, settings: Settings) -> Craft:
    """Return a device program, with room that it has to find anew."""
    own = getattr(potential, 'surface', None)
    surface: Surface = own() if own else HostSurface(potential.evaluate)
    return Craft(surface, potential.evaluate, Internal(), settings.limits,
                 budget_for(surface.device, settings.batch),
                 ROUNDS if own else 1)


def shared(
    ends: Sequence[Relaxed], cpu: float, wall: float, on_gpu: bool,
) -> list[End]:
    """Share the seconds of a run among its molecules, by atom-steps."""
    total = sum(e.atom_steps for e in ends)
    return [End(e.outcome, e.evaluations, e.positions,
                cpu * e.atom_steps / total, wall * e.atom_steps / total,
                on_gpu)
            for e in ends]


def built(
    model_path: str, backend: str, settings: Settings, dtype: str,
    sample: Sequence[Structure],
) -> tuple[Any, dict[str, str]]:
    """Return a guarded potential of ours and what it is.

    Raises InputError where the back end that was named is not the one that
    runs: its time would stand for another's.
    """
    from mpiapp.potentials import PotentialOptions, build, obtain
    asked = PotentialOptions(model_path=model_path, backend=backend,
                             dtype=dtype, device=settings.device)
    # campaigns are long: what the start costs is measured apart
    chosen = obtain(asked, sample, atom_steps=np.inf)
    potential = build(chosen, sample)
    found = potential.describe()
    if backend not in ('auto', found['backend']):
        raise InputError(f'{backend} gave way to {found["backend"]}: '
                         f'{found["guard"]}')
    return potential, {'potential': f'{found["backend"]} {dtype}',
                       'guard': found['guard']}


def by_ase(
    structure: Structure, calculator: Any, limits: Limits,
    calls: Callable[[], int],
) -> End:
    """Relax by ASE's L-BFGS with its defaults."""
    from ase import Atoms

    from mpiapp.parallel.ase_serial import optimizer as of_ase
    atoms = Atoms(structure.numbers, structure.positions)
    atoms.calc = calculator
    clock = Clock()
    converged = of_ase('LBFGS', atoms).run(limits.fmax, limits.max_steps)
    return End('converged' if converged else 'step_limit', calls(),
               atoms.positions, *clock.read())


def one_by_one(relax: Callable[[Structure], End]) -> Way:
    """Return the way that relaxes molecules one after the other."""
    return lambda structures: [relax(s) for s in structures]
