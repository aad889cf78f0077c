"""What `hameval` costs: ranks, order of work, redundant work left out.

Parts, by --part: `ranks` evaluates the same frames on one rank and on
several, in turns; `order` compares longest-first pulling with the original's
static deal on a mixed set, by measured costs of its frames; `redundant` does
what the original does twice and more, and tells what leaving it out gains.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.benchmarks.context import machine, quartiles, versions
from mpiapp.data_files import data_file
from mpiapp.errors import InputError
from mpiapp.partition import longest_first, makespan
from mpiapp.records import Floats

PARTS = ('ranks', 'order', 'redundant')
ETHANOL = 'hamiltonians/ethanol_40.xyz'
MIXED = (ETHANOL, 'hamiltonians/uracil_4.xyz', 'hamiltonians/aspirin_4.xyz')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument('--part', nargs='+', default=list(PARTS),
                        choices=PARTS)
    parser.add_argument('--frames', type=int, default=40,
                        help='ethanol frames of `ranks`')
    parser.add_argument('--rounds', type=int, default=1,
                        help='turns of `ranks`')
    parser.add_argument('--ranks', type=int, default=2, metavar='N')
    parser.add_argument('--mixed', type=int, nargs=3, default=[8, 3, 1],
                        metavar=('ETHANOL', 'URACIL', 'ASPIRIN'),
                        help='frames of `order`')
    parser.add_argument('--real', action='store_true',
                        help='`order`: run on --ranks ranks as well')
    parser.add_argument('--basis', default='def2-svp')
    parser.add_argument('--grid-level', type=int, default=3)
    parser.add_argument('--no-forces', action='store_true')
    parser.add_argument('--pairs', metavar='DIR',
                        help='keep pairs there, or use those that are there')
    parser.add_argument('--json', metavar='FILE')


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; 1 if results differ.

    Raises:
        InputError: wrong options, or a job that ends badly.
    """
    if options.ranks < 2 or options.rounds < 1:
        raise InputError('--ranks must be at least 2, --rounds at least 1')
    result: dict[str, Any] = {
        'machine': machine(), 'versions': versions(),
        'command': 'python -m mpiapp.bench ' + ' '.join(options.words)}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in options.part:
            result[part] = {'ranks': ranks, 'order': order,
                            'redundant': redundant}[part](options, work)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + '\n')
    return int(not result.get('ranks', {}).get('equal', True))


def ranks(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Evaluate ethanol frames on one rank and on several, in turns."""
    pairs = made_pairs(options, work, 'ethanol', (ETHANOL,), options.frames)
    rows = []
    for i in range(options.rounds):
        # the order turns, so that a drift of the machine hits both
        for n in (1, options.ranks)[::1 if i % 2 == 0 else -1]:
            rows.append(evaluated(options, pairs, n, work / f'{i}_{n}.h5'))
            print(f'{n} rank(s): {rows[-1]["wall_s"]:.1f} s, '
                  f'{rows[-1]["frames_per_hour"]:.0f} frames/hour, idle at '
                  f'the end {max(rows[-1]["idle_s"]):.1f} s, load before '
                  f'{rows[-1]["load"]:.1f}', flush=True)
    one = [r['wall_s'] for r in rows if r['ranks'] == 1]
    many = [r['wall_s'] for r in rows if r['ranks'] != 1]
    gain = quartiles([a / b for a, b in zip(one, many, strict=True)])
    equal = len({r['digest'] for r in rows}) == 1
    print(f'{options.ranks} ranks are {gain[1]:.2f} ({gain[0]:.2f}-'
          f'{gain[2]:.2f}) times as fast as one, results '
          f'{"equal" if equal else "DIFFER"}')
    return {'runs': rows, 'speedup': gain, 'equal': equal}


def order(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Compare orders of work on a mixed set, by measured costs.

    The costs are those of one rank; the static deal is that of the
    original: frame i goes to process i modulo P.
    """
    pairs = mixed_pairs(options, work)
    row = evaluated(options, pairs, 1, work / 'mixed.h5', keep=True)
    costs = np.array(row['seconds'])
    n_atoms = np.array(row['n_atoms'])
    predicted = np.array(row['nao'], np.float64)**2.5
    table = {}
    for n in (2, 4, 8):
        table[n] = makespans(costs, predicted, n)
        print(f'P = {n}: static deal {table[n]["static"]:.1f} s, pulling in '
              f'the order of the files {table[n]["pulling"]:.1f} s, longest '
              f'first {table[n]["longest_first"]:.1f} s, lower bound '
              f'{table[n]["bound"]:.1f} s; static / ours '
              f'{table[n]["static"] / table[n]["longest_first"]:.2f}')
    print(f'{len(costs)} frames of {sorted(set(n_atoms.tolist()))} atoms: '
          + ', '.join(f'{k} atoms {np.median(costs[n_atoms == k]):.1f} s'
                      for k in sorted(set(n_atoms.tolist()))))
    found = {'seconds': costs.tolist(), 'n_atoms': n_atoms.tolist(),
             'makespan': table}
    if options.real:
        made = evaluated(options, pairs, options.ranks, work / 'real.h5')
        print(f'{options.ranks} ranks really took {made["wall_s"]:.1f} s, '
              f'idle at the end {max(made["idle_s"]):.1f} s')
        found['real'] = made
    return found


def makespans(
    costs: Floats, predicted: Floats, n: int,
) -> dict[str, float]:
    """Return the seconds until all is done on n ranks, by way of sharing.

    `costs` [n_frames] are the true seconds, `predicted` what is known
    before; frames are in the order of their files.
    """
    rows = np.arange(len(costs))
    return {
        'static': max(float(costs[i::n].sum()) for i in range(n)),
        'pulling': makespan(costs, n, rows),
        'longest_first': makespan(costs, n, longest_first(predicted, rows)),
        'bound': max(float(costs.sum()) / n, float(costs.max()))}


def redundant(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Time the steps of one ethanol frame, and those that are left out.

    Left out are the second gradient of the SCF, the Fock matrix that is
    built again, and molecule, integrals and grid made anew for a state.
    Seconds of CPU time, one thread.
    """
    import ase.data

    from mpiapp.hamiltonians.algebra import basis_from, orbitals_of
    from mpiapp.hamiltonians.frame import BOHR_PER_ANGSTROM
    from mpiapp.potentials.gaussians import checked_molecule, overlap_of
    from mpiapp.potentials.kohn_sham import Field, FieldSettings
    lines = data_file(ETHANOL).read_text().splitlines()[2:11]
    words = [line.split() for line in lines]
    numbers = np.array([ase.data.atomic_numbers[w[0]] for w in words])
    where = np.array([[float(x) for x in w[1:]] for w in words]) \
        * BOHR_PER_ANGSTROM
    settings = FieldSettings(basis=options.basis,
                             grid_level=options.grid_level)

    def fresh() -> Field:
        made = Field(checked_molecule(numbers, where, options.basis, 0,
                                      4000), settings)
        made.guess('minao')
        return made
    seconds: dict[str, float] = {}
    field, seconds['molecule_and_grid'] = cpu(fresh)
    start = field.guess('minao')
    s, seconds['scf'] = cpu(lambda: field.solve(start))
    _, seconds['gradient'] = cpu(
        lambda: field.forces(s.eps, s.coeff, s.occ))
    _, seconds['energy'] = cpu(lambda: field.energy(s.density))
    overlap = overlap_of(field.molecule)
    _, seconds['eigenproblem'] = cpu(lambda: orbitals_of(
        s.fock, basis_from(overlap), int(numbers.sum()) // 2))
    again = fresh()
    _, seconds['energy_of_new_objects'] = cpu(
        lambda: again.energy(s.density))
    ours = (seconds['molecule_and_grid'] + seconds['scf']
            + 3 * seconds['gradient'] + 2 * seconds['energy'])
    extra = seconds['gradient'] + 2 * seconds['energy']
    rebuilt = 2 * (seconds['molecule_and_grid']
                   + seconds['energy_of_new_objects'] - seconds['energy'])
    for name, value in seconds.items():
        print(f'{name:24s}{value:8.2f} s')
    print(f'one SCF, three gradients, two energies {ours:.1f} s; the fourth '
          f'gradient, the Fock matrix and the energy of the SCF again '
          f'{extra:.1f} s more ({100 * extra / ours:.0f} %); molecule, '
          f'integrals and grid made anew for two states {rebuilt:.1f} s '
          f'({100 * rebuilt / ours:.0f} %)')
    return {'seconds': seconds, 'needed_s': ours, 'repeated_s': extra,
            'rebuilt_s': rebuilt}


def timed(
    work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter,
) -> tuple[Any, float]:
    """Return what a function returns, and its seconds by a clock."""
    began = clock()
    made = work()
    return made, clock() - began


def cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and its seconds of one core.

    Other jobs on the machine count little in them.
    """
    return timed(work, time.process_time)


def made_pairs(
    options: argparse.Namespace, work: Path, name: str,
    geometries: Sequence[str], count: int,
) -> Path:
    """Return a folder of pairs; made unless it is there already."""
    folder = Path(options.pairs or work) / f'{name}_{count}'
    if made_before(folder, options):
        return folder
    job(['mpirun', '-n', str(options.ranks), sys.executable, '-m',
         'mpiapp.hameval', 'synth', '--geometries',
         *(str(data_file(g)) for g in geometries), '--count', str(count),
         '--error', 'noise', '--error-size', '1e-4', '--output', str(folder),
         '--basis', options.basis, '--grid-level',
         str(options.grid_level), '--overwrite',
         *(['--no-forces'] if options.no_forces else [])])
    return folder


def made_before(folder: Path, options: argparse.Namespace) -> bool:
    """Tell whether all pairs are there already.

    Raises:
        InputError: they are, but of another method.
    """
    try:
        about = json.loads((folder / 'synth.json').read_text())
    except FileNotFoundError:
        return False
    field = about['field']
    for name in ('basis', 'grid_level'):
        if field[name] != getattr(options, name):
            raise InputError(f'{folder} was made with {name} {field[name]}; '
                             'name another folder by --pairs')
    return bool(about.get('complete'))


def mixed_pairs(options: argparse.Namespace, work: Path) -> list[Path]:
    """Return folders of pairs of each molecule."""
    return [made_pairs(options, work, Path(name).stem.split('_')[0], (name,),
                       n)
            for name, n in zip(MIXED, options.mixed, strict=True) if n]


def evaluated(
    options: argparse.Namespace, pairs: Path | Sequence[Path], n: int,
    result: Path, keep: bool = False,
) -> dict[str, Any]:
    """Evaluate pairs with n ranks; returns times and the digest."""
    from mpiapp.store.digest import content_digest
    from mpiapp.store.reader import load
    folders = [pairs] if isinstance(pairs, Path) else pairs
    load_before = os.getloadavg()[0]
    _, seconds = timed(lambda: job([
        'mpirun', '-n', str(n), sys.executable, '-m', 'mpiapp.hameval',
        'run', '--dir_path', *map(str, folders), '--basis', options.basis,
        '--grid-level', str(options.grid_level), '--output', str(result),
        *(['--no-forces'] if options.no_forces else [])]))
    campaign = load(result)
    wall = float(campaign.timeline['wall_seconds'])
    row = {'ranks': n, 'wall_s': wall, 'command_s': seconds,
           'load': load_before, 'n': campaign.n_records,
           'frames_per_hour': 3600 * campaign.n_records / wall,
           'idle_s': [float(x) for x in campaign.timeline['idle']],
           'digest': content_digest(result)}
    if keep:
        row.update({name: campaign.table[name].tolist()
                    for name in ('seconds', 'n_atoms', 'nao')})
    return row


def job(words: Sequence[str]) -> None:
    """Run a command; InputError if it ends badly."""
    try:
        done = subprocess.run(
            list(words), text=True, check=False, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            # without what MPI, which h5py loads, has set in this process
            env=dict(os.environ))
    except FileNotFoundError as error:
        raise InputError('there is no mpirun') from error
    if done.returncode:
        raise InputError(f'{" ".join(words[3:6])} ended with exit code '
                         f'{done.returncode}:\n{done.stdout[-2000:]}')
