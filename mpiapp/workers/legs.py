"""Several relaxations of one record that can be stopped in any of them.

The legs that are done and the state of the running one travel as bytes; a
record that goes on passes its finished legs again without computing.
"""
from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.base import Optimizer
from mpiapp.optimize.driver import Limits, Paused, Relaxed, Task, relax
from mpiapp.optimize.running import begin
from mpiapp.potentials.base import Potential
from mpiapp.records import Batch, Evaluation, Floats

log = logging.getLogger('mpiapp')

FORMAT = 1
#: fields of `Relaxed` by what they are; the others are real numbers
_TEXT = ('outcome', 'message')
_WHOLE = ('key', 'steps', 'evaluations', 'atom_steps', 'rough_evaluations')
_REAL = tuple(f.name for f in fields(Relaxed)
              if f.name not in (*_TEXT, *_WHOLE, 'positions'))


class Stopped(Exception):
    """The job is stopping: the record is to be suspended with `state`."""

    def __init__(self, state: bytes) -> None:
        super().__init__('stopped')
        self.state = state


class Legs:
    """The relaxations of one record.

    `state` is that of a `Stopped`, or empty.  A state that is of no use is
    dropped with a warning that names `row`, and the record starts anew.
    `timeout` [s] holds for each leg.  `atom_steps` counts all atoms
    evaluated by these legs, those of earlier runs left out.
    """

    def __init__(
        self, potential: Potential, optimizer: Optimizer[Any],
        fmax: float, timeout: float | None, stopping: Callable[[], bool],
        state: bytes = b'', row: int = 0,
    ) -> None:
        self._row = row
        self._potential = potential
        self._optimizer = optimizer
        self._fmax = fmax
        self._timeout = timeout
        self._stopping = stopping
        self._done: list[tuple[Relaxed, float]] = []
        self._passed = 0
        self._running = b''
        self._energies: list[float] = []
        self.atom_steps = 0
        self._unpack(state)

    def relax(
        self, numbers: NDArray[np.int32], positions: Floats, max_steps: int,
        fmax: float | None = None, optimizer: Optimizer[Any] | None = None,
    ) -> tuple[Relaxed, float]:
        """Relax [n_atoms, 3] A; return it and the last energy change, eV.

        `fmax` and `optimizer` may be those of this leg alone; with fmax 0
        all steps are made.

        Raises:
            Stopped: the job is stopping.
        """
        if self._passed == len(self._done):
            limits = Limits(self._fmax if fmax is None else fmax, max_steps,
                            self._timeout)
            self._done.append(self._compute(
                numbers, positions, limits, optimizer or self._optimizer))
        self._passed += 1
        return self._done[self._passed - 1]

    def _compute(
        self, numbers: NDArray[np.int32], positions: Floats, limits: Limits,
        optimizer: Optimizer[Any],
    ) -> tuple[Relaxed, float]:
        tasks = [self._task(numbers, positions, optimizer)]
        end = next(iter(relax(
            lambda n: [tasks.pop()] if tasks else [], self._evaluate,
            optimizer, limits, 1, self._stop_once_begun(tasks))))
        self._running = b''
        if isinstance(end, Paused):
            raise Stopped(self.pack(end.state))
        last = self._energies[-2:]
        self._energies = []
        self.atom_steps += end.atom_steps
        change = abs(last[1] - last[0]) if len(last) == 2 else 0.0
        return end, change

    def _stop_once_begun(self, tasks: list[Task]) -> Callable[[], bool]:
        """Look for a stop in all rounds but that which takes the task."""
        return lambda: not tasks and self._stopping()

    def _task(
        self, numbers: NDArray[np.int32], positions: Floats,
        optimizer: Optimizer[Any],
    ) -> Task:
        """Return the task of a leg, with its state if that is of use."""
        task = Task(0, numbers, positions, state=self._running)
        try:
            begin(task, optimizer)
        except ValueError as error:
            log.warning('row %d: a leg is relaxed anew: %s', self._row,
                        error)
            self._energies = []
            return Task(0, numbers, positions)
        return task

    def _evaluate(self, batch: Batch) -> Evaluation:
        found = self._potential.evaluate(batch)
        self._energies = [*self._energies[-1:], float(found.energies[0])]
        return found

    def pack(self, running: bytes = b'') -> bytes:
        """Return what is done and the state of what runs, as bytes."""
        arrays: dict[str, Any] = {
            'format': np.array(FORMAT), 'n_done': np.array(len(self._done)),
            'running': np.frombuffer(running or self._running, np.uint8),
            'energies': np.array(self._energies, np.float64)}
        for i, (end, change) in enumerate(self._done):
            arrays[f'text_{i}'] = np.array([getattr(end, n) for n in _TEXT])
            arrays[f'whole_{i}'] = np.array([getattr(end, n) for n in _WHOLE])
            arrays[f'real_{i}'] = np.array(
                [*(getattr(end, n) for n in _REAL), change])
            arrays[f'x_{i}'] = end.positions
        buffer = BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    def _unpack(self, state: bytes) -> None:
        if not state:
            return
        try:
            with np.load(BytesIO(state), allow_pickle=False) as file:
                arrays = dict(file.items())
            if int(arrays['format']) != FORMAT:
                raise ValueError(f'format {arrays["format"]}, should be '
                                 f'{FORMAT}')
            done = [_relaxed(arrays, i)
                    for i in range(int(arrays['n_done']))]
        except (BadZipFile, ValueError, OSError, KeyError) as error:
            log.warning('row %d is relaxed anew: its state is of no use: %s',
                        self._row, error)
            return
        self._done = done
        self._running = arrays['running'].tobytes()
        self._energies = arrays['energies'].tolist()


def _relaxed(
    arrays: dict[str, NDArray[Any]], i: int,
) -> tuple[Relaxed, float]:
    *real, change = arrays[f'real_{i}'].tolist()
    values = {
        **dict(zip(_TEXT, arrays[f'text_{i}'].tolist(), strict=True)),
        **dict(zip(_WHOLE, arrays[f'whole_{i}'].tolist(), strict=True)),
        **dict(zip(_REAL, real, strict=True))}
    return Relaxed(positions=arrays[f'x_{i}'], **values), change
