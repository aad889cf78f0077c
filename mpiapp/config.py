"""Options: one frozen dataclass a program, read from command line or TOML.

A field states its option once: help, choices and check are its metadata, the
default is the field's.  The resolved values, defaults included, are stored
with the results.  Only the standard library is imported, so that `--help`
answers at once and before threads or MPI are set up.
"""
from __future__ import annotations

import argparse
import dataclasses
import math
import numbers
import os
import tomllib
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import mpiapp
from mpiapp.errors import InputError

T = TypeVar('T')

EXIT_CODES = (
    'exit codes: 0 done; 1 stopped by an unforeseen error, or results were '
    'lost (--resume); 2 wrong usage or input, nothing computed; 3 finished, '
    'but more records than --max-failed failed; 4 stopped early by a '
    'signal or time limit, go on with --resume')


def option(
    default: Any, help: str, *, group: str = 'options',
    choices: Sequence[str] = (), check: Callable[[Any], str] | None = None,
    metavar: str | None = None, short: str = '',
) -> Any:
    """Declare a field that is an option.

    `check` returns what is wrong with a value, or nothing.  A tuple default
    makes an option with several values, a bool a switch.  `short` is a
    second flag, as '-o'.
    """
    metadata = {'help': help, 'group': group, 'choices': tuple(choices),
                'check': check, 'metavar': metavar, 'short': short}
    return field(default=default, metadata=metadata)


def positive(value: float | None) -> str:
    """Check a number above zero; None passes."""
    bad = value is not None and not (value > 0 and math.isfinite(value))
    return 'must be greater than 0' if bad else ''


def not_negative(value: float | None) -> str:
    """Check a number that is zero or more; None passes."""
    return 'must not be negative' if value is not None and value < 0 else ''


#: groups of options in the order of the help text
GROUPS = ('input', 'method', 'relaxation', 'descriptors', 'ensembles',
          'output', 'run', 'machine')
METAVARS: dict[type, str] = {int: 'N', float: 'X', str: 'TEXT'}


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving: exits are agreed."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f'{message}\n(see {self.prog} --help)')


def _kind(annotation: Any) -> tuple[type, bool]:
    """Return the scalar type of an annotation, and whether it is many."""
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        inner = [a for a in typing.get_args(annotation)
                 if a is not type(None)]
        return _kind(inner[0])
    return annotation, False


def _flag(name: str) -> str:
    return '--' + name.replace('_', '-')


def parser(cls: type, program: str, about: str) -> argparse.ArgumentParser:
    """Build the command-line parser of an options dataclass."""
    command = f'python -m mpiapp.{program}'
    made = _Parser(
        prog=command,
        usage=f'{getattr(cls, "launcher", "mpirun -n P ")}{command} [options]',
        description=about, allow_abbrev=False,
        epilog=getattr(cls, 'exit_codes', EXIT_CODES))
    made.add_argument('--version', action='version',
                      version=f'mpiapp {mpiapp.__version__}')
    made.add_argument('--config', metavar='FILE', default=None,
                      help='TOML file with option names and values; the '
                      'command line wins')
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    if 'backend' in hints:
        made.add_argument(
            '--profile', metavar='FILE', default=None,
            help='what python -m mpiapp.bench tune has written: back end, '
            'precision, batch and threads; --config and the command line '
            'win')
    names = dict.fromkeys(f.metadata['group'] for f in fields)
    order = [g for g in GROUPS if g in names]
    order += [g for g in names if g not in order]
    groups = {name: made.add_argument_group(name) for name in order}
    for f in fields:
        kind, many = _kind(hints[f.name])
        shown = f' (default: {f.default})' \
            if f.default not in ('', None, False, ()) else ''
        extra: dict[str, Any] = {'help': f.metadata['help'] + shown,
                                 'default': f.default, 'dest': f.name}
        if kind is bool:
            extra['action'] = argparse.BooleanOptionalAction \
                if f.default else 'store_true'
        else:
            extra['type'] = kind
            extra['metavar'] = f.metadata['metavar'] or METAVARS[kind]
            if f.metadata['choices']:
                extra['metavar'] = None
                extra['choices'] = f.metadata['choices']
            if many:
                extra['nargs'] = '+'
        flags = [f.metadata['short']] if f.metadata['short'] else []
        groups[f.metadata['group']].add_argument(
            *flags, _flag(f.name), **extra)
    return made


def _load_toml(flag: str, path: str) -> dict[str, Any]:
    try:
        with open(path, 'rb') as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f'{flag} {path}: {error.strerror}') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{flag} {path}: {error}') from error


#: options of a profile, and the fields that programs have for them
PROFILE = {'backend': ('backend',), 'dtype': ('mace_dtype', 'dtype'),
           'batch': ('batch',), 'threads_per_rank': ('threads_per_rank',),
           'device': ('device',)}


def _from_profile(path: str, cls: type) -> dict[str, Any]:
    """Return what a profile of `bench tune` sets in a program's options.

    What the program has no option for, such as a batch, is left out.
    """
    values = _load_toml('--profile', path).get('options')
    if not isinstance(values, dict):
        raise InputError(f'--profile {path}: there is no table [options]: '
                         'not written by bench tune')
    hints = typing.get_type_hints(cls)
    result = {}
    for key, value in values.items():
        if key not in PROFILE:
            raise InputError(f'--profile {path}: unknown option {key!r}; '
                             f'allowed: {", ".join(PROFILE)}')
        for name in PROFILE[key]:
            if name in hints:
                kind, many = _kind(hints[name])
                result[name] = _cast(f'--profile {path}: {key}', value,
                                     kind, many)
    return result


def _from_toml(path: str, cls: type) -> dict[str, Any]:
    values = _load_toml('--config', path)
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    result = {}
    for key, value in values.items():
        name = key.replace('-', '_')
        if name not in known:
            raise InputError(f'--config {path}: unknown option {key!r}')
        kind, many = _kind(hints[name])
        result[name] = _cast(f'--config {path}: {key}', value, kind, many)
    return result


#: what passes for a number, those of numpy included; a truth value does not
NUMBERS = {float: numbers.Real, int: numbers.Integral}


def _cast(where: str, value: Any, kind: type, many: bool) -> Any:
    if many:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_cast(where, v, kind, False) for v in items)
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if kind is str and type(value) is int:
        return str(value)  # a number or a word, as --batch takes
    if isinstance(value, NUMBERS.get(kind, kind)) \
            and (kind is bool or not isinstance(value, bool)):
        return kind(value)
    raise InputError(f'{where} = {value!r}: expected {kind.__name__}')


def read_options(
    cls: type[T], program: str, about: str,
    argv: Sequence[str] | None = None,
) -> T:
    """Return the options of a program, checked one by one.

    Raises:
        InputError: unknown option, wrong type or choice, value out of
            range, unreadable configuration file.
        SystemExit: for --help and --version, with code 0.
    """
    made = parser(cls, program, about)
    first = made.parse_args(argv)
    profile = getattr(first, 'profile', None)
    if profile or first.config:
        if profile:
            made.set_defaults(**_from_profile(profile, cls))
        if first.config:
            made.set_defaults(**_from_toml(first.config, cls))
        first = made.parse_args(argv)
    values = vars(first)
    values.pop('config')
    values.pop('profile', None)
    values = {k: tuple(v) if isinstance(v, list) else v
              for k, v in values.items()}
    return checked(cls(**values))


def checked(options: T) -> T:
    """Return options whose every field has its type and passed its check.

    Scripts may give a list for several values, a whole number for any and a
    path for a text.

    Raises:
        InputError: a value is of another type, out of range or not among
            the choices.
    """
    hints = typing.get_type_hints(type(options))
    values = {}
    for f in dataclasses.fields(options):  # type: ignore[arg-type]
        value, hint = getattr(options, f.name), hints[f.name]
        if value is not None or type(None) not in typing.get_args(hint):
            value = _cast(_flag(f.name), value, *_kind(hint))
        _check(f, value)
        values[f.name] = value
    return dataclasses.replace(options, **values)  # type: ignore[type-var]


def _check(f: dataclasses.Field[Any], value: Any) -> None:
    choices = f.metadata['choices']
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, float) and math.isnan(item):
            raise InputError(f'{_flag(f.name)}: not a number')
        if isinstance(item, str) and not _is_text(item):
            raise InputError(f'{_flag(f.name)} {item!r}: not UTF-8, as '
                             'results and their names are')
        if choices and item is not None and item not in choices:
            raise InputError(f'{_flag(f.name)} {item}: allowed are '
                             f'{", ".join(choices)}')
        fault = f.metadata['check'](item) if f.metadata['check'] else ''
        if fault:
            raise InputError(f'{_flag(f.name)} {item}: {fault}')


def _is_text(item: str) -> bool:
    """Tell whether a word of the command line was UTF-8."""
    try:
        item.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Shared:
    """Options that every program with records has."""

    output_dir: str = option(
        '', 'folder of the results (default: runs, or the folder that the '
        'prefix holds)', group='output')
    output_prefix: str = option(
        '', 'prefix of all result files (default: the program\'s name); '
        'may hold a folder', group='output')
    resume: bool = option(
        False, 'go on with what an earlier run left', group='output')
    overwrite: bool = option(
        False, 'delete results of an earlier run first', group='output')
    dry_run: bool = option(
        False, 'check everything, print the plan, compute nothing',
        group='run')
    time_limit: str = option(
        '', 'stop in good order after this time: seconds, 30m, 2h or '
        '[days-]hours:minutes:seconds', group='run', metavar='TIME')
    record_timeout: float | None = option(
        None, 'seconds after which one record is given up as unconverged',
        group='run', check=positive, metavar='SECONDS')
    max_failed: int = option(
        0, 'failed, rejected or broken records that are accepted before '
        'the exit code is 3', group='run', check=not_negative)
    strict: bool = option(
        False, 'count unconverged records as failed too', group='run')
    retry_failed: bool = option(
        False, 'with --resume: try failed records again', group='run')
    save_every: int = option(
        25, 'results are forced to disk after so many records, and after '
        '5 seconds in any case', group='run', check=positive)
    threads_per_rank: int = option(
        1, 'threads of one rank', group='machine', check=positive)
    device: str = option('auto', 'where to compute', group='machine',
                         choices=('auto', 'cpu', 'cuda'))
    gpu_ids: tuple[str, ...] = option(
        (), 'GPUs to use, as 0 1 or 0,1 (default: all visible)',
        group='machine', metavar='ID')
    ranks_per_gpu: int = option(1, 'ranks that share one GPU',
                                group='machine', check=positive)
    writer: str = option(
        'auto', 'how the HDF5 file is written: together by MPI-IO, or '
        'gathered to rank 0', group='machine',
        choices=('auto', 'mpio', 'gather'))
    log_level: str = option(
        'info', 'how much rank 0 tells', group='run',
        choices=('debug', 'info', 'warning', 'error'))
    log_file: str = option('', 'write the log of each rank here as well',
                           group='output', metavar='FILE')


@dataclass(frozen=True)
class Method:
    """Options that choose a potential."""

    calculator: str = option(
        'mace', 'potential: mace, gfn2, gfn1, sparrow (DFTB0) or another of '
        'its methods as sparrow:PM6, mmff94s, functional/basis, FILE.py, or '
        'lj, a toy for tests', group='method', metavar='NAME')
    model: str = option(
        '', 'MACE model: small, medium or large (MACE-OFF23), or student '
        '(bundled); default: small, student if no input is named',
        group='method', metavar='NAME')
    model_path: str = option('', 'file of a MACE model', group='method',
                             metavar='FILE')
    mace_dtype: str = option('float64', 'arithmetic of MACE',
                             group='method', choices=('float64', 'float32'))
    backend: str = option(
        '', 'how MACE is evaluated: reference, poly (the same, faster), '
        'native (package symmetrix-xl, CPU), cueq or oeq (GPU), or auto, '
        'the default: native where the work is worth its start, else poly',
        group='method', metavar='NAME')
    solvent: str = option('', 'ALPB solvent for gfn1 and gfn2, e.g. water',
                          group='method')


@dataclass(frozen=True)
class Ensembles:
    """Options of duplicates, Boltzmann tables and the shortlist."""

    boltzmann: bool = option(
        True, 'ensembles of the molecules at the end: duplicates, Boltzmann '
        'tables, shortlist', group='ensembles')
    temperatures: tuple[float, ...] = option(
        (200.0, 298.0, 350.0, 400.0), 'temperatures of the tables [K]',
        group='ensembles', check=positive, metavar='KELVIN')
    dedupe_energy: float = option(
        0.05, 'duplicates differ in energy by this at most [kcal/mol]',
        group='ensembles', check=not_negative)
    dedupe_rmsd: float = option(
        0.125, 'and their least RMSD of heavy atoms is below this [A]',
        group='ensembles', check=not_negative)
    mirror_images: str = option(
        'different', 'whether mirror images are duplicates',
        group='ensembles', choices=('different', 'same'))
    degeneracy: str = option(
        'none', 'mirror: a conformer that is not its own mirror image '
        'weighs twice', group='ensembles', choices=('none', 'mirror'))
    energy_window: float | None = option(
        None, 'leave out conformers so far above the lowest [kcal/mol]',
        group='ensembles', check=not_negative)
    include_unconverged: bool = option(
        False, 'unconverged records are conformers too', group='ensembles')
    group_by: str = option(
        'name', 'what makes one molecule: records of one name, with stereo '
        'also of equal CIP labels, or of one graph whatever their names',
        group='ensembles', choices=('name', 'stereo', 'graph'))
    shortlist: int = option(
        96, 'conformers on the shortlist at most', group='ensembles',
        check=not_negative)


@dataclass(frozen=True)
class Computing(Shared, Method):
    """Options of a program that evaluates a potential on records."""
