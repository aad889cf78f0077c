"""Saddle-point searches as `tssearch` and `hpo` set them up."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mpiapp.config import Computing, not_negative, option, positive
from mpiapp.errors import InputError
from mpiapp.program import beside, check_method, check_shared, output_folder

if TYPE_CHECKING:
    from mpiapp.potentials.base import PotentialOptions
    from mpiapp.saddle.base import SearchSettings
    from mpiapp.workers.saddle_samples import Loaded
    from mpiapp.workers.saddle_search import SurfaceChoice

METHODS = ('multimode', 'sella', 'gad')


@dataclass(frozen=True)
class Searching(Computing):
    """Options of a program that searches saddle points."""

    data: tuple[str, ...] = option(
        (), 'reactions: extended XYZ with reactant, TS and product, '
        'Transition1x HDF5, or folders of RDB7 or of Baker\'s set',
        group='input', metavar='FILE')
    start_from: str = option(
        'midpoint_rt_noise1.0A', 'start: reactant, ts, midpoint_rt, '
        'three_quarter_rt, interp (from reactant and product alone) or '
        'interp_linear, each with _noise<X>A or without', group='input',
        metavar='START')
    noise_seed: int = option(42, 'seed of the noise', group='input',
                             check=not_negative)
    max_samples: int = option(30, 'reactions at most', group='input',
                              check=positive)
    skip_samples: int = option(0, 'reactions left out at the beginning',
                               group='input', check=not_negative)
    split: str = option('', 'split of a Transition1x file: data, train, '
                        'val, test (default: test)', group='input')
    method: str = option('multimode', 'how to search', group='search',
                         choices=METHODS)
    n_steps: int = option(4000, 'steps of gad and multimode at most',
                          group='search', check=positive)
    max_steps: int = option(300, 'steps of sella at most', group='search',
                            check=positive)
    fmax: float = option(0.03, 'largest force on an atom of a stationary '
                         'point [eV/A]', group='search', check=positive)
    stop: str = option(
        'both', 'end at one negative mode and small forces, or, as the '
        'original, at one negative mode', group='search',
        choices=('both', 'index'))
    count: str = option(
        'proj_tol', 'negative eigenvalues: below -1e-6 or below 0',
        group='search', choices=('proj_tol', 'projected'))
    early_stop: bool = option(True, 'end gad and multimode where nothing '
                              'changes any more', group='search')
    original_mode: bool = option(
        False, 'mass-weighted mode on Cartesian forces, as the original',
        group='search')
    hessian: str = option(
        'auto', 'Hessians of the calculator, guarded, or by finite '
        'differences', group='search', choices=('auto', 'fd'))
    calculator: str = option(
        '', 'gfn2 (default), gfn1, sparrow, sparrow:PM6, mace, muller-brown, '
        'lj7, functional/basis, or FILE.py', group='method', metavar='NAME')
    functional: str = option('', 'method of sparrow: DFTB0 (default), PM6, '
                             'DFTB3, ...', group='method')
    sample_timeout: float = option(
        1800.0, 'seconds after which a sample is given up, also where '
        'native code hangs', group='run', check=positive, metavar='SECONDS')
    output: str = option('', 'HDF5 file; the other results lie beside it',
                         group='output', metavar='FILE', short='-o')


T = TypeVar('T', bound=Searching)


def settle_search(options: T) -> T:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    if options.output:
        path = Path(options.output)
        if path.suffix not in ('.h5', '.hdf5') or path.is_dir():
            raise InputError(f'--output {path}: the name of an HDF5 file '
                             'ends with .h5')
        options = beside(options, path)
    check_shared(options)
    model = options.model or options.model_path
    options = replace(
        options, output_dir=output_folder(options),
        calculator=options.calculator or ('mace' if model else 'gfn2'))
    check_method(options)
    if options.record_timeout is not None:
        options = replace(options, sample_timeout=options.record_timeout)
    return options


def base_settings(options: Searching, method: str) -> SearchSettings:
    """Return the settings of every search, parameters left at baseline.

    Raises:
        InputError: the package of the method is not installed.
    """
    from mpiapp.parallel.ase_serial import require_sella
    from mpiapp.saddle.base import SearchSettings
    from mpiapp.saddle.parameters import check
    if method == 'sella':
        require_sella()
    steps = options.max_steps if method == 'sella' else options.n_steps
    return check(SearchSettings(
        method, {}, options.fmax, options.stop, steps,
        options.sample_timeout, options.count,
        early_stop=options.early_stop, original_mode=options.original_mode))


def surface_choice(options: Searching, loaded: Loaded,
                   settings: SearchSettings) -> SurfaceChoice:
    """Return what computes energies, its files obtained.

    Raises:
        InputError: there is no such calculator, or it can't do this.
    """
    from mpiapp import potentials
    from mpiapp.saddle.toys import TOYS
    from mpiapp.workers.saddle_search import SurfaceChoice
    chosen = potential_options(options)
    if options.calculator in TOYS:
        if options.calculator == 'muller-brown' \
                and settings.method == 'sella':
            raise InputError('sella needs a molecule: muller-brown is a '
                             'particle in a plane')
        return SurfaceChoice(chosen)
    known = (*potentials.names(), *TOYS)
    name = chosen.calculator
    if name not in known and '/' not in name and not name.endswith('.py'):
        raise InputError(f'unknown calculator {name!r}; there '
                         f'are {", ".join(known)}, functional/basis, FILE.py')
    chosen = potentials.obtain(chosen)
    first = next((s for s in loaded.sound if s.n_atoms > 2), loaded.sound[0])
    known_x = next((x for x in (first.ts, first.reactant, first.start)
                    if x is not None))
    return SurfaceChoice(chosen, options.hessian, first.numbers, known_x,
                         first.charge, first.unpaired)


def potential_options(options: Searching) -> PotentialOptions:
    """Return what the potential needs to know of the options.

    MACE is evaluated by its reference unless another way is asked for: it
    can be differentiated twice.
    """
    from mpiapp.potentials import PotentialOptions
    mace = options.calculator == 'mace'
    model = options.model or (
        'student' if mace and not options.model_path else '')
    backend = options.backend or ('reference' if mace else 'auto')
    return PotentialOptions(
        options.calculator, model or None, options.model_path or None,
        options.mace_dtype, options.device, backend,
        options.threads_per_rank, options.solvent or None,
        options.functional or None)
