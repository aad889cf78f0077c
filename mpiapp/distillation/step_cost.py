"""What a training step costs: mace-torch's modules and the faster way.

    python -m mpiapp.distillation.step_cost [--rounds 5] [--r-max 6]

CPU time of one step (energies, forces, gradients of the weights) on the
bundled test structures, on one thread, in turns; first the gradients of
both are compared in float64.
"""
from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any

#: relative difference of gradients that is rounding
EXACT = 1e-10


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, measure, print; 1 if the gradients differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--structures', type=int, default=12)
    parser.add_argument('--r-max', type=float, default=6.0)
    options = parser.parse_args(argv)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    warnings.filterwarnings('ignore')
    import torch

    from mpiapp.data_files import data_file
    from mpiapp.potentials.mace.importing import import_mace
    from mpiapp.potentials.mace.training import faster_training
    import_mace()
    torch.set_num_threads(1)
    model = torch.load(data_file('models/student.model'), weights_only=False)
    exact = batch_of(model.double(), options, torch.float64)
    plain = step(model, exact)
    with faster_training():
        fast = step(model, exact)
    worst = max(float((plain[k] - fast[k]).abs().max()
                      / plain[k].abs().max().clamp(min=1e-12))
                for k in plain)
    print(f'largest relative difference of a gradient: {worst:.1e}')
    batch = batch_of(model.float(), options, torch.float32)
    n_atoms = len(batch['positions'])
    spent: dict[str, list[float]] = {'plain': [], 'faster': []}
    for k in range(options.rounds + 1):
        for name in spent:
            began = time.process_time()
            if name == 'plain':
                step(model, batch)
            else:
                with faster_training():
                    step(model, batch)
            if k:
                spent[name].append(time.process_time() - began)
    median = {n: sorted(v)[len(v) // 2] / n_atoms * 1e3
              for n, v in spent.items()}
    print(f'{n_atoms} atoms, {batch["edge_index"].shape[1]} edges, CPU time '
          f'an atom and step: plain {median["plain"]:.2f} ms, faster '
          f'{median["faster"]:.2f} ms, ratio '
          f'{median["faster"] / median["plain"]:.2f}')
    return int(worst > EXACT)


def batch_of(model: Any, options: Any, dtype: Any) -> dict[str, Any]:
    """Return the first test structures as the trainer's batch."""
    import torch
    from mace import data, tools
    from mace.tools import torch_geometric

    from mpiapp.data_files import data_file
    from mpiapp.distillation import frames
    torch.set_default_dtype(dtype)
    table = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    found = frames.read(data_file('distill/test.xyz.gz'))
    made = [data.AtomicData.from_config(
        data.Configuration(f.numbers, f.positions, properties={
            'energy': f.energy, 'forces': f.forces},
            property_weights={'energy': 1.0, 'forces': 1.0}),
        z_table=table, cutoff=options.r_max, heads=['Default'])
        for f in found[:options.structures]]
    loader: Any = torch_geometric.dataloader.DataLoader
    batch: dict[str, Any] = next(iter(loader(
        made, batch_size=len(made)))).to_dict()
    return batch


def step(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Return the gradients of the weights by name."""
    model.zero_grad()
    out = model(batch, training=True, compute_force=True)
    loss = ((out['forces'] - batch['forces']) ** 2).mean() + 1e-6 * (
        (out['energy'] - batch['energy']) ** 2).mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()
            if p.grad is not None}


if __name__ == '__main__':
    raise SystemExit(main())
