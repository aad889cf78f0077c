"""Pairs of atoms within the cut-off, found on the device without waiting.

The number of pairs is not known to the host, so that arrays have room for
more, and the rest is filled with edges beyond the cut-off: those add nothing
to any sum.  All molecules are padded to one size; distances between all
atoms of a molecule cost less than a grid up to some thousand atoms.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Edges:
    """Senders and receivers [2, n_edges] in the list of real atoms.

    `vectors` [n_edges, 3] A lead from the sender, in float64; `fits` is one
    truth: all pairs had a place.
    """

    ends: Tensor
    vectors: Tensor
    fits: Tensor


def near(x: Tensor, allowed: Tensor, cutoff: float) -> Tensor:
    """Say [n, n_atoms, n_atoms] which atoms of x are within the cut-off.

    x [n, n_atoms, 3] A; `allowed` says which pairs there are at all.
    """
    apart = x[:, :, None] - x[:, None]
    return ((apart**2).sum(-1) < cutoff**2) & allowed


def listed(
    x: Tensor, pairs: Tensor, place_of: Tensor, n_edges: int, cutoff: float,
) -> Edges:
    """Return the pairs as a list with n_edges places, by their senders.

    `place_of` [n * n_atoms] is where an atom stands among the real ones.
    """
    import torch
    n_atoms, flat = x.shape[1], pairs.flatten()
    rank = flat.cumsum(0)
    # what has no place, or is no pair, goes to the last one, not used
    place = (rank - 1).clamp(max=n_edges).where(
        flat, rank.new_full((), n_edges))
    found = rank.new_full((n_edges + 1,), -1).scatter_(
        0, place, torch.arange(len(flat), device=x.device))[:-1]
    there = found >= 0
    first = found.clamp(min=0) // n_atoms
    second = first // n_atoms * n_atoms + found.clamp(min=0) % n_atoms
    return Edges(
        place_of[torch.stack([first, second])],
        filled(x, first, second, there, cutoff), rank[-1] <= n_edges)


def placed(
    x: Tensor, pairs: Tensor, atoms: Tensor, place_of: Tensor, width: int,
    cutoff: float,
) -> Edges:
    """Return `width` edges for each real atom as the receiver, in order.

    `atoms` [n_real] are the rows of the real atoms in [n * n_atoms].
    """
    import torch
    n_atoms = x.shape[1]
    table = pairs.flatten(0, 1)[atoms]
    rank = table.cumsum(1)
    place = (rank - 1).clamp(max=width).where(
        table, rank.new_full((), width))
    columns = torch.arange(n_atoms, device=x.device).expand_as(table)
    found = rank.new_full((len(atoms), width + 1), -1).scatter_(
        1, place, columns)[:, :-1].flatten()
    there = found >= 0
    second = atoms.repeat_interleave(width, output_size=len(found))
    first = (second // n_atoms * n_atoms + found).where(there, second)
    return Edges(
        place_of[torch.stack([first, second])],
        filled(x, first, second, there, cutoff),
        (rank[:, -1] <= width).all())


def filled(
    x: Tensor, first: Tensor, second: Tensor, there: Tensor, cutoff: float,
) -> Tensor:
    """Return the vectors [n_edges, 3], beyond the cut-off if not there."""
    flat = x.flatten(0, 1)
    vectors = flat[second] - flat[first]
    beyond = vectors.new_zeros(3)
    beyond[0] = 2 * cutoff
    return vectors.where(there[:, None], beyond)
