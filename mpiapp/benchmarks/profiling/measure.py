"""Profile one way to compute a model on one batch: all but the printing."""
from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness.cells import FORCES, OK, REFUSED, Cell
from mpiapp.benchmarks.harness.clock import copies, moved, timed_call
from mpiapp.benchmarks.harness.gate import arithmetic, proved
from mpiapp.benchmarks.harness.spread import summary
from mpiapp.benchmarks.harness.variants import TORCH, TorchWay, make
from mpiapp.benchmarks.profiling import memory, roofline
from mpiapp.benchmarks.profiling.operators import (
    SYNCHRONISING, Table, recorder
)
from mpiapp.benchmarks.profiling.stages import (
    BACKWARD, FORWARD, OTHER, Clocks, StageTimer
)
from mpiapp.errors import InputError
from mpiapp.records import Batch, Structure

#: calls before anything counts
WARM = 3


@dataclass(frozen=True)
class Subject:
    """What is profiled; `limit` [bytes] is the memory for a batch."""

    path: str
    molecule: Structure
    way: str = 'reference'
    dtype: str = 'float64'
    device: str = 'cpu'
    threads: int = 1
    batch: int = 1
    calls: int = 5
    limit: float = 4e9


def build(subject: Subject) -> TorchWay:
    """Return the way of a subject.

    Raises:
        InputError: it is none whose stages can be seen, or can't run here.
    """
    if subject.way not in TORCH:
        raise InputError(f'the stages of {subject.way} cannot be seen; '
                         f'allowed: {", ".join(TORCH)}')
    way = make(Cell(subject.path, '', subject.device, FORCES, subject.batch,
                    subject.threads, subject.dtype, subject.way, 'tree'),
               subject.path)
    assert isinstance(way, TorchWay)
    return way


def profile(subject: Subject, ceilings: roofline.Ceilings) -> dict[str, Any]:
    """Return the profile of a subject; none of a way that is wrong (R2)."""
    way = build(subject)
    batch = copies(subject.molecule, subject.batch)
    head = {'way': subject.way, 'dtype': subject.dtype,
            'device': subject.device, 'batch': subject.batch,
            'n_atoms': len(subject.molecule.numbers)}
    wrong = proved(way, subject.path, [batch],
                   arithmetic(subject.way, subject.dtype))
    if wrong:
        return {**head, 'state': REFUSED, 'reason': wrong}
    rng = np.random.default_rng(9)
    plain = []
    for i in range(WARM + subject.calls):
        seconds, _ = timed_call(way, moved(batch, rng), True)
        if i >= WARM:
            plain.append(seconds)
    timer = StageTimer(way.potential.model.module, way.synchronise)
    clocks, hooked = timed_stages(way, batch, timer, subject.calls, rng)
    table = recorded(way, batch, timer)
    held = held_memory(way, batch, timer)
    rows = stage_rows(clocks, table, held, hooked, subject, ceilings)
    return {
        **head, 'state': OK, 'reason': '',
        'n_edges': int(way.graph(batch).edges.shape[1]),
        'samples': plain, 'steady': summary(plain), 'hooked_s': hooked,
        'stages': rows, 'ceilings': ceilings.as_row(),
        'total': totals(rows, table),
        'operators': operator_rows(table), 'folded': folded(table),
        'synchronisations': synchronisations(table),
        'transfers': table.transfers,
        'memory': memory_rows(way, subject, held),
        'gpu_idle': gpu_idle(way, batch) if subject.device == 'cuda'
        else None,
    }


def timed_stages(
    way: TorchWay, batch: Batch, timer: StageTimer, calls: int,
    rng: np.random.Generator,
) -> tuple[Clocks, float]:
    """Return the seconds of stages, and of a call with the hooks.

    The first calls with hooks are not counted either.
    """
    seconds = 0.0
    with timer.active():
        for i in range(1 + calls):
            if i == 1:
                timer.clocks = Clocks()
            timer.begin()
            began = time.perf_counter()
            way.evaluate(moved(batch, rng), True)
            way.synchronise()
            seconds += time.perf_counter() - began if i else 0.0
    # a later call, watched more closely, must not be added
    clocks, timer.clocks = timer.clocks, Clocks()
    for key in clocks.seconds:
        clocks.seconds[key] /= calls
    for counts in (clocks.calls, clocks.nodes):
        for name in counts:
            counts[name] //= calls
    return clocks, seconds / calls


def recorded(way: TorchWay, batch: Batch, timer: StageTimer) -> Table:
    """Return the operators of one call by stage."""
    found = recorder(timer.watch)
    with timer.active():
        timer.begin()
        with found:
            way.evaluate(batch, True)
    table: Table = found.table
    return table


def held_memory(
    way: TorchWay, batch: Batch, timer: StageTimer,
) -> memory.Allocations:
    """Return what one call holds in memory."""
    with timer.active():
        timer.begin()
        return memory.allocations(lambda: way.evaluate(batch, True),
                                  way.potential.device)


def stage_rows(
    clocks: Clocks, table: Table, held: memory.Allocations, hooked: float,
    subject: Subject, ceilings: roofline.Ceilings,
) -> list[dict[str, Any]]:
    """Return a row for each stage, what is in none last, as `other`."""
    peaks = held.by_stage()
    names = [n for n in clocks.calls if clocks.calls[n]]
    spent = {n: (clocks.seconds[n, FORWARD], clocks.seconds[n, BACKWARD])
             for n in names}
    back = clocks.seconds[OTHER, BACKWARD]
    rest = hooked - sum(map(sum, spent.values())) - back
    spent[OTHER] = (max(0.0, rest), back)
    whole = sum(map(sum, spent.values()))
    rows = []
    for name, (forward, backward) in spent.items():
        keys = [(name, FORWARD), (name, BACKWARD)]
        flops = sum(table.product_flops[k] + table.element_flops[k]
                    for k in keys)
        n_bytes = sum(table.bytes[k] for k in keys)
        operations = sum(table.operations[k] for k in keys)
        bound, bounds = roofline.verdict(
            forward + backward, flops, n_bytes, operations, ceilings,
            subject.dtype)
        share = (forward + backward) / whole
        rows.append({
            'stage': name, 'shape': clocks.shapes.get(name, ''),
            'dtype': clocks.dtypes.get(name, ''),
            'calls': clocks.calls.get(name, 0),
            'nodes': clocks.nodes.get(name, 0),
            'forward_ms': 1e3 * forward, 'backward_ms': 1e3 * backward,
            'share': share, 'flops': flops,
            'product_flops': sum(table.product_flops[k] for k in keys),
            'bytes': n_bytes, 'operations': operations,
            'peak_bytes': peaks.get(name), 'bound': bound,
            'bounds_ms': {k: 1e3 * v for k, v in bounds.items()},
            'amdahl': roofline.amdahl(share)})
    return rows


def totals(
    rows: Sequence[Mapping[str, Any]], table: Table,
) -> dict[str, Any]:
    """Return sums over stages, and both directions."""
    names = ('forward_ms', 'backward_ms', 'flops', 'product_flops', 'bytes',
             'operations')
    return {name: sum(r[name] for r in rows) for name in names}


def operator_rows(table: Table) -> list[dict[str, Any]]:
    """Return operators by name, the longest first.

    Their seconds hold the cost of being watched.
    """
    found: dict[str, list[float]] = {}
    for (_, _, name), n in table.calls.items():
        found.setdefault(name, [0, 0.0])[0] += n
    for (_, _, name), seconds in table.seconds.items():
        found[name][1] += seconds
    return [{'operator': name, 'calls': int(n), 'ms': 1e3 * s}
            for name, (n, s) in sorted(found.items(),
                                       key=lambda item: -item[1][1])]


def folded(table_rows: Table) -> list[str]:
    """Return stacks for a flame graph: direction;stage;operator us."""
    return [f'{direction};{stage.replace(".", ";")};{name} '
            f'{max(1, round(1e6 * s))}'
            for (stage, direction, name), s in sorted(
                table_rows.seconds.items())]


def synchronisations(table: Table) -> list[dict[str, Any]]:
    """Return where the host waits for the device, by stage."""
    return [{'stage': stage, 'operator': name, 'calls': n,
             'what': SYNCHRONISING[name]}
            for (stage, name), n in sorted(table.synchronisations.items())]


def memory_rows(
    way: TorchWay, subject: Subject, held: memory.Allocations,
) -> dict[str, Any]:
    """Return peaks of some batches, their law, the batch that fits, leaks."""
    sizes, edges, peaks = [], [], []
    for n in sorted({1, 2, 4, subject.batch}):
        batch = copies(subject.molecule, n)
        sizes.append(len(batch.numbers))
        edges.append(way.graph(batch).edges.shape[1])
        peaks.append(memory.allocations(
            lambda b=batch: way.evaluate(b, True),  # type: ignore[misc]
            way.potential.device).peak)
    law = memory.fit(np.array(sizes, float), np.array(edges, float),
                     np.array(peaks))
    batch, rng, resident = copies(subject.molecule, 1), \
        np.random.default_rng(1), []
    for _ in range(max(8, 2 * subject.calls)):
        way.evaluate(moved(batch, rng), True)
        resident.append(memory.resident())
    slope, error = memory.leak_slope(resident[2:])
    atoms = len(subject.molecule.numbers)
    return {
        'peak_bytes': held.peak, 'atoms': sizes, 'edges': edges,
        'peaks': peaks, 'law': law.as_row(), 'limit_bytes': subject.limit,
        'largest_batch': law.largest_batch(atoms, edges[0], subject.limit),
        'leak_bytes_per_call': slope, 'leak_error': error,
        'leaks': memory.leaks(slope, error)}


def gpu_idle(way: TorchWay, batch: Batch) -> float:
    """Return the share of a call in which the GPU had nothing to do."""
    way.synchronise()
    with memory.recorded('cuda') as found:
        began = time.perf_counter()
        way.evaluate(batch, True)
        way.synchronise()
        wall = time.perf_counter() - began
    return max(0.0, 1.0 - 1e-6 * busy_us(found.key_averages()) / wall)


def busy_us(events: Iterable[Any]) -> float:
    """Return the microseconds of what ran on the GPU itself.

    An operator of the host has the time of its kernels once more.
    """
    from torch.autograd import DeviceType
    return float(sum(e.self_device_time_total for e in events
                     if e.device_type == DeviceType.CUDA))
