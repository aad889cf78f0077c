"""A block of attempts: one row, whatever happens, and exact stops."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mpiapp.chemistry.embedding import Recipe
from mpiapp.chemistry.smiles_input import table_of
from mpiapp.records import Finished, Item, Status, Suspended
from mpiapp.store.packing import RowPacker
from mpiapp.workers import embed
from mpiapp.workers.embed import ATTEMPTS, BLOCK, EmbedSettings, EmbedWorker

#: blocks of a molecule in these tests
BLOCKS = 10


@dataclass
class Listed:
    """A stream of given items that stops after some questions."""

    items: list[Item]
    stops_at: float = np.inf
    dry: bool = False
    asked: int = field(default=0)

    def take(self, n: int, wait: bool = True) -> list[Item]:
        taken, self.items = self.items[:n], self.items[n:]
        return taken

    def stopping(self) -> bool:
        self.asked += 1
        return self.asked > self.stops_at


def worker(
    smiles: Sequence[str], recipe: Recipe = Recipe(), **more: Any,
) -> EmbedWorker:
    timeout = more.pop('record_timeout', None)
    return EmbedWorker(EmbedSettings(recipe, BLOCKS, timeout),
                       table_of(smiles).rows, **more)


def work(made: EmbedWorker, items: list[Item], **more: Any) -> list[Any]:
    return list(made(Listed(items, **more)))


def packed(row: Any) -> bytes:
    """Return a row as it is stored, times apart."""
    return RowPacker(ATTEMPTS).pack({**row, 'seconds': 0.0})


def test_a_block_is_a_row_with_its_attempts() -> None:
    done, = work(worker(['C', 'CCO']), [Item(BLOCKS + 3)])
    assert isinstance(done, Finished)
    values = done.values
    assert (values['molecule'], values['block']) == (1, 3)
    assert values['name'] == 'molecule_2' and values['n_atoms'] == 9
    assert values['attempt'].tolist() == list(range(3 * BLOCK, 4 * BLOCK))
    assert len(values['x']) == BLOCK * 9
    assert values['status'] == Status.CONVERGED
    assert packed(values)


def test_a_stopped_block_goes_on_to_the_same_bytes() -> None:
    whole, = work(worker(['CCCO']), [Item(2)])
    for stops_at in range(BLOCK):
        put_aside, = work(worker(['CCCO']), [Item(2)], stops_at=stops_at)
        assert isinstance(put_aside, Suspended)
        resumed, = work(worker(['CCCO']), [Item(2, put_aside.state)])
        assert packed(resumed.values) == packed(whole.values)


def test_attempts_that_failed_survive_a_stop() -> None:
    smiles = ['O[C@@H]1C[C@@H]2CC[C@@H]1C2']
    whole, = work(worker(smiles), [Item(0)])
    assert whole.values['status'] == Status.CONVERGED
    assert not len(whole.values['x'])
    put_aside, = work(worker(smiles), [Item(0)], stops_at=1)
    resumed, = work(worker(smiles), [Item(0, put_aside.state)])
    assert packed(resumed.values) == packed(whole.values)


def test_a_molecule_that_is_refused_is_a_rejected_row() -> None:
    bad, good = work(worker(['C[NH3+]', 'C']), [Item(0), Item(BLOCKS)])
    assert bad.values['status'] == Status.REJECTED
    assert bad.values['reason'] == 'charged'
    assert good.values['status'] == Status.CONVERGED


def test_an_unforeseen_error_is_a_failed_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError('Pre-condition Violation')
    monkeypatch.setattr(embed, 'attempt', broken)
    done, = work(worker(['C']), [Item(0)])
    assert done.values['status'] == Status.FAILED
    assert done.values['reason'] == 'internal_error'
    assert 'Pre-condition' in done.values['message']


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that goes on by so much whenever it is read."""
    times = iter(np.arange(0.0, 1e3, seconds))
    return lambda: float(next(times))


def test_a_block_is_given_up_after_its_time() -> None:
    done, = work(worker(['C'], record_timeout=1.5, clock=ticking(1.0)),
                 [Item(0)])
    assert done.values['status'] == Status.UNCONVERGED
    assert done.values['reason'] == 'time_limit'
    assert len(done.values['attempt']) == 1
