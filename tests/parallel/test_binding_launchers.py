"""Places from the environments of launchers, GPUs of all spellings.

RECORDED holds what a rank saw that Open MPI 4.1.4 and 5.0.11, MPICH 5.0.2
and srun of Slurm 22.05.8 started, alone and inside a job of the Slurm of
these tests: the variables that name a place, a size or a binding.  DOCUMENTED
is put together from the documentation of Intel MPI, Cray PALS and Slurm.
"""
from __future__ import annotations

from pathlib import Path

import pytest

from mpiapp.errors import InputError
from mpiapp.parallel.binding import (
    Placement, Seat, choose_cpus, choose_gpu, from_ranges, near_block,
    near_cpus, of_local_ranks, seat_from, visible_gpus
)
from mpiapp.parallel.gpus import check_sharing, identity, ranks_by_gpu

RECORDED = {
    'Open MPI 4, bound': ({
        'OMPI_COMM_WORLD_RANK': '1', 'OMPI_COMM_WORLD_SIZE': '2',
        'OMPI_COMM_WORLD_LOCAL_RANK': '1', 'OMPI_COMM_WORLD_LOCAL_SIZE': '2',
        'OMPI_COMM_WORLD_NODE_RANK': '1', 'OMPI_UNIVERSE_SIZE': '2',
        'OMPI_MCA_orte_bound_at_launch': '1', 'PMIX_RANK': '1',
    }, Seat('openmpi', 1, 2, 1, 2, True)),
    'Open MPI 4, --bind-to none': ({
        'OMPI_COMM_WORLD_RANK': '1', 'OMPI_COMM_WORLD_SIZE': '2',
        'OMPI_COMM_WORLD_LOCAL_RANK': '1', 'OMPI_COMM_WORLD_LOCAL_SIZE': '2',
        'OMPI_COMM_WORLD_NODE_RANK': '1', 'OMPI_UNIVERSE_SIZE': '2',
        'OMPI_MCA_hwloc_base_binding_policy': 'none', 'PMIX_RANK': '1',
    }, Seat('openmpi', 1, 2, 1, 2, False)),
    'Open MPI 4 in a Slurm job, second node': ({
        'OMPI_COMM_WORLD_RANK': '2', 'OMPI_COMM_WORLD_SIZE': '3',
        'OMPI_COMM_WORLD_LOCAL_RANK': '0', 'OMPI_COMM_WORLD_LOCAL_SIZE': '1',
        'OMPI_COMM_WORLD_NODE_RANK': '0', 'OMPI_UNIVERSE_SIZE': '3',
        'OMPI_MCA_orte_bound_at_launch': '1', 'PMIX_RANK': '2',
        'SLURM_CPU_BIND': 'quiet,mask_cpu:0x1', 'SLURM_LOCALID': '0',
        'SLURM_NODEID': '0', 'SLURM_NTASKS': '1', 'SLURM_PROCID': '0',
        'SLURM_STEP_NUM_TASKS': '1', 'SLURM_STEP_TASKS_PER_NODE': '1',
    }, Seat('openmpi', 2, 3, 0, 1, True)),
    # bound to a core each by default: it does not say so
    'Open MPI 5': ({
        'OMPI_COMM_WORLD_RANK': '1', 'OMPI_COMM_WORLD_SIZE': '2',
        'OMPI_COMM_WORLD_LOCAL_RANK': '1', 'OMPI_COMM_WORLD_LOCAL_SIZE': '2',
        'OMPI_COMM_WORLD_NODE_RANK': '1', 'OMPI_UNIVERSE_SIZE': '2',
        'OMPI_WORLD_LOCAL_SIZE': '2', 'OMPI_WORLD_SIZE': '2',
        'PMIX_RANK': '1', 'PRTE_LAUNCHED': '1',
    }, Seat('openmpi', 1, 2, 1, 2, False)),
    'MPICH': ({
        'HYDI_CONTROL_FD': '7', 'MPI_LOCALNRANKS': '2',
        'MPI_LOCALRANKID': '1', 'PMI_FD': '11', 'PMI_RANK': '1',
        'PMI_SIZE': '2',
    }, Seat('hydra', 1, 2, 1, 2, False)),
    'MPICH, -bind-to core': ({
        'HYDI_CONTROL_FD': '7', 'HYDRA_USER_PROVIDED_BINDING': '1',
        'MPI_LOCALNRANKS': '2', 'MPI_LOCALRANKID': '1', 'PMI_FD': '13',
        'PMI_RANK': '1', 'PMI_SIZE': '2',
    }, Seat('hydra', 1, 2, 1, 2, True)),
    # srun has started the proxies: two tasks on two nodes
    'MPICH in a Slurm job': ({
        'MPI_LOCALNRANKS': '2', 'MPI_LOCALRANKID': '1', 'PMIX_RANK': '0',
        'PMI_FD': '6', 'PMI_RANK': '1', 'PMI_SIZE': '3',
        'SLURM_CPU_BIND': 'quiet,mask_cpu:0x3', 'SLURM_LOCALID': '0',
        'SLURM_NODEID': '0', 'SLURM_NTASKS': '2', 'SLURM_PROCID': '0',
        'SLURM_STEP_NUM_TASKS': '2', 'SLURM_STEP_TASKS_PER_NODE': '1(x2)',
    }, Seat('hydra', 1, 3, 1, 2, False)),
    'srun with PMIx, second node': ({
        'PMIX_RANK': '2', 'SLURM_CPU_BIND': 'quiet,mask_cpu:0x1',
        'SLURM_LOCALID': '0', 'SLURM_NODEID': '1', 'SLURM_NTASKS': '3',
        'SLURM_PROCID': '2', 'SLURM_STEP_NUM_TASKS': '3',
        'SLURM_STEP_TASKS_PER_NODE': '2,1', 'SLURM_TASKS_PER_NODE': '2,1',
    }, Seat('srun', 2, 3, 0, 1, True)),
    'srun with PMI-2': ({
        'PMI_FD': '13', 'PMI_JOBID': '2.0', 'PMI_RANK': '1', 'PMI_SIZE': '2',
        'SLURM_CPU_BIND': 'quiet,mask_cpu:0x1,0x2', 'SLURM_LOCALID': '1',
        'SLURM_NODEID': '0', 'SLURM_NTASKS': '2', 'SLURM_PROCID': '1',
        'SLURM_STEP_NUM_TASKS': '2', 'SLURM_STEP_TASKS_PER_NODE': '2',
        'SLURM_TASKS_PER_NODE': '2',
    }, Seat('srun', 1, 2, 1, 2, True)),
    'a batch script without srun': ({
        'SLURM_LOCALID': '0', 'SLURM_NODEID': '0', 'SLURM_NTASKS': '3',
        'SLURM_PROCID': '0', 'SLURM_TASKS_PER_NODE': '2,1',
    }, Seat()),
}
DOCUMENTED = {
    'Intel MPI': ({
        'PMI_RANK': '7', 'PMI_SIZE': '8', 'MPI_LOCALRANKID': '3',
        'MPI_LOCALNRANKS': '4', 'I_MPI_PIN_INFO': '0x8', 'I_MPI_PIN': '1',
    }, Seat('hydra', 7, 8, 3, 4, True)),
    'Intel MPI in a Slurm job': ({
        'PMI_RANK': '7', 'PMI_SIZE': '8', 'MPI_LOCALRANKID': '3',
        'MPI_LOCALNRANKS': '4', 'I_MPI_PIN_INFO': '0x8',
        'SLURM_PROCID': '1', 'SLURM_STEP_NUM_TASKS': '2',
    }, Seat('hydra', 7, 8, 3, 4, True)),
    'PALS': ({
        'PALS_RANKID': '9', 'PALS_LOCAL_RANKID': '1', 'PALS_LOCAL_SIZE': '8',
        'PMI_SIZE': '16',
    }, Seat('pals', 9, 16, 1, 8, True)),
    'srun, repeated counts of tasks': ({
        'SLURM_PROCID': '4', 'SLURM_LOCALID': '0', 'SLURM_NODEID': '2',
        'SLURM_STEP_NUM_TASKS': '5', 'SLURM_NTASKS': '8',
        'SLURM_STEP_TASKS_PER_NODE': '2(x2),1',
    }, Seat('srun', 4, 5, 0, 1, False)),
}
KNOWN = {**RECORDED, **DOCUMENTED}


@pytest.mark.parametrize('name', KNOWN)
def test_the_place_is_read_from_what_the_launcher_sets(name: str) -> None:
    environment, seat = KNOWN[name]
    assert seat_from(environment) == seat


def test_gpus_per_task_is_one_device_for_every_rank() -> None:
    for local in range(4):
        seat = Seat('srun', local, 4, local, 4)
        assert choose_gpu('cuda', ['0'], seat, 1) == '0'


WHOLE = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-8932f937-d72c-4106)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-1f2e0000-aaaa-bbbb)
"""
DIVIDED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-0000aaaa-1111)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d)
  MIG 1g.5gb      Device  1: (UUID: MIG-d978f2d1-2944)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-0000bbbb-2222)
"""


@pytest.mark.parametrize('gpu, listed, uuid', [
    ('0', WHOLE, 'GPU-8932f937-d72c-4106'),
    ('1', WHOLE, 'GPU-1f2e0000-aaaa-bbbb'),
    ('2', WHOLE, ''), ('0', '', ''),
    ('GPU-1f2e', WHOLE, 'GPU-1f2e0000-aaaa-bbbb'),
    ('GPU-1f2e', '', 'GPU-1f2e'),
    ('0', DIVIDED, 'MIG-c7384736-a75d'),
    ('1', DIVIDED, 'GPU-0000bbbb-2222'),
    ('MIG-d978f2d1-2944', DIVIDED, 'MIG-d978f2d1-2944'),
    # the older way of writing it
    ('MIG-GPU-8932f937/1/0', WHOLE, 'MIG-GPU-8932f937/1/0'),
])
def test_a_gpu_is_known_by_its_uuid(
    gpu: str, listed: str, uuid: str,
) -> None:
    assert identity(gpu, listed) == uuid


def on_gpus(*uuids: str, host: str = 'a') -> list[Placement]:
    """Return ranks that each see one GPU, `0`, as cgroups show it."""
    return [Placement(Seat('srun', r, len(uuids), r, len(uuids)), host,
                      (r,), 1, 'cuda:0', uuid)
            for r, uuid in enumerate(uuids)]


def test_ranks_with_a_gpu_each_are_told_from_ranks_on_one() -> None:
    own = on_gpus('GPU-1', 'GPU-2', 'GPU-3')
    check_sharing(own, 1)
    assert set(ranks_by_gpu(own).values()) == {1}
    shared = on_gpus('GPU-1', 'GPU-1', 'GPU-2')
    with pytest.raises(InputError, match='2 ranks on a share the GPU GPU-1'):
        check_sharing(shared, 1)
    check_sharing(shared, 2)
    check_sharing([*on_gpus('GPU-1'), *on_gpus('GPU-1', host='b')], 1)


def test_gpus_that_are_not_known_are_believed() -> None:
    check_sharing(on_gpus('', '', ''), 1)
    assert ranks_by_gpu(on_gpus('', '')) == {('a', 'cuda:0'): 2}


def test_gpus_per_node_are_dealt_by_local_rank() -> None:
    gpus = visible_gpus({'CUDA_VISIBLE_DEVICES': '0,1,2,3'})
    chosen = [choose_gpu('auto', gpus, Seat('srun', r + 4, 8, r, 4), 1)
              for r in range(4)]
    assert chosen == ['0', '1', '2', '3']


@pytest.mark.parametrize('text', [
    'GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-1f2e',
    'MIG-c7384736-a75d-5afc-978f-d2f1294409fd,MIG-GPU-8932f937/1/0',
    ' 2, 3 '])
def test_uuids_and_mig_names_stay_as_they_are(text: str) -> None:
    gpus = visible_gpus({'CUDA_VISIBLE_DEVICES': text})
    assert gpus == [g.strip() for g in text.split(',')]
    seat = Seat('openmpi', 1, 2, 1, 2)
    assert choose_gpu('cuda', gpus, seat, 1) == gpus[1]


def test_more_ranks_than_gpus_are_refused_unless_allowed() -> None:
    seat = Seat('openmpi', 5, 6, 5, 6)
    with pytest.raises(InputError, match='--ranks-per-gpu'):
        choose_gpu('cuda', ['0', '1'], seat, 1)
    assert choose_gpu('cuda', ['0', '1'], seat, 3) == '1'


def test_a_list_that_hides_all_gpus_is_none() -> None:
    assert visible_gpus({'CUDA_VISIBLE_DEVICES': ''}) == []
    assert visible_gpus({'CUDA_VISIBLE_DEVICES': '-1'}) == []
    with pytest.raises(InputError, match='no NVIDIA GPU is visible'):
        choose_gpu('cuda', [], Seat(), 1)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Lay out a node: two sockets of 8 CPUs, two GPUs on each."""
    for i, (bus, cpus) in enumerate((('0000:17:00.0', '0-7'),
                                     ('0000:65:00.0', '0-7'),
                                     ('0000:ca:00.0', '8-15'),
                                     ('0000:e3:00.0', '8-15'))):
        card = tmp_path / 'proc/driver/nvidia/gpus' / bus
        card.mkdir(parents=True)
        (card / 'information').write_text(
            f'Model: \t\t NVIDIA\nGPU UUID: \t GPU-{i}{i}{i}{i}\n')
        device = tmp_path / 'sys/bus/pci/devices' / bus
        device.mkdir(parents=True)
        (device / 'local_cpulist').write_text(f'{cpus}\n')
    return tmp_path


def test_ranks_get_cores_near_their_gpu(machine: Path) -> None:
    near = [near_cpus(g, machine) for g in of_local_ranks(
        ['0', '1', '2', '3'], 4)]
    blocks = [near_block(near, range(16), r, 1) for r in range(4)]
    assert blocks == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11),
                      (12, 13, 14, 15)]


def test_a_gpu_is_found_by_its_uuid_and_a_mig_name_is_not(
    machine: Path,
) -> None:
    assert near_cpus('GPU-2222', machine) == frozenset(range(8, 16))
    assert near_cpus('MIG-2222', machine) == frozenset()
    assert near_cpus('7', machine) == frozenset()


def test_cores_that_are_not_allowed_are_not_taken(machine: Path) -> None:
    near = [near_cpus('0', machine)] * 2
    assert near_block(near, [6, 7, 8, 9], 1, 1) == (7,)
    # two threads each do not fit: the plain rule decides
    assert near_block(near, [6, 7, 8, 9], 1, 2) == ()
    assert near_block([frozenset()] * 2, range(4), 0, 1) == ()


def test_ranges_are_read() -> None:
    assert from_ranges('0-2,5\n') == [0, 1, 2, 5]
    assert from_ranges('\n') == []


def test_cpus_per_task_of_srun_is_believed() -> None:
    seat = Seat('srun', 0, 2, 0, 2, True)
    assert choose_cpus((0, 1), seat, 2, 8) == (0, 1)
