"""The molecules in the air: their arrays, and one round of all of them."""
from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mpiapp.optimize.base import Numbers
from mpiapp.optimize.convergence import LARGEST_FORCE, LARGEST_GROWTH
from mpiapp.optimize.device.coordinates import Frames
from mpiapp.optimize.device.step import Memory, largest, merged, step
from mpiapp.optimize.tasks import Limits, Task
from mpiapp.records import Floats

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar('T')

#: values of `Flight.code`: it flies; an end is to be judged; the host is
#: asked for a step
FLIES, ENDS, ASKS = 0, 1, 2


class Surface(Protocol):
    """A potential whose input and output stay on its device.

    It evaluates what `compose` has planned for the molecules of a flight,
    until that changes.
    """

    @property
    def device(self) -> str:
        """The device, as PyTorch names it."""

    def edges(self, numbers: Numbers, positions: Floats) -> int:
        """Return the pairs of atoms within the cut-off, both ways."""

    def compose(
        self, tasks: list[Task], n_atoms: int, edges: list[int],
        slack: float,
    ) -> Any:
        """Plan for molecules padded to n_atoms.

        There is to be room for `slack` times the edges that each had.
        """

    def evaluate(
        self, plan: Any, x: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return energies, energies less E0 [n], forces, and if they hold.

        x [n, n_atoms, 3] A and forces [n, n_atoms, 3] eV/A are padded; the
        last is one truth: there was room for all edges.
        """


@dataclass(frozen=True, eq=False)
class Points:
    """Geometries [n, n_atoms, 3] A with energies [n] and forces."""

    x: Tensor
    energy: Tensor
    e_model_minus_e0: Tensor
    forces: Tensor


@dataclass(frozen=True, eq=False)
class Flight:
    """All arrays of the molecules in the air, padded to one shape.

    `x` is to be evaluated next, `point` is the last geometry with finite
    energy and forces, `best` the lowest; `code` says who waits for the host.
    """

    frames: Frames
    memory: Memory
    x: Tensor
    point: Points
    best: Points
    e_start: Tensor
    start_radius: Tensor
    steps: Tensor
    evaluations: Tensor
    code: Tensor

    def __len__(self) -> int:
        """Return the number of molecules."""
        return len(self.x)


def advance(
    flight: Flight, found: tuple[Tensor, Tensor, Tensor, Tensor],
    limits: Limits, maxstep: float,
) -> Flight:
    """Return the flight after an evaluation and a step of all that fly.

    Where there was no room for all edges nothing happens at all.
    """
    energy, _, forces, fits = found
    live = (flight.code == FLIES) & fits
    flight = received(flight, live, found)
    over = live & ended(flight, energy, forces, limits)
    memory, x, asks = step(flight.frames, flight.memory, flight.x, energy,
                           forces, maxstep)
    asks = live & ~over & asks
    moves = live & ~over & ~asks
    code = flight.code.masked_fill(over, ENDS).masked_fill(asks, ASKS)
    return replace(
        flight, code=code, memory=picked(moves, memory, flight.memory),
        x=x.where(moves[:, None, None], flight.x),
        steps=flight.steps + moves)


def received(
    flight: Flight, live: Tensor,
    found: tuple[Tensor, Tensor, Tensor, Tensor],
) -> Flight:
    """Return the flight with the evaluation of those that are `live`."""
    energy, e_model_minus_e0, forces, _ = found
    sound = live & finite(energy, forces)
    new = Points(flight.x, energy, e_model_minus_e0, forces)
    first = sound & (flight.evaluations == 0)
    # NaN, before the first, is not below anything
    better = sound & ~(energy > flight.best.energy)
    return replace(
        flight, point=picked(sound, new, flight.point),
        best=picked(better, new, flight.best),
        e_start=energy.where(first, flight.e_start),
        evaluations=flight.evaluations + live)


def ended(
    flight: Flight, energy: Tensor, forces: Tensor, limits: Limits,
) -> Tensor:
    """Say [n] where `verdict` would not go on; timeouts are the host's."""
    force = largest(forces)
    atoms = flight.frames.atoms
    n_atoms = atoms.sum(1)
    middle = flight.x.sum(1) / n_atoms[:, None]
    spread = ((flight.x - middle[:, None])**2).sum(2) * atoms
    radius = (spread.sum(1) / n_atoms).sqrt()
    return (
        ~finite(energy, forces) | (force < limits.fmax) | (force == 0.0)
        | (force > LARGEST_FORCE)
        | (radius > LARGEST_GROWTH * flight.start_radius)
        | (flight.steps >= limits.max_steps))


def finite(energy: Tensor, forces: Tensor) -> Tensor:
    """Say [n] where energy and all forces are finite."""
    return energy.isfinite() & forces.flatten(1).isfinite().all(1)


def picked(mask: Tensor, new: T, old: T) -> T:
    """Return the rows of new where `mask` [n], those of old elsewhere."""
    import torch

    def pick(name: str) -> Any:
        a, b = getattr(new, name), getattr(old, name)
        if is_dataclass(a):
            return merged(mask, a, b)  # type: ignore[arg-type]
        if a is b:
            return a
        return torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b)
    return type(old)(**{f.name: pick(f.name)
                        for f in fields(old)})  # type: ignore[arg-type]


def rows(part: T, index: Tensor) -> T:
    """Return the rows [n] of all arrays in a dataclass, and of its parts."""
    return type(part)(**{
        f.name: rows(value, index) if is_dataclass(value)
        else value.index_select(0, index)
        for f in fields(part)  # type: ignore[arg-type]
        for value in [getattr(part, f.name)]})


def joined(first: T, second: T) -> T:
    """Return two dataclasses of arrays, one behind the other."""
    import torch
    return type(first)(**{
        f.name: joined(a, b) if is_dataclass(a) else torch.cat([a, b])
        for f in fields(first)  # type: ignore[arg-type]
        for a, b in [(getattr(first, f.name), getattr(second, f.name))]})
