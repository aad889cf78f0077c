"""`tssearch make-data`: small reactions whose saddles are well known.

Each is made from a guess of the transition state: a search finds the saddle
of the calculator, and the ways down from it lead to reactant and product.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mpiapp.config import Computing, option, positive
from mpiapp.errors import InputError
from mpiapp.parallel.launch import DONE, FAILED, World
from mpiapp.program import check_method, check_shared, output_folder

if TYPE_CHECKING:
    from mpiapp.records import Floats
    from mpiapp.saddle.base import Surface
    from mpiapp.workers.saddle_search import Surfaces

ABOUT = ('Make small reactions with their transition states: python -m '
         'mpiapp.tssearch make-data --calculator gfn2 --output FILE.extxyz')

#: rough transition states, A: symbols and positions
GUESSES: Mapping[str, tuple[str, Sequence[tuple[float, float, float]]]] = {
    # H beside the bond, C. J. Cerjan, W. H. Miller, J. Chem. Phys. 75,
    # 2800 (1981), used this isomerisation for their method
    'hcn_hnc': ('CNH', [(0, 0, 0), (0, 0, 1.19), (1.10, 0, .35)]),
    # planar
    'nh3_inversion': ('NHHH', [
        (0, 0, 0), (1.0, 0, 0), (-.5, .866, 0), (-.5, -.866, 0)]),
    # eclipsed
    'ethane_rotation': ('CCHHHHHH', [
        (0, 0, -.77), (0, 0, .77), (1.02, 0, -1.16), (-.51, .883, -1.16),
        (-.51, -.883, -1.16), (1.02, 0, 1.16), (-.51, .883, 1.16),
        (-.51, -.883, 1.16)]),
    # H on its way from O to C
    'vinyl_alcohol': ('CCOHHHH', [
        (-.78, -.05, 0), (.62, -.18, .02), (1.14, .98, .05),
        (1.18, -1.11, -.06), (-1.32, -.62, .76), (-1.29, -.19, -.94),
        (-.12, 1.18, .30)]),
    # H between the two O
    'malonaldehyde': ('OCCCOHHHH', [
        (-1.18, 1.10, 0), (-1.20, -.17, 0), (0, -.90, 0), (1.20, -.17, 0),
        (1.18, 1.10, 0), (0, 1.40, 0), (-2.15, -.68, 0), (0, -1.98, 0),
        (2.15, -.68, 0)]),
}


@dataclass(frozen=True)
class Options(Computing):
    """Options of `tssearch make-data`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong '
        'usage or input; 3 finished, but a saddle was not found')

    reactions: tuple[str, ...] = option(
        (), f'reactions: {", ".join(GUESSES)} (default: all)', group='input',
        metavar='NAME')
    calculator: str = option(
        '', 'gfn2 (default), gfn1, sparrow, mace, functional/basis, or '
        'FILE.py', group='method', metavar='NAME')
    functional: str = option('', 'method of sparrow', group='method')
    method: str = option('sella', 'how to search', group='search',
                         choices=('sella', 'multimode', 'gad'))
    fmax: float = option(0.005, 'largest force on an atom of the saddle '
                         '[eV/A]', group='search', check=positive)
    output: str = option(
        'reactions.extxyz', 'extended XYZ, or HDF5 in the layout of '
        'Transition1x (.h5)', group='output', metavar='FILE', short='-o')
    output_prefix: str = option('reactions', 'not used', group='output')


@dataclass(frozen=True, eq=False)
class Made:
    """A reaction: geometries [n, 3] A and energies eV by part."""

    name: str
    numbers: Any
    positions: Mapping[str, Floats]
    energies: Mapping[str, float]
    forces: Mapping[str, Floats]


def settle(options: Options) -> Options:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: an unknown reaction, or a file that is there.
    """
    check_shared(options)
    for name in options.reactions:
        if name not in GUESSES:
            raise InputError(f'--reactions {name}: there are '
                             f'{", ".join(GUESSES)}')
    path = Path(options.output)
    if path.suffix not in ('.xyz', '.extxyz', '.h5', '.hdf5'):
        raise InputError(f'--output {path}: a name ends with .extxyz or .h5')
    if path.exists() and not options.overwrite:
        raise InputError(f'{path} is there already: --overwrite')
    model = options.model or options.model_path
    options = replace(
        options, output_dir=output_folder(options),
        calculator=options.calculator or ('mace' if model else 'gfn2'))
    check_method(options)
    return options


def run(world: World, options: Options) -> int:
    """Collective: rank 0 makes the reactions, the others wait."""
    from mpiapp import engine
    from mpiapp.parallel.agree import agree
    code = None
    with agree(world.comm, 'making the reactions'):
        if world.comm.rank == 0:
            made, failed = make(options)
            write(Path(options.output), made)
            for line in failed:
                engine.log.error('%s', line)
            print(f'wrote {options.output}: {len(made)} reactions')
            code = FAILED if failed else DONE
    return int(world.comm.bcast(code))


def make(options: Options) -> tuple[list[Made], list[str]]:
    """Return the reactions, and what failed in words."""
    from mpiapp.parallel.ase_serial import require_sella
    from mpiapp.potentials import PotentialOptions, obtain
    from mpiapp.workers.saddle_search import SurfaceChoice, Surfaces
    if options.method == 'sella':
        require_sella()
    mace = options.calculator == 'mace'
    chosen = obtain(PotentialOptions(
        options.calculator, options.model or (
            'student' if mace and not options.model_path else None),
        options.model_path or None,
        backend='reference' if mace else 'auto',
        threads=options.threads_per_rank,
        solvent=options.solvent or None,
        functional=options.functional or None))
    surfaces = Surfaces(SurfaceChoice(chosen))
    made, failed = [], []
    for name in options.reactions or tuple(GUESSES):
        found = reaction(name, surfaces, options)
        if isinstance(found, str):
            failed.append(f'{name}: {found}')
        else:
            made.append(found)
    return made, failed


def reaction(name: str, surfaces: Surfaces, options: Options) -> Made | str:
    """Return one reaction, or why there is none."""
    from ase.data import atomic_numbers

    from mpiapp.saddle.base import Sample, SearchSettings, never
    from mpiapp.saddle.judge import look
    from mpiapp.workers.saddle_ends import downhill, shifted
    from mpiapp.workers.saddle_search import search
    symbols, guess = GUESSES[name]
    numbers = np.array([atomic_numbers[s] for s in symbols], np.int32)
    # off any plane of symmetry, in which forces would keep it
    start = np.array(guess, np.float64) + 0.01 * np.random.default_rng(
        7).standard_normal((len(numbers), 3))
    sample = Sample(0, 0, name, numbers, start)
    surface = surfaces.surface(sample)
    settings = SearchSettings(options.method, fmax=options.fmax)
    found = search(sample, surface, settings)
    if not found.is_ts:
        return f'{found.reason} {found.message}'
    saddle = look(surface, found.positions, settings)
    ends = [downhill(sample, surface, shifted(surface, saddle, sign), never)
            for sign in (1.0, -1.0)]
    if ends[0] is None or ends[1] is None:
        return 'no way down from the saddle'
    low, high = sorted((ends[0], ends[1]), key=lambda end: end.e_final)
    return of_parts(name, surface, {
        'reactant': low.positions, 'transition_state': found.positions,
        'product': high.positions})


def of_parts(name: str, surface: Surface,
             positions: Mapping[str, Floats]) -> Made:
    """Return a reaction with energies and forces of its geometries."""
    points = {part: surface.point(x) for part, x in positions.items()}
    return Made(name, surface.numbers, positions,
                {part: p.energy for part, p in points.items()},
                {part: p.forces for part, p in points.items()})


def write(path: Path, made: Sequence[Made]) -> None:
    """Write the reactions in the format that the name asks for."""
    if path.suffix in ('.h5', '.hdf5'):
        from mpiapp.store.transition1x import write as write_hdf5
        write_hdf5(path, made)
        return
    from mpiapp.store.files import replacing
    with replacing(path) as part, open(part, 'w', encoding='utf-8') as file:
        for one in made:
            for role, x in one.positions.items():
                file.write(frame(one, role, x))


def frame(one: Made, role: str, positions: Floats) -> str:
    """Return one frame of extended XYZ."""
    from ase.data import chemical_symbols
    lines = [f'{len(one.numbers)}',
             'Properties=species:S:1:pos:R:3:forces:R:3 '
             f'rxn={one.name} role={role} energy={one.energies[role]:.8f} '
             'charge=0']
    for z, x, f in zip(one.numbers, positions, one.forces[role],
                       strict=True):
        lines.append(f'{chemical_symbols[z]:2s}' + ''.join(
            f' {value:14.8f}' for value in (*x, *f)))
    return '\n'.join(lines) + '\n'
