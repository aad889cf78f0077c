"""MACE's own modules, computed faster while they are trained.

The trainer of mace-torch differentiates the forces once more, which the poly
back end can't.  Here its polynomial has second derivatives, by its own
derivatives (which are polynomials again) and by autograd, and its
coefficients follow from the model's weights at every step.  The classes of
mace-torch are altered for the time of a training only: parameters,
checkpoints and saved models stay theirs.
"""
from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from mpiapp.potentials.mace import contraction as tables
from mpiapp.potentials.mace.convolution import convolution
from mpiapp.potentials.mace.importing import import_mace

if TYPE_CHECKING:
    import torch

#: atoms whose products are made at a time: they stay in the cache
PIECE = 64
#: interaction blocks whose forward pass is the plain one
PLAIN_BLOCK = 'RealAgnosticResidualInteractionBlock'


@contextlib.contextmanager
def faster_training() -> Iterator[None]:
    """Compute contractions and convolutions of MACE faster; exact.

    Holds for every model of the process, its energies, forces and the
    derivatives of both with respect to positions and weights.
    """
    import_mace()
    from mace.modules import blocks, symmetric_contraction
    contract: Any = symmetric_contraction.SymmetricContraction
    block: Any = getattr(blocks, PLAIN_BLOCK)
    before = contract.forward, block.forward
    contract.forward = _Contractions().forward
    block.forward = _Convolutions(before[1]).forward
    try:
        yield
    finally:
        contract.forward, block.forward = before


class _Contractions:
    """The forward passes of all contractions, their tables made once."""

    def __init__(self) -> None:
        self._tables: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    @property
    def forward(self) -> Any:
        """Return the function that takes the place of mace-torch's."""
        def forward(
            dense: Any, x: torch.Tensor, y: torch.Tensor,
        ) -> torch.Tensor:
            if dense not in self._tables:
                self._tables[dense] = _Table(dense)
            out: torch.Tensor = self._tables[dense](dense, x, y)
            return out
        return forward


class _Table:
    """What of a `SymmetricContraction` does not change in training."""

    def __init__(self, dense: Any) -> None:
        parts = list(dense.contractions)
        self.degree = max(2, *(part.correlation for part in parts))
        terms = [tables.terms_of(part, self.degree) for part in parts]
        starts = np.cumsum([0, *(t.n_outputs for t in terms)])
        g = tables.gradient_of(
            np.concatenate([t.output + s for t, s in zip(terms, starts)]),
            np.concatenate([t.factors for t in terms]),
            terms[0].n_components)
        self.gradient = g
        self.paths = [t.paths for t in terms]
        self.n_outputs = [t.n_outputs for t in terms]
        self._cast: dict[Any, tuple[Any, ...]] = {}

    def __call__(
        self, dense: Any, x: torch.Tensor, y: torch.Tensor,
    ) -> torch.Tensor:
        """Return what the contraction does, irrep by irrep."""
        import torch
        g = self.gradient
        entry, power, factors, paths = self._of(x)
        coefficients = torch.cat(
            [torch.einsum('tk,zkc->zct', p, _weights(part))
             for p, part in zip(paths, dense.contractions)], dim=2)
        n_channels = coefficients.shape[1]
        values, order = [], []
        species = y.argmax(dim=-1)
        for z in species.unique().tolist():
            filled = coefficients[z][:, g.term] * power
            matrix = x.new_zeros(
                n_channels, g.n_rows * len(g.factors)).index_copy(
                    1, entry, filled).view(n_channels, g.n_rows, -1)
            for atoms in (species == z).nonzero()[:, 0].split(PIECE):
                values.append(_function()(
                    x[atoms], matrix, factors, self.degree))
                order.append(atoms)
        out = torch.cat(values)[torch.cat(order).argsort()]
        pieces = out.split(self.n_outputs, dim=-1)
        return torch.cat([p.flatten(1) for p in pieces], dim=-1)

    def _of(self, x: torch.Tensor) -> tuple[Any, ...]:
        """Return the tables on the device and in the arithmetic of x."""
        import torch
        key = x.dtype, x.device
        if key not in self._cast:
            g = self.gradient
            self._cast[key] = (
                torch.tensor(g.row * len(g.factors) + g.column,
                             device=x.device),
                torch.tensor(g.power, dtype=x.dtype, device=x.device),
                torch.tensor(g.factors, device=x.device),
                [torch.tensor(p, dtype=x.dtype, device=x.device)
                 for p in self.paths])
        return self._cast[key]


def _weights(part: Any) -> torch.Tensor:
    """Return a contraction's weights [n_elements, n_paths, n_channels]."""
    import torch
    return torch.cat([*reversed(list(part.weights)), part.weights_max], 1)


@lru_cache(maxsize=1)
def _function() -> Any:
    """Return (x, matrix, factors, degree) -> B, twice differentiable."""
    import torch

    class Contract(torch.autograd.Function):
        """B = x . grad B / degree, with grad B = matrix @ products.

        x is [n_atoms, n_channels, n_components] of one element, matrix
        [n_channels, n_outputs * (n_components + 1), n_products].
        """

        @staticmethod
        def forward(
            ctx: Any, x: torch.Tensor, matrix: torch.Tensor,
            factors: torch.Tensor, degree: int,
        ) -> torch.Tensor:
            ctx.save_for_backward(x, matrix, factors)
            ctx.degree = degree
            full = _with_constant(x)
            slopes = _slopes(full, matrix, factors)
            return (slopes * full[:, None]).sum(2).permute(2, 0, 1) / degree

        @staticmethod
        def backward(
            ctx: Any, out: torch.Tensor,
        ) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
            x, matrix, factors = ctx.saved_tensors
            full = _with_constant(x)
            weight = out.permute(1, 2, 0)  # channel, output, atom
            by_x = by_matrix = None
            if ctx.needs_input_grad[0]:
                slopes = _slopes(full, matrix, factors)
                total = (weight[:, :, None] * slopes[:, :, :-1]).sum(1)
                by_x = total.permute(2, 0, 1)
            if ctx.needs_input_grad[1]:
                left = (weight[:, :, None] * full[:, None]).flatten(1, 2)
                by_matrix = (left @ _products(full, factors).transpose(1, 2)
                             ) / ctx.degree
            return by_x, by_matrix, None, None

    return Contract.apply


def _with_constant(x: torch.Tensor) -> torch.Tensor:
    """Return [n_channels, n_components + 1, n_atoms], the last being 1."""
    import torch
    one = x.new_ones(x.shape[1], 1, len(x))
    return torch.cat([x.permute(1, 2, 0), one], dim=1)


def _products(full: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Return the products of components [n_channels, n_products, n]."""
    products = full.index_select(1, factors[:, 0])
    for column in factors.T[1:]:
        products = products * full.index_select(1, column)
    return products


def _slopes(
    full: torch.Tensor, matrix: torch.Tensor, factors: torch.Tensor,
) -> torch.Tensor:
    """Return grad B [n_channels, n_outputs, n_components + 1, n_atoms]."""
    found = matrix @ _products(full, factors)
    return found.view(len(full), -1, full.shape[1], full.shape[2])


class _Convolutions:
    """The forward passes of all interaction blocks of the plain kind."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._modules: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._last = _Last()

    @property
    def forward(self) -> Any:
        """Return the function that takes the place of mace-torch's."""
        import torch

        def forward(
            block: Any, node_attrs: torch.Tensor, node_feats: torch.Tensor,
            edge_attrs: torch.Tensor, edge_feats: torch.Tensor,
            edge_index: torch.Tensor, cutoff: Any = None, **more: Any,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            ours = self._of(block, node_feats)
            if ours is None or more.get('lammps_class') is not None:
                found: tuple[torch.Tensor, torch.Tensor] = self._plain(
                    block, node_attrs, node_feats, edge_attrs, edge_feats,
                    edge_index, cutoff, **more)
                return found
            sc = block.skip_tp(node_feats, node_attrs)
            up = block.linear_up(node_feats)
            places = self._places_of(
                edge_index, len(up), edge_attrs, edge_feats, cutoff)
            sums = []
            for width, senders, attributes, features, damping in places.parts:
                weights = block.conv_tp_weights(features)
                if damping is not None:
                    weights = weights * damping
                sums.append(ours.sums(
                    up, attributes, weights, senders, width))
            message = torch.cat(sums).index_select(0, places.back)
            message = block.linear(message) / block.avg_num_neighbors
            return block.reshape(message), sc
        return forward

    def _places_of(self, edge_index: Any, n: int, *of_edges: Any) -> _Places:
        """Return the arranged edges; all layers of a pass have the same."""
        asked, last = (edge_index, *of_edges), self._last
        if last.places is None or any(
                a is not b for a, b in zip(asked, last.asked)):
            last.asked = asked
            last.places = _Places(edge_index, n, *of_edges)
        return last.places

    def _of(self, block: Any, like: torch.Tensor) -> Any:
        """Return our convolution of a block; None if it has another form."""
        if block not in self._modules:
            self._modules[block] = None if hasattr(block, 'conv_fusion') \
                else convolution(block.conv_tp)
        ours = self._modules[block]
        return None if ours is None else ours.to(
            dtype=like.dtype, device=like.device)


class _Last(threading.local):
    """The edges that a thread has arranged last."""

    asked: tuple[Any, ...] = ()
    places: _Places | None = None


class _Places:
    """The edges of a batch, arranged by receivers of like numbers of them.

    `parts` are of at most `PIECE` receivers: width, and senders, attributes,
    features and damping (None: none) of the places; `back` puts the rows of
    all parts into the order of the atoms.  See `Convolution.sums`.
    """

    def __init__(
        self, edge_index: torch.Tensor, n: int, attributes: torch.Tensor,
        features: torch.Tensor, damping: torch.Tensor | None,
    ) -> None:
        import torch
        senders, receivers = edge_index
        counts = torch.bincount(receivers, minlength=n)
        atoms = torch.argsort(counts, stable=True)
        self.back = torch.argsort(atoms)
        # the last one is no edge: its values are zero
        nobody = len(receivers)
        edges = torch.cat([torch.argsort(self.back[receivers], stable=True),
                           receivers.new_tensor([nobody])])
        widths, sizes, places, first = [], [], [], 0
        for group in counts[atoms].split(PIECE):
            width = max(1, int(group[-1]))
            rank = torch.arange(width, device=group.device)
            at = first + torch.cumsum(group, 0) - group
            places.append(torch.where(
                rank < group[:, None], at[:, None] + rank, nobody).flatten())
            widths.append(width)
            sizes.append(width * len(group))
            first += int(group.sum())
        index = edges[torch.cat(places)]

        def arranged(values: torch.Tensor | None) -> Any:
            if values is None:
                return [None] * len(widths)
            zero = values.new_zeros(1, *values.shape[1:])
            found = torch.cat([values, zero]).index_select(0, index)
            return found.split(sizes)

        self.parts = list(zip(
            widths, arranged(senders), arranged(attributes),
            arranged(features), arranged(damping)))
