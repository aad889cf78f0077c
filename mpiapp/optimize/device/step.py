"""One step of `internal` for a batch: the same decisions, by masks.

`Internal.try_step` tells what is decided and why.  What is rare (new
coordinates, coordinates given up, a model that cannot be factored) is left
to that, on the host: such molecules are marked and their state is kept.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpiapp.optimize.device.coordinates import (
    Frames, Places, across, backward, decompose, follow, forward, places_at,
    project, solve, unfit, weigh
)
from mpiapp.optimize.internal import (
    DOUBTFUL, LARGEST_TURN, NOISE, RELATIVE_NOISE, SMALLEST_TRUST
)
from mpiapp.optimize.internals.state import (
    LEAST_CURVATURE, MOST_FAILURES, MOST_FRAMES, MOST_RISES, MOST_VAIN, TINY
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Memory:
    """What `InternalState` holds, of a batch.

    `s` and `y` [n, m, size] are rings of pairs, `next` [n] the place of the
    next one, `count` [n] how many there are, `sy` [n, m, m] all s.y.
    """

    base: Places
    pull: Tensor
    energy: Tensor
    has_base: Tensor
    s: Tensor
    y: Tensor
    sy: Tensor
    next: Tensor
    count: Tensor
    trust: Tensor
    length: Tensor
    gain: Tensor
    failures: Tensor
    vain: Tensor
    rises: Tensor
    n_frames: Tensor
    least_energy: Tensor
    least_force: Tensor


@dataclass(frozen=True, eq=False)
class Here:
    """A new geometry: its place, gradient, energy, displacement."""

    place: Places
    pull: Tensor
    energy: Tensor
    s: Tensor


def step(
    frames: Frames, m: Memory, x: Tensor, energy: Tensor, forces: Tensor,
    maxstep: float,
) -> tuple[Memory, Tensor, Tensor]:
    """Return memory and positions after a step, and who asks the host [n].

    x [n, n_atoms, 3] A, energy [n] eV, forces [n, n_atoms, 3] eV/A.
    """
    m = progressed(m, energy, largest(forces))
    place = places_at(frames, x)
    pull = decompose(frames, place, -forces.flatten(1))
    here = Here(place, pull, energy,
                across(frames, m.base, place.q, place.x))
    asks = (~place.sound | unfit(frames, place.q) | (m.vain >= MOST_VAIN)
            | (m.rises >= MOST_RISES) | (m.n_frames > MOST_FRAMES))
    m = remembered(frames, m, here)
    m = judged(m, here, maxstep)
    m, x = left(frames, m)
    return m, x, asks | ~x.flatten(1).isfinite().all(1)


def progressed(m: Memory, energy: Tensor, force: Tensor) -> Memory:
    """Count steps without a new lowest energy or force."""
    better = (energy < m.least_energy) | (force < m.least_force)
    return replace(
        m, vain=(m.vain + 1).masked_fill(better, 0),
        least_energy=energy.minimum(m.least_energy),
        least_force=force.minimum(m.least_force))


def remembered(frames: Frames, m: Memory, here: Here) -> Memory:
    """Keep the pair of the last step where it is sound."""
    import torch
    y = here.pull - m.pull
    curvature = dot(here.s, y)
    of_model = dot(here.s, weigh(frames, here.s))
    sound = m.has_base & (
        curvature > (LEAST_CURVATURE * of_model).clamp(min=TINY))
    at = torch.arange(m.s.shape[1], device=y.device) == m.next[:, None]
    at = at & sound[:, None]
    s_all = torch.where(at[:, :, None], here.s[:, None], m.s)
    y_all = torch.where(at[:, :, None], y[:, None], m.y)
    row = (y_all @ here.s[:, :, None])[:, :, 0]
    column = (s_all @ y[:, :, None])[:, :, 0]
    sy = torch.where(at[:, :, None], row[:, None], m.sy)
    sy = torch.where(at[:, None], column[:, :, None], sy)
    return replace(
        m, s=s_all, y=y_all, sy=sy,
        next=torch.where(sound, (m.next + 1) % m.s.shape[1], m.next),
        count=(m.count + sound).clamp(max=m.s.shape[1]))


def judged(m: Memory, here: Here, maxstep: float) -> Memory:
    """Go on from the new geometry, or back where the energy rose."""
    import torch
    change = here.energy - m.energy
    by_forces = 0.5 * dot(here.s, m.pull + here.pull)
    small = (change > 0) & (change <= DOUBTFUL)
    change = torch.where(small, by_forces, change)
    noise = NOISE + RELATIVE_NOISE * here.energy.abs()
    poor = m.has_base & (change > m.gain / 4) & (-m.gain > noise)
    rose = m.has_base & (change > noise)
    bad = poor | rose
    failures = (m.failures + bad).where(bad | ~m.has_base,
                                        m.failures.new_zeros(()))
    lost = failures == MOST_FAILURES
    back = rose & (m.trust > SMALLEST_TRUST)
    longer = (~poor & m.has_base & (change < 0.75 * m.gain)
              & (m.length > 0.7 * m.trust))
    trust = torch.where(poor, (m.length / 2).clamp(min=SMALLEST_TRUST),
                        m.trust)
    trust = torch.where(longer, (2 * m.trust).clamp(max=maxstep), trust)
    trust = torch.where(back, m.length / 3, trust)
    return replace(
        chosen(~back, m, here), trust=trust, rises=m.rises + back,
        failures=failures.masked_fill(lost, 0),
        count=m.count.masked_fill(lost, 0))


def chosen(new: Tensor, m: Memory, here: Here) -> Memory:
    """Return the memory whose base is the new geometry where `new` [n]."""
    base = merged(new, here.place, m.base)
    return replace(
        m, base=base, pull=here.pull.where(new[:, None], m.pull),
        energy=here.energy.where(new, m.energy),
        has_base=m.has_base | new)


def left(frames: Frames, m: Memory) -> tuple[Memory, Tensor]:
    """Return the memory and the positions after a step from the base."""
    import torch
    change, plain = newton(frames, m)
    # uphill by rounding, in a memory that is close to singular
    uphill = (dot(m.pull, change) > 0) & (m.count > 0)
    change = torch.where(uphill[:, None], plain, change)
    slope = dot(m.pull, change)
    move = project(frames, m.base, change)
    first, last = frames.shape.starts[3:]
    longest = largest(move.view_as(m.base.x))
    turn = change[:, first:last].abs().amax(1) if last > first \
        else longest.new_zeros(len(longest))
    share = 1 / (longest / m.trust).maximum(
        turn / LARGEST_TURN).clamp(min=1.0)
    x = follow(frames, m.base, share[:, None] * change,
               share[:, None] * move)
    return replace(
        m, length=largest(x - m.base.x),
        gain=share * (1 - share / 2) * slope,
        count=m.count.masked_fill(uphill, 0)), x


def newton(frames: Frames, m: Memory) -> tuple[Tensor, Tensor]:
    """Return the quasi-Newton steps [n, size], and those of the model.

    The two loops of L-BFGS as two triangular systems in all s.y, so that
    their length is that of two products and not of 120.
    """
    import torch
    s, y, sy = ordered(m)
    first = torch.linalg.solve_triangular(
        sy, s @ m.pull[:, :, None], upper=True)
    rest = (m.pull[:, :, None] - y.transpose(1, 2) @ first)[:, :, 0]
    both = torch.stack([rest, m.pull])
    z, plain = (forward(frames, m.base, solve(
        m.base, backward(frames, m.base, pull))) for pull in both)
    right = (sy.diagonal(dim1=1, dim2=2)[:, :, None] * first
             - y @ z[:, :, None])
    second = torch.linalg.solve_triangular(
        sy.transpose(1, 2), right, upper=False)
    return -(z + (s.transpose(1, 2) @ second)[:, :, 0]), -plain


def ordered(m: Memory) -> tuple[Tensor, Tensor, Tensor]:
    """Return s, y [n, m, size] and the upper s.y [n, m, m], oldest first.

    Places without a pair hold zeros, and ones on the diagonal.
    """
    import torch
    n, size = m.s.shape[:2]
    age = torch.arange(size, device=m.s.device)
    order = (m.next[:, None] + age) % size
    there = age >= size - m.count[:, None]
    rows = order[:, :, None]
    s, y = (a.gather(1, rows.expand(-1, -1, a.shape[2]))
            * there[:, :, None] for a in (m.s, m.y))
    sy = m.sy.gather(1, rows.expand(-1, -1, size)).gather(
        2, order[:, None].expand(-1, size, -1))
    sy = sy * (there[:, :, None] & there[:, None])
    return s, y, sy.triu() + torch.diag_embed((~there).to(sy.dtype))


def merged(mask: Tensor, new: Places, old: Places) -> Places:
    """Return the new places where `mask` [n], the old ones elsewhere."""
    def pick(a: Tensor, b: Tensor) -> Tensor:
        return a.where(mask.view(-1, *[1] * (a.dim() - 1)), b)
    return Places(pick(new.x, old.x), pick(new.q, old.q),
                  pick(new.entries, old.entries),
                  pick(new.inverse, old.inverse), pick(new.sound, old.sound))


def largest(vectors: Tensor) -> Tensor:
    """Return the largest length [n] of vectors [n, n_atoms, 3]."""
    return (vectors**2).sum(2).sqrt().amax(1)


def dot(u: Tensor, v: Tensor) -> Tensor:
    """Return the scalar products [n] of [n, size]."""
    return (u * v).sum(1)
