"""Start a training from the weights of an earlier model.

Everything but the radial functions is copied.  Where the cut-off, its
envelope or the number of Bessel functions differ, the small networks that
make the radial functions are fitted to those of the earlier model, so that
the new model begins as nearly the same function with a longer reach.

A model with more channels begins as exactly the function of a narrower one:
the earlier channels are its first ones and get nothing from the others, which
begin at random (growth as in Chen, Goodfellow, Shlens, Net2Net,
arXiv:1511.05641, but with zeros in place of copies).
"""
from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.errors import InputError

if TYPE_CHECKING:
    import torch

#: A; distances at which radial functions are compared
GRID = (0.7, 400)
FIT_STEPS = 300
#: eV an atom; weights of one function were rounded to float32 once more
SAME = 1e-4
MAY_DIFFER = ('only the radial basis may differ, or its channels be more, '
              'one of both at a time')


def start_from(new: Any, old: Any) -> float:
    """Give a new model the weights of an old one; return the misfit.

    That is the largest difference of a radial function over the largest
    value of any of them, 0 where the basis is the same.

    Raises:
        InputError: the models differ in more than their radial basis or
            their channels.
    """
    _require_kin(new, old)
    if _is_wider(new, old):
        _widen(new, old)
        _require_same(new, old)
        return 0.0
    radial = ('radial_embedding.', 'r_max')
    ours, theirs = new.state_dict(), old.state_dict()
    first = [f'interactions.{i}.conv_tp_weights.layer0.weight'
             for i in range(len(new.interactions))]
    _require_alike(ours, theirs, first, radial)
    same = _same_basis(new, old)
    for key, values in ours.items():
        if not key.startswith(radial) and (same or key not in first):
            values.copy_(theirs[key].reshape(values.shape))
    if same:
        _require_same(new, old)
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
                f'the recipe; {MAY_DIFFER}')


def _require_kin(new: Any, old: Any) -> None:
    """Check that two models are of one architecture.

    Raises:
        InputError: they are not: the same weights would be another function.
    """
    theirs = _traits(old)
    for what, mine in _traits(new).items():
        if mine != theirs[what]:
            raise InputError(
                f'--start: the models differ in the {what}: {theirs[what]} '
                f'there, {mine} in the recipe; {MAY_DIFFER}')


def _traits(model: Any) -> dict[str, str]:
    """Return what must be the same of a model, in words."""
    def kinds(modules: Any) -> str:
        return ', '.join(type(m).__name__ for m in modules)
    radial = model.radial_embedding
    return {
        'architecture': type(model).__name__,
        'interactions': kinds(model.interactions),
        'products': kinds(model.products),
        'readouts': kinds(model.readouts),
        'radial basis': kinds([radial.bessel_fn, radial.cutoff_fn]),
        'transform of distances': kinds(
            m for name, m in radial.named_children()
            if name == 'distance_transform'),
        'spherical harmonics': str(model.spherical_harmonics.irreps_out),
        'kinds of channels': ', '.join(
            '+'.join(str(ir) for _, ir in block.conv_tp.irreps_out)
            for block in model.interactions)}


def _require_same(new: Any, old: Any) -> None:
    """Check on a cluster of all elements that two models are one function.

    Raises:
        InputError: they are not, as with another activation function.
    """
    a, b = (_cluster_energy(m) for m in (new, old))
    if abs(a - b) > SAME:
        raise InputError(
            f'--start: with the same weights the model of the recipe gives '
            f'{a:.4f} eV an atom, that one {b:.4f}: they differ in '
            f'more than their sizes; {MAY_DIFFER}')


def _cluster_energy(model: Any) -> float:
    """Return the energy, eV an atom, of a cluster of all elements."""
    from mpiapp.potentials.mace.graph import build
    from mpiapp.potentials.mace.reference import model_inputs
    from mpiapp.records import Batch
    numbers = np.tile(model.atomic_numbers.cpu().numpy(), 2).astype(np.int32)
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*3 * [np.arange(7)]), -1).reshape(-1, 3)
    x = 1.8 * places[:len(numbers)]
    species = np.full(119, -1, np.int64)
    species[numbers] = np.tile(np.arange(len(numbers) // 2), 2)
    graph = build(Batch.join([(numbers, x + 0.1 * rng.standard_normal(
        x.shape), 0, 0)]), [0], species, float(model.r_max))
    exact = copy.deepcopy(model).cpu().double()
    inputs = model_inputs(graph, 'float64', 'cpu', len(numbers) // 2, 0)
    out = exact(inputs, training=False, compute_force=False)
    return float(out['node_energy'].mean())


def _same_basis(new: Any, old: Any) -> bool:
    """Tell whether radial basis, envelope and cut-off are the same."""
    import torch
    a, b = (m.radial_embedding.state_dict() for m in (new, old))
    return float(new.r_max) == float(old.r_max) and a.keys() == b.keys() \
        and all(a[k].numel() == b[k].numel() and torch.equal(
            a[k].cpu().double().reshape(-1), b[k].cpu().double().reshape(-1))
            for k in a)


def _is_wider(new: Any, old: Any) -> bool:
    """Tell whether a weight has more rows or columns, the basis being one."""
    theirs = dict(old.named_parameters())
    return _same_basis(new, old) and any(
        name in theirs and p.numel() > theirs[name].numel()
        for name, p in new.named_parameters())


def _widen(new: Any, old: Any) -> None:
    """Make a wider model the function of a narrower one.

    Raises:
        InputError: they differ in more than their widths.
    """
    import torch
    before = dict(old.named_modules())
    with torch.no_grad():
        for name, module in new.named_modules():
            if name not in before:
                raise InputError(f'--start: that model has no {name}')
            for pair in _pairs(module, before[name]):
                _put(name, *pair)
        theirs = dict(old.named_buffers())
        for name, values in new.named_buffers():
            if name in theirs and values.numel() == theirs[name].numel():
                values.copy_(theirs[name].reshape(values.shape))


def _pairs(
    ours: Any, theirs: Any,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, float, tuple[int, ...]]]:
    """Yield a module's own weights in both models; see `_put`."""
    if hasattr(ours, 'weight_views') and ours.internal_weights:
        for (_, a, x), (_, b, y) in zip(  # of e3nn, path by path
                ours.weight_views(yield_instruction=True),
                theirs.weight_views(yield_instruction=True)):
            yield x, y, b.path_weight / a.path_weight, tuple(
                range(x.dim() - 1))
    elif hasattr(ours, 'conv_tp_weights'):
        n_paths = len(ours.conv_tp.instructions)
        nets = list(zip(ours.conv_tp_weights, theirs.conv_tp_weights))
        for layer, narrow in nets:
            x, y = layer.weight, narrow.weight
            if layer is nets[-1][0]:
                x, y = (w.view(len(w), n_paths, -1) for w in (x, y))
            yield x, y, (layer.h_in / narrow.h_in) ** 0.5, (0,)
    elif not hasattr(ours, 'h_in'):  # layers have been done with their net
        mine = dict(ours.named_parameters(recurse=False))
        for key, y in theirs.named_parameters(recurse=False):
            yield mine[key], y, 1.0, ()


def _put(
    name: str, ours: torch.Tensor, theirs: torch.Tensor, factor: float,
    inputs: tuple[int, ...],
) -> None:
    """Put earlier weights first; new inputs give old outputs nothing.

    `inputs` are the axes that are summed over, `factor` what the weights
    are to be multiplied by, as sums are divided by the numbers of inputs.
    """
    a, b = tuple(ours.shape), tuple(theirs.shape)
    if len(a) != len(b) or any(m < n for m, n in zip(a, b)):
        raise InputError(f'--start: the models differ in {name}: {b} there, '
                         f'{a} in the recipe; {MAY_DIFFER}')
    ours[tuple(slice(None) if axis in inputs else slice(n)
               for axis, n in enumerate(b))] = 0.0
    ours[tuple(map(slice, b))] = factor * theirs.to(ours)


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
    net = copy.deepcopy(model.interactions[layer].conv_tp_weights).double()
    found: torch.Tensor = net(_basis(model, r))
    return found
