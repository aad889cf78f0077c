"""How many molecules a device has room for, found by trying.

Memory goes with the pairs of atoms within the cut-off, not with atoms: two
molecules of equal size differ by half in them, and a model with a longer
cut-off has more.  The first batches are small; what they took tells how far
the next may go, until the memory is used or there is no more work.
"""
from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Protocol

#: edges of the first batch
FIRST_EDGES = 20_000
#: a budget grows by this factor at most, from one batch to the next
GROWTH = 4.0
#: part of the memory that is used; the rest is for fragments of it, and for
#: molecules that get closer pairs while they relax
SHARE = 0.8
#: edges at which a CPU is as fast as it gets: more cost memory alone
CPU_EDGES = 20_000


class Meter(Protocol):
    """Memory of a device."""

    def begin(self) -> None:
        """Begin to look for the peak."""

    def peak(self) -> float:
        """Return the bytes in use at the most since `begin`."""

    def limit(self) -> float:
        """Return the bytes that this rank may use."""


@dataclass(frozen=True)
class CudaMeter:
    """Memory of a GPU that `sharing` ranks use."""

    device: str
    sharing: int = 1

    def begin(self) -> None:
        """See `Meter`."""
        import torch
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> float:
        """See `Meter`; no synchronisation."""
        import torch
        return float(torch.cuda.max_memory_reserved(self.device))

    def limit(self) -> float:
        """See `Meter`."""
        import torch
        free, total = torch.cuda.mem_get_info(self.device)
        own = torch.cuda.memory_reserved(self.device)
        return float(min(total / self.sharing, free + own))


@dataclass(frozen=True)
class CpuMeter:
    """Memory of this machine, shared by its cores."""

    def begin(self) -> None:
        """See `Meter`; a process has one peak, ever."""

    def peak(self) -> float:
        """See `Meter`."""
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def limit(self) -> float:
        """See `Meter`."""
        pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        return pages / (os.cpu_count() or 1)


class Budget:
    """The edges that may be in the air; at most `molecules` (None: any).

    Without a meter it stays as it begins, but for halving.
    """

    def __init__(
        self, edges: float, molecules: int | None = None,
        meter: Meter | None = None, most: float = float('inf'),
    ) -> None:
        self.edges, self.molecules = min(edges, most), molecules
        self.most, self.meter = most, meter
        self.settled = meter is None
        self.halvings = 0
        self._idle = 0.0 if meter is None else meter.peak()

    def room(self, edges: float, n: int, more: int) -> bool:
        """Say whether a molecule of `more` edges may join n of `edges`."""
        if self.molecules is not None and n >= self.molecules:
            return False
        return n == 0 or edges + more <= self.edges

    def watch(self) -> None:
        """Begin to measure, before a batch."""
        if self.meter is not None and not self.settled:
            self.meter.begin()

    def learn(self, edges: float) -> None:
        """Grow by what a batch of so many edges has taken.

        Settled once the edges in the air are what the memory holds.
        """
        if self.meter is None or self.settled or edges < self.edges / 2:
            return
        taken = max(self.meter.peak() - self._idle, 0.0)
        held = SHARE * self.meter.limit() - self._idle
        fits = held / taken * edges if taken else GROWTH * edges
        wanted = min(fits, self.most)
        self.settled = wanted <= self.edges * 1.1
        self.edges = min(wanted, GROWTH * self.edges)

    def halve(self, edges: float) -> None:
        """Do with half of what did not fit into memory, from now on."""
        self.edges = min(self.edges, edges) / 2
        self.settled = True
        self.halvings += 1


def budget_for(
    device: str, molecules: int | None = None, sharing: int = 1,
) -> Budget:
    """Return the budget to begin with on a device of PyTorch.

    `molecules` limits their number instead of the memory.
    """
    if molecules is not None:
        return Budget(float('inf'), molecules)
    if device == 'cpu':
        return Budget(FIRST_EDGES, None, CpuMeter(), CPU_EDGES)
    return Budget(FIRST_EDGES, None, CudaMeter(device, sharing))
