"""A small training in two precisions, from several random starts (R9)."""
from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.benchmarks.shapes import ELEMENTS
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.records import Batch, Floats

SAMPLE = 'training/sample.xyz'
#: weights of energy per atom and of forces in the loss; Adam's rate
ENERGY_WEIGHT, FORCE_WEIGHT, RATE = 1.0, 10.0, 5e-3
BATCH, R_MAX, HIDDEN = 8, 4.0, '8x0e'
#: every third frame is for validation
EVERY = 3
DTYPES = ('float64', 'float32')


@dataclass(frozen=True)
class Frames:
    """Molecules with energies [n] eV and forces [n_atoms, 3] eV/A."""

    batch: Batch
    energies: Floats
    forces: Floats

    def pick(self, chosen: Sequence[int]) -> Frames:
        """Return some of the molecules."""
        b = self.batch
        return Frames(
            Batch.join([(b.numbers[b.part(i)], b.positions[b.part(i)], 0, 0)
                        for i in chosen]),
            self.energies[list(chosen)],
            np.concatenate([self.forces[b.part(i)] for i in chosen]))


def read(path: str | None = None) -> Frames:
    """Return the frames of an extxyz file.

    Raises:
        InputError: unreadable, or without energies and forces.
    """
    from mpiapp.parallel.ase_serial import read as by_ase
    name = path or str(data_file(SAMPLE))
    try:
        frames = by_ase(name, ':', 'extxyz')
        return Frames(
            Batch.join([(a.numbers, a.positions, 0, 0) for a in frames]),
            np.array([a.info['REF_energy'] for a in frames], float),
            np.concatenate([a.arrays['REF_forces'] for a in frames]))
    except OSError as error:
        raise InputError(f'{name}: {error.strerror or error}') from error
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f'{name}: not extxyz with REF_energy and '
                         f'REF_forces ({error})') from error


def compare(
    frames: Frames, starts: int, epochs: int,
) -> list[dict[str, Any]]:
    """Return a row for each start and precision, trained in turns.

    Each precision is first in its turn, as the second finds all warm.
    """
    numbers = np.arange(len(frames.energies))
    held = frames.pick(numbers[::EVERY].tolist())
    kept = frames.pick(numbers[numbers % EVERY != 0].tolist())
    e0 = isolated(kept)
    return [{'start': start, 'dtype': dtype, 'epochs': epochs,
             **train(kept, held, e0, start, dtype, epochs)}
            for start in range(starts)
            for dtype in (DTYPES if start % 2 == 0 else DTYPES[::-1])]


def isolated(frames: Frames) -> Floats:
    """Return isolated-atom energies [n_elements] by least squares."""
    b = frames.batch
    counts = np.array([[(b.numbers[b.part(i)] == z).sum() for z in ELEMENTS]
                       for i in range(len(b))], float)
    return np.linalg.lstsq(counts, frames.energies, rcond=None)[0]


def train(
    kept: Frames, held: Frames, e0: Floats, start: int, dtype: str,
    epochs: int,
) -> dict[str, Any]:
    """Train from one random start; return errors, seconds and memory.

    The weights are drawn in float64 and then cast, so that both precisions
    begin at the same point and see the same batches.
    """
    import torch

    from mpiapp.benchmarks.profiling.memory import allocations
    model = _model(start, e0).to(getattr(torch, dtype))
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    rng = np.random.default_rng(start)
    some = kept.pick(list(range(min(BATCH, len(kept.energies)))))
    # cold: neither this gradient nor its seconds count
    _loss(model, some, e0, dtype).backward()
    began = time.process_time()
    losses = []
    for _ in range(epochs):
        order = rng.permutation(len(kept.energies))
        for i in range(0, len(order), BATCH):
            optimiser.zero_grad()
            loss = _loss(model, kept.pick(order[i:i + BATCH].tolist()), e0,
                         dtype)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    seconds = time.process_time() - began
    peak = allocations(
        lambda: _loss(model, some, e0, dtype).backward(), 'cpu').peak
    return {'first_loss': losses[0], 'last_loss': losses[-1],
            'cpu_s': seconds, 'peak_bytes': peak,
            **rmse(model, held, e0, dtype)}


def _model(start: int, e0: Floats) -> Any:
    import torch

    from mpiapp.benchmarks.shapes import Shape, build
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(start)
    try:
        # energies without their isolated atoms: summed in float64 outside
        return build(Shape(HIDDEN, R_MAX), np.zeros(len(e0)))
    finally:
        torch.set_default_dtype(before)


def _predicted(
    model: Any, frames: Frames, dtype: str, training: bool,
) -> tuple[Any, Any]:
    import torch

    from mpiapp.potentials.mace.graph import build as graph_of
    from mpiapp.potentials.mace.reference import model_inputs
    species = np.full(119, -1, np.int64)
    species[list(ELEMENTS)] = np.arange(len(ELEMENTS))
    graph = graph_of(frames.batch, list(range(len(frames.batch))), species,
                     R_MAX)
    inputs = model_inputs(graph, dtype, 'cpu', len(ELEMENTS), 0)
    out = model(inputs, training=training, compute_force=True)
    sums = torch.zeros(len(frames.batch), dtype=torch.float64).index_add(
        0, inputs['batch'], out['node_energy'].double())
    return sums, out['forces']


def _loss(model: Any, frames: Frames, e0: Floats, dtype: str) -> Any:
    import torch
    energies, forces = _predicted(model, frames, dtype, True)
    sizes = torch.tensor(np.diff(frames.batch.offsets))
    wanted = torch.tensor(frames.energies - _atoms(frames, e0))
    per_atom = (energies - wanted) / sizes
    apart = forces - torch.tensor(frames.forces, dtype=forces.dtype)
    return ENERGY_WEIGHT * per_atom.square().mean() \
        + FORCE_WEIGHT * apart.square().mean().double()


def _atoms(frames: Frames, e0: Floats) -> Floats:
    b = frames.batch
    of = {z: e for z, e in zip(ELEMENTS, e0)}
    return np.array([sum(of[int(z)] for z in b.numbers[b.part(i)])
                     for i in range(len(b))])


def rmse(
    model: Any, frames: Frames, e0: Floats, dtype: str,
) -> dict[str, float]:
    """Return RMS errors: meV/atom and meV/A."""
    energies, forces = _predicted(model, frames, dtype, False)
    sizes = np.diff(frames.batch.offsets)
    off = (energies.detach().numpy() + _atoms(frames, e0)
           - frames.energies) / sizes
    apart = forces.detach().double().numpy() - frames.forces
    return {'energy_rmse_meV': 1e3 * float(np.sqrt((off ** 2).mean())),
            'force_rmse_meV_A': 1e3 * float(np.sqrt((apart ** 2).mean()))}


def lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield both precisions, and whether they differ beyond the starts."""
    from mpiapp.benchmarks.harness.spread import paired_ratio
    by = {d: [r for r in rows if r['dtype'] == d] for d in DTYPES}
    for dtype, members in by.items():
        peak = np.mean([m['peak_bytes'] for m in members]) / 1e6
        yield (f'training {dtype}, {len(members)} starts, '
               f'{members[0]["epochs"]} epochs: ' + ', '.join(
                   f'{name} {np.mean([m[key] for m in members]):.1f} +- '
                   f'{np.std([m[key] for m in members], ddof=1):.1f}'
                   for name, key in (
                       ('energy RMSE meV/atom', 'energy_rmse_meV'),
                       ('force RMSE meV/A', 'force_rmse_meV_A')))
               + f', peak {peak:.1f} MB')
    for name, key in (('energy RMSE', 'energy_rmse_meV'),
                      ('force RMSE', 'force_rmse_meV_A'),
                      ('CPU time', 'cpu_s')):
        ratio = paired_ratio(*(np.array([m[key] for m in by[d]])
                               for d in DTYPES))
        yield f'{name}, float64 / float32: {ratio}'
