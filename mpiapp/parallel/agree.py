"""Agreement at a meeting point: either all ranks go on, or all stop."""
from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpiapp.errors import InputError, StoreError


class AgreedExit(Exception):
    """An end that every rank shares: finalise MPI, leave with `code`.

    The message is printed once, by rank 0.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@contextmanager
def agree(comm: Any, what: str) -> Iterator[None]:
    """Collective: run local work so that all ranks fail or none.

    The block must hold no collective call.  If it raised on any rank, every
    rank raises `AgreedExit`: code 2 where all the causes are `InputError`,
    1 for `StoreError` (both texts are the user's message), else 1 with the
    traceback and rank.
    """
    note: tuple[int, str] | None = None
    cause: Exception | None = None
    try:
        yield
    except AgreedExit:
        raise
    except InputError as error:
        note, cause = (2, str(error)), error
    except StoreError as error:
        note, cause = (1, str(error)), error
    except Exception as error:
        note, cause = (0, traceback.format_exc().rstrip()), error
    notes = comm.allgather(note)
    failed = [(rank, n) for rank, n in enumerate(notes) if n is not None]
    if not failed:
        return
    codes = [code for _, (code, _) in failed]
    if all(codes):
        texts = dict.fromkeys(text for _, (_, text) in failed)
        raise AgreedExit(min(codes), '\n'.join(texts)) from cause
    lines = [f'{what} failed']
    for rank, (_, text) in failed:
        lines += [f'[rank {rank}] {line}' for line in text.splitlines()]
    raise AgreedExit(1, '\n'.join(lines)) from cause
