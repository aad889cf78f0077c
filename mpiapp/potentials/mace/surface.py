"""A MACE model whose input and output stay on the device.

What `MaceReference.evaluate` does, for the molecules of a device program:
positions come as padded arrays of PyTorch, the pairs are found there, and
nothing in an evaluation waits for the device.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mpiapp.potentials.mace import graph as graphs
from mpiapp.potentials.mace.neighbours import Edges, listed, near, placed
from mpiapp.records import Floats, Ints

if TYPE_CHECKING:
    from torch import Tensor

    from mpiapp.potentials.mace.reference import MaceReference


#: room for edges of the smallest flights
SPARE = 64


class HasNumbers(Protocol):
    """A molecule of a flight."""

    @property
    def numbers(self) -> Any:
        """Atomic numbers [n_atoms]."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What evaluations of the same molecules have in common.

    `atoms` [n_real] are the rows of the real atoms in [n * n_atoms],
    `place_of` the way back, `allowed` [n, n_atoms, n_atoms] the pairs there
    are; `inputs` of the model; `e0` [n] eV; `groups` are the elements with
    their atoms; `known` [n]: all elements are the model's.  There is room
    for `n_edges`, or for `width` to each atom where that is not 0.
    """

    atoms: Tensor
    place_of: Tensor
    allowed: Tensor
    known: Tensor
    inputs: dict[str, Tensor]
    e0: Tensor
    groups: list[tuple[int, Tensor]]
    n_edges: int
    width: int


@dataclass(frozen=True, eq=False)
class MaceSurface:
    """See `optimize.device.flight.Surface`."""

    potential: MaceReference

    @property
    def device(self) -> str:
        """The device of the model."""
        return self.potential.device

    @property
    def padded(self) -> bool:
        """Whether the convolutions want equal numbers of neighbours."""
        return any(hasattr(c, 'width') for c in self._convolutions())

    def edges(self, numbers: Any, positions: Floats) -> int:
        """Return the places that the pairs of a molecule take."""
        pairs = graphs.pairs(positions, self.potential.model.r_max)
        if not self.padded:
            return int(pairs.shape[1])
        most = np.bincount(pairs[1], minlength=1).max()
        return int(most) * len(numbers)

    def compose(
        self, tasks: Sequence[HasNumbers], n_atoms: int, edges: list[int],
        slack: float,
    ) -> Plan:
        """Plan evaluations of molecules padded to n_atoms.

        With room for `slack` times the edges of each molecule.
        """
        import torch
        model, device = self.potential.model, self.device
        sizes = [len(t.numbers) for t in tasks]
        where = np.concatenate([
            i * n_atoms + np.arange(size) for i, size in enumerate(sizes)])
        place_of = np.zeros(len(tasks) * n_atoms, np.int64)
        place_of[where] = np.arange(len(where))
        species = np.concatenate([
            self.potential.species_of()[np.asarray(t.numbers)]
            for t in tasks])
        known = np.array([
            np.isin(t.numbers, model.numbers).all() for t in tasks])
        species = np.maximum(species, 0)

        def whole(values: Any) -> Tensor:
            return torch.as_tensor(values, dtype=torch.long, device=device)

        real = np.arange(n_atoms) < np.array(sizes)[:, None]
        there = torch.as_tensor(real, device=device)
        allowed = there[:, :, None] & there[:, None] & ~torch.eye(
            n_atoms, dtype=torch.bool, device=device)
        e0 = np.bincount(np.repeat(np.arange(len(tasks)), sizes),
                         model.e0[species], len(tasks))
        return Plan(
            whole(where), whole(place_of), allowed,
            torch.as_tensor(known, device=device),
            self._inputs(species, sizes), torch.as_tensor(e0, device=device),
            [(int(z), whole(np.flatnonzero(species == z)))
             for z in np.unique(species)],
            SPARE + int(slack * sum(edges)),
            self._width(sizes, edges, slack))

    def _width(
        self, sizes: list[int], edges: list[int], slack: float,
    ) -> int:
        """Return the places of each atom, 0 where edges are a list."""
        if not self.padded:
            return 0
        most = max(e / n for e, n in zip(edges, sizes, strict=True))
        return 1 + int(slack * most)

    def _inputs(
        self, species: Ints, sizes: list[int],
    ) -> dict[str, Tensor]:
        """Return what the model takes besides positions and edges."""
        import torch
        model, n = self.potential.model, len(sizes)
        dtype = getattr(torch, self.potential.dtype)

        def send(values: Any, kind: Any) -> Tensor:
            return torch.as_tensor(values, dtype=kind, device=self.device)

        return {
            'node_attrs': send(np.eye(len(model.e0))[species], dtype),
            'cell': send(np.zeros((3 * n, 3)), dtype),
            'batch': send(np.repeat(np.arange(n), sizes), torch.long),
            'ptr': send(np.cumsum([0, *sizes]), torch.long),
            'head': send(np.full(n, model.head), torch.long),
        }

    def evaluate(
        self, plan: Plan, x: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return energies, energies less E0, forces and `fits`."""
        centred = x - self._middle(plan, x)
        edges = self._edges(plan, centred)
        with self._planned(plan):
            out = self._run(plan, centred, edges)
        n, n_atoms = x.shape[:2]
        atomic = x.new_zeros(n * n_atoms)
        atomic[plan.atoms] = out['node_energy'].detach().to(x.dtype)
        forces = x.new_zeros(n * n_atoms, 3)
        forces[plan.atoms] = out['forces'].detach().to(x.dtype)
        interaction = atomic.view(n, n_atoms).sum(1)
        interaction = interaction.masked_fill(~plan.known, np.nan)
        return (interaction + plan.e0, interaction,
                forces.view(n, n_atoms, 3), edges.fits)

    def _middle(self, plan: Plan, x: Tensor) -> Tensor:
        """Return the mean positions [n, 1, 3]; padding stands at zero."""
        sizes = plan.inputs['ptr'].diff()
        return (x.sum(1) / sizes[:, None])[:, None]

    def _edges(self, plan: Plan, x: Tensor) -> Edges:
        cutoff = self.potential.model.r_max
        pairs = near(x, plan.allowed, cutoff)
        if plan.width:
            return placed(x, pairs, plan.atoms, plan.place_of, plan.width,
                          cutoff)
        return listed(x, pairs, plan.place_of, plan.n_edges, cutoff)

    def _run(self, plan: Plan, x: Tensor, edges: Edges) -> Any:
        """Run the model; float32 gets what rounding takes from vectors."""
        sender, receiver = edges.ends
        dtype = plan.inputs['node_attrs'].dtype
        rounded = x.flatten(0, 1)[plan.atoms].to(dtype)
        apart = (rounded[receiver] - rounded[sender]).to(x.dtype)
        shifts = (edges.vectors - apart).to(dtype)
        return self.potential.model.module(
            {'positions': rounded, 'edge_index': edges.ends,
             'shifts': shifts, 'unit_shifts': shifts.new_zeros(shifts.shape),
             **plan.inputs},
            training=False, compute_force=True)

    def _convolutions(self) -> list[Any]:
        return [layer.conv_tp for layer
                in self.potential.model.module.interactions]

    @contextmanager
    def _planned(self, plan: Plan) -> Iterator[None]:
        """Tell our own modules what they would wait for the device for."""
        convolutions = [c for c in self._convolutions()
                        if hasattr(c, 'width')]
        contractions = [
            c for product in self.potential.model.module.products
            for c in [product.symmetric_contractions]
            if hasattr(c, 'groups')]
        for c in convolutions:
            c.width = plan.width
        for c in contractions:
            c.groups = plan.groups
        try:
            yield
        finally:
            for c in convolutions:
                c.width = 0
            for c in contractions:
                c.groups = None
