"""Find back end, precision, batch, ranks and threads; write a profile.

Every candidate is proved against the float64 reference and timed in turns.
What `reopt` and others then read by `--profile FILE` is the fastest that
keeps the bounds on errors and memory.
"""
from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpiapp.benchmarks import scaling
from mpiapp.benchmarks.harness import document
from mpiapp.benchmarks.harness.cells import FAILED, FORCES, OK, Cell, Timing
from mpiapp.benchmarks.harness.spread import ratio_of
from mpiapp.benchmarks.harness.tables import label
from mpiapp.benchmarks.harness.worker import GroupWorker, Job, Model
from mpiapp.benchmarks.profiling.memory import resident
from mpiapp.benchmarks.windows import DYNAMIC, Task
from mpiapp.errors import InputError
from mpiapp.parallel.binding import visible_gpus

#: back ends that a profile may name
CANDIDATES = ('reference', 'poly', 'native', 'cueq', 'oeq')
#: default bounds: 1/25 of the default fmax, 0.01 kcal/mol for 200 atoms
MAX_FORCE_ERROR, MAX_ENERGY_ERROR = 2e-4, 2e-6
MOLECULES, QUICK_MOLECULES = ('organic', 'steroid'), ('ethanol',)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--output', '-o', default='profile.toml',
                        metavar='FILE', help='the profile (default: '
                        'profile.toml)')
    parser.add_argument('--quick', action='store_true',
                        help='one small molecule and few rounds')
    parser.add_argument('--molecules', nargs='+', default=[], metavar='NAME',
                        help='names, or FILE or FILE:RECORD: your own, for '
                        'the best batch depends on them')
    parser.add_argument('--model-path', metavar='FILE',
                        help='MACE model; default: the bundled student')
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--backends', nargs='+', default=[],
                        choices=CANDIDATES, metavar='NAME',
                        help='only these: ' + ', '.join(CANDIDATES))
    parser.add_argument('--batches', nargs='+', type=int, metavar='N',
                        help='default 1 2 4 8, quick 1 2')
    parser.add_argument('--max-force-error', type=float, metavar='X',
                        default=MAX_FORCE_ERROR,
                        help='eV/A (default 2e-4)')
    parser.add_argument('--max-energy-error', type=float, metavar='X',
                        default=MAX_ENERGY_ERROR,
                        help='eV per atom (default 2e-6)')
    parser.add_argument('--max-memory', type=float, metavar='GB',
                        help='of all ranks together, or of a GPU (default: '
                        'half of what there is)')
    parser.add_argument('--rounds', type=int, metavar='N',
                        help='default 15, quick 6')
    parser.add_argument('--skip-ranks', action='store_true',
                        help='do not measure ranks against threads')
    parser.add_argument('--json', metavar='FILE',
                        help='write all that was measured there')


def run(options: argparse.Namespace) -> int:
    """Measure, choose, write the profile.

    Returns 1 if nothing keeps the bounds, or a layout of ranks fails: then
    the profile advises without it.

    Raises:
        InputError: wrong options, model or molecule.
    """
    warnings.filterwarnings('ignore')
    job = prepare(options)
    # of what a rank may take, the program itself is the first part
    limit = memory_limit(options) - (
        resident() if options.device == 'cpu' else 0)
    worker = GroupWorker(job)
    results = document.Results('tune', options.json)
    for group in job.groups:
        for row in worker.measure(group):
            judge(row, options, limit)
            results.add(row)
            print(line(row), flush=True)
    best = choose(results.rows)
    if best is None:
        results.close()
        print('no candidate keeps the bounds: no profile is written')
        return 1
    # before layouts are tried, which may fail
    layout = usual_layout(options.device)
    write_profile(options, best, layout)
    results.add(chosen=best)
    found = [] if options.skip_ranks else ranks_and_threads(options, best)
    text = write_profile(options, best, best_layout(found, layout))
    print(f'\n{text}\nwrote {options.output}')
    results.close(layouts=found)
    return int(any(row['state'] == FAILED for row in found))


def prepare(options: argparse.Namespace) -> Job:
    """Return what is to be measured.

    Raises:
        InputError: wrong numbers, model or molecule.
    """
    from mpiapp.benchmarks.harness.molecules import Unphysical, molecule
    from mpiapp.potentials.base import file_sha256
    from mpiapp.potentials.mace import files
    from mpiapp.potentials.mace.loading import load
    batches = options.batches or ([1, 2] if options.quick else [1, 2, 4, 8])
    rounds = options.rounds or (6 if options.quick else 15)
    if min(batches) < 1 or rounds < 5:
        raise InputError('--batches must be at least 1, --rounds 5')
    if options.device == 'cuda':
        import torch
        if not torch.cuda.is_available():
            raise InputError('--device cuda: PyTorch sees no CUDA device')
    path = options.model_path or str(files.bundled_path())
    files.check(path)
    model = Model(path, file_sha256(path),
                  load(path, 'float64', 'cpu').r_max)
    names = dict.fromkeys(options.molecules or (
        QUICK_MOLECULES if options.quick else MOLECULES))
    try:
        found = {name: molecule(name) for name in names}
    except Unphysical as error:
        raise InputError(f'unphysical molecule: {error}') from error
    key, batches = Path(path).stem, list(dict.fromkeys(batches))
    groups = [[Cell(key, name, options.device, FORCES, batch, 1, dtype, way,
                    'tree')
               for dtype in ('float64', 'float32')
               for way in dict.fromkeys(options.backends or CANDIDATES)]
              for name in names for batch in batches]
    return Job(groups, {key: model}, found, Timing(rounds, 6), counts=False,
               memory=True)


def memory_limit(options: argparse.Namespace) -> float:
    """Return the bytes that one rank may take; on a GPU it has it alone."""
    if options.device == 'cuda':
        import torch
        return options.max_memory * 1e9 if options.max_memory else \
            torch.cuda.get_device_properties(0).total_memory / 2
    from mpiapp.potentials.mace.choosing import memory_of_machine
    whole = options.max_memory * 1e9 if options.max_memory \
        else memory_of_machine() / 2
    return float(whole) / len(os.sched_getaffinity(0))


def judge(
    row: dict[str, Any], options: argparse.Namespace, limit: float,
) -> None:
    """Note why a measured row is no candidate, if it is none."""
    faults = []
    if row['state'] != 'ok':
        faults.append(f'{row["state"]}: {row["reason"]}')
    else:
        errors = row['errors']
        for name, bound, unit in (
                ('d_force_max', options.max_force_error, 'eV/A'),
                ('d_energy_per_atom', options.max_energy_error, 'eV/atom')):
            if not errors[name] <= bound:
                faults.append(f'{name} {errors[name]:.1e} {unit}, allowed '
                              f'{bound:.1e}')
        if not row['peak_bytes'] <= limit:
            faults.append(f'{row["peak_bytes"] / 1e9:.3f} GB, allowed '
                          f'{max(limit, 0.0) / 1e9:.3f} for a rank beside '
                          'the program')
    row['excluded'] = '; '.join(faults)


def choose(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the best candidate: the fastest over all molecules.

    One that no molecule excludes; a faster one counts only where its ratio
    to the simpler one leaves 1 out (R9), and where batches are equal.
    """
    names = dict.fromkeys(r['molecule'] for r in rows)
    tried: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        tried.setdefault((row['way'], row['dtype'], row['batch']),
                         []).append(row)
    sound = [members for members in tried.values()
             if len(members) == len(names)
             and not any(m['excluded'] for m in members)]
    if not sound:
        return None
    best = sound[0]
    for members in sound[1:]:
        if mean_cost(members) < mean_cost(best) and shown(best, members):
            best = members
    worst = {name: max(m['errors'][name] for m in best)
             for name in best[0]['errors']}
    return dict(best[0], us_per_atom_step=mean_cost(best), errors=worst)


def mean_cost(members: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean us per atom-step of a candidate."""
    return sum(m['us_per_atom_step'] for m in members) / len(members)


def shown(
    best: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]],
) -> bool:
    """Tell whether a candidate's gain is more than noise."""
    if best[0]['batch'] == other[0]['batch'] and (
            best[0]['dtype'] == other[0]['dtype']):
        return all(ratio_of(a, b, 'way').low > 1.0
                   for a, b in zip(best, other))
    # unlike batches have no ratio (R6): medians must be clearly apart
    return mean_cost(other) < 0.95 * mean_cost(best)


def ranks_and_threads(
    options: argparse.Namespace, best: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Measure layouts of the cores: many ranks, or threads of few."""
    from mpiapp.potentials.mace import files
    cores = len(os.sched_getaffinity(0))
    most, _ = usual_layout(options.device)
    layouts = [(cores // t, t) for t in range(1, cores + 1)
               if cores % t == 0 and cores // t <= most]
    names = options.molecules or (
        QUICK_MOLECULES if options.quick else MOLECULES)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        task = Task(
            options.model_path or str(files.bundled_path()),
            tuple(names) * 2 * cores, str(Path(folder) / 'layout.json'),
            best['way'], best['dtype'], options.device,
            repeats=2 if options.quick else 8, windows=5,
            schedules=(DYNAMIC,))
        for ranks, threads in layouts:
            row, = scaling.measured(replace(task, threads=threads), ranks)
            row.pop('energies', None)
            found.append(row)
            print(scaling.line(row), flush=True)
    return found


def usual_layout(device: str) -> tuple[int, int]:
    """Return a rank of one thread for each core, or for each GPU."""
    cores = len(os.sched_getaffinity(0))
    if device == 'cuda':
        return max(1, min(cores, len(visible_gpus(os.environ)))), 1
    return cores, 1


def best_layout(
    found: Sequence[Mapping[str, Any]], usual: tuple[int, int],
) -> tuple[int, int]:
    """Return ranks and threads of the fastest layout, else the usual."""
    timed = [r for r in found if r['state'] == OK]
    if not timed:
        return usual
    best = min(timed, key=lambda r: float(r['steady']['median']))
    return int(best['ranks']), int(best['threads'])


def write_profile(
    options: argparse.Namespace, best: Mapping[str, Any],
    layout: tuple[int, int],
) -> str:
    """Write the profile, whole or not at all, and return it."""
    from mpiapp.store.files import replacing
    text = profile_text(options, best, layout)
    with replacing(Path(options.output)) as part:
        part.write_text(text)
    return text


def profile_text(
    options: argparse.Namespace, best: Mapping[str, Any],
    layout: tuple[int, int],
) -> str:
    """Return the profile: options, and what they were chosen for."""
    ranks, threads = layout
    about = document.surroundings()
    return '\n'.join([
        '# Written by python -m mpiapp.bench tune; read by --profile FILE.',
        '[options]',
        f'backend = "{best["way"]}"',
        f'dtype = "{best["dtype"]}"',
        f'batch = {best["batch"]}',
        f'threads_per_rank = {threads}',
        f'device = "{best["device"]}"',
        '', '[advice]', f'ranks = {ranks}',
        f'command = "mpirun -n {ranks} python -m mpiapp.reopt --profile '
        f'{options.output}"',
        '', '[measured]',
        f'model_sha256 = "{best["model_sha256"]}"',
        f'processor = "{about["machine"]["processor"]}"',
        f'gpu = "{about["machine"]["gpu"]}"',
        f'us_per_atom_step = {best["us_per_atom_step"]:.3f}',
        f'max_force_error = {best["errors"]["d_force_max"]:.3e}',
        f'max_energy_error = {best["errors"]["d_energy_per_atom"]:.3e}',
        f'load = {about["machine"]["load"]}', ''])


def line(row: Mapping[str, Any]) -> str:
    """Return a candidate in words."""
    head = f'{row["molecule"]} batch {row["batch"]} {label(row)}: '
    if row['excluded']:
        return head + f'excluded, {row["excluded"]}'
    return head + (f'{row["us_per_atom_step"]:.1f} us per atom-step, dF '
                   f'{row["errors"]["d_force_max"]:.0e} eV/A')
