"""The symmetric contraction of MACE as a polynomial with few terms.

For an atom of element z and one channel, each output component of the
contraction is a polynomial in the components of that channel.  Appending a
constant component 1 makes it homogeneous, of the degree `d` that MACE calls
correlation, and by Euler's theorem B = x . grad B / d.  Grad B is linear in
the products of d - 1 components: one matrix product for each channel gives
all derivatives, their scalar product with x the value.  The backward pass
only multiplies by them.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.records import Floats, Ints

#: coefficients below this share of the largest are rounding: terms of the
#: coupling tensor that cancel when their permutations are added
CANCELLED = 1e-10


@dataclass(frozen=True)
class Terms:
    """The monomials of one output irrep, from its coupling tensors.

    `factors` [n_terms, degree] are sorted indices of components, the
    constant component being the last one, `n_components`; `output`
    [n_terms] is the output component that a term feeds; `paths` [n_terms,
    n_paths] is multiplied by the weights of an element and a channel.
    """

    factors: Ints
    output: Ints
    paths: Floats
    n_components: int
    n_outputs: int

    def count(self, degree: int) -> int:
        """Return the number of terms that have the degree in truth."""
        real = (self.factors < self.n_components).sum(axis=1)
        return int((real == degree).sum())


def terms_of(contraction: Any, degree: int) -> Terms:
    """Return the terms of a `Contraction` of mace-torch.

    Equal products of components are one term, whose coefficient is the sum
    over the distinct permutations of its indices: the stored coupling
    tensors are not symmetric.  `degree` is at least the contraction's own.
    """
    tensors = [contraction.U_tensors(nu + 1).detach().double().cpu().numpy()
               for nu in range(contraction.correlation)]
    n_components = tensors[0].shape[-2]
    starts = np.cumsum([0, *(u.shape[-1] for u in tensors)])
    table: dict[tuple[int, ...], Floats] = {}
    for nu, u in enumerate(tensors, 1):
        # a scalar output has no axis of its own
        by_output = u.reshape(-1, *u.shape[-nu - 1:])
        for m, *indices in np.argwhere(np.any(by_output != 0.0, axis=-1)):
            constants = [n_components] * (degree - nu)
            key = (int(m), *sorted(map(int, indices)), *constants)
            entry = table.setdefault(key, np.zeros(starts[-1]))
            entry[starts[nu - 1]:starts[nu]] += by_output[(m, *indices)]
    largest = max(np.abs(v).max() for v in table.values())
    kept = sorted(k for k, v in table.items()
                  if np.abs(v).max() > CANCELLED * largest)
    return Terms(
        np.array([k[1:] for k in kept], np.int64),
        np.array([k[0] for k in kept], np.int64),
        np.stack([table[k] for k in kept]),
        n_components,
        tensors[0].size // (n_components * tensors[0].shape[-1]),
    )


def weights_of(contraction: Any) -> Floats:
    """Return the weights of all paths [n_elements, n_paths, n_channels].

    In the order of `Terms.paths`: the lowest degree first.
    """
    stored = [*reversed(list(contraction.weights)), contraction.weights_max]
    return np.concatenate(
        [w.detach().double().cpu().numpy() for w in stored], axis=1)


@dataclass(frozen=True)
class Gradient:
    """Where a coefficient goes in the matrix that gives all derivatives.

    `factors` [n_products, degree - 1] are the components of each product.
    Entry (`row`, `column`) of the matrix is `power` times the coefficient
    of the term number `term`; all four [n_entries].  Row m * (n_components
    + 1) + i belongs to the derivative of output m with respect to component
    i, a column to a product.
    """

    factors: Ints
    row: Ints
    column: Ints
    term: Ints
    power: Floats
    n_rows: int


def gradient_of(outputs: Ints, factors: Ints, n_components: int) -> Gradient:
    """Return how the derivatives of terms follow from products.

    `outputs` [n_terms] and `factors` [n_terms, degree] are those of one or
    several `Terms`, with the outputs numbered through.
    """
    width = n_components + 1
    entries = [
        (int(output) * width + i, rest, t, power)
        for t, (output, indices) in enumerate(zip(outputs, factors.tolist()))
        for i, rest, power in _derivatives(indices)]
    products = sorted({rest for _, rest, _, _ in entries})
    position = {rest: i for i, rest in enumerate(products)}
    return Gradient(
        np.array(products, np.int64).reshape(len(products), -1),
        np.array([e[0] for e in entries], np.int64),
        np.array([position[e[1]] for e in entries], np.int64),
        np.array([e[2] for e in entries], np.int64),
        np.array([e[3] for e in entries], np.float64),
        (int(outputs.max()) + 1) * width,
    )


def _derivatives(
    factors: list[int],
) -> list[tuple[int, tuple[int, ...], int]]:
    """Return (index, the factors that stay, power) of each derivative."""
    found = []
    for index, power in sorted(Counter(factors).items()):
        rest = list(factors)
        rest.remove(index)
        found.append((index, tuple(rest), power))
    return found
