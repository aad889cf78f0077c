"""The MPI job itself: its size, nodes, cores, threads, GPUs."""
from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpiapp.checks.table import Doubt, Finding, Unfit, on_all, on_root
from mpiapp.parallel import binding
from mpiapp.parallel.binding import Placement
from mpiapp.parallel.gpus import ranks_by_gpu
from mpiapp.parallel.launch import World
from mpiapp.parallel.workqueue import node_sizes


def check_placing(world: World) -> list[Finding]:
    """Collective: look at the launch and at what every rank got."""
    comm = world.comm
    sizes = node_sizes(comm)
    return [
        on_root(comm, 'MPI ranks', lambda: ranks(world, sizes)),
        on_root(comm, 'MPI library', lambda: library(len(sizes))),
        on_all(comm, 'nodes', lambda: local_ranks(world, sizes)),
        on_all(comm, 'cores', lambda: cores(world.placement)),
        on_root(comm, 'core sharing', lambda: sharing(world.placements)),
        on_all(comm, 'threads', lambda: threads(world.placement)),
        on_all(comm, 'GPU', lambda: gpu(world.placement)),
        on_root(comm, 'GPU sharing', lambda: gpu_sharing(world.placements)),
    ]


def ranks(world: World, sizes: Sequence[int]) -> str:
    """Compare MPI's size with the launcher's (launch has refused N x 1)."""
    seat = world.placement.seat
    if seat.size != world.comm.size:
        raise Unfit(f'the launcher ({seat.launcher}) started {seat.size}, '
                    f'MPI sees {world.comm.size}')
    started = 'without a launcher' if seat.launcher == 'none' \
        else f'as {seat.launcher} started them'
    return f'{world.comm.size} on {len(sizes)} node(s), {started}'


def library(n_nodes: int) -> str:
    """Name the MPI library; several nodes need MPI_THREAD_MULTIPLE."""
    from mpi4py import MPI
    first = MPI.Get_library_version().split('\n')[0].split(',')[0]
    name = ' '.join(first.split())
    levels = {MPI.THREAD_SINGLE: 'SINGLE', MPI.THREAD_FUNNELED: 'FUNNELED',
              MPI.THREAD_SERIALIZED: 'SERIALIZED',
              MPI.THREAD_MULTIPLE: 'MULTIPLE'}
    level = levels.get(MPI.Query_thread(), '?')
    text = f'{name}, MPI_THREAD_{level}'
    if level != 'MULTIPLE' and n_nodes > 1:
        raise Unfit(f'{text}: several nodes need MPI_THREAD_MULTIPLE')
    return text


def local_ranks(world: World, sizes: Sequence[int]) -> str:
    """Compare the launcher's ranks a node with the shared-memory split."""
    seat = world.placement.seat
    if seat.local_size not in sizes:
        raise Doubt(f'the launcher says {seat.local_size} rank(s) on '
                    f'{world.placement.host}, memory is shared by '
                    f'{" or ".join(map(str, sorted(set(sizes))))}')
    hosts = Counter(p.host for p in world.placements)
    return ', '.join(f'{n} on {host}' for host, n in hosts.most_common(6)) \
        + (f' and {len(hosts) - 6} nodes more' if len(hosts) > 6 else '')


def cores(placement: Placement) -> str:
    """Compare the affinity mask that is in force with the one chosen."""
    if hasattr(os, 'sched_getaffinity'):
        real = tuple(sorted(os.sched_getaffinity(0)))
        if real != tuple(sorted(placement.cpus)):
            raise Doubt(f'CPUs {binding.ranges(placement.cpus)} were '
                        f'chosen, {binding.ranges(real)} are in force')
    if placement.threads > len(placement.cpus):
        raise Doubt(f'{placement.threads} threads on '
                    f'{len(placement.cpus)} core(s): srun --cpus-per-task='
                    f'{placement.threads} or mpirun --map-by slot:PE='
                    f'{placement.threads} --bind-to core')
    return f'CPUs {binding.ranges(placement.cpus)} of rank 0'


def sharing(placements: Sequence[Placement]) -> str:
    """Warn of ranks that have to share cores."""
    for host in dict.fromkeys(p.host for p in placements):
        here = [p for p in placements if p.host == host]
        cpus = {cpu for p in here for cpu in p.cpus}
        wanted = sum(p.threads for p in here)
        limit = quota()
        have = len(cpus) if limit is None else min(len(cpus), limit)
        if wanted > have:
            raise Doubt(f'{host}: {len(here)} rank(s) with {wanted} '
                        f'thread(s) on {have:g} core(s): they take turns')
    return 'each thread has a core of its own'


def quota(path: str = '/sys/fs/cgroup/cpu.max') -> float | None:
    """Return the cores that a container may use at once; None: no limit."""
    try:
        used, period = Path(path).read_text().split()
        return None if used == 'max' else int(used) / int(period)
    except (OSError, ValueError):
        return None


def threads(placement: Placement) -> str:
    """Compare the thread variables in force with what was asked for."""
    odd = {name: os.environ.get(name) for name in binding.THREAD_VARIABLES
           if os.environ.get(name) != str(placement.threads)}
    if odd:
        raise Doubt(f'{placement.threads} asked for, but {odd}')
    return f'{placement.threads} a rank'


def gpu(placement: Placement) -> str:
    """Run something on the GPU of this rank, if it has one."""
    if not placement.device.startswith('cuda'):
        return 'none used'
    import torch
    if torch.version.cuda is None:
        raise Unfit(f'{placement.device} is visible, but this torch '
                    f'{torch.__version__} is built without CUDA')
    if not torch.cuda.is_available():
        raise Unfit(f'torch {torch.__version__} (CUDA '
                    f'{torch.version.cuda}) finds no GPU: driver '
                    f'{driver()} may be too old for it')
    try:
        x = torch.ones(1024, device='cuda', dtype=torch.float64)
        right = float((x + x).sum()) == 2048.0
    except RuntimeError as error:
        raise Unfit(f'{placement.device}: {error}') from error
    if not right:
        raise Unfit(f'{placement.device} computes wrongly')
    free, total = torch.cuda.mem_get_info()
    text = (f'{torch.cuda.get_device_name(0)}, {free / 2**30:.1f} of '
            f'{total / 2**30:.1f} GiB free, driver {driver()}, torch for '
            f'CUDA {torch.version.cuda}')
    if free < total / 4:
        raise Doubt(f'{text}: somebody else uses it')
    return text


def driver() -> str:
    """Return the version of the NVIDIA driver, '?' if it is not told."""
    try:
        done = subprocess.run(
            ['nvidia-smi', '--query-gpu=driver_version',
             '--format=csv,noheader'], capture_output=True, text=True,
            timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return '?'
    return (done.stdout.split() or ['?'])[0]


def gpu_sharing(placements: Sequence[Placement]) -> str:
    """Tell how many ranks a GPU has; MPS lets them compute at once."""
    used = ranks_by_gpu(placements)
    if not used:
        return 'none used'
    most = max(used.values())
    if most > 1 and not mps_runs():
        raise Doubt(f'{most} ranks on one GPU take turns without MPS: '
                    'nvidia-cuda-mps-control -d')
    return f'{most} rank(s) a GPU' + (' under MPS' if mps_runs() else '')


def mps_runs(environment: Any = os.environ) -> bool:
    """Tell whether an MPS daemon serves this node."""
    pipe = environment.get('CUDA_MPS_PIPE_DIRECTORY', '/tmp/nvidia-mps')
    return (Path(pipe) / 'control').exists()
