"""Time ways in turns: new coordinates, counted evaluations, cold apart."""
from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mpiapp.records import Batch, Evaluation, Floats

#: A; how far atoms are moved from call to call
RATTLE = 1e-3
#: a median is stable when the next one is so near, of so many calls each
STABLE, WINDOW = 0.1, 3


class Way(Protocol):
    """A way to compute a model that can be measured."""

    def evaluate(self, batch: Batch, forces: bool) -> Evaluation:
        """Return energies, and forces where they are asked for."""

    def evaluations(self) -> int:
        """Return how often the model itself has run so far.

        Counted where the arithmetic is, not where the question comes in:
        an answer from a cache must not raise it.
        """

    def expected(self, batch: Batch) -> int:
        """Return how often it must run for this batch."""

    def synchronise(self) -> None:
        """Wait until the device has done all it was given."""


class CacheError(Exception):
    """A time of calls in which the model did not run (R1)."""


@dataclass
class Times:
    """Seconds of one way, warming up and steady apart.

    Building and the first call are not among them: by now the way has been
    called to be proved (R5).
    """

    warm_s: float = 0.0
    warm_calls: int = 0
    stable: bool = False
    samples: list[float] = field(default_factory=list)
    last: Evaluation | None = None
    error: str = ''


def moved(batch: Batch, rng: np.random.Generator) -> Batch:
    """Return the batch with all atoms moved a little."""
    step = rng.normal(0.0, RATTLE, batch.positions.shape)
    return Batch(batch.numbers, batch.positions + step, batch.offsets,
                 batch.charges, batch.unpaired)


def timed_call(
    way: Way, batch: Batch, forces: bool,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, Evaluation]:
    """Evaluate once and return the seconds.

    Raises:
        CacheError: the model did not run as often as it must have.
    """
    before = way.evaluations()
    way.synchronise()
    began = clock()
    found = way.evaluate(batch, forces)
    way.synchronise()
    seconds = clock() - began
    ran, needed = way.evaluations() - before, way.expected(batch)
    if ran != needed:
        raise CacheError(
            f'a timed call ran the model {ran} times where {needed} are '
            'needed: its results come from elsewhere, such as a cache')
    return seconds, found


def warm_up(
    way: Way, batch: Batch, forces: bool, most: int,
    rng: np.random.Generator, times: Times,
) -> None:
    """Call until the median is stable, at most `most` times."""
    taken: list[float] = []
    while len(taken) < most:
        taken.append(timed_call(way, moved(batch, rng), forces)[0])
        if len(taken) >= 2 * WINDOW:
            before = np.median(taken[-2 * WINDOW:-WINDOW])
            after = np.median(taken[-WINDOW:])
            if abs(after - before) <= STABLE * before:
                times.stable = True
                break
    times.warm_s, times.warm_calls = sum(taken), len(taken)


def in_turns(
    ways: Mapping[str, Way], batch: Batch, forces: bool, rounds: int,
    most_warm: int, seed: int,
    meet: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Times], Batch]:
    """Time all ways, each once a round, all at the coordinates of the round.

    Every way is first in its turn.  One that raises drops out with its
    traceback; the others go on.  `meet` is called before every evaluation.
    Returns the times and the last coordinates.
    """
    rng = np.random.default_rng(seed)
    found = {name: Times() for name in ways}

    def attempt(name: str, act: Callable[[], None]) -> None:
        meet()
        if found[name].error:
            return
        try:
            act()
        except Exception:  # of a way on trial: it becomes its row (R3)
            found[name].error = traceback.format_exc()

    for name, way in ways.items():
        def start(name: str = name, way: Way = way) -> None:
            warm_up(way, batch, forces, most_warm, rng, found[name])
        attempt(name, start)
    last, order = batch, list(ways)
    for i in range(rounds):
        last = moved(batch, rng)
        first = i % max(1, len(order))
        for name in order[first:] + order[:first]:
            def act(name: str = name, last: Batch = last) -> None:
                seconds, result = timed_call(ways[name], last, forces)
                found[name].samples.append(seconds)
                found[name].last = result
            attempt(name, act)
    return found, last


def phases(
    way: Any, batch: Batch, forces: bool, calls: int,
) -> dict[str, float]:
    """Return the median seconds of the parts of a call; {} if unknown.

    Of calls apart: on a GPU the marks between the parts cost time.
    """
    marks = getattr(way, 'marks', None)
    if marks is None:
        return {}
    rng = np.random.default_rng(3)
    taken: dict[str, list[float]] = {}
    for _ in range(calls):
        for name, seconds in marks(moved(batch, rng), forces).items():
            taken.setdefault(name, []).append(seconds)
    return {name: float(np.median(x)) for name, x in taken.items()}


def copies(structure: Any, n: int, seed: int = 1) -> Batch:
    """Return n copies of a molecule, no two at the same coordinates."""
    rng = np.random.default_rng(seed)
    shape = structure.positions.shape
    return Batch.join([
        (structure.numbers,
         structure.positions + rng.normal(0.0, RATTLE, shape),
         structure.charge, structure.unpaired) for _ in range(n)])


def flat(values: Sequence[float]) -> Floats:
    """Return values as an array."""
    return np.asarray(values, np.float64)
