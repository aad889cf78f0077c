"""Where a rank runs: launcher, cores, GPU; decided before MPI starts.

Only the environment and the affinity mask are looked at, so that threads,
cores and the device are fixed before MPI_Init, numpy or torch are loaded
(an MPI may open a context on the wrong GPU, thread pools are sized at
import).  `confirm` compares with what MPI says afterwards.
"""
from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

from mpiapp.errors import InputError

#: variables that size the thread pools of the libraries we load
THREAD_VARIABLES = (
    'OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS',
    'NUMEXPR_NUM_THREADS',
)

#: what ends a list of GPUs; the words are of Slurm and of NVIDIA's container
#: toolkit, for jobs without a GPU
NO_GPU = frozenset({'-1', 'nodevfiles', 'void', 'none'})
#: any of these is there where a driver is
DRIVER = ('/proc/driver/nvidia', '/dev/nvidiactl', '/dev/dxg')


@dataclass(frozen=True)
class Seat:
    """A rank as its launcher describes it; size 1 without a launcher."""

    launcher: str = 'none'
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    bound: bool = False


@dataclass(frozen=True)
class Placement:
    """What a rank got: `cpus` it may run on, threads, device.

    `gpu` is the UUID of the device, '' where it is not known.
    """

    seat: Seat
    host: str
    cpus: tuple[int, ...]
    threads: int
    device: str
    gpu: str = ''


def _slurm_local_size(env: Mapping[str, str]) -> int:
    """Tasks on this node from e.g. SLURM_STEP_TASKS_PER_NODE '2(x3),1'."""
    text = env.get('SLURM_STEP_TASKS_PER_NODE',
                   env.get('SLURM_TASKS_PER_NODE', '1'))
    counts: list[int] = []
    for part in text.split(','):
        match = re.fullmatch(r'(\d+)(?:\(x(\d+)\))?', part.strip())
        if match:
            counts += [int(match[1])] * int(match[2] or 1)
    node = int(env.get('SLURM_NODEID', 0))
    return counts[node] if node < len(counts) else 1


def seat_from(env: Mapping[str, str]) -> Seat:
    """Read rank and local rank from the variables of the launcher.

    Known: Open MPI 4 and 5, Cray PALS, hydra (MPICH, Intel MPI), srun.
    SLURM_PROCID alone is not enough: a batch script has it without srun.
    Hydra comes before srun, which starts its proxies, one a node: the
    variables of that step are theirs and reach the ranks.
    """
    def number(name: str, default: int) -> int:
        return int(env.get(name, default))

    if 'OMPI_COMM_WORLD_RANK' in env:
        # of Open MPI 4; 5 does not say
        bound = env.get('OMPI_MCA_orte_bound_at_launch') == '1'
        return Seat('openmpi', number('OMPI_COMM_WORLD_RANK', 0),
                    number('OMPI_COMM_WORLD_SIZE', 1),
                    number('OMPI_COMM_WORLD_LOCAL_RANK', 0),
                    number('OMPI_COMM_WORLD_LOCAL_SIZE', 1), bound)
    if 'PALS_RANKID' in env:
        return Seat('pals', number('PALS_RANKID', 0),
                    number('PALS_SIZE', number('PMI_SIZE', 1)),
                    number('PALS_LOCAL_RANKID', 0),
                    number('PALS_LOCAL_SIZE', 1), True)
    by_srun = 'SLURM_STEP_NUM_TASKS' in env and 'SLURM_PROCID' in env
    if 'PMI_RANK' in env and ('MPI_LOCALRANKID' in env or not by_srun):
        return Seat('hydra', number('PMI_RANK', 0), number('PMI_SIZE', 1),
                    number('MPI_LOCALRANKID', 0),
                    number('MPI_LOCALNRANKS', 1),
                    'I_MPI_PIN_INFO' in env
                    or 'HYDRA_USER_PROVIDED_BINDING' in env)
    if by_srun:
        return Seat('srun', number('SLURM_PROCID', 0),
                    number('SLURM_STEP_NUM_TASKS', 1),
                    number('SLURM_LOCALID', 0), _slurm_local_size(env),
                    'mask_cpu' in env.get('SLURM_CPU_BIND', ''))
    return Seat()


def choose_cpus(
    allowed: Sequence[int], seat: Seat, threads: int, n_online: int,
) -> tuple[int, ...]:
    """Return the CPUs of this rank out of its affinity mask `allowed`.

    A mask narrowed by the launcher is believed.  Otherwise the local ranks
    share the mask in equal blocks; where they do not fit (more ranks x
    threads than CPUs), nobody is pinned and the kernel balances.
    """
    cpus = tuple(sorted(allowed))
    if seat.local_size == 1 or seat.bound:
        return cpus
    if len(cpus) < n_online and seat.launcher == 'srun':
        return cpus
    block = len(cpus) // seat.local_size
    if block < max(1, threads):
        return cpus
    start = seat.local_rank * block
    return cpus[start:start + block]


def visible_gpus(env: Mapping[str, str]) -> list[str]:
    """List the GPUs this process may use, as CUDA_VISIBLE_DEVICES entries.

    Indices, UUIDs and MIG names are kept as they are written; CUDA hides
    what follows on -1.  Without the variable the driver is asked; no driver
    means no GPU.
    """
    listed = env.get('CUDA_VISIBLE_DEVICES')
    if listed is not None:
        names = [g.strip() for g in listed.split(',') if g.strip()]
        return list(takewhile(lambda g: g.lower() not in NO_GPU, names))
    driver = Path('/proc/driver/nvidia/gpus')
    if driver.is_dir():
        return [str(i) for i, _ in enumerate(sorted(driver.iterdir()))]
    try:
        found = subprocess.run(
            ['nvidia-smi', '-L'], capture_output=True, text=True,
            timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [x for x in found.stdout.splitlines() if x.startswith('GPU ')]
    return [str(i) for i in range(len(lines))]


def has_driver() -> bool:
    """Tell whether an NVIDIA driver is on this node."""
    if any(Path(path).exists() for path in DRIVER):
        return True
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return False
    return True


def choose_gpu(
    device: str, gpus: Sequence[str], seat: Seat, ranks_per_gpu: int,
    gpu_ids: Sequence[str] = (),
) -> str:
    """Return the GPU of this rank, '' for CPU.

    `device` is auto, cpu or cuda; `gpu_ids` narrows the visible list.  One
    visible device under several local ranks of Slurm may be one that each
    task has for itself (`--gpus-per-task`): whether it is, `gpus` sees when
    the ranks have met.

    Raises:
        InputError: CUDA asked for and absent, unknown ids, or more ranks
            on the node than GPUs x ranks per GPU.
    """
    if device == 'cpu' or (device == 'auto' and not gpus):
        return ''
    if not gpus:
        raise InputError(
            '--device cuda: no NVIDIA GPU is visible here; use --device '
            'cpu, or check CUDA_VISIBLE_DEVICES and the job\'s GPU request')
    unknown = [g for g in gpu_ids if g not in gpus]
    if unknown:
        raise InputError(f'--gpu-ids {",".join(unknown)}: not among the '
                         f'visible GPUs {",".join(gpus)}')
    chosen = list(gpu_ids) or list(gpus)
    if len(chosen) == 1 and seat.launcher == 'srun' and not gpu_ids:
        return chosen[0]
    room = len(chosen) * ranks_per_gpu
    if seat.local_size > room:
        raise InputError(
            f'{seat.local_size} ranks on this node, but {len(chosen)} GPU(s)'
            f' x --ranks-per-gpu {ranks_per_gpu}: start {room} ranks, or '
            'allow more with --ranks-per-gpu N')
    return chosen[seat.local_rank % len(chosen)]


@cache
def surroundings() -> tuple[Mapping[str, str], tuple[int, ...]]:
    """Return environment and CPUs as the launcher made them.

    Looked at once: `occupy` narrows both, and a script may start again.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') \
        else range(os.cpu_count() or 1)
    return dict(os.environ), tuple(allowed)


def place(
    env: Mapping[str, str], allowed: Sequence[int], threads: int,
    device: str = 'auto', ranks_per_gpu: int = 1,
    gpu_ids: Sequence[str] = (),
) -> Placement:
    """Choose cores, threads and device of this process; changes nothing.

    A list of GPUs is not believed by `auto` where there is no driver.
    """
    seat = seat_from(env)
    cpus = choose_cpus(allowed, seat, threads, os.cpu_count() or 1)
    wanted = device == 'cuda' or device == 'auto' and has_driver()
    gpus = visible_gpus(env) if wanted else []
    gpu = choose_gpu(device, gpus, seat, ranks_per_gpu, gpu_ids)
    if gpu and not seat.bound and len(gpus) > 1:
        # one visible GPU: the launcher chose, and bound, by itself
        near = [near_cpus(g) for g in of_local_ranks(
            list(gpu_ids) or gpus, seat.local_size)]
        cpus = near_block(near, allowed, seat.local_rank,
                          threads) or cpus
    return Placement(seat, os.uname().nodename, cpus, threads,
                     f'cuda:{gpu}' if gpu else 'cpu')


def of_local_ranks(gpus: Sequence[str], n: int) -> list[str]:
    """Return the GPU of each of n local ranks, as `choose_gpu` deals."""
    return [gpus[r % len(gpus)] for r in range(n)]


def near_cpus(gpu: str, root: Path = Path('/')) -> frozenset[int]:
    """Return the CPUs of the NUMA node that a GPU hangs on, if known.

    `gpu` is an index in the order of the PCI bus or a UUID; of a MIG name
    the driver does not tell the GPU here.
    """
    cards = sorted((root / 'proc/driver/nvidia/gpus').glob('*'))
    found = None
    if gpu.isdigit() and int(gpu) < len(cards):
        found = cards[int(gpu)]
    elif gpu.startswith('GPU-'):
        found = next((c for c in cards if gpu in _read(c / 'information')),
                     None)
    if found is None:
        return frozenset()
    listed = root / 'sys/bus/pci/devices' / found.name / 'local_cpulist'
    return frozenset(from_ranges(_read(listed)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ''


def from_ranges(text: str) -> list[int]:
    """Read CPU numbers from ranges: '0-2,5' -> [0, 1, 2, 5]."""
    cpus: list[int] = []
    for part in text.strip().split(','):
        low, _, high = part.partition('-')
        if low:
            cpus += range(int(low), int(high or low) + 1)
    return cpus


def near_block(
    near: Sequence[frozenset[int]], allowed: Sequence[int], me: int,
    threads: int,
) -> tuple[int, ...]:
    """Return CPUs near the GPU of local rank `me`; () where that fails.

    `near` are those of the GPU of each local rank; ranks with the same ones
    share them in equal blocks.
    """
    mine = sorted(near[me] & set(allowed))
    peers = [r for r, cpus in enumerate(near) if cpus & set(mine)]
    block = len(mine) // max(1, len(peers))
    if block < max(1, threads):
        return ()
    start = peers.index(me) * block
    return tuple(mine[start:start + block])


def occupy(placement: Placement) -> None:
    """Put the placement in force: thread variables, mask, visible GPU."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(placement.threads)
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, placement.cpus)
    # nvidia-smi and the kernel count GPUs by bus, CUDA by speed unless told
    os.environ.setdefault('CUDA_DEVICE_ORDER', 'PCI_BUS_ID')
    if placement.device.startswith('cuda:'):
        os.environ['CUDA_VISIBLE_DEVICES'] = placement.device[5:]
    else:
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


def ranges(cpus: Sequence[int]) -> str:
    """Write CPU numbers as ranges: (0, 1, 2, 5) -> '0-2,5'."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][1] + 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ','.join(f'{a}-{b}' if b > a else f'{a}' for a, b in parts)


def crowding(placements: Sequence[Placement]) -> str:
    """Say in a sentence that ranks have more threads than cores, or ''."""
    crowded = [r for r, p in enumerate(placements)
               if p.threads > len(p.cpus)]
    if not crowded:
        return ''
    p = placements[crowded[0]]
    return (f'rank {crowded[0]} has {p.threads} threads on {len(p.cpus)} '
            'core(s): let the launcher give it more, e.g. mpirun --map-by '
            f'slot:PE={p.threads} --bind-to core, or srun --cpus-per-task='
            f'{p.threads}')


def table(placements: Sequence[Placement], most: int = 16) -> str:
    """Return the binding table, one line a rank, long jobs cut short."""
    lines = ['rank  host              local  cpus          threads  device']
    for rank, p in enumerate(placements[:most]):
        local = f'{p.seat.local_rank}/{p.seat.local_size}'
        lines.append(f'{rank:4d}  {p.host[:16]:16s}  {local:5s}  '
                     f'{ranges(p.cpus):12s}  {p.threads:7d}  {p.device}')
    if len(placements) > most:
        lines.append(f'      ... and {len(placements) - most} ranks more')
    return '\n'.join(lines)
