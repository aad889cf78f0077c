"""The convolution of MACE as one matrix product for each path.

e3nn writes the message of every edge, all paths side by side, before they
are summed at the receivers.  Here neighbours are padded to equal numbers,
and one batched matrix product couples a path and sums over the neighbours.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Path:
    """One way to couple an input and a harmonic to an output.

    `source` is the index of the input irrep, `harmonic` the slice of the
    edge's attributes, `weight` that of its weights and `output` the index
    of the output irrep, which no other path feeds.
    """

    source: int
    harmonic: slice
    weight: slice
    output: int


def paths_of(product: Any) -> list[Path] | None:
    """Return the paths of an e3nn tensor product; None for another kind."""
    harmonics = product.irreps_in2.slices()
    paths, start = [], 0
    for ins in product.instructions:
        n_channels = product.irreps_in1[ins.i_in1].mul
        simple = (ins.connection_mode == 'uvu' and ins.has_weight
                  and product.irreps_in2[ins.i_in2].mul == 1)
        if not simple:
            return None
        paths.append(Path(ins.i_in1, harmonics[ins.i_in2],
                          slice(start, start + n_channels), ins.i_out))
        start += n_channels
    paths.sort(key=lambda path: path.output)
    outputs = [path.output for path in paths]
    complete = outputs == list(range(len(product.irreps_out)))
    return paths if complete else None


def convolution(product: Any) -> torch.nn.Module | None:
    """Return a module for mace-torch's hook `conv_fusion`, or None.

    It takes node features, edge attributes, edge weights and the edges [2,
    n_edges] and returns the sums of messages at the receivers.
    """
    paths = paths_of(product)
    return None if paths is None else _module_class()(product, paths)


def couplings_of(product: Any) -> list[torch.Tensor]:
    """Return each path's matrix [harmonic, input times output] in float64.

    In the order of the outputs.  Where the product stores a coupling, it is
    taken from there: in a file of float32 it is rounded, and the reference
    in float64 keeps it so.
    """
    import torch
    from e3nn import o3
    stored = {name.rpartition('.')[2]: values.detach().double().cpu()
              for name, values in product.named_buffers()}
    found = {}
    for ins in product.instructions:
        first, second, third = (
            product.irreps_in1[ins.i_in1].ir,
            product.irreps_in2[ins.i_in2].ir,
            product.irreps_out[ins.i_out].ir)
        l3 = first.l, second.l, third.l
        w3j = stored.get(f'_w3j_{l3[0]}_{l3[1]}_{l3[2]}')
        if w3j is None:
            w3j = o3.wigner_3j(*l3, dtype=torch.float64)
        matrix = w3j.permute(1, 0, 2).reshape(second.dim, -1)
        found[ins.i_out] = ins.path_weight * matrix
    return [found[i] for i in sorted(found)]


@lru_cache(maxsize=1)
def _module_class() -> Any:
    """Return the module's class, which can't exist before torch does."""
    import torch

    class Convolution(torch.nn.Module):
        """Sums over neighbours of features times harmonics."""

        def __init__(self, product: Any, paths: list[Path]) -> None:
            super().__init__()
            self.paths = paths
            # set: that many edges for each receiver, in its order
            self.width = 0
            self.irreps_in, self.irreps_out = (
                product.irreps_in1, product.irreps_out)
            self.weight_numel = product.weight_numel
            for i, matrix in enumerate(couplings_of(product)):
                self.register_buffer(f'coupling_{i}', matrix)

        def forward(
            self, x: torch.Tensor, attributes: torch.Tensor,
            weights: torch.Tensor, edges: torch.Tensor,
        ) -> torch.Tensor:
            n, senders, width = len(x), edges[0], self.width
            if not width:
                width, edge_of = _places(edges[1], n)
                place = n * width
                senders = edges[0].new_zeros(place).index_copy(
                    0, edge_of[1], edges[0][edge_of[0]])
                attributes = _padded(attributes, place, edge_of)
                weights = _padded(weights, place, edge_of)
            return self.sums(x, attributes, weights, senders, width)

        def sums(
            self, x: torch.Tensor, attributes: torch.Tensor,
            weights: torch.Tensor, senders: torch.Tensor, width: int,
        ) -> torch.Tensor:
            """Return sums of messages [n, n_out], from places [n * width].

            Every receiver has `width` places, one after the other; those
            without an edge have attributes of zero and any sender.
            """
            n = len(attributes) // width
            sources = [
                x[:, part].view(len(x), mul, ir.dim).transpose(1, 2)
                .contiguous().index_select(0, senders)
                for part, (mul, ir) in zip(
                    self.irreps_in.slices(), self.irreps_in)]
            sums = []
            # split, whose backward pass joins; that of slices fills zeros
            weights_by_start = _split(weights, [p.weight for p in self.paths])
            harmonics = _split(attributes, [p.harmonic for p in self.paths])
            for i, path in enumerate(self.paths):
                # [place, input, channel] and [place, input times output]
                left = (sources[path.source]
                        * weights_by_start[path.weight.start][:, None])
                right = (harmonics[path.harmonic.start]
                         @ getattr(self, f'coupling_{i}'))
                dim = self.irreps_out[path.output].ir.dim
                total = (right.view(n, -1, dim).transpose(1, 2)
                         @ left.view(n, -1, left.shape[2]))
                sums.append(total.transpose(1, 2).reshape(n, -1))
            return torch.cat(sums, dim=1)

    return Convolution


def _places(
    receivers: torch.Tensor, n: int,
) -> tuple[int, tuple[torch.Tensor, torch.Tensor]]:
    """Return the places of an atom and (edge, its place) of all edges.

    Every atom has as many places as the one with most neighbours.
    """
    import torch
    order = torch.argsort(receivers, stable=True)
    counts = torch.bincount(receivers, minlength=n)
    width = max(1, int(counts.max()))
    before = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(order), device=order.device)
    sorted_receivers = receivers[order]
    places = sorted_receivers * width + rank - before[sorted_receivers]
    return width, (order, places)


def _split(
    values: torch.Tensor, parts: list[slice],
) -> dict[int, torch.Tensor]:
    """Return the parts of values [n, k], by their first column."""
    starts = sorted({0, *(p.start for p in parts), *(p.stop for p in parts),
                     values.shape[1]})
    sizes = [b - a for a, b in zip(starts, starts[1:])]
    return dict(zip(starts, values.split(sizes, dim=1)))


def _padded(
    values: torch.Tensor, n_places: int,
    edge_of: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Return values [n_edges, k] at their places, zero elsewhere."""
    empty = values.new_zeros(n_places, values.shape[1])
    return empty.index_copy(0, edge_of[1], values[edge_of[0]])
