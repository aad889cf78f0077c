"""What `reopt` is asked to do: its options, and which go together."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mpiapp.analysis import check_options
from mpiapp.config import (
    Computing, Ensembles, checked, not_negative, option, positive
)
from mpiapp.errors import InputError
from mpiapp.optimize import names as optimizers
from mpiapp.program import (
    check_ensembles, check_method, check_shared, default_backend,
    output_folder, result_path
)

if TYPE_CHECKING:
    from mpiapp.workers.refine import Stage


def count_or_auto(value: str | int) -> str:
    """Check a number of molecules, or auto; scripts give numbers."""
    value = str(value)
    counts = value.isascii() and value.isdigit() and int(value) > 0
    return '' if counts or value == 'auto' else \
        'must be a number greater than 0, or auto'


@dataclass(frozen=True)
class Options(Computing, Ensembles):
    """Options of `reopt`."""

    sdf: tuple[str, ...] = option(
        (), 'input files: sdf (V2000, V3000), mol, xyz, extxyz, each also '
        'as .gz', group='input', metavar='FILE')
    smiles_csv: str = option(
        '', 'molecule table (name, smiles; r_group, screen_group); row '
        'number from 1 = tag mseq; records are checked against it',
        group='input', metavar='FILE')
    allow_mismatch: bool = option(
        False, 'go on with records that fit no row of the table',
        group='input')
    start_index: int = option(0, 'first record of the window',
                              group='input', check=not_negative)
    end_index: int | None = option(
        None, 'end of the window, not included', group='input')
    test: bool = option(False, 'only the first 3 records of the window',
                        group='input')
    analyse: str = option(
        '', 'result file of an earlier run: descriptors and ensembles anew, '
        'nothing is relaxed, the file stays as it is', group='input',
        metavar='FILE')
    charge_policy: str = option(
        'refuse', 'charged records under a model that knows no charge: '
        'refuse, neutralise by adding H to O-, or allow (flagged)',
        group='input', choices=('refuse', 'neutralise', 'allow'))
    descriptors: str = option(
        'full', 'which descriptors the tables show and classify by: full '
        '(best pair of chromophores) or compat (the two ring sets of the '
        'original); the result file has both', group='descriptors',
        choices=('full', 'compat'))
    systems: str = option(
        '', 'TOML file with more aromatic systems: name, SMARTS, limits '
        '(docs/descriptors.md)', group='descriptors', metavar='FILE')
    compat_system: str = option(
        'binaphthalene', 'system that the compat descriptors look for',
        group='descriptors')
    output_prefix: str = option(
        'moe_mace_reopt', 'prefix of all result files; may hold a folder',
        group='output')
    optimizer: str = option(
        'internal', 'optimiser: internal (internal coordinates, model '
        'Hessian), lbfgs or ase-lbfgs (the steps of ASE), fire',
        group='relaxation', choices=tuple(optimizers()))
    fmax: float = option(0.005, 'largest force of a relaxed atom [eV/A]',
                         group='relaxation', check=positive)
    max_steps: int = option(500, 'optimiser steps of a record at most',
                            group='relaxation', check=positive)
    two_stage: bool = option(
        False, 'MACE: relax in float32 first, then in float64 to the end',
        group='relaxation')
    two_stage_fmax: float = option(
        0.02, 'largest force [eV/A] that ends the first of two stages',
        group='relaxation', check=positive)
    refine: tuple[str, ...] = option(
        (), 'stages that follow, each SELECTION[:AMOUNT][:KEY=VALUE,...], '
        'as shortlist:model=medium or top:5:calculator=gfn2 '
        '(docs/refine.md)', group='relaxation', metavar='STAGE')
    batch: str = option(
        'auto', 'molecules a rank relaxes together: a number, or auto: one '
        'on the host, on the device as many as its memory holds',
        group='relaxation', check=count_or_auto, metavar='N')
    relax_on: str = option(
        'auto', 'where the steps of a relaxation are computed: host, device '
        '(many molecules at once, docs/device.md), or auto: on the device '
        'for MACE on a GPU', group='relaxation',
        choices=('auto', 'host', 'device'))

    @property
    def molecules(self) -> int | None:
        """The number of `batch`, None for auto."""
        return None if self.batch == 'auto' else int(self.batch)


Chosen = TypeVar('Chosen', bound=Options)


def settle(options: Chosen) -> Chosen:
    """Check what concerns several options, and fill in what follows.

    Raises:
        InputError: options that contradict each other.
    """
    if options.end_index is not None \
            and options.end_index <= options.start_index:
        raise InputError(f'--end-index {options.end_index} must exceed '
                         f'--start-index {options.start_index}')
    check_shared(options)
    check_ensembles(options)
    check_method(options)
    check_stages(options)
    check_device_program(options)
    if options.analyse:
        options = replace(options, output_dir=output_folder(options))
        check_options(options)
        return options
    model = options.model
    if options.calculator == 'mace' and not (model or options.model_path):
        model = 'small' if options.sdf else 'student'
    settled = replace(
        options, output_dir=output_folder(options), model=model,
        backend=default_backend(options))
    stages_of(settled)
    return settled


def check_stages(options: Options) -> None:
    """Check that two stages are possible where they are asked for.

    Raises:
        InputError: options that contradict each other.
    """
    if not options.two_stage:
        return
    if options.calculator != 'mace' or options.mace_dtype != 'float64':
        raise InputError('--two-stage relaxes with MACE in float32, then in '
                         'float64: not with --calculator '
                         f'{options.calculator} --mace-dtype '
                         f'{options.mace_dtype}')
    if options.two_stage_fmax <= options.fmax:
        raise InputError(f'--two-stage-fmax {options.two_stage_fmax:g} must '
                         f'exceed --fmax {options.fmax:g}')


def check_device_program(options: Options) -> None:
    """Check that steps on the device are possible if asked for.

    Raises:
        InputError: options that contradict each other.
    """
    if options.relax_on != 'device':
        return
    if options.optimizer != 'internal':
        raise InputError('--relax-on device has the optimiser internal only, '
                         f'not {options.optimizer}')
    if options.two_stage:
        raise InputError('--relax-on device has one stage: not with '
                         '--two-stage; --mace-dtype float32 is possible')


def device_program(options: Options) -> bool:
    """Say whether steps are taken on the device; on one rank only."""
    if options.relax_on != 'auto':
        return options.relax_on == 'device'
    if options.optimizer != 'internal' or options.two_stage \
            or options.calculator != 'mace' or options.device == 'cpu':
        return False
    import torch
    return torch.cuda.is_available()


def written(options: Options) -> list[Path]:
    """Return the files that a run writes: HDF5 and the tables beside it."""
    from mpiapp.store.export import tables_of
    result = result_path(options)
    stems = [result.stem, *(f'{result.stem}_{stage.name}'
                            for stage, _ in stages_of(options))]
    return [result, *(path for stem in stems
                      for path in tables_of(result.with_name(stem)))]


def stages_of(options: Options) -> list[tuple[Stage, Options]]:
    """Return the stages of the refinement and the options of each.

    Raises:
        InputError: a stage that is not understood or contradicts itself.
    """
    if not options.refine:
        return []
    from mpiapp.workers.refine import parse_stages
    return [(stage, stage_options(options, stage))
            for stage in parse_stages(options.refine)]


def stage_options(options: Options, stage: Stage) -> Options:
    """Return the options of a stage: those of the run, with its changes."""
    changed = options
    if {'calculator', 'model', 'model_path'} & stage.changes.keys():
        changed = replace(
            changed, model='', model_path='', backend='', solvent='',
            mace_dtype='float64')
    changed = checked(replace(changed, two_stage=False, **stage.changes))
    try:
        check_method(changed)
    except InputError as error:
        raise InputError(f'--refine {stage.text!r}: {error}') from error
    if changed.calculator == 'mace' and not (
            changed.model or changed.model_path):
        raise InputError(f'--refine {stage.text!r}: name the model, as '
                         'model=medium or model-path=FILE')
    if stage.selection != 'all' and not options.boltzmann:
        raise InputError(f'--refine {stage.text!r} needs the ensembles: '
                         'leave out --no-boltzmann')
    return replace(changed, backend=default_backend(changed))
