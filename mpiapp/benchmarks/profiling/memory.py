"""Memory of an evaluation: peaks, what a batch takes, what leaks."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.records import Batch, Floats

STAT = Path('/proc/self/statm')


@dataclass(frozen=True)
class MemoryModel:
    """Bytes m0 + per_atom * atoms + per_edge * edges of a call's peak."""

    m0: float
    per_atom: float
    per_edge: float
    error: float

    def bytes(self, atoms: float, edges: float) -> float:
        """Return the predicted peak."""
        return self.m0 + self.per_atom * atoms + self.per_edge * edges

    def largest_batch(self, atoms: float, edges: float, limit: float) -> int:
        """Return the most copies of a molecule that fit into `limit`."""
        one = self.per_atom * atoms + self.per_edge * edges
        if one <= 0:
            raise ValueError('a molecule that takes no memory')
        return max(0, int((limit - self.m0) // one))

    def as_row(self) -> dict[str, Any]:
        """Return it as data."""
        return asdict(self)


def fit(atoms: Floats, edges: Floats, peaks: Floats) -> MemoryModel:
    """Return the model of measured peaks [n], no coefficient below 0."""
    from scipy.optimize import nnls
    x = np.column_stack([np.ones(len(peaks)), atoms, edges]) \
        / peaks[:, None]
    scale = np.linalg.norm(x, axis=0)
    scale[scale == 0] = 1.0
    found, _ = nnls(x / scale, np.ones(len(peaks)))
    m0, a, e = found / scale
    error = (m0 + a * atoms + e * edges) / peaks - 1
    return MemoryModel(float(m0), float(a), float(e),
                       float(np.sqrt((error ** 2).mean())))


@dataclass(frozen=True)
class Allocations:
    """Bytes that PyTorch held at times [n, ns], and ranges by stage."""

    times: Floats
    held: Floats
    ranges: tuple[tuple[str, float, float], ...]

    @property
    def peak(self) -> float:
        """The most bytes beyond those held at the start."""
        return float(self.held.max(initial=0.0))

    def by_stage(self) -> dict[str, float]:
        """Return the most bytes held while each stage ran forward."""
        found: dict[str, float] = {}
        for name, start, end in self.ranges:
            inside = (self.times >= start) & (self.times <= end)
            if inside.any():
                found[name] = max(found.get(name, 0.0),
                                  float(self.held[inside].max()))
        return found


def recorded(device: str, **options: Any) -> Any:
    """Return PyTorch's profiler of what runs in a block."""
    # its library tells on the terminal when it starts and stops
    os.environ.setdefault('KINETO_LOG_LEVEL', '6')
    from torch.profiler import ProfilerActivity, profile
    activities = [ProfilerActivity.CPU]
    if device == 'cuda':
        activities.append(ProfilerActivity.CUDA)
    return profile(activities=activities, **options)


def allocations(act: Callable[[], Any], device: str) -> Allocations:
    """Return what a call allocates, from the profiler of PyTorch."""
    with recorded(device, profile_memory=True) as found:
        act()
    events = found.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events
                    if e.name() == '[memory]')
    ranges = tuple(
        (e.name().removeprefix('stage '), float(e.start_ns()),
         float(e.start_ns() + e.duration_ns()))
        for e in events if e.name().startswith('stage '))
    times, sizes = np.array(memory, np.float64).reshape(-1, 2).T
    return Allocations(times, np.cumsum(sizes), ranges)


def of_way(way: Any, batch: Batch, forces: bool) -> float | None:
    """Return the bytes that a way keeps and that a call takes at most.

    On a GPU as its driver counts them.  Native's are its tables, for the
    elements met so far, and the largest molecule; None for others.
    """
    from mpiapp.benchmarks.harness.variants import Native, TorchWay
    from mpiapp.potentials.mace.native import table_bytes
    if isinstance(way, Native):
        native = way.potential
        return table_bytes(native.radial_functions, len(native.met)) \
            + native.bytes_per_atom * float(np.diff(batch.offsets).max())
    if not isinstance(way, TorchWay):
        return None
    if way.potential.device == 'cuda':
        import torch
        torch.cuda.reset_peak_memory_stats()
        way.evaluate(batch, forces)
        way.synchronise()
        return float(torch.cuda.max_memory_allocated())
    module = way.potential.model.module
    kept = sum(t.numel() * t.element_size() for t in (
        *module.parameters(), *module.buffers()))
    return kept + allocations(lambda: way.evaluate(batch, forces),
                              way.potential.device).peak


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(STAT.read_text().split()[1]) if STAT.exists() else 0
    return pages * os.sysconf('SC_PAGE_SIZE')


def leak_slope(sizes: Sequence[float]) -> tuple[float, float]:
    """Return bytes a call by a straight line, and its standard error."""
    from scipy.stats import linregress
    found = linregress(np.arange(len(sizes)), np.asarray(sizes, float))
    return float(found.slope), float(np.nan_to_num(found.stderr))


def leaks(slope: float, error: float) -> bool:
    """Tell whether memory grows by more than noise and 1 kB a call."""
    return slope > 1024 and slope > 4 * error
