"""What the machine can do, measured, and what holds a stage back."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: numbers of the vectors of the triad, beyond every cache, and the GEMM
TRIAD, GEMM = 2 ** 23, 768
#: tries of which the best counts: ceilings are bests
TRIES = 5
#: the bounds must explain this share of the time, or the host is at fault
EXPLAINED = 0.5


@dataclass(frozen=True)
class Ceilings:
    """Bytes/s of a triad, FLOP/s of matrix products by dtype, s a launch."""

    bandwidth: float
    flops: Mapping[str, float] = field(default_factory=dict)
    launch: float = 0.0

    def as_row(self) -> dict[str, Any]:
        """Return them as data."""
        return asdict(self)


def measure_ceilings(
    device: str, dtypes: tuple[str, ...] = ('float64', 'float32'),
    triad: int = TRIAD, gemm: int = GEMM,
) -> Ceilings:
    """Measure this machine, with the threads that torch has."""
    import torch

    def synchronise() -> None:
        if device == 'cuda':
            torch.cuda.synchronize()

    b, c = (torch.rand(triad, dtype=torch.float64, device=device)
            for _ in range(2))
    a = torch.empty_like(b)
    seconds = best(lambda: torch.add(b, c, alpha=3.0, out=a), synchronise)
    bandwidth = 3 * a.numel() * a.element_size() / seconds
    flops = {}
    for name in dtypes:
        x = torch.rand(gemm, gemm, device=device).to(getattr(torch, name))
        flops[name] = 2.0 * gemm ** 3 / best(lambda: x @ x, synchronise)
    one = torch.zeros(1, device=device)

    def many() -> None:
        for _ in range(1000):
            one.add(1.0)
    return Ceilings(bandwidth, flops, best(many, synchronise) / 1000)


def best(act: Callable[[], Any], synchronise: Callable[[], None]) -> float:
    """Return the seconds of the fastest of several calls."""
    taken = []
    for _ in range(TRIES):
        synchronise()
        began = time.perf_counter()
        act()
        synchronise()
        taken.append(time.perf_counter() - began)
    return min(taken)


def amdahl(share: float, gain: float = float('inf')) -> float:
    """Return how much faster the whole gets if a part gets `gain` times."""
    rest = 1.0 - share + share / gain
    return float('inf') if rest <= 0 else 1.0 / rest


def verdict(
    seconds: float, flops: float, n_bytes: float, operations: int,
    ceilings: Ceilings, dtype: str,
) -> tuple[str, dict[str, float]]:
    """Return what bounds a stage, and the least seconds by each bound."""
    bounds = {
        'compute': flops / ceilings.flops.get(
            dtype, max(ceilings.flops.values())),
        'bandwidth': n_bytes / ceilings.bandwidth,
        'launch': operations * ceilings.launch}
    name = max(bounds, key=lambda k: bounds[k])
    if seconds > 0 and bounds[name] < EXPLAINED * seconds:
        name = 'host'
    return f'{name}-bound', bounds
