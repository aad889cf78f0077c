"""Placement from recorded launcher environments."""
from __future__ import annotations

import pytest

from mpiapp.errors import InputError
from mpiapp.parallel import binding
from mpiapp.parallel.binding import Placement, Seat

OPENMPI = {
    'OMPI_COMM_WORLD_RANK': '5', 'OMPI_COMM_WORLD_SIZE': '8',
    'OMPI_COMM_WORLD_LOCAL_RANK': '1', 'OMPI_COMM_WORLD_LOCAL_SIZE': '4',
    'SLURM_PROCID': '0', 'SLURM_NTASKS': '2',
}
HYDRA = {'PMI_RANK': '3', 'PMI_SIZE': '6', 'MPI_LOCALRANKID': '0',
         'MPI_LOCALNRANKS': '3'}
SRUN = {
    'SLURM_PROCID': '5', 'SLURM_STEP_NUM_TASKS': '7', 'SLURM_LOCALID': '1',
    'SLURM_STEP_TASKS_PER_NODE': '3(x2),1', 'SLURM_NODEID': '1',
    'SLURM_STEP_ID': '0', 'SLURM_NTASKS': '7',
}
PALS = {'PALS_RANKID': '2', 'PALS_SIZE': '4', 'PALS_LOCAL_RANKID': '0',
        'PALS_LOCAL_SIZE': '2', 'PMI_RANK': '2', 'PMI_SIZE': '4'}
BATCH_SHELL = {'SLURM_PROCID': '0', 'SLURM_NTASKS': '4',
               'SLURM_JOB_ID': '7'}


@pytest.mark.parametrize('env, seat', [
    ({}, Seat()),
    (OPENMPI, Seat('openmpi', 5, 8, 1, 4)),
    (HYDRA, Seat('hydra', 3, 6, 0, 3)),
    (SRUN, Seat('srun', 5, 7, 1, 3)),
    (PALS, Seat('pals', 2, 4, 0, 2, True)),
    (BATCH_SHELL, Seat()),
])
def test_the_seat_is_read_from_the_launcher(
    env: dict[str, str], seat: Seat,
) -> None:
    assert binding.seat_from(env) == seat


def seats(n: int, launcher: str = 'openmpi') -> list[Seat]:
    return [Seat(launcher, i, n, i, n) for i in range(n)]


def test_unbound_ranks_share_the_cores_in_blocks() -> None:
    blocks = [binding.choose_cpus(range(8), s, 1, 8) for s in seats(4)]
    assert blocks == [(0, 1), (2, 3), (4, 5), (6, 7)]


def test_a_mask_narrowed_by_the_launcher_is_believed() -> None:
    bound = Seat('openmpi', 1, 2, 1, 2, bound=True)
    assert binding.choose_cpus([3], bound, 1, 8) == (3,)
    srun = Seat('srun', 1, 2, 1, 2)
    assert binding.choose_cpus([4, 5], srun, 1, 8) == (4, 5)


def test_more_ranks_than_cores_are_not_pinned() -> None:
    masks = {binding.choose_cpus([0, 1], s, 1, 2) for s in seats(3)}
    assert masks == {(0, 1)}


def test_threads_count_against_the_cores() -> None:
    masks = {binding.choose_cpus(range(4), s, 4, 4) for s in seats(2)}
    assert masks == {(0, 1, 2, 3)}


def test_each_local_rank_gets_its_gpu() -> None:
    gpus = ['GPU-a', 'MIG-b', '2']
    got = [binding.choose_gpu('auto', gpus, s, 1) for s in seats(3)]
    assert got == gpus


def test_the_only_visible_gpu_of_a_slurm_task_is_its_own() -> None:
    assert binding.choose_gpu('cuda', ['0'], Seat('srun', 1, 2, 1, 2),
                              1) == '0'


def test_more_ranks_than_gpus_are_refused_unless_allowed() -> None:
    with pytest.raises(InputError, match='ranks-per-gpu'):
        binding.choose_gpu('auto', ['0'], seats(2)[1], 1)
    assert binding.choose_gpu('auto', ['0'], seats(2)[1], 2) == '0'


def test_cuda_without_a_gpu_is_refused_and_auto_is_not() -> None:
    with pytest.raises(InputError, match='no NVIDIA GPU'):
        binding.choose_gpu('cuda', [], Seat(), 1)
    assert binding.choose_gpu('auto', [], Seat(), 1) == ''


def test_unknown_gpu_ids_are_refused() -> None:
    with pytest.raises(InputError, match='--gpu-ids 7'):
        binding.choose_gpu('auto', ['0', '1'], Seat(), 1, ['7'])


@pytest.mark.parametrize('text, gpus', [
    ('', []), ('-1', []), ('0,-1,1', ['0']), ('NoDevFiles', []),
    ('void', []), ('none', []), ('0,2', ['0', '2']),
    ('GPU-12ab, MIG-9', ['GPU-12ab', 'MIG-9']),
])
def test_visible_devices_are_kept_as_written(
    text: str, gpus: list[str],
) -> None:
    assert binding.visible_gpus({'CUDA_VISIBLE_DEVICES': text}) == gpus


def test_a_list_of_gpus_without_a_driver_is_believed_if_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = {'CUDA_VISIBLE_DEVICES': '0'}
    for driver, device in ((False, 'cpu'), (True, 'cuda:0')):
        monkeypatch.setattr(binding, 'has_driver', lambda: driver)
        assert binding.place(env, (0,), 1).device == device
        assert binding.place(env, (0,), 1, 'cuda').device == 'cuda:0'
        assert binding.place(env, (0,), 1, 'cpu').device == 'cpu'


def test_cpu_numbers_are_written_as_ranges() -> None:
    assert binding.ranges([5, 0, 1, 2]) == '0-2,5'
    assert binding.ranges([]) == ''


def test_the_table_of_a_long_job_is_cut() -> None:
    rows = [Placement(s, 'node', (s.rank,), 1, 'cpu') for s in seats(40)]
    text = binding.table(rows)
    assert len(text.splitlines()) == 18
    assert '24 ranks more' in text


def test_more_threads_than_cores_are_noticed() -> None:
    one = Placement(Seat(), 'node', (3,), 4, 'cpu')
    assert '4 threads on 1 core' in binding.crowding([one])
    assert not binding.crowding([Placement(Seat(), 'n', (0, 1), 2, 'cpu')])
