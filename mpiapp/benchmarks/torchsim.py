"""TorchSim as a way to relax; version 0.6 and later, an optional package."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpiapp.benchmarks.ways import Clock, End, Settings, Way
from mpiapp.errors import InputError
from mpiapp.records import Structure


def make(model_path: str, settings: Settings) -> tuple[Way, dict[str, str]]:
    """Return TorchSim's L-BFGS with mace-torch's model, both in float64.

    With `batch` above 1 it fills the batch itself (in-flight autobatching).
    Raises InputError where the installed version is older.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import torch
        import torch_sim as ts
        from torch_sim.models.mace import MaceModel
    if not hasattr(ts, 'Optimizer'):
        raise InputError('torch-sim-atomistic 0.6 or later is needed')
    model = MaceModel(
        model=model_path, device=torch.device(settings.device),
        dtype=torch.float64, compute_stress=False)
    counter = counting(model)
    limits = settings.limits
    done = ts.generate_force_convergence_fn(
        limits.fmax, include_cell_forces=False)

    def relax(structures: Sequence[Structure]) -> list[End]:
        counter.clear()
        clock = Clock()
        state = ts.optimize(
            [in_a_box(s) for s in structures], model,
            optimizer=ts.Optimizer.lbfgs, convergence_fn=done,
            max_steps=limits.max_steps, steps_between_swaps=1,
            # its estimate of memory is of GPUs: elsewhere all at once
            autobatcher=settings.device == 'cuda' and settings.together)
        cpu, wall = clock.read()
        found = ends(structures, state, done(state, None), counter, cpu,
                     wall)
        return [replace(e, on_gpu=settings.device == 'cuda') for e in found]

    def alone(structures: Sequence[Structure]) -> list[End]:
        return [relax([s])[0] for s in structures]

    return (relax if settings.together else alone), {
        'optimizer': 'torch-sim lbfgs', 'potential': 'MACE float64'}


def in_a_box(structure: Structure) -> Any:
    """Return Atoms, not periodic, in a cell that its lists can live with."""
    from ase import Atoms
    size = np.ptp(structure.positions, axis=0).max() + 30.0
    atoms = Atoms(structure.numbers, structure.positions, cell=[size] * 3)
    atoms.center()
    return atoms


def counting(model: Any) -> list[int]:
    """Let a model note the atoms of each evaluation; return the notes."""
    notes: list[int] = []
    compute = model.forward

    def forward(state: Any, *args: Any, **kwargs: Any) -> Any:
        notes.append(len(state.positions))
        return compute(state, *args, **kwargs)

    model.forward = forward
    return notes


def ends(
    structures: Sequence[Structure], state: Any, converged: Any,
    notes: Sequence[int], cpu: float, wall: float,
) -> list[End]:
    """Return how each structure ended.

    TorchSim does not say how many evaluations each took: in a batch all
    have the same mean number.
    """
    sizes = [len(s.numbers) for s in structures]
    mean = round(sum(notes) / sum(sizes))
    parts = np.split(state.positions.detach().cpu().numpy(),
                     np.cumsum(sizes)[:-1])
    shares = np.array(sizes) / sum(sizes)
    return [End('converged' if ok else 'step_limit', mean, x,
                cpu * share, wall * share)
            for ok, x, share in zip(converged.tolist(), parts, shares)]
