"""Ranks against threads: what computes most samples an hour here."""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpiapp.parallel.launch import DONE, USAGE, World
from mpiapp.tuner import Options, Prepared

if TYPE_CHECKING:
    from mpiapp.saddle.base import SearchSettings

#: steps of a sample that is timed, seconds that a layout is given
STEPS, SECONDS = 20, 8.0


@dataclass(frozen=True)
class Layout:
    """So many ranks with so many threads each."""

    ranks: int
    threads: int


def layouts(cores: int) -> list[Layout]:
    """Return the layouts that fill the cores, most ranks first."""
    return [Layout(cores // t, t) for t in range(1, cores + 1)
            if cores % t == 0]


def probe(world: World, options: Options, prepared: Prepared) -> int:
    """Collective: time layouts and print the best; to run on one rank."""
    if world.comm.size > 1:
        if world.comm.rank == 0:
            print('error: probe starts its own processes: run it without '
                  'mpirun, or with mpirun -n 1 and all cores of a node',
                  flush=True)
        return USAGE
    cores = sorted(world.placement.cpus) or sorted(os.sched_getaffinity(0))
    found = {}
    print('ranks  threads  samples/s')
    for layout in layouts(len(cores)):
        found[layout] = rate(prepared, layout, cores, SECONDS)
        print(f'{layout.ranks:5d}  {layout.threads:7d}  '
              f'{found[layout]:9.3f}', flush=True)
    best = max(found, key=lambda one: found[one])
    print(f'best          mpirun -n {best.ranks} python -m mpiapp.hpo ... '
          f'--threads-per-rank {best.threads}', flush=True)
    return DONE


def rate(prepared: Prepared, layout: Layout, cores: Sequence[int],
         seconds: float) -> float:
    """Return samples a second of a layout, its processes at work together.

    Each rank is a helper process on its share of the cores, as in a study;
    samples are the baseline's, cut after a few steps.
    """
    settings = replace(prepared.settings,
                       max_steps=min(STEPS, prepared.settings.max_steps or 1))
    start = threading.Barrier(layout.ranks)
    ends: list[tuple[int, float]] = []
    threads = [threading.Thread(target=_rank, args=(
        prepared, settings, layout, rank,
        cores[rank * layout.threads:(rank + 1) * layout.threads], seconds,
        start, ends)) for rank in range(layout.ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(n / spent for n, spent in ends)


def _rank(
    prepared: Prepared, settings: SearchSettings, layout: Layout, rank: int,
    cores: Sequence[int], seconds: float, start: threading.Barrier,
    ends: list[tuple[int, float]],
) -> None:
    """Search samples on some cores for a while."""
    from mpiapp.workers.saddle_process import Searcher

    # a helper inherits the cores of the thread that starts it
    os.sched_setaffinity(0, set(cores))
    choice = replace(prepared.choice, options=replace(
        prepared.choice.options, threads=layout.threads))
    searcher = Searcher(choice)
    samples = prepared.samples
    searcher.search(samples[0], settings)
    start.wait()
    began, n = time.perf_counter(), 0
    while n == 0 or time.perf_counter() - began < seconds:
        searcher.search(samples[(rank + n * layout.ranks) % len(samples)],
                        settings)
        n += 1
    ends.append((n, time.perf_counter() - began))
    searcher.close()
