"""The options of `hameval`, and what the rest is told of them."""
from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mpiapp.config import Shared, not_negative, option, positive
from mpiapp.errors import InputError
from mpiapp.hamiltonians.perturb import ERRORS
from mpiapp.parallel.launch import World
from mpiapp.program import beside, check_shared

if TYPE_CHECKING:
    from mpiapp.potentials.kohn_sham import FieldSettings
    from mpiapp.workers.hamiltonian_frames import Reading
    from mpiapp.workers.hamiltonian_input import Inputs

log = logging.getLogger('mpiapp')

#: angstrom; shift of geometries that `synth` uses once more
RATTLE = 0.02
#: densities an SCF may be started from besides minao
RESTARTS = ('pred', 'gt', 'init', 'atom', 'none')


@dataclass(frozen=True)
class Basics(Shared):
    """Options of all actions."""

    xc: str = option('pbe', 'functional, as PySCF names it', group='method')
    basis: str = option('def2-svp', 'basis, as PySCF names it',
                        group='method')
    memory: int = option(4000, 'MB that one rank may use for integrals',
                         group='machine', check=positive)
    device: str = option(
        'auto', 'where to compute; gpu and cuda are the same, and an error '
        'where there is none', group='machine',
        choices=('auto', 'cpu', 'gpu', 'cuda'))


@dataclass(frozen=True)
class Grids(Basics):
    """Options of the SCF."""

    grid_level: int = option(3, 'level of the integration grid, 0 to 9',
                             group='method', check=not_negative)
    grid_prune: bool = option(False, 'prune the grid', group='method')
    small_rho_cutoff: float = option(
        1e-12, 'grid points of smaller density are left out',
        group='method', check=not_negative)
    conv_tol: float = option(1e-7, 'change of the energy at which the SCF '
                             'has converged [Hartree]', group='method',
                             check=positive)
    max_cycle: int = option(50, 'SCF cycles before the rescue ladder',
                            group='method', check=positive)
    density_fit: bool = option(False, 'fit the density (default: exact '
                               'integrals), on either device',
                               group='method')


@dataclass(frozen=True)
class Frames:
    """Options of what frames are read."""

    dir_path: tuple[str, ...] = option(
        (), 'folder of pairs, or another input: our HDF5, the rMD17 layout, '
        'QH9 (.db), an LMDB folder', group='input', metavar='DIR')
    pred_prefix: str = option('pred_', 'begin of the names of predictions',
                              group='input')
    gt_prefix: str = option('gt_', 'begin of the names of references',
                            group='input')
    predictions: str = option(
        '', 'input whose matrices are the predictions, matched by the names '
        'of the frames', group='input', metavar='FILE')
    split: str = option('', 'split of an rMD17 file: train, val, test',
                        group='input', metavar='NAME')
    size_limit: int = option(0, 'frames at most; 0: all (also --limit)',
                             group='input', check=not_negative)
    delta: str = option(
        'auto', 'whether the matrices are differences from the initial one; '
        'auto: what makes the reference agree with the SCF', group='input',
        choices=('auto', 'yes', 'no'))
    ao_order: str = option(
        'auto', 'order of the orbitals; auto: what the file says, or what '
        'its overlap proves', group='input',
        choices=('auto', 'pyscf', 'e3nn', 'psi4', 'orca'))
    length_unit: str = option('auto', 'unit of the positions; auto as above',
                              group='input',
                              choices=('auto', 'bohr', 'angstrom'))
    charge: int | None = option(None, 'total charge (default: what the file '
                                'says, else 0)', group='input')
    allow_xc_mismatch: bool = option(
        False, 'evaluate with another functional than the file names',
        group='input')


@dataclass(frozen=True)
class RunOptions(Grids, Frames):
    """Options of `run`."""

    exit_codes: ClassVar[str] = (
        'exit codes: 0 done; 1 stopped by an unforeseen error; 2 wrong usage '
        'or input, nothing computed; 3 finished, but more frames than '
        '--max-failed failed or were refused; 4 stopped early by a signal or '
        'time limit, go on with --resume')

    overlap: str = option(
        'computed', 'overlap that reference and prediction are solved with',
        group='evaluation', choices=('computed', 'stored'))
    small_overlap: str = option(
        'drop', 'eigenvalues of the overlap below 1e-8: drop, or raise to '
        '1e-8 as the original', group='evaluation',
        choices=('drop', 'raise'))
    forces: bool = option(True, 'compute forces', group='evaluation')
    init_forces: bool = option(
        False, 'forces of the initial matrix too, a baseline',
        group='evaluation')
    force_cycles: int = option(
        0, 'also forces of the prediction after so many SCF cycles',
        group='evaluation', check=not_negative)
    restart_scf: tuple[str, ...] = option(
        ('pred', 'atom'), 'densities besides minao that an SCF is started '
        'from: pred gt init atom, or none', group='evaluation',
        choices=RESTARTS)
    store_matrices: bool = option(
        False, 'keep Hamiltonians and densities in the result',
        group='output')
    calc_cache: str = option(
        '', 'folder that keeps each fresh SCF for other runs with the very '
        'same settings', group='output', metavar='DIR')
    do_new_calc: bool = option(False, 'do not read --calc-cache',
                               group='output')
    output: str = option('', 'result file, ends in .h5', group='output',
                         metavar='FILE', short='-o')
    output_prefix: str = option('hameval', 'prefix of the result files, '
                                'instead of --output', group='output')
    json: str = option(
        '', 'means under the names of the original (default: <parent of DIR>'
        '_evaluation_results.json beside the result)', group='output',
        metavar='FILE')
    num_procs: int = option(0, 'of the original; without effect: mpirun -n '
                            'counts', group='run', check=not_negative)
    batch_size: int = option(8, 'of the original; without effect',
                             group='run', check=positive)
    debug: bool = option(False, 'tell the traceback of every failure',
                         group='run')


@dataclass(frozen=True)
class CheckOptions(Basics, Frames):
    """Options of `check`."""


@dataclass(frozen=True)
class ConvertOptions(Basics, Frames):
    """Options of `convert`."""

    output: str = option('', 'file to write, ends in .h5', group='output',
                         metavar='FILE', short='-o')


@dataclass(frozen=True)
class SynthOptions(Grids):
    """Options of `synth`."""

    geometries: tuple[str, ...] = option(
        (), 'files with geometries: xyz, extxyz, SDF', group='input',
        metavar='FILE')
    count: int = option(0, 'frames; 0: as many as there are', group='input',
                        check=not_negative)
    rattle: float | None = option(
        None, 'random shift of every coordinate of every frame [A] '
        '(default: geometries as they are; where --count asks for more, the '
        f'further ones are shifted by {RATTLE})', group='input',
        check=not_negative)
    seed: int = option(0, 'of shifts and noise', group='input',
                       check=not_negative)
    error: str = option(
        'zero', f'error of the prediction: {", ".join(ERRORS)}',
        group='method', choices=ERRORS)
    error_size: float = option(
        1e-3, 'size of a shift or noise [Hartree]', group='method')
    ao_order: str = option('e3nn', 'order of the orbitals in the files',
                           group='output',
                           choices=('pyscf', 'e3nn', 'psi4', 'orca'))
    delta: str = option('yes', 'write differences from the initial matrix',
                        group='output', choices=('yes', 'no'))
    kind: str = option('pt', 'kind of files', group='output',
                       choices=('pt', 'npz'))
    forces: bool = option(True, 'reference forces too', group='method')
    output: str = option('', 'folder of the pairs', group='output',
                         metavar='DIR', short='-o')


def settle_basics(options: Any) -> Any:
    """Check the options of all actions."""
    options = replace(options, output_prefix=options.output_prefix
                      or 'hameval', device={'gpu': 'cuda'}.get(
                          options.device, options.device))
    check_shared(options)
    return options


def settle_run(options: RunOptions) -> RunOptions:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    if options.output:
        path = named_h5(options.output)
        options = beside(options, path)
    if 'none' in options.restart_scf and len(options.restart_scf) > 1:
        raise InputError('--restart-scf none excludes the others')
    check_grid(options)
    if options.json and Path(options.json).is_dir():
        raise InputError(f'--json {options.json} is a folder')
    if not options.dir_path:
        raise InputError('no input: give --dir_path DIR')
    level = 'debug' if options.debug else options.log_level
    made: RunOptions = settle_basics(replace(
        options, log_level=level, output_dir=options.output_dir or (
            '.' if '/' in options.output_prefix else 'runs')))
    return made


def named_h5(name: str) -> Path:
    """Return the path of an HDF5 file to write; InputError otherwise."""
    path = Path(name)
    if path.suffix not in ('.h5', '.hdf5') or path.is_dir():
        raise InputError(f'--output {name}: the name of an HDF5 file ends '
                         'with .h5')
    if path.suffix == '.hdf5':
        raise InputError(f'--output {name}: write it as .h5')
    return path


def check_grid(options: Grids) -> None:
    """Raise InputError for a grid level that PySCF does not have."""
    if options.grid_level > 9:
        raise InputError(f'--grid-level {options.grid_level}: 0 to 9')


def settle_check(options: Any) -> Any:
    """Check the options of `check`."""
    if not options.dir_path:
        raise InputError('no input: give --dir_path DIR')
    return settle_basics(options)


def settle_convert(options: ConvertOptions) -> ConvertOptions:
    """Check the options of `convert`."""
    if not options.output:
        raise InputError('no --output FILE.h5')
    named_h5(options.output)
    made: ConvertOptions = settle_check(options)
    return made


def settle_synth(options: SynthOptions) -> SynthOptions:
    """Check the options of `synth`."""
    if not options.geometries:
        raise InputError('no geometries: give --geometries FILE.xyz')
    if not options.output:
        raise InputError('no --output DIR')
    check_grid(options)
    made: SynthOptions = settle_basics(options)
    return made


def field_of(options: Any, on_gpu: bool = False) -> FieldSettings:
    """Return how molecules are computed."""
    from mpiapp.potentials.kohn_sham import FieldSettings
    own = ('conv_tol', 'max_cycle', 'grid_level', 'small_rho_cutoff',
           'density_fit')
    return FieldSettings(
        options.xc, options.basis, prune=getattr(options, 'grid_prune',
                                                 False),
        on_gpu=on_gpu, memory=options.memory,
        **{name: getattr(options, name) for name in own
           if hasattr(options, name)})


def reading_of(options: Any, on_gpu: bool = False) -> Reading:
    """Return how frames are read."""
    from mpiapp.workers.hamiltonian_frames import Reading
    return Reading(
        field_of(options, on_gpu), options.ao_order, options.length_unit,
        options.delta, options.charge, options.allow_xc_mismatch)


def inputs_of(options: Any) -> Inputs:
    """Open the inputs; raises InputError."""
    from mpiapp.workers.hamiltonian_input import Inputs
    return Inputs.open(options.dir_path, options.predictions,
                       options.pred_prefix, options.gt_prefix, options.split)


def choose_device(options: Basics, world: World) -> bool:
    """Tell whether to compute on GPUs; warn of those that can't be used.

    Raises:
        InputError: they are asked for and cannot be used.
    """
    from mpiapp.potentials.kohn_sham import gpu_fault
    there = all(p.device != 'cpu' for p in world.placements)
    if options.device == 'cpu' or (options.device == 'auto' and not there):
        return False
    fault = gpu_fault()
    if fault and options.device == 'cuda':
        raise InputError(f'--device gpu: GPU4PySCF cannot run here ({fault});'
                         ' it comes with the extra "gpu"')
    if fault and world.comm.rank == 0:
        log.warning('warning: there are GPUs, but GPU4PySCF cannot run here '
                    '(%s): computing on the CPU; --device gpu makes this an '
                    'error', fault)
    return not fault


def check_inputs(inputs: Inputs, reading: Reading) -> None:
    """Compare the method with what the inputs say of all their frames.

    And with the first readable frame of each: a set of another functional
    or basis is to be refused before any work.

    Raises:
        InputError: a contradiction.
    """
    from mpiapp.records import Rejection
    from mpiapp.workers.hamiltonian_frames import check_described
    there = [*inputs.inputs, *([inputs.predictions] if inputs.predictions
                               else [])]
    for one in there:
        for i in range(min(len(one.names), 20)):
            try:
                frame = one.load(i)
            except Rejection:
                continue
            try:
                check_described(frame, reading)
            except Rejection as error:
                raise InputError(f'{one.path}: {error.message}') from error
            break
