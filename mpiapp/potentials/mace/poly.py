"""The poly back end: mace-torch with its contraction as a polynomial.

Exact, on CPU and GPU; first derivatives only.  See `contraction` for the
mathematics, and `convolution` for the other part that is replaced.
"""
from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mpiapp.potentials.base import PotentialOptions
from mpiapp.potentials.mace import contraction as tables
from mpiapp.potentials.mace import reference
from mpiapp.potentials.mace.convolution import convolution
from mpiapp.potentials.mace.reference import MaceReference
from mpiapp.records import Floats, InputError

if TYPE_CHECKING:
    import torch

#: numbers in the products of one chunk of atoms, 1 GB in float64
CHUNK = 2 ** 27
#: classes of mace-torch that have the coupling tensors
KNOWN = 'SymmetricContraction'


def build(options: PotentialOptions, name: str) -> MaceReference:
    """Build the potential from resolved options; see `mace.build`.

    Raises InputError for models whose contraction has another form.
    """
    return reference.assemble(options, name, 'poly', _change)


def _change(module: Any) -> None:
    replace_contractions(module)
    replace_convolutions(module)


def replace_contractions(module: Any) -> None:
    """Put a polynomial in the place of each contraction of a MACE model.

    Raises InputError where a contraction has not mace-torch's form.
    """
    for product in module.products:
        dense = product.symmetric_contractions
        if type(dense).__name__ != KNOWN:
            raise InputError(
                f'back end poly: the contraction is a {type(dense).__name__},'
                f' not a {KNOWN}')
        product.symmetric_contractions = polynomial(dense)


def replace_convolutions(module: Any) -> None:
    """Put ours in the place of each convolution of a kind that we know."""
    for interaction in module.interactions:
        if hasattr(interaction, 'conv_fusion'):
            continue
        new = convolution(interaction.conv_tp)
        if new is not None:
            interaction.conv_tp, interaction.conv_fusion = new, True


def polynomial(dense: Any) -> torch.nn.Module:
    """Return the polynomial form of a `SymmetricContraction`.

    It takes and returns what that does: x [n_atoms, n_channels,
    n_components] and one-hot elements y [n_atoms, n_elements] give
    [n_atoms, channels times outputs, irrep by irrep].
    """
    parts = list(dense.contractions)
    # with the constant a linear form is a quadratic one: always products
    degree = max(2, *(part.correlation for part in parts))
    terms = [tables.terms_of(part, degree) for part in parts]
    starts = np.cumsum([0, *(t.n_outputs for t in terms)])
    gradient = tables.gradient_of(
        np.concatenate([t.output + s for t, s in zip(terms, starts)]),
        np.concatenate([t.factors for t in terms]),
        terms[0].n_components)
    coefficients = np.concatenate(
        [np.einsum('tk,zkc->zct', t.paths, tables.weights_of(part))
         for t, part in zip(terms, parts)], axis=2)
    return _module_class()(
        gradient, coefficients, [t.n_outputs for t in terms], degree)


@lru_cache(maxsize=1)
def _module_class() -> Any:
    """Return the module's class, which can't exist before torch does."""
    import torch

    class Polynomial(torch.nn.Module):
        """Sums of products of components, by element and channel."""

        def __init__(
            self, gradient: tables.Gradient, coefficients: Floats,
            n_outputs: list[int], degree: int,
        ) -> None:
            super().__init__()
            self.gradient, self.coefficients = gradient, coefficients
            self.n_outputs, self.degree = n_outputs, degree
            self.matrices: dict[Any, torch.Tensor] = {}
            # set: the elements with their atoms, which else are looked for
            self.groups: list[tuple[int, torch.Tensor]] | None = None
            self.register_buffer('factors', torch.tensor(gradient.factors))

        def forward(
            self, x: torch.Tensor, y: torch.Tensor,
        ) -> torch.Tensor:
            out = _function()(x, y.argmax(dim=-1), self)
            parts = out.split(self.n_outputs, dim=-1)
            return torch.cat([p.flatten(1) for p in parts], dim=-1)

        def matrix(self, z: int, like: torch.Tensor) -> torch.Tensor:
            """Return that of element z [n_channels, n_rows, n_products].

            Made when the element is met: models know up to 89 elements.
            """
            key = z, like.dtype, like.device
            if key not in self.matrices:
                g = self.gradient
                dense = np.zeros((self.coefficients.shape[1], g.n_rows,
                                  len(g.factors)))
                dense[:, g.row, g.column] = (
                    g.power * self.coefficients[z][:, g.term])
                self.matrices[key] = torch.tensor(
                    dense, dtype=like.dtype, device=like.device)
            return self.matrices[key]

    return Polynomial


@lru_cache(maxsize=1)
def _function() -> Any:
    """Return the differentiable function (x, species, polynomial) -> B."""
    import torch

    class Contract(torch.autograd.Function):
        """The value by Euler's theorem, its derivatives kept for later."""

        @staticmethod
        def forward(
            ctx: Any, x: torch.Tensor, species: torch.Tensor, form: Any,
        ) -> torch.Tensor:
            ctx.groups = []
            out = x.new_empty(len(x), x.shape[1], sum(form.n_outputs))
            for z, atoms in _groups(species, x, form):
                values, slopes = _values_and_slopes(
                    x[atoms], form.matrix(z, x), form.factors, form.degree)
                out[atoms] = values
                ctx.groups.append((atoms, slopes))
            ctx.like = x
            return out

        @staticmethod
        def backward(
            ctx: Any, out: torch.Tensor,
        ) -> tuple[torch.Tensor, None, None]:
            if torch.is_grad_enabled():
                # A Hessian would lack our share and look like one.
                raise RuntimeError(
                    'back end poly has first derivatives only: use the '
                    'reference for Hessians and for training on forces')
            found = torch.empty_like(ctx.like)
            for atoms, slopes in ctx.groups:
                weight = out[atoms].permute(1, 2, 0)  # channel, output, atom
                total = (weight[:, :, None] * slopes).sum(dim=1)
                found[atoms] = total.permute(2, 0, 1)
            return found, None, None

    return Contract.apply


def _groups(
    species: torch.Tensor, x: torch.Tensor, form: Any,
) -> list[tuple[int, torch.Tensor]]:
    """Return (element, its atoms), large groups in several pieces."""
    piece = max(1, CHUNK // (x.shape[1] * len(form.factors)))
    groups = form.groups or [
        (int(z), (species == z).nonzero()[:, 0])
        for z in species.unique().tolist()]
    return [(z, atoms) for z, group in groups for atoms in group.split(piece)]


def _values_and_slopes(
    x: torch.Tensor, matrix: torch.Tensor, factors: torch.Tensor,
    degree: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return B [n_atoms, n_channels, n_outputs] and its derivatives.

    Those are [n_channels, n_outputs, n_components, n_atoms].  All atoms of
    x [n_atoms, n_channels, n_components] are of one element.
    """
    n_atoms, n_channels, n_components = x.shape
    full = x.new_ones(n_channels, n_components + 1, n_atoms)
    full[:, :-1] = x.permute(1, 2, 0)
    products = full.index_select(1, factors[:, 0])
    for column in factors.T[1:]:
        products *= full.index_select(1, column)
    slopes = (matrix @ products).view(
        n_channels, -1, n_components + 1, n_atoms)
    values = (slopes * full[:, None]).sum(dim=2) / degree
    return values.permute(2, 0, 1), slopes[:, :, :-1]
