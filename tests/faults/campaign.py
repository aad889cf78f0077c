"""A campaign whose records do what is asked: die, crash, hang, wait.

    mpirun -n 2 python -m tests.faults.campaign DIR --fault kill:7

Row r waits a while and has the energy `energy(r)`; a row with a fault does
that instead, every time it is tried (a marker `once-<row>` in DIR: once).
"""
from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mpiapp import engine
from mpiapp.parallel.launch import Resources, World, launch
from mpiapp.partition import CostModel
from mpiapp.records import RELAX, Finished, Stream, Suspended


def energy(row: int) -> float:
    """Return the energy [eV] that a row has to have."""
    return float(np.sin(row) * 1e5)


def plan(options: argparse.Namespace) -> engine.Plan:
    """Return the plan of the campaign."""
    n = options.records
    return engine.Plan(
        RELAX, Path(options.folder) / 'x.h5', np.full(n, 2, np.int32),
        CostModel(), np.ones(n, bool), {'version': 1},
        [{'path': 'none', 'sha256': '', 'n_records': n}],
        {'program': 'faults'}, resume=options.resume,
        retry_failed=options.retry_failed,
        blank=lambda row: {'name': f'molecule_{row}'},
        record_timeout=options.record_timeout)


def fault(kind: str) -> None:
    """Do what ends or blocks this process."""
    if kind == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == 'crash':
        ctypes.string_at(0)
    elif kind == 'hang':
        # a lock taken twice, with the interpreter lock held: no Python code
        # runs here any more, and no signal ends it, as it would a sleep
        native, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
        for _ in range(2):
            native.pthread_mutex_lock(lock)
    elif kind == 'raise':
        raise RuntimeError('a defect')
    elif kind == 'thread':
        threading.Thread(target=fault, args=('raise',)).start()
        time.sleep(600)
    elif kind == 'mpi':
        from mpi4py import MPI
        raise MPI.Exception(MPI.ERR_OTHER)


def worker_of(options: argparse.Namespace) -> engine.Worker:
    """Return the worker; it holds --batch records at a time."""
    faults = {int(row): kind for kind, row in
              (f.split(':') for f in options.fault)}

    def worker(stream: Stream) -> Iterator[Finished | Suspended]:
        held: list[int] = []
        while True:
            items = stream.take(options.batch - len(held), wait=not held)
            held += [item.row for item in items]
            if not held and stream.dry:
                return
            if stream.stopping():
                for row in held:
                    yield Suspended(row, b'')
                return
            if not held:
                continue
            time.sleep(options.seconds)
            for row in held:
                if row in faults:
                    fault(faults[row])
            row = held.pop(0)
            yield Finished(row, {
                'status': 1, 'name': f'molecule_{row}',
                'e_total': energy(row), 'n_atoms': 2,
                'numbers': np.array([1, 1]), 'x_start': np.zeros((2, 3)),
                'x_final': np.ones((2, 3))}, 2, options.seconds)
    return worker


def main() -> int:
    """Run the campaign; returns the exit code of a program."""
    parser = argparse.ArgumentParser()
    parser.add_argument('folder')
    parser.add_argument('--records', type=int, default=30)
    parser.add_argument('--seconds', type=float, default=0.02)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--fault', nargs='*', default=[])
    parser.add_argument('--record-timeout', type=float)
    parser.add_argument('--max-failed', type=int, default=0)
    parser.add_argument('--resume', action='store_true')
    parser.add_argument('--retry-failed', action='store_true')
    options = parser.parse_args()

    def run(world: World) -> int:
        outcome = engine.run(world, plan(options), worker_of(options))
        if world.comm.rank == 0:
            print(outcome.verdict(options.max_failed, False), flush=True)
        return outcome.exit_code(options.max_failed, False)
    return launch(run, Resources())


if __name__ == '__main__':
    sys.exit(main())
