"""Start a training from the weights of an earlier model.

Everything but the radial functions is copied.  Where the cut-off, its
envelope or the number of Bessel functions differ, the small networks that
make the radial functions are fitted to those of the earlier model, so that
the new model begins as nearly the same function with a longer reach.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.errors import InputError

if TYPE_CHECKING:
    import torch

#: A; distances at which radial functions are compared
GRID = (0.7, 400)
FIT_STEPS = 300


def start_from(new: Any, old: Any) -> float:
    """Give a new model the weights of an old one; return the misfit.

    That is the largest difference of a radial function over the largest
    value of any of them, 0 where the basis is the same.

    Raises:
        InputError: the models differ in more than their radial basis.
    """
    import torch
    radial = ('radial_embedding.', 'r_max')
    ours, theirs = new.state_dict(), old.state_dict()
    first = [f'interactions.{i}.conv_tp_weights.layer0.weight'
             for i in range(len(new.interactions))]
    _require_alike(ours, theirs, first, radial)
    same = all(torch.equal(ours[k].cpu().double(), theirs[k].cpu().double())
               for k in ours if k.startswith('radial_embedding.')
               and ours[k].shape == theirs[k].shape) and all(
        ours[k].shape == theirs[k].shape for k in first)
    for key, values in ours.items():
        if not key.startswith(radial) and (same or key not in first):
            values.copy_(theirs[key].reshape(values.shape))
    if same:
        return 0.0
    return max(_fit(new, old, i) for i in range(len(new.interactions)))


def same_scale(new: Any, old: Any) -> None:
    """Divide sums over neighbours by the numbers of the old model.

    These are no part of a checkpoint: to be set again at every start.
    """
    for block, before in zip(new.interactions, old.interactions):
        block.avg_num_neighbors = before.avg_num_neighbors


def _require_alike(
    ours: dict[str, Any], theirs: dict[str, Any], first: list[str],
    radial: tuple[str, ...],
) -> None:
    for key in sorted(set(ours) | set(theirs)):
        if key in first or key.startswith(radial):
            continue
        # older models keep a scalar where newer ones have a row of one
        a, b = (tuple(n for n in s[key].shape if n > 1) if key in s
                else None for s in (ours, theirs))
        if a != b:
            raise InputError(
                f'--start: the models differ in {key}: {b} there, {a} in '
                'the recipe; only the radial basis may differ')


def _fit(new: Any, old: Any, layer: int) -> float:
    """Fit the radial network of a layer; return the misfit."""
    import torch
    r = torch.linspace(GRID[0], float(new.r_max), GRID[1],
                       dtype=torch.float64)[:, None]
    with torch.no_grad():
        wanted = _radial(old, layer, r)
        basis, theirs = _basis(new, r), _basis(old, r)
        net = new.interactions[layer].conv_tp_weights
        start = old.interactions[layer].conv_tp_weights.layer0.weight
        width = np.sqrt(theirs.shape[1] / basis.shape[1])
        mixed = torch.linalg.lstsq(basis, theirs @ start.double()).solution
        net.layer0.weight.copy_(mixed / width)
    before = {p: p.dtype for p in net.parameters()}
    net.double()
    optimizer = torch.optim.LBFGS(
        net.parameters(), max_iter=FIT_STEPS, history_size=30,
        line_search_fn='strong_wolfe', tolerance_change=1e-14)

    def misfit() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ((net(basis) - wanted) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(misfit)
    optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        worst = (net(basis) - wanted).abs().max() / wanted.abs().max()
    net.to(next(iter(before.values())))
    return float(worst)


def _basis(model: Any, r: torch.Tensor) -> torch.Tensor:
    """Return Bessel functions times the envelope [n, n_basis], float64."""
    import copy

    import torch
    embedding = copy.deepcopy(model.radial_embedding).double()
    nobody = torch.zeros((len(r), 1), dtype=torch.float64)
    found, cutoff = embedding(
        r, nobody, torch.zeros((2, len(r)), dtype=torch.long), nobody)
    if cutoff is not None:
        raise InputError('--start: a model whose envelope stands outside '
                         'of the radial network is not supported')
    out: torch.Tensor = found
    return out


def _radial(model: Any, layer: int, r: torch.Tensor) -> torch.Tensor:
    """Return the radial functions of a layer [n, n_weights], float64."""
    import copy
    net = copy.deepcopy(model.interactions[layer].conv_tp_weights).double()
    found: torch.Tensor = net(_basis(model, r))
    return found
