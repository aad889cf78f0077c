"""How time falls with ranks: strong, weak, schedules, threads, GPU shares.

Each job runs under mpirun.  The same records give the same energies by every
schedule on any number of ranks, or the command fails.
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness import document
from mpiapp.benchmarks.harness.cells import FAILED, OK, REFUSED, SKIPPED
from mpiapp.benchmarks.harness.spread import summary, unpaired_ratio
from mpiapp.benchmarks.windows import DYNAMIC, STRONG, WEAK, Task
from mpiapp.errors import InputError
from mpiapp.parallel.binding import visible_gpus

#: records of a job, small and large mixed, the large ones last: the order
#: in which files of a library come, and the worst for static blocks
RECORDS = ('water', 'ethanol', 'benzene', 'alanine-dipeptide', 'caffeine',
           'naphthol-ether', 'organic', 'steroid')
QUICK_RECORDS = ('water', 'ethanol', 'ethanol', 'benzene', 'benzene',
                 'caffeine', 'caffeine', 'naphthol-ether')
#: eV; the same arithmetic at the same coordinates
SAME_ENERGY = 1e-6


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--quick', action='store_true',
                        help='few and small records, under 5 minutes')
    parser.add_argument('--ranks', nargs='+', type=int, metavar='N',
                        help='default: 1, 2, 4, ... up to the cores')
    parser.add_argument('--threads', nargs='+', type=int, default=[1],
                        metavar='N', help='threads of a rank, combined with '
                        'ranks as long as there are cores')
    parser.add_argument('--ranks-per-gpu', nargs='+', type=int, default=[1],
                        metavar='N', help='with --device cuda; whether MPS '
                        'runs is reported')
    parser.add_argument('--molecules', nargs='+', default=[], metavar='NAME',
                        help='records, names or FILE:RECORD')
    parser.add_argument('--repeats', type=int, metavar='N',
                        help='evaluations of a record (default 8, quick 4)')
    parser.add_argument('--windows', type=int, metavar='N',
                        help='repetitions of each job (default 9, quick 5)')
    parser.add_argument('--model-path', metavar='FILE',
                        help='MACE model; default: the bundled student')
    parser.add_argument('--way', default='poly', help='as in inference')
    parser.add_argument('--dtype', default='float64',
                        choices=('float64', 'float32'))
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--output-dir', default='runs', metavar='FOLDER',
                        help='where the raw samples go, one HDF5 file a job')
    parser.add_argument('--json', metavar='FILE',
                        help='write the results there')
    parser.add_argument('--plots', action='store_true',
                        help='draw the pictures')


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; 1 if a job fails or energies differ.

    Raises:
        InputError: wrong options, or no mpirun.
    """
    tasks = list(jobs(options))
    if not shutil.which('mpirun'):
        raise InputError('there is no mpirun')
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    results = document.Results('scaling', options.json)
    rows: list[dict[str, Any]] = []
    for n, task in tasks:
        name = (f'scaling_{task.law}_{n}x{task.threads}'
                f'_{task.ranks_per_gpu}')
        rows += measured(
            replace(task, output=str(folder / f'{name}.json')), n)
        for row in rows[-len(task.schedules):]:
            results.add({k: v for k, v in row.items() if k != 'energies'})
            print(line(row), flush=True)
    timed = [r for r in rows if r['state'] == OK]
    faults = disagreements(timed)
    content = results.close(laws=list(laws(timed)), mps=bool(
        os.environ.get('CUDA_MPS_PIPE_DIRECTORY')))
    for text in law_lines(content['laws']):
        print(text)
    if options.plots:
        from mpiapp.benchmarks.plots import draw_all
        for path in draw_all(content, folder / 'scaling'):
            print(f'wrote {path}')
    for fault in faults:
        print(f'DIFFERS: {fault}', file=sys.stderr)
    return int(bool(faults) or any(
        r['state'] not in (OK, SKIPPED) for r in rows))


def jobs(options: argparse.Namespace) -> Iterator[tuple[int, Task]]:
    """Yield (ranks, task) of all jobs.

    Raises:
        InputError: numbers out of range, or no GPU where one is needed.
    """
    from mpiapp.potentials.mace import files
    cores = len(os.sched_getaffinity(0))
    powers = [2 ** i for i in range(cores.bit_length()) if 2 ** i <= cores]
    ranks = options.ranks or powers
    quick = options.quick
    repeats = (4 if quick else 8) if options.repeats is None \
        else options.repeats
    windows = (5 if quick else 9) if options.windows is None \
        else options.windows
    for name, values in (('ranks', ranks), ('threads', options.threads),
                         ('ranks-per-gpu', options.ranks_per_gpu),
                         ('repeats', [repeats]), ('windows', [windows])):
        if min(values) < 1:
            raise InputError(f'--{name} must be at least 1')
    if options.device == 'cuda' and not visible_gpus(os.environ):
        raise InputError('--device cuda: no NVIDIA GPU is visible here')
    path = options.model_path or str(files.bundled_path())
    files.check(path)
    records = tuple(options.molecules) or (
        QUICK_RECORDS if options.quick else 4 * RECORDS)
    base = Task(path, records, '', options.way, options.dtype,
                options.device, repeats=repeats, windows=windows)
    for shared in dict.fromkeys(options.ranks_per_gpu):
        for threads in dict.fromkeys(options.threads):
            for n in dict.fromkeys(ranks):
                task = replace(base, threads=threads, ranks_per_gpu=shared)
                if threads > 1 and n * threads > cores or (
                        not options.ranks and no_room(task, n)):
                    continue
                yield n, task
                if threads == 1:
                    yield n, replace(task, law=WEAK, schedules=(DYNAMIC,))


class JobFailed(Exception):
    """A job that ended badly; the text says how."""


def no_room(task: Task, n: int) -> str:
    """Return why n ranks can't have a GPU each, or their share; '' if so."""
    if task.device != 'cuda':
        return ''
    gpus = len(visible_gpus(os.environ))
    if n <= gpus * task.ranks_per_gpu:
        return ''
    return f'{n} ranks, but {gpus} GPU(s) x {task.ranks_per_gpu} ranks each'


def measured(task: Task, n: int) -> list[dict[str, Any]]:
    """Return a row for each schedule of a job, why there is no time else."""
    reason = no_room(task, n)
    if not shutil.which('mpirun'):
        reason = 'there is no mpirun'
    if reason:
        return without_times(task, n, SKIPPED, reason)
    try:
        found = job(task, n)
    except JobFailed as error:
        return without_times(task, n, FAILED, str(error))
    if 'refused' in found:
        return without_times(task, n, REFUSED, found['refused'])
    return rows_of(found)


def without_times(
    task: Task, n: int, state: str, reason: str,
) -> list[dict[str, Any]]:
    """Return the rows of a job that measured nothing (R3)."""
    return [{**names_of(asdict(task), n, schedule), 'state': state,
             'reason': reason} for schedule in task.schedules]


def job(task: Task, n: int) -> dict[str, Any]:
    """Run one job under mpirun and return its results.

    Raises:
        JobFailed: it ended with another exit code than 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'task.json'
        path.write_text(json.dumps(asdict(task)))
        words = ['mpirun', '-n', str(n), sys.executable, '-m',
                 'mpiapp.benchmarks.windows', str(path)]
        done = subprocess.run(
            words, text=True, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=dict(os.environ, OMP_NUM_THREADS=str(task.threads)))
    if done.returncode:
        raise JobFailed(f'the job with {n} ranks ended with exit code '
                        f'{done.returncode}:\n{done.stdout}')
    found: dict[str, Any] = json.loads(Path(task.output).read_text())
    return found


def rows_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each schedule of a job."""
    return [{
        **names_of(found['task'], found['ranks'], schedule),
        'state': OK, 'reason': '',
        'model_sha256': found['model_sha256'],
        'inputs_sha256': found['inputs_sha256'],
        'samples': got['samples'], 'steady': summary(got['samples']),
        **{k: got[k] for k in ('imbalance', 'communication_share',
                               'stragglers', 'records', 'energies')},
    } for schedule, got in found['schedules'].items()]


def names_of(
    task: Mapping[str, Any], n: int, schedule: str,
) -> dict[str, Any]:
    """Return what a row is a measurement of."""
    return {
        'law': task['law'], 'ranks': n, 'threads': task['threads'],
        'ranks_per_gpu': task['ranks_per_gpu'], 'schedule': schedule,
        'way': task['way'], 'dtype': task['dtype'],
        'device': task['device'], 'model': Path(task['model']).stem,
        'molecules': list(task['molecules']), 'repeats': task['repeats']}


def disagreements(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the jobs whose energies are not those of the first one."""
    first = rows[0]['energies'] if rows else {}
    found = []
    for row in rows:
        apart = max((abs(row['energies'].get(k, np.inf) - e)
                     for k, e in first.items()), default=np.inf)
        if not apart <= SAME_ENERGY:
            found.append(f'{row["law"]} {row["schedule"]} on {row["ranks"]} '
                         f'ranks by {apart:.1e} eV')
    return found


def laws(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield efficiencies against one rank, and schedules against static."""
    for row in rows:
        if row['law'] in (STRONG, WEAK) and row['ranks'] > 1:
            one = next((r for r in rows if r['ranks'] == 1 and all(
                r[k] == row[k] for k in ('law', 'threads', 'schedule',
                                         'ranks_per_gpu'))), None)
            if one is not None:
                yield effect(row, one, row['law'],
                             row['ranks'] if row['law'] == STRONG else 1)
        if row['law'] == STRONG and row['schedule'] != 'static' \
                and row['ranks'] > 1:
            fixed = next(r for r in rows if r['schedule'] == 'static'
                         and all(r[k] == row[k] for k in (
                             'law', 'ranks', 'threads', 'ranks_per_gpu')))
            yield effect(row, fixed, 'schedule', 1)


def effect(
    row: Mapping[str, Any], base: Mapping[str, Any], kind: str, ideal: int,
) -> dict[str, Any]:
    """Return the ratio of base over row, and its share of the ideal."""
    ratio = unpaired_ratio(np.array(base['samples']),
                           np.array(row['samples']))
    return {'kind': kind, 'ranks': row['ranks'], 'threads': row['threads'],
            'ranks_per_gpu': row['ranks_per_gpu'],
            'schedule': row['schedule'], 'ratio': ratio.value,
            'low': ratio.low, 'high': ratio.high, 'told': str(ratio),
            'efficiency': ratio.value / ideal}


def law_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the effects in words."""
    for e in found:
        where = (f'{e["ranks"]} ranks x {e["threads"]} threads, '
                 f'{e["schedule"]}')
        if e['kind'] == 'schedule':
            yield f'{where}, against static blocks: {e["told"]}'
        else:
            yield (f'{e["kind"]} scaling, {where}, one rank over this: '
                   f'{e["told"]}, efficiency {e["efficiency"]:.2f}')


def line(row: Mapping[str, Any]) -> str:
    """Return a row in words."""
    head = (f'{row["law"]:6s} {row["ranks"]} ranks x {row["threads"]} '
            f'threads {row["schedule"]:7s} ')
    if row['state'] != OK:
        return f'{head}{row["state"]}: {row["reason"]}'
    steady = row['steady']
    return (f'{head}{steady["median"]:.3f} s (MAD '
            f'{steady["mad"]:.3f}), imbalance {row["imbalance"]:.2f}, '
            f'communication {100 * row["communication_share"]:.2f} %, last '
            f'rank {row["stragglers"]}')
