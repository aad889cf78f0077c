"""The board: each item once, none that is cancelled, no stalls."""
from __future__ import annotations

import ctypes
import time
from typing import Any

import pytest

from mpiapp.parallel.board import Board, Item
from mpiapp.parallel.workqueue import idle_barrier

pytestmark = pytest.mark.mpi

#: rank 0 is held this long in one native call
HELD_SECONDS = 2.0
#: a rank may wait so long for an item meanwhile
LONGEST = 0.5
STUDY = 99


def drain(board: Board, seconds: float = 0.0) -> list[Item]:
    """Take items until the board is closed, handing each back."""
    mine: list[Item] = []
    while not (board.closed and board.waiting == 0):
        item = board.take()
        if item is None:
            time.sleep(0.001)
            continue
        time.sleep(seconds)
        mine.append(item)
        board.give(item, [item.sample / 3, -0.0])
    return mine


@pytest.mark.parametrize('n', [0, 1, 40])
def test_each_item_is_taken_once_and_comes_back_exactly(
    comm: Any, node_comm: Any, n: int,
) -> None:
    board = Board(comm, 2, 2, 64, node_comm)
    back: list[Item] = []
    if comm.rank == 0:
        board.post(STUDY, 5, 1, [0.1, 1e-300], range(n))
        while len(back) < n:
            item = board.take()
            if item is not None:
                board.give(item, [item.sample / 3, -0.0])
            back += board.results()
        board.close()
        mine = []
    else:
        mine = drain(board)
    assert board.finish() == []
    for item in mine:
        assert (item.study, item.trial, item.attempt) == (STUDY, 5, 1)
        assert item.numbers == (0.1, 1e-300)
    if comm.rank == 0:
        assert sorted(r.sample for r in back) == list(range(n))
        assert all(r.numbers == (r.sample / 3, 0.0) for r in back)


def test_cancelled_items_are_neither_taken_nor_wanted(
    comm: Any, node_comm: Any,
) -> None:
    board = Board(comm, 1, 1, 64, node_comm)
    if comm.rank == 0:
        board.post(STUDY, 0, 0, [0.0], range(20))
        held = board.take()
        while held is None:
            held = board.take()
        assert board.alive(held)
        board.cancel(STUDY, 0, 0)
        assert not board.alive(held)
        board.post(STUDY, 1, 0, [1.0], [7])
        # the same trial begun again is another attempt
        board.post(STUDY, 0, 1, [2.0], [3])
        assert not board.alive(held)
        taken = [i for i in (board.take() for _ in range(5)) if i]
        assert {(i.trial, i.attempt) for i in taken} <= {(1, 0), (0, 1)}
        time.sleep(0.3)
        board.close()
    else:
        while not board.closed:
            item = board.take()
            if item is None:
                time.sleep(0.001)
                continue
            deadline = time.monotonic() + 10
            if (item.trial, item.attempt) == (0, 0):
                while board.alive(item):
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
    board.finish()


def test_a_stop_is_seen_by_all_and_no_item_is_taken_then(
    comm: Any, node_comm: Any,
) -> None:
    board = Board(comm, 1, 1, 64, node_comm)
    idle_barrier(comm)
    if comm.rank == comm.size - 1:
        board.stop(3)
    deadline = time.monotonic() + 10
    while board.stop_reason != 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    if comm.rank == 0:
        board.post(STUDY, 0, 0, [0.0], [1])
    idle_barrier(comm)
    assert board.take() is None
    board.finish()


@pytest.mark.parametrize('holds_the_lock', [False, True])
def test_taking_never_waits_for_rank_0_in_a_native_call(
    comm: Any, holds_the_lock: bool,
) -> None:
    board = Board(comm, 1, 1, 1024)
    if comm.rank == 0:
        board.post(STUDY, 0, 0, [0.0], range(1000))
    comm.Barrier()
    longest, n = 0.0, 0
    if comm.rank == 0:
        library = ctypes.PyDLL(None) if holds_the_lock \
            else ctypes.CDLL(None)
        library.usleep(int(HELD_SECONDS * 1e6))
    else:
        end = time.monotonic() + 0.8 * HELD_SECONDS
        while time.monotonic() < end:
            began = time.monotonic()
            item = board.take()
            longest = max(longest, time.monotonic() - began)
            if item is None:
                break
            board.give(item, [0.0])
            n += 1
            time.sleep(0.005)
    board.close()
    board.finish()
    if comm.rank:
        assert n > 10 and longest < LONGEST


def test_a_full_board_is_an_error_and_results_are_never_lost(
    comm: Any,
) -> None:
    board = Board(comm, 1, 1, 4)
    comm.Barrier()
    if comm.rank == 0:
        with pytest.raises(RuntimeError, match='board is full'):
            board.post(STUDY, 0, 0, [0.0], range(5))
    comm.Barrier()
    if comm.rank == comm.size - 1:
        item = Item(STUDY, 0, 2, 0, (0.0,))
        for i in range(100):
            board.give(item, [float(i)])
    last = board.finish()
    if comm.rank == 0:
        assert [r.numbers[0] for r in last] == list(range(100))
