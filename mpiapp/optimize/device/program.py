"""The device program of a rank: as many molecules as there is room for.

Some rounds of evaluations and steps run on the device without asking the
host.  Then one small array comes down: who has ended leaves, waiting ones
take their places.  A molecule that needs what only the host can do (new
coordinates, Cartesian steps) comes down for it and goes up again.
"""
from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.device import exchange
from mpiapp.optimize.device.budget import Budget
from mpiapp.optimize.device.flight import (
    ASKS, FLIES, Flight, Surface, advance, joined, rows
)
from mpiapp.optimize.driver import relax
from mpiapp.optimize.evaluation import (
    Answer, Evaluate, evaluate_all, reason_of
)
from mpiapp.optimize.internal import Internal
from mpiapp.optimize.running import FINE, Running, begin, ended, pack, verdict
from mpiapp.optimize.tasks import (
    NAN, OUT_OF_MEMORY, TIME_LIMIT, Limits, Paused, Relaxed, Task
)

if TYPE_CHECKING:
    from torch import Tensor

#: rounds between two looks of the host: an ended molecule is evaluated on
#: for half of them in vain, 1.5 of some 35 evaluations
ROUNDS = 4
#: room for so many more edges than the molecules have when they enter
CLOSER = 1.15
#: and that factor more wherever it was too little
MORE = 1.3

Take = Callable[[int, bool], Sequence[Task]]
Clock = Callable[[], float]

log = logging.getLogger('mpiapp')


@dataclass
class Traffic:
    """What was done: counted, for measurements and tests."""

    rounds: int = 0
    looks: int = 0
    copies: int = 0
    evaluations: int = 0
    in_vain: int = 0
    packed: int = 0
    grown: int = 0
    most_in_flight: int = 0

    def fetch(self, values: Tensor) -> NDArray[Any]:
        """Copy to the host: the only place that waits for the device."""
        self.copies += 1
        return values.cpu().numpy()


@dataclass(frozen=True)
class Craft:
    """What stays the same through a relaxation on a device."""

    surface: Surface
    evaluate: Evaluate
    optimizer: Internal
    limits: Limits
    budget: Budget
    rounds: int = ROUNDS
    traffic: Traffic = field(default_factory=Traffic)


@dataclass
class Air:
    """The molecules in the air, in the order of the arrays of `flight`."""

    molecules: list[Running] = field(default_factory=list)
    edges: list[int] = field(default_factory=list)
    flight: Flight | None = None
    plan: Any = None
    slack: float = CLOSER
    changed: bool = False


def relax_on_device(
    take: Take, craft: Craft, stopping: Callable[[], bool],
    clock: Clock = time.perf_counter,
) -> Iterator[Relaxed | Paused]:
    """Relax what `take` gives, as many at a time as the budget allows.

    `take(n, nothing_runs)` returns up to n tasks; the end is when it
    returns none and nothing runs.  Once `stopping()` is true every molecule
    is yielded as `Paused`, with a state that the host driver takes as well.
    """
    air, waiting = Air(), deque[Running]()
    while not stopping():
        yield from fill(air, waiting, take, craft, stopping)
        if not air.molecules:
            if waiting:
                continue
            return
        began = clock()
        try:
            fly(air, craft)
            flown = look(air, craft)
        except Exception as error:
            if reason_of(error) != OUT_OF_MEMORY:
                raise
            message = f'{type(error).__name__}: {error}'
            flown = None
        if flown is None:
            yield from evict(air, waiting, craft, message)
            continue
        share_time(air, clock() - began)
        yield from settle(air, waiting, flown, craft)
    for molecule in [*down(air, craft), *waiting]:
        yield Paused(molecule.task.key, pack(molecule, craft.optimizer))


def fill(
    air: Air, waiting: deque[Running], take: Take, craft: Craft,
    stopping: Callable[[], bool],
) -> Iterator[Relaxed | Paused]:
    """Let molecules in while there is room; yield what flew on the host."""
    entering: list[Running] = []
    while True:
        if not waiting:
            nothing = not (air.molecules or entering)
            if not nothing and not craft.budget.room(
                    sum(air.edges), len(air.edges), 1):
                break
            tasks = take(1, nothing)
            waiting += [replace(begin(t, craft.optimizer), stage=FINE)
                        for t in tasks]
            if not tasks:
                break
        molecule = waiting[0]
        if molecule.state.plain is not None:
            waiting.popleft()
            yield from by_host(molecule, craft, stopping)
            continue
        edges = craft.surface.edges(molecule.task.numbers,
                                    molecule.positions)
        if not craft.budget.room(sum(air.edges), len(air.edges), edges):
            break
        entering.append(waiting.popleft())
        air.edges.append(edges)
    if entering or air.changed:
        enter(air, entering, craft)


def by_host(
    molecule: Running, craft: Craft, stopping: Callable[[], bool],
) -> Iterator[Relaxed | Paused]:
    """Relax one that has given up internal coordinates, on the host."""
    tasks = [replace(molecule.task, state=pack(molecule, craft.optimizer))]
    yield from relax(lambda n: [tasks.pop()] if tasks else [],
                     craft.evaluate, craft.optimizer, craft.limits, 1,
                     stopping)
    if tasks:
        yield Paused(molecule.task.key, tasks[0].state)


def enter(air: Air, entering: list[Running], craft: Craft) -> None:
    """Add molecules to the arrays; pack all anew where they don't fit."""
    flight, memory = air.flight, craft.optimizer.memory
    air.changed = False
    if not (air.molecules or entering):
        return
    shape = exchange.shape_of([*air.molecules, *entering])
    if flight is not None:
        old = flight.frames.shape
        if old.loose(shape) or not old.holds(shape):
            entering = [*down(air, craft), *entering]
            flight = None
            craft.traffic.packed += 1
        elif not entering:
            return
        else:
            shape = old
    new = exchange.board(entering, shape, memory, craft.surface.device)
    if flight is None:
        air.molecules, air.flight = entering, new
    else:
        air.molecules = [*air.molecules, *entering]
        air.flight = joined(flight, new)
    craft.traffic.most_in_flight = max(
        craft.traffic.most_in_flight, len(air.molecules))
    air.slack, air.plan = CLOSER, None


def fly(air: Air, craft: Craft) -> None:
    """Evaluate and step all, some rounds; nothing waits for the device."""
    flight = air.flight
    assert flight is not None
    if air.plan is None:
        air.plan = craft.surface.compose(
            [m.task for m in air.molecules], flight.x.shape[1], air.edges,
            air.slack)
    craft.budget.watch()
    for _ in range(craft.rounds):
        found = craft.surface.evaluate(air.plan, flight.x)
        flight = advance(flight, found, craft.limits,
                         craft.optimizer.maxstep)
        # what has been done is kept if a later round runs out of memory
        air.flight = flight
        craft.traffic.rounds += 1
        craft.traffic.evaluations += len(flight)


@dataclass(frozen=True, eq=False)
class Look:
    """What the host sees: codes [n], and evaluations [n] so far."""

    code: NDArray[Any]
    evaluations: NDArray[Any]


def look(air: Air, craft: Craft) -> Look:
    """Wait for the device, once, and see who has ended or asks."""
    import torch
    assert air.flight is not None
    flight = air.flight
    code, evaluations = craft.traffic.fetch(
        torch.stack([flight.code, flight.evaluations]))
    craft.traffic.looks += 1
    craft.budget.learn(sum(air.edges))
    done = evaluations - [m.evaluations for m in air.molecules]
    # who flies and was not evaluated in all rounds had no room for edges
    if (done[code == FLIES] < craft.rounds).any():
        air.slack, air.plan = air.slack * MORE, None
        craft.traffic.grown += 1
    craft.traffic.in_vain += int((craft.rounds - done).sum())
    return Look(code, evaluations)


def settle(
    air: Air, waiting: deque[Running], seen: Look, craft: Craft,
) -> Iterator[Relaxed]:
    """Let those down that have ended or ask; others fly on."""
    limits = craft.limits
    air.molecules = [replace(m, evaluations=int(n)) for m, n in zip(
        air.molecules, seen.evaluations, strict=True)]
    late = [limits.record_timeout is not None
            and m.seconds >= limits.record_timeout for m in air.molecules]
    asks = np.flatnonzero((seen.code == ASKS) & ~np.array(late))
    over = np.flatnonzero((seen.code != FLIES) & (seen.code != ASKS)
                          | np.array(late))
    landed = land(air, over, craft, whole=False)
    asking = land(air, asks, craft, whole=True)
    keep(air, np.setdiff1d(np.arange(len(seen.code)), [*over, *asks]))
    for molecule in landed:
        yield judged(molecule, craft)
    for molecule in asking:
        stepped = step_on_host(molecule, craft.optimizer)
        if np.isfinite(stepped.positions).all():
            waiting.appendleft(stepped)
        else:
            yield ended(stepped, NAN, 'the optimiser step is not finite')


def land(
    air: Air, index: NDArray[Any], craft: Craft, whole: bool,
) -> list[Running]:
    """Return the molecules at `index`, with their state if `whole`."""
    if not len(index):
        return []
    assert air.flight is not None
    return exchange.come_down(
        air.flight, index.tolist(), [air.molecules[i] for i in index],
        craft.traffic.fetch, whole)


def keep(air: Air, index: NDArray[Any]) -> None:
    """Leave only the molecules at `index` in the air."""
    import torch
    if len(index) == len(air.molecules):
        return
    assert air.flight is not None
    air.molecules = [air.molecules[i] for i in index]
    air.edges = [air.edges[i] for i in index]
    air.changed, air.plan = True, None
    air.flight = rows(air.flight, torch.tensor(
        index, device=air.flight.x.device)) if len(index) else None


def down(air: Air, craft: Craft) -> list[Running]:
    """Return all molecules in the air with their states."""
    if air.flight is None:
        return []
    return land(air, np.arange(len(air.molecules)), craft, whole=True)


def judged(molecule: Running, craft: Craft) -> Relaxed:
    """Return the result of a molecule that the device has stopped."""
    point = molecule.point
    answer = Answer(point.energy, point.forces, point.e_model_minus_e0)
    if not np.array_equal(point.positions, molecule.positions):
        # not finite, or not evaluated at all: the potential says why
        answer = evaluate_all(craft.evaluate, [(
            molecule.task.numbers, molecule.positions, molecule.task.charge,
            molecule.task.unpaired)])[0][0]
    outcome, message = verdict(molecule, answer, craft.limits)
    if not outcome:
        outcome, message = TIME_LIMIT, 'stopped by its time limit'
    return ended(molecule, outcome, message)


def step_on_host(molecule: Running, optimizer: Internal) -> Running:
    """Take one step with all that the host can do."""
    point = molecule.point
    state, positions = optimizer.step(
        molecule.state, point.positions, point.energy, point.forces)
    return replace(molecule, state=state, positions=positions,
                   steps=molecule.steps + 1)


def evict(
    air: Air, waiting: deque[Running], craft: Craft, message: str,
) -> Iterator[Relaxed]:
    """Send all back to wait, for half of the room: memory is too small.

    A molecule that was alone has failed.
    """
    free_memory(craft.surface.device)
    log.debug('%d molecules, %d edges: %s', len(air.molecules),
              sum(air.edges), message)
    craft.budget.halve(sum(air.edges))
    # one by one: there may not be room for copies of all at once
    back = [land(air, np.array([i]), craft, whole=True)[0]
            for i in range(len(air.molecules))]
    keep(air, np.arange(0))
    if len(back) == 1:
        yield ended(back[0], OUT_OF_MEMORY, message)
    else:
        waiting.extendleft(reversed(back))


def free_memory(device: str) -> None:
    """Give back what PyTorch holds in reserve."""
    if device != 'cpu':
        import torch
        torch.cuda.empty_cache()


def share_time(air: Air, seconds: float) -> None:
    """Add to each molecule its share, by atoms, of the seconds."""
    n_atoms = sum(m.n_atoms for m in air.molecules)
    air.molecules = [
        replace(m, seconds=m.seconds + seconds * m.n_atoms / n_atoms)
        for m in air.molecules]
