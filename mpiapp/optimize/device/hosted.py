"""Any potential as a surface: the positions go to the host and back.

For potentials without code for the device.  Each evaluation waits for the
device, so that nothing is gained but the batched steps.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpiapp.optimize.base import Numbers
from mpiapp.optimize.evaluation import Evaluate, evaluate_all
from mpiapp.optimize.tasks import Task
from mpiapp.records import Floats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class HostSurface:
    """A potential on the host; its edges are all pairs of atoms."""

    host: Evaluate
    device: str = 'cpu'

    def edges(self, numbers: Numbers, positions: Floats) -> int:
        """See `Surface`."""
        return len(numbers) * (len(numbers) - 1)

    def compose(
        self, tasks: list[Task], n_atoms: int, edges: list[int],
        slack: float,
    ) -> list[Task]:
        """See `Surface`."""
        return tasks

    def evaluate(
        self, plan: list[Task], x: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Surface`; what fails is NaN, and the host asks again why."""
        import torch
        positions = x.cpu().numpy()
        answers, _ = evaluate_all(self.host, [
            (t.numbers, positions[i, :len(t.numbers)], t.charge, t.unpaired)
            for i, t in enumerate(plan)])
        forces = np.zeros_like(positions)
        for i, answer in enumerate(answers):
            forces[i, :len(answer.forces)] = answer.forces

        def send(values: list[float] | Floats) -> Tensor:
            return torch.as_tensor(
                np.asarray(values, np.float64), device=x.device)
        return (send([a.energy for a in answers]),
                send([a.e_model_minus_e0 for a in answers]), send(forces),
                torch.ones((), dtype=torch.bool, device=x.device))
