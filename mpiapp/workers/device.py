"""The device program of a worker: which surface, how much room, proved."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mpiapp.optimize.device.budget import Budget, budget_for
from mpiapp.optimize.device.flight import Surface
from mpiapp.optimize.device.hosted import HostSurface
from mpiapp.optimize.device.program import ROUNDS, Craft, Traffic
from mpiapp.optimize.internal import Internal
from mpiapp.optimize.tasks import Limits, Task
from mpiapp.potentials.base import Potential
from mpiapp.potentials.guard import TOLERANCES, Tolerance, comparable
from mpiapp.records import Batch, Structure

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger('mpiapp')


@dataclass(frozen=True)
class DeviceProgram:
    """A surface with its room; `notes` is what is stored of it."""

    potential: Potential
    surface: Surface
    budget: Budget
    rounds: int
    notes: dict[str, str]
    traffic: Traffic = field(default_factory=Traffic)

    def craft(self, limits: Limits, optimizer: Internal) -> Craft:
        """Return what `relax_on_device` needs."""
        return Craft(self.surface, self.potential.evaluate, optimizer,
                     limits, self.budget, self.rounds, self.traffic)


def program_for(
    potential: Potential, sample: Sequence[Structure],
    molecules: int | None, sharing: int,
) -> DeviceProgram:
    """Return the program for a potential.

    A surface of the potential's own is compared with the potential on the
    sample, all molecules in one batch; where there is none, or it
    disagrees, evaluations go through the host.
    """
    own = getattr(potential, 'surface', None)
    surface: Surface = HostSurface(potential.evaluate)
    note = 'the potential has no code for a device program'
    if own is not None:
        fast: Surface = own()
        note, agrees = compared(fast, potential, sample)
        if agrees:
            surface = fast
        else:
            log.warning('evaluations on the device are not used: %s', note)
    hosted = isinstance(surface, HostSurface)
    notes = {'evaluations': 'host' if hosted else 'device',
             'device': surface.device, 'guard': note,
             'batch': 'auto' if molecules is None else str(molecules)}
    return DeviceProgram(
        potential, surface, budget_for(surface.device, molecules, sharing),
        # through the host each evaluation waits anyway
        1 if hosted else ROUNDS, notes)


def compared(
    surface: Surface, potential: Potential, sample: Sequence[Structure],
) -> tuple[str, bool]:
    """Say how well a surface agrees with its potential, and if it does."""
    fit = comparable(sample, potential.elements)
    tasks = [Task(i, s.numbers, s.positions) for i, s in enumerate(fit)]
    batch = Batch.join([(t.numbers, t.positions, 0, 0) for t in tasks])
    expected = potential.evaluate(batch)
    plan = surface.compose(
        tasks, max(len(t.numbers) for t in tasks),
        [surface.edges(t.numbers, t.positions) for t in tasks], 1.0)
    energy, _, forces, fits = surface.evaluate(
        plan, stacked(tasks, surface.device))
    found = forces.cpu().numpy()
    part = np.concatenate([found[i, :len(t.numbers)]
                           for i, t in enumerate(tasks)])
    # single molecules, and so batches of them, pass the guard of the model
    allowed = TOLERANCES[potential.dtype]
    sizes = np.array([len(t.numbers) for t in tasks])
    worst = excess(
        np.abs(energy.cpu().numpy() - expected.energies) / sizes,
        np.abs(part - expected.forces), np.abs(expected.forces).max(),
        allowed)
    agrees = bool(fits) and worst <= 1.0
    return (f'{"passed" if agrees else "refused"}: {len(tasks)} structures '
            f'in one batch, {worst:.1e} of what is allowed', agrees)


def excess(
    energy: np.ndarray, force: np.ndarray, largest: float,
    allowed: Tolerance,
) -> float:
    """Return the largest ratio of a difference to what is allowed."""
    slack = allowed.relative * largest
    worst = max(float(energy.max()) / allowed.energy,
                float(force.max()) / (allowed.force + slack))
    return worst if np.isfinite(worst) else np.inf


def stacked(tasks: Sequence[Task], device: str) -> Tensor:
    """Return the positions [n, n_atoms, 3], padded with zeros."""
    import torch
    full = np.zeros((len(tasks), max(len(t.numbers) for t in tasks), 3))
    for i, task in enumerate(tasks):
        full[i, :len(task.numbers)] = task.positions
    return torch.as_tensor(full, device=device)
