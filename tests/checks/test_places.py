"""Cores, threads, containers and the folder of the results."""
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mpiapp.checks import placing, storage
from mpiapp.checks.table import FAIL, OK, Doubt, Unfit
from mpiapp.errors import InputError
from mpiapp.parallel.binding import THREAD_VARIABLES, Placement, Seat
from mpiapp.parallel.launch import World
from mpiapp.parallel.serial import SerialComm

HERE = tuple(sorted(os.sched_getaffinity(0)))
PLACE = Placement(Seat(), 'a', HERE, 1, 'cpu')


def test_eight_copies_of_rank_0_are_found() -> None:
    eight = replace(PLACE, seat=Seat('openmpi', 0, 8, 0, 8))
    world = World(SerialComm(), eight, (eight,))
    with pytest.raises(Unfit, match=r'\(openmpi\) started 8, MPI sees 1'):
        placing.ranks(world, [1])


def test_cores_in_force_are_compared_with_those_chosen() -> None:
    assert placing.cores(PLACE).startswith('CPUs ')
    with pytest.raises(Doubt, match='are in force'):
        placing.cores(replace(PLACE, cpus=(HERE[-1] + 1,)))
    with pytest.raises(Doubt, match='srun --cpus-per-task=999'):
        placing.cores(replace(PLACE, threads=999))


def test_shared_cores_are_found_on_each_node() -> None:
    mine = replace(PLACE, cpus=(0,))
    assert placing.sharing([mine, replace(mine, host='b')])
    with pytest.raises(Doubt, match=r'b: 2 rank\(s\) with 2 thread'):
        placing.sharing([mine, *[replace(mine, host='b')] * 2])


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    file = tmp_path / 'cpu.max'
    file.write_text('150000 100000\n')
    assert placing.quota(str(file)) == 1.5
    file.write_text('max 100000\n')
    assert placing.quota(str(file)) is None
    assert placing.quota(str(tmp_path / 'none')) is None


def test_thread_variables_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, '1')
    assert placing.threads(PLACE) == '1 a rank'
    monkeypatch.setenv('OMP_NUM_THREADS', '24')
    with pytest.raises(Doubt, match='24'):
        placing.threads(PLACE)


def test_ranks_on_one_gpu_without_mps_take_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setenv('CUDA_MPS_PIPE_DIRECTORY', str(tmp_path))
    two = [replace(PLACE, device='cuda:0')] * 2
    with pytest.raises(Doubt, match='2 ranks on one GPU'):
        placing.gpu_sharing(two)
    own = [replace(PLACE, device='cuda:0', gpu=f'GPU-{r}') for r in range(4)]
    assert placing.gpu_sharing(own) == '1 rank(s) a GPU'
    (tmp_path / 'control').touch()
    assert placing.mps_runs({'CUDA_MPS_PIPE_DIRECTORY': str(tmp_path)})


def test_the_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    result = tmp_path / 'new' / 'deep' / 'x.h5'
    found = storage.check_storage(SerialComm(), result, 0.1, 'auto')
    assert {f.verdict for f in found} == {OK}, found
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_fails_and_nothing_more_is_tried(
    tmp_path: Path,
) -> None:
    (tmp_path / 'file').touch()
    found = storage.check_storage(
        SerialComm(), tmp_path / 'file' / 'x.h5', 0.1, 'auto')
    assert found[0].verdict == FAIL
    assert 'is not a folder' in found[0].text
    with pytest.raises(InputError):
        storage.folder(tmp_path / 'file' / 'x.h5', goes_on=False)


def test_results_in_the_way_fail_unless_the_job_goes_on_with_them(
    tmp_path: Path,
) -> None:
    (tmp_path / 'x.h5').touch()
    with pytest.raises(Unfit, match='--resume, --overwrite'):
        storage.folder(tmp_path / 'x.h5', goes_on=False)
    assert storage.folder(tmp_path / 'x.h5', goes_on=True) == str(tmp_path)


def test_mpi_io_that_is_asked_for_and_absent_fails(tmp_path: Path) -> None:
    found = storage.hdf5(SerialComm(), tmp_path, 0.1, 'mpio')
    assert found.verdict == FAIL
