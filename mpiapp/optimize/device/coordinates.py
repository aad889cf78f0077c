"""Internal coordinates of a batch and the model Hessian, in PyTorch.

The batched form of `internals.primitives`, `coordinates` and `metric`; see
there for what is computed.  All arrays have a leading axis of molecules [n]
and are padded to one `Shape`; padding has no weight.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpiapp.optimize.device.shapes import Shape
from mpiapp.optimize.internals.metric import FLOOR, FOLLOW, ROUNDING
from mpiapp.optimize.internals.primitives import SMALLEST
from mpiapp.optimize.internals.state import LARGEST_BEND, LARGEST_LINE

if TYPE_CHECKING:
    from torch import Tensor

#: 2 pi, as numpy has it
TURN = 6.283185307179586
#: corrections of the positions that follow a displacement, at most
ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Frames:
    """The coordinates of each molecule: atoms, force constants, cells.

    `pairs` [n, k, 2] to `torsions` [n, k, 4] are atoms; `stiffness` and
    `real` [n, n_q] (1 or 0) belong to the coordinates, `atoms` [n, n_atoms]
    says which atoms there are.  `columns` [n, n_entries] and `cells` [n,
    n_products] say where the entries of dq/dx and the products of two of
    them stand.
    """

    pairs: Tensor
    bends: Tensor
    lines: Tensor
    torsions: Tensor
    stiffness: Tensor
    real: Tensor
    atoms: Tensor
    columns: Tensor
    cells: Tensor

    @property
    def shape(self) -> Shape:
        """Return the shape that all are padded to."""
        return Shape(self.atoms.shape[1], self.pairs.shape[1],
                     self.bends.shape[1], self.lines.shape[1],
                     self.torsions.shape[1])


@dataclass(frozen=True, eq=False)
class Places:
    """Geometries x [n, n_atoms, 3] with q [n, n_q], dq/dx and the model.

    `entries` [n, n_entries] are those of dq/dx; `inverse` [n, 3 n_atoms, 3
    n_atoms] is that of the model Hessian, wrong where `sound` [n] is false.
    """

    x: Tensor
    q: Tensor
    entries: Tensor
    inverse: Tensor
    sound: Tensor


def places_at(frames: Frames, x: Tensor) -> Places:
    """Compute the coordinates and the model at x [n, n_atoms, 3] A."""
    blocks = slopes(frames, x)
    inverse, sound = invert(frames, blocks)
    entries = _flat(blocks)
    return Places(x, values(frames, x), entries, inverse, sound)


def values(frames: Frames, x: Tensor) -> Tensor:
    """Return the coordinates [n, n_q]."""
    import torch
    n, p = len(x), vectors(x, frames.pairs)
    t = vectors(x, frames.torsions)
    found = [
        lengths(p[:, :, 0] - p[:, :, 1]),
        bend(*arms(x, frames.bends)),
        line(*arms(x, frames.lines)).reshape(n, -1),
        torsion(t[:, :, 1] - t[:, :, 0], t[:, :, 2] - t[:, :, 1],
                t[:, :, 3] - t[:, :, 2])]
    return torch.cat(found, 1) * frames.real


def slopes(frames: Frames, x: Tensor) -> list[Tensor]:
    """Return dq/dx by kind, each [n, k, 3 times its atoms]."""
    n, p = len(x), vectors(x, frames.pairs)
    t = vectors(x, frames.torsions)
    blocks = [
        pair_slopes(p[:, :, 0] - p[:, :, 1]),
        bend_slopes(*arms(x, frames.bends)),
        line_slopes(*arms(x, frames.lines)),
        torsion_slopes(t[:, :, 1] - t[:, :, 0], t[:, :, 2] - t[:, :, 1],
                       t[:, :, 3] - t[:, :, 2])]
    starts = frames.shape.starts
    return [
        block.reshape(n, last - first, block.shape[-2] * 3)
        * frames.real[:, first:last, None]
        for block, first, last in zip(blocks, starts, starts[1:],
                                      strict=False)]


def invert(
    frames: Frames, blocks: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Return the inverse model Hessians, and which of them are right."""
    import torch
    n, width = len(frames.atoms), 3 * frames.atoms.shape[1]
    starts, products = frames.shape.starts, []
    for block, first, last in zip(blocks, starts, starts[1:], strict=False):
        stiff = block * frames.stiffness[:, first:last, None]
        i, j = torch.triu_indices(block.shape[2], block.shape[2],
                                  device=block.device)
        products.append((block[:, :, i] * stiff[:, :, j]).flatten(1))
    matrix = block.new_zeros(n, width * width).scatter_add_(
        1, frames.cells, torch.cat(products, 1)).view(n, width, width)
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    diagonal += (ROUNDING * diagonal.amax(1)).clamp(min=FLOOR)[:, None]
    lower, info = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_inverse(lower), info == 0


def forward(frames: Frames, here: Places, move: Tensor) -> Tensor:
    """Return the displacements [n, size] of moves [n, 3 n_atoms] A."""
    import torch
    products = here.entries * move.gather(1, frames.columns)
    sums, start = [], 0
    for k, width in kinds(frames.shape):
        part = products[:, start:start + k * width]
        sums.append(part.view(len(move), k, width).sum(2))
        start += k * width
    return torch.cat([*sums, move], 1)


def backward(frames: Frames, here: Places, pull: Tensor) -> Tensor:
    """Return the Cartesian gradients [n, 3 n_atoms] of [n, size]."""
    import torch
    n_q, start = frames.shape.n_q, 0
    parts = []
    for k, width in kinds(frames.shape):
        part = pull[:, start:start + k, None].expand(-1, -1, width)
        parts.append(part.reshape(len(pull), k * width))
        start += k
    return pull[:, n_q:].scatter_add(
        1, frames.columns, here.entries * torch.cat(parts, 1))


def kinds(shape: Shape) -> list[tuple[int, int]]:
    """Return number and entries a row of each kind of coordinates."""
    return [(shape.pairs, 6), (shape.bends, 9), (3 * shape.lines, 9),
            (shape.torsions, 12)]


def weigh(frames: Frames, change: Tensor) -> Tensor:
    """Return the model's gradient changes of displacements [n, size]."""
    import torch
    n_q = frames.shape.n_q
    return torch.cat([frames.stiffness * change[:, :n_q],
                      FLOOR * change[:, n_q:]], 1)


def solve(here: Places, gradient: Tensor) -> Tensor:
    """Return the model's moves [n, 3 n_atoms] A along [n, 3 n_atoms]."""
    return (here.inverse @ gradient[:, :, None])[:, :, 0]


def decompose(frames: Frames, here: Places, gradient: Tensor) -> Tensor:
    """Return gradients [n, size] whose Cartesian form is given."""
    import torch
    n_q = frames.shape.n_q
    pull = weigh(frames, forward(frames, here, solve(here, gradient)))
    rest = gradient - backward(frames, here, pull)
    return torch.cat([pull[:, :n_q], pull[:, n_q:] + rest], 1)


def project(frames: Frames, here: Places, change: Tensor) -> Tensor:
    """Return the moves [n, 3 n_atoms] A nearest to displacements."""
    return solve(here, backward(frames, here, weigh(frames, change)))


def across(frames: Frames, here: Places, q: Tensor, x: Tensor) -> Tensor:
    """Return the displacements [n, size] to x, whose coordinates are q."""
    import torch
    change, first = q - here.q, frames.shape.starts[3]
    turns = change[:, first:]
    turns = turns - TURN * torch.round(turns / TURN)
    return torch.cat([change[:, :first], turns, (x - here.x).flatten(1)], 1)


def follow(
    frames: Frames, here: Places, change: Tensor, move: Tensor,
) -> Tensor:
    """Return positions [n, n_atoms, 3] displaced by `change` [n, size]."""
    x = here.x + move.view_as(here.x)
    longest = move.abs().amax(1)
    tolerance, going = FOLLOW * longest, longest > -1.0
    for _ in range(ROUNDS):
        left = change - across(frames, here, values(frames, x), x)
        correction = project(frames, here, left)
        previous, longest = longest, correction.abs().amax(1)
        going = going & ~(longest > previous / 2)
        shift = correction.view_as(x)
        x = x + shift.where(going[:, None, None], shift.new_zeros(()))
        going = going & ~(longest < tolerance)
    return x


def unfit(frames: Frames, q: Tensor) -> Tensor:
    """Say [n] where the coordinates are no longer safe."""
    _, bends, lines, torsions, _ = frames.shape.starts
    found: Tensor = (q[:, bends:lines] > LARGEST_BEND).any(1)
    found |= (q[:, lines:torsions].abs() > LARGEST_LINE).any(1)
    return found


def vectors(x: Tensor, atoms: Tensor) -> Tensor:
    """Return the positions [n, k, m, 3] of atoms [n, k, m]."""
    n, k, m = atoms.shape
    flat = atoms.reshape(n, k * m, 1).expand(-1, -1, 3)
    return x.gather(1, flat).view(n, k, m, 3)


def arms(x: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the vectors [n, k, 3] from the middle atom to both others."""
    v = vectors(x, atoms)
    return v[:, :, 0] - v[:, :, 1], v[:, :, 2] - v[:, :, 1]


def pair_slopes(v: Tensor) -> Tensor:
    """Return [n, k, 2, 3] of distances."""
    import torch
    u = v / lengths(v)[..., None]
    return torch.stack([u, -u], 2)


def bend(u: Tensor, v: Tensor) -> Tensor:
    """Return the angles [n, k] between two arms, radian."""
    import torch
    w = torch.linalg.cross(u, v)
    return torch.atan2(dot(w, w).sqrt(), dot(u, v))


def bend_slopes(u: Tensor, v: Tensor) -> Tensor:
    """Return [n, k, 3, 3] of the angles between two arms."""
    import torch
    r, s = lengths(u), lengths(v)
    u, v = u / r[..., None], v / s[..., None]
    cosine = dot(u, v)
    sine = (1 - cosine**2).clamp(min=0.0).sqrt().clamp(min=SMALLEST)
    a = (cosine[..., None] * u - v) / (r * sine)[..., None]
    b = (cosine[..., None] * v - u) / (s * sine)[..., None]
    return torch.stack([a, -a - b, b], 2)


def line(u: Tensor, v: Tensor) -> Tensor:
    """Return the sums [n, k, 3] of the unit vectors along two arms."""
    return u / lengths(u)[..., None] + v / lengths(v)[..., None]


def line_slopes(u: Tensor, v: Tensor) -> Tensor:
    """Return [n, 3 k, 3, 3] of the sums of unit vectors."""
    import torch
    a, b = turn_slopes(u), turn_slopes(v)
    n, k = u.shape[:2]
    return torch.stack([a, -a - b, b], 3).reshape(n, 3 * k, 3, 3)


def turn_slopes(v: Tensor) -> Tensor:
    """Return [n, k, 3, 3]: the derivative of the unit vector along v."""
    import torch
    r = lengths(v)[..., None]
    u = v / r
    unit = torch.eye(3, dtype=v.dtype, device=v.device)
    return (unit - u[..., :, None] * u[..., None, :]) / r[..., None]


def torsion(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the torsions [n, k] of chains of three vectors, radian."""
    import torch
    n, m = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    return torch.atan2(dot(b, b).sqrt() * dot(a, m), dot(n, m))


def torsion_slopes(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return [n, k, 4, 3] of the torsions of chains of three vectors."""
    import torch
    n, m = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    r = lengths(b)
    first = -(r / heights(n, a, r))[..., None] * n
    last = (r / heights(m, c, r))[..., None] * m
    f = (dot(a, b) / r**2)[..., None]
    g = (dot(c, b) / r**2)[..., None]
    second = g * last - (1 + f) * first
    third = f * first - (1 + g) * last
    return torch.stack([first, second, third, last], 2)


def heights(n: Tensor, arm: Tensor, r: Tensor) -> Tensor:
    """Return |n|^2, kept above that of a nearly straight chain."""
    least = SMALLEST**2 * dot(arm, arm) * r**2 + SMALLEST**4
    return dot(n, n).maximum(least)


def lengths(v: Tensor) -> Tensor:
    """Return the lengths of vectors [..., 3], kept above SMALLEST."""
    return dot(v, v).sqrt().clamp(min=SMALLEST)


def dot(u: Tensor, v: Tensor) -> Tensor:
    """Return the scalar products of vectors [..., 3]."""
    return (u * v).sum(-1)


def _flat(blocks: list[Tensor]) -> Tensor:
    """Return the entries of all kinds one after the other [n, ...]."""
    import torch
    return torch.cat([block.flatten(1) for block in blocks], 1)
