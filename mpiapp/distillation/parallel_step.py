"""A step of training on several threads, each with some of the structures.

The loss is of the whole batch: energies and forces of all parts are joined
for it, and its slopes go back to the parts.  Gradients are added in the order
of the parts, so that a training is the same every time.
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Part:
    """Some structures of a batch, and their indices and atoms' in it."""

    data: dict[str, Any]
    structures: torch.Tensor
    atoms: torch.Tensor


@contextmanager
def threaded(n_threads: int) -> Iterator[Any]:
    """Give a function with the contract of mace-torch's `take_step`."""
    import torch
    with ThreadPoolExecutor(
            n_threads, 'step', torch.set_num_threads, (1,)) as pool:
        def take_step(**more: Any) -> tuple[Any, dict[str, Any]]:
            return _step(pool, n_threads, **more)
        yield take_step


def _step(
    pool: ThreadPoolExecutor, n_threads: int, model: Any, loss_fn: Any,
    batch: Any, optimizer: Any, ema: Any, max_grad_norm: float | None,
    **more: Any,
) -> tuple[Any, dict[str, Any]]:
    import torch
    began = time.time()
    parts = parts_of(batch.to_dict(), n_threads)
    weights = [p for p in model.parameters() if p.requires_grad]
    energies = torch.zeros_like(batch.energy)
    forces = torch.zeros_like(batch.forces)

    def forward(part: Part) -> tuple[torch.Tensor, torch.Tensor]:
        out = model(part.data, training=True, compute_force=True)
        return out['energy'], out['forces']

    found = list(pool.map(forward, parts))
    for part, (e, f) in zip(parts, found):
        energies[part.structures] = e.detach()
        forces[part.atoms] = f.detach()
    joined = energies.requires_grad_(), forces.requires_grad_()
    loss = loss_fn(pred=dict(zip(('energy', 'forces'), joined)), ref=batch)
    by_energy, by_forces = torch.autograd.grad(loss, joined)

    def backward(k: int) -> tuple[torch.Tensor | None, ...]:
        part = parts[k]
        return torch.autograd.grad(
            found[k], weights, allow_unused=True,
            grad_outputs=(by_energy[part.structures], by_forces[part.atoms]))

    slopes = list(pool.map(backward, range(len(parts))))
    for weight, *terms in zip(weights, *slopes):
        there = [term for term in terms if term is not None]
        weight.grad = sum(there[1:], there[0]) if there else None
    if max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(weights, max_norm=max_grad_norm)
    optimizer.step()
    if ema is not None:
        ema.update()
    return loss, {'loss': loss.detach().cpu().numpy(),
                  'time': time.time() - began}


def parts_of(batch: dict[str, Any], n: int) -> list[Part]:
    """Return at most n parts of a batch with about as many pairs each."""
    import torch
    structure = batch['batch']
    senders = batch['edge_index'][0]
    n_structures = len(batch['ptr']) - 1
    pairs = torch.bincount(structure[senders], minlength=n_structures)
    loads = np.zeros(min(n, n_structures))
    of = np.zeros(n_structures, np.int64)
    for i in np.argsort(-pairs.numpy(), kind='stable'):
        of[i] = np.argmin(loads)
        loads[of[i]] += 1 + float(pairs[i])
    owner = torch.tensor(of)
    return [_part(batch, owner == k) for k in range(len(loads))]


def _part(batch: dict[str, Any], wanted: torch.Tensor) -> Part:
    import torch
    structures = wanted.nonzero()[:, 0]
    inside = wanted[batch['batch']]
    atoms = inside.nonzero()[:, 0]
    pairs = inside[batch['edge_index'][0]].nonzero()[:, 0]
    sizes = (batch['ptr'][1:] - batch['ptr'][:-1])[structures]
    rank = torch.cumsum(inside, 0) - 1
    data = {key: batch[key][atoms] for key in ('positions', 'node_attrs')}
    data |= {key: batch[key][pairs] for key in ('shifts', 'unit_shifts')}
    data |= {
        'edge_index': rank[batch['edge_index'][:, pairs]],
        'cell': batch['cell'].view(-1, 3, 3)[structures].view(-1, 3),
        'head': batch['head'][structures],
        'ptr': torch.cat([sizes.new_zeros(1), torch.cumsum(sizes, 0)]),
        'batch': torch.repeat_interleave(
            torch.arange(len(structures)), sizes)}
    return Part(data, structures, atoms)
