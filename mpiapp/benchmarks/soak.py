"""Kill a campaign again and again, and compare what comes out of it.

Runs `reopt` with the toy potential on real conformers under mpirun, and
SIGKILLs one rank, or all ranks and mpirun, at random moments: while it
starts, works or writes.  Each time it is resumed, until it is complete, and
then begun anew.  Every complete result must be, byte for byte, that of an
undisturbed run: a record that is lost, done twice, wrong or left out shows.
"""
from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mpiapp.benchmarks.context import machine, versions
from mpiapp.benchmarks.ranks import ENSEMBLE
from mpiapp.data_files import data_file
from mpiapp.errors import InputError

#: the bundled conformers so often: 57 records, a second of work and more
COPIES = 3
#: a job that takes longer hangs
LIMIT_SECONDS = 300
#: kills are spread over the time of an undisturbed run and so much more
LATE = 1.1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--ranks', type=int, default=2, metavar='N')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--copies', type=int, default=COPIES, metavar='N',
                        help='how often the bundled conformers are relaxed')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')


@dataclass
class Tally:
    """What has happened so far."""

    kills: int = 0
    of_one: int = 0
    campaigns: int = 0
    equal: int = 0
    missed: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def run(options: argparse.Namespace) -> int:
    """Kill, resume, compare; 1 if any result differs.

    Raises:
        InputError: wrong options, or no mpirun.
    """
    if options.kills < 1 or options.ranks < 1 or options.copies < 1:
        raise InputError('--kills, --ranks and --copies must be at least 1')
    chance = random.Random(options.seed)
    tally = Tally()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        reference, seconds = undisturbed(options, Path(folder))
        print(f'undisturbed: {seconds:.1f} s', flush=True)
        while tally.kills < options.kills:
            prefix = Path(folder) / f'c{tally.campaigns}'
            campaign(options, prefix, reference, seconds, chance, tally)
    result = {
        'kills': tally.kills, 'of_one_rank': tally.of_one,
        'of_all': tally.kills - tally.of_one,
        'campaigns': tally.campaigns, 'equal': tally.equal,
        'too_late': tally.missed, 'exit_codes': dict(tally.codes),
        'wrong': tally.wrong, 'seconds': time.perf_counter() - began,
        'machine': machine(), 'versions': versions(),
        'command': 'python -m mpiapp.bench ' + ' '.join(options.words)}
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))
    good = tally.equal == tally.campaigns
    print(f'{tally.kills} kills, {tally.campaigns} campaigns, '
          f'{"all" if good else "NOT all"} results equal')
    return int(not good)


def line(tally: Tally) -> str:
    """Return the tally as a line."""
    return (f'{tally.kills} kills ({tally.of_one} of one rank), '
            f'{tally.equal} of {tally.campaigns} campaigns equal')


def undisturbed(
    options: argparse.Namespace, folder: Path,
) -> tuple[str, float]:
    """Return the digest and the seconds of a run that nobody kills."""
    from mpiapp.store.digest import content_digest
    began = time.perf_counter()
    job = start(options, folder / 'reference', False)
    code = job.wait(LIMIT_SECONDS)
    if code:
        raise InputError(f'an undisturbed run ends with exit code {code}')
    return (content_digest(folder / 'reference.h5'),
            time.perf_counter() - began)


def campaign(
    options: argparse.Namespace, prefix: Path, reference: str,
    seconds: float, chance: random.Random, tally: Tally,
) -> None:
    """Kill and resume one campaign until it is complete, then compare."""
    from mpiapp.store.digest import content_digest
    tally.campaigns += 1
    resume = False
    while True:
        job = start(options, prefix, resume)
        if tally.kills < options.kills:
            strike(job, chance.uniform(0.0, LATE * seconds),
                   chance.random() < 0.5, chance, tally)
        code = job.wait(LIMIT_SECONDS)
        wait_for_lock(prefix)
        tally.codes[str(code)] += 1
        print(line(tally), flush=True)
        resume = (prefix.with_suffix('.journal') / 'campaign.json').exists()
        if code == 0:
            break
        if code in (2, 3, 4):
            tally.wrong.append(f'{prefix.name}: exit code {code}')
            return
    same = content_digest(prefix.with_suffix('.h5')) == reference
    tally.equal += same
    if not same:
        tally.wrong.append(f'{prefix.name}: another result')


def start(
    options: argparse.Namespace, prefix: Path, resume: bool,
) -> subprocess.Popen[bytes]:
    """Start a run as a user does."""
    sdf = [str(data_file(name)) for name in ENSEMBLE] * options.copies
    words = ['mpirun', '-n', str(options.ranks), sys.executable, '-m',
             'mpiapp.reopt', '--calculator', 'lj', '--sdf', *sdf,
             '--output-prefix', str(prefix), '--max-steps', '40',
             '--optimizer', 'lbfgs', '--no-boltzmann',
             '--max-failed', '9', '--save-every', '5',
             *(['--resume'] if resume else [])]
    with open(prefix.with_suffix('.log'), 'ab') as log:
        try:
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # without what MPI, which h5py loads, has set in this process
                env=dict(os.environ))
        except FileNotFoundError as error:
            raise InputError('there is no mpirun') from error


def strike(
    job: subprocess.Popen[bytes], after: float, one: bool,
    chance: random.Random, tally: Tally,
) -> None:
    """Kill a rank, or all and mpirun, after a time, if there are any."""
    try:
        job.wait(after)
    except subprocess.TimeoutExpired:
        pass
    ranks = children(job.pid)
    if not ranks:
        tally.missed += 1
        return
    tally.kills += 1
    tally.of_one += one
    victims = [chance.choice(ranks)] if one else [*ranks, job.pid]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def children(parent: int) -> list[int]:
    """Return the processes that a process has started, in order."""
    path = Path(f'/proc/{parent}/task/{parent}/children')
    try:
        return sorted(int(pid) for pid in path.read_text().split())
    except OSError:
        return []


def wait_for_lock(prefix: Path) -> None:
    """Return when nobody holds the campaign: killed ranks take a moment."""
    import fcntl
    path = prefix.with_suffix('.journal') / 'lock'
    deadline = time.monotonic() + LIMIT_SECONDS
    while path.exists() and time.monotonic() < deadline:
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.1)
