"""A communicator of one: serial code and tests need no MPI."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar('T')


class SerialComm:
    """Stands in for an mpi4py communicator of size 1 (small objects)."""

    rank = 0
    size = 1

    def Get_rank(self) -> int:
        """Return 0."""
        return 0

    def Get_size(self) -> int:
        """Return 1."""
        return 1

    def barrier(self) -> None:
        """Return at once."""

    def bcast(self, item: T, root: int = 0) -> T:
        """Return the item."""
        return item

    def gather(self, item: T, root: int = 0) -> list[T]:
        """Return a list of the item."""
        return [item]

    def allgather(self, item: T) -> list[T]:
        """Return a list of the item."""
        return [item]

    def scatter(self, items: Sequence[T] | None, root: int = 0) -> T:
        """Return the only item."""
        return self._only(items)

    def alltoall(self, items: Sequence[T]) -> list[T]:
        """Return the only item in a list."""
        return [self._only(items)]

    def allreduce(self, item: T, op: Any = None) -> T:
        """Return the item."""
        return item

    def reduce(self, item: T, op: Any = None, root: int = 0) -> T:
        """Return the item."""
        return item

    def Dup(self) -> SerialComm:
        """Return another one."""
        return SerialComm()

    def Free(self) -> None:
        """Do nothing."""

    @staticmethod
    def _only(items: Sequence[T] | None) -> T:
        if items is None or len(items) != 1:
            raise ValueError('one item is expected for one rank')
        return items[0]
