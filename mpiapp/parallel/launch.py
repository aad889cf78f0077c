"""Start a program on all ranks and end it so that no rank hangs.

The only place that names COMM_WORLD.  Plain `python -m mpiapp.<program>`
behaves as under mpi4py's own runner: an exception, or a non-zero exit, of
one rank ends the whole job with that code (measured: without this it hangs).
"""
from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from mpiapp.errors import InputError, StoreError
from mpiapp.parallel import binding, elastic, gpus
from mpiapp.parallel.agree import AgreedExit, agree
from mpiapp.parallel.outlets import lasting
from mpiapp.parallel.stop import StopWatch
from mpiapp.parallel.witness import NoWitness, Witness, call_witness

DONE, STOPPED, USAGE, FAILED, RESUMABLE = range(5)

log = logging.getLogger('mpiapp')


@dataclass(frozen=True)
class Resources:
    """What the options ask of the machine, before anything is loaded."""

    threads: int = 1
    device: str = 'auto'
    ranks_per_gpu: int = 1
    gpu_ids: tuple[str, ...] = ()
    log_level: str = 'info'
    log_file: str = ''
    time_limit: float | None = None


@dataclass(frozen=True)
class World:
    """What a program runs in: communicator, placements, reasons to stop,
    the witness of this rank's death.

    All but `heal` leaves it as it is; take `comm` anew after `engine.run`.
    """

    comm: Any
    placement: binding.Placement
    placements: tuple[binding.Placement, ...]
    watch: StopWatch = field(default_factory=StopWatch)
    witness: Witness | NoWitness = field(default_factory=NoWitness)

    def heal(self) -> list[int]:
        """Collective among those alive: leave dead ranks behind.

        Returns their old ranks; `comm` and `placements` are those of the
        survivors from now on.  Without rank 0, which holds the lock and
        the options, the job ends.
        """
        comm, alive = elastic.survivors(self.comm)
        if alive[0]:
            _abort(comm, STOPPED, 'rank 0 died: nothing that is finished is '
                   'lost, go on with --resume')
        gone = sorted(set(range(len(self.placements))) - set(alive))
        object.__setattr__(self, 'placements', tuple(
            self.placements[r] for r in alive))
        object.__setattr__(self, 'comm', comm)
        return gone


def is_root() -> bool:
    """Tell whether this process is rank 0, before MPI has started."""
    return binding.seat_from(os.environ).rank == 0


def leave(code: int, message: str = '') -> NoReturn:
    """End before MPI has started, the same way on every rank.

    Every rank comes here on its own, with the same code.  Rank 0 speaks;
    the others give it time, since a launcher ends the whole job, messages
    in flight included, as soon as one rank has left with an error.
    """
    if is_root():
        if message:
            print(message, file=sys.stderr if code else sys.stdout,
                  flush=True)
    elif code:
        time.sleep(2)
    sys.exit(code)


def _start_mpi() -> Any:
    import mpi4py
    mpi4py.rc.thread_level = 'multiple'
    from mpi4py import MPI
    return MPI


def _check_size(comm: Any, seat: binding.Seat) -> None:
    """Refuse N copies of rank 0: mpirun of one MPI, mpi4py of another."""
    if comm.size != seat.size:
        raise AgreedExit(
            USAGE, f'the launcher ({seat.launcher}) started {seat.size} '
            f'ranks, but MPI sees {comm.size}: mpirun and mpi4py belong to '
            'different MPI libraries; use the mpirun of the active '
            'environment')


class _LogFile(logging.FileHandler):
    """A log file that is given up, with a warning, where writing fails."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say it once; the work goes on."""
        self.setLevel(logging.CRITICAL + 1)
        error = sys.exc_info()[1]
        print(f'warning: --log-file {self.baseFilename} cannot be written '
              f'({error}): the rest of it is lost', file=sys.stderr,
              flush=True)


def _set_logging(comm: Any, resources: Resources) -> None:
    """Set the handlers of this rank; InputError for a bad log file."""
    level = getattr(logging, resources.log_level.upper())
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    where = '' if comm.rank == 0 else f'[rank {comm.rank}/{comm.size}] '
    handler.setFormatter(logging.Formatter(f'{where}%(message)s'))
    handler.setLevel(level if comm.rank == 0
                     else max(level, logging.WARNING))
    log.handlers = [handler]
    log.setLevel(min(level, logging.INFO))
    log.propagate = False
    file_log = logging.getLogger('mpiapp.file')
    file_log.propagate = False
    file_log.setLevel(logging.CRITICAL)
    if resources.log_file:
        suffix = f'.{comm.rank}' if comm.rank else ''
        try:
            to_file = _LogFile(resources.log_file + suffix)
        except OSError as error:
            raise InputError(f'--log-file {resources.log_file}{suffix}: '
                             f'{error.strerror}') from error
        to_file.setFormatter(logging.Formatter(
            f'%(asctime)s {comm.rank}/{comm.size} %(message)s'))
        log.addHandler(to_file)
        file_log.handlers = [to_file]
        file_log.setLevel(logging.INFO)


def _abort(comm: Any, code: int, text: str) -> NoReturn:
    """Say why, give other ranks a moment to speak too, end the job."""
    for line in text.rstrip().splitlines():
        print(f'[rank {comm.rank}] {line}', file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
    time.sleep(0.3)
    comm.Abort(code)
    os._exit(code)


def _guard_threads(comm: Any, witness: Witness | NoWitness) -> None:
    """Let an exception in a helper thread end the job as well."""
    def hook(args: threading.ExceptHookArgs) -> None:
        # it moves records and files: no record is to blame
        witness.farewell()
        text = ''.join(traceback.format_exception(
            args.exc_type, args.exc_value, args.exc_traceback))
        _abort(comm, STOPPED, text)
    threading.excepthook = hook


def _enter(
    comm: Any, placement: binding.Placement, resources: Resources,
    watch: StopWatch, witness: Witness | NoWitness,
) -> World:
    """Collective: check the launch, open the logs, meet the other ranks."""
    _check_size(comm, placement.seat)
    placements = tuple(comm.allgather(placement))
    with agree(comm, 'sharing the GPUs'):
        gpus.check_sharing(placements, resources.ranks_per_gpu)
    with agree(comm, 'opening the logs'):
        _set_logging(comm, resources)
    return World(comm, placement, placements, watch, witness)


def _known_gpu(placement: binding.Placement) -> binding.Placement:
    """Add the UUID of the GPU, where other ranks could be on the same."""
    if placement.device == 'cpu' or placement.seat.local_size == 1:
        return placement
    return replace(placement, gpu=gpus.identity(
        placement.device.removeprefix('cuda:'), gpus.driver_list()))


def _run(
    comm: Any, main: Callable[[], int], witness: Witness | NoWitness,
) -> int:
    """Run `main`; only ends that all ranks share come back from here."""
    try:
        return main()
    except AgreedExit as end:
        if comm.rank == 0:
            prefix = 'error: ' if end.code else ''
            print(f'{prefix}{end.message}', file=sys.stderr, flush=True)
        return end.code
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if code:
            witness.farewell()
            _abort(comm, code, f'left with exit code {end.code}')
        return 0
    except (StoreError, InputError) as error:
        # of a file that was read late: no defect, no record to blame
        witness.farewell()
        _abort(comm, STOPPED, f'error: {error}')
    except Exception as error:
        if elastic.is_of_mpi(error):
            witness.farewell()
        else:
            witness.tell(error)
        _abort(comm, STOPPED, traceback.format_exc())
    except BaseException:
        witness.farewell()
        _abort(comm, STOPPED, traceback.format_exc())


@contextmanager
def witnessed(seat: binding.Seat) -> Iterator[Witness | NoWitness]:
    """Have a witness for the time of the block."""
    witness = call_witness(f'rank {seat.rank} of {seat.size}')
    try:
        yield witness
    finally:
        faulthandler.disable()
        witness.close()


def launch(main: Callable[[World], int], resources: Resources) -> int:
    """Place this rank, start MPI, run `main` on every rank.

    SIGTERM, SIGUSR1 and SIGINT are noted in `World.watch` from here on and
    kill no more; the clock of the time limit starts here too.

    Returns the exit code, equal on all ranks: 0 done, 2 wrong input,
    3 too many records failed, 4 stopped early and resumable; whatever
    `main` returns, which it must have agreed on.  Anything unforeseen
    aborts the job with code 1.
    """
    try:
        placement = binding.place(
            *binding.surroundings(), resources.threads, resources.device,
            resources.ranks_per_gpu, resources.gpu_ids)
    except InputError as error:
        leave(USAGE, f'error: {error}')
    binding.occupy(placement)
    placement = _known_gpu(placement)
    with lasting(), StopWatch(resources.time_limit) as watch, \
            witnessed(placement.seat) as witness:
        comm = _start_mpi().COMM_WORLD.Dup()
        _guard_threads(comm, witness)
        if witness.report is not None:
            # after MPI_Init, which sets handlers of its own: they follow
            faulthandler.enable(witness.report)
        worlds: list[World] = []

        def entered() -> int:
            worlds.append(_enter(comm, placement, resources, watch, witness))
            return main(worlds[0])
        code = _run(comm, entered, witness)
    if worlds and worlds[0].comm.size < comm.size:
        # MPI_Finalize would wait for the dead
        worlds[0].comm.barrier()
        os._exit(code)
    return code
