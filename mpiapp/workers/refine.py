"""Stages of a refinement, as they are written on the command line.

A stage is written SELECTION[:AMOUNT][:KEY=VALUE,...], for example
`shortlist:calculator=gfn2` or `top:5:calculator=pbe-d3bj/def2-svp`.  It takes
the converged records of the stage before (the first one those of the main
relaxation) at their geometries there.
"""
from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mpiapp.errors import InputError

#: option of the program that a key of a stage sets, and its type
KEYS: dict[str, tuple[str, type]] = {
    'calculator': ('calculator', str),
    'model': ('model', str),
    'model-path': ('model_path', str),
    'dtype': ('mace_dtype', str),
    'backend': ('backend', str),
    'solvent': ('solvent', str),
    'optimizer': ('optimizer', str),
    'fmax': ('fmax', float),
    'max-steps': ('max_steps', int),
}
TASKS = ('relax', 'single')
#: kind of a selection's amount, what it is where none is given, in words
AMOUNTS: dict[str, tuple[type, float, str]] = {
    'all': (int, 0, ''),
    'unique': (int, 0, ''),
    'top': (int, 5, 'lowest conformers of each molecule'),
    'window': (float, 3.0, 'kcal/mol above the lowest of each molecule'),
    'shortlist': (int, math.inf, 'best excimer candidates of all molecules'),
}

SYNTAX = ('a stage is SELECTION[:AMOUNT][:KEY=VALUE,...] with SELECTION '
          f'{", ".join(AMOUNTS)} and KEY {", ".join(KEYS)}, task; as in '
          'top:5:calculator=gfn2 or shortlist:model=medium,task=single')


@dataclass(frozen=True)
class Stage:
    """One stage: which records, computed how.

    `changes` are the options of the program that differ from those of the
    main relaxation; `single` means energies at the geometries as they are.
    """

    text: str
    name: str
    selection: str
    amount: float
    single: bool
    changes: dict[str, Any] = field(default_factory=dict)


def parse_stages(texts: Sequence[str]) -> list[Stage]:
    """Return the stages of a refinement in their order.

    Raises:
        InputError: a stage that is not understood.
    """
    return [parse_stage(text, i + 1) for i, text in enumerate(texts)]


def parse_stage(text: str, number: int) -> Stage:
    """Return a stage; `number` counts from 1 and is part of its name.

    Raises:
        InputError: the stage is not understood.
    """
    # a file or functional may hold a colon or an equals sign: split words
    # from the front and keys at the commas
    selection, _, rest = text.strip().partition(':')
    if selection not in AMOUNTS:
        raise InputError(f'--refine {text!r}: unknown selection '
                         f'{selection!r}; {SYNTAX}')
    first, _, later = rest.partition(':')
    amount_text, keys = (first, later) if '=' not in first else ('', rest)
    kind, usual, _ = AMOUNTS[selection]
    amount = _number(text, 'the amount', amount_text, kind) \
        if amount_text else usual
    if amount_text and (not usual or amount <= 0):
        raise InputError(f'--refine {text!r}: {selection} takes '
                         + ('no amount' if not usual
                            else 'an amount above 0'))
    changes = dict(_pairs(text, keys))
    task = changes.pop('task', 'single' if '/' in changes.get(
        'calculator', '') else 'relax')
    if task not in TASKS:
        raise InputError(f'--refine {text!r}: task={task}, allowed are '
                         f'{", ".join(TASKS)}')
    return Stage(text, f'{number}_{label(changes, task)}', selection, amount,
                 task == 'single', changes)


def _pairs(text: str, keys: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for part in filter(None, keys.split(',')):
        key, equals, value = part.partition('=')
        key = key.strip().replace('_', '-')
        if not equals or not value or (key not in KEYS and key != 'task'):
            raise InputError(f'--refine {text!r}: {part!r} is not '
                             f'understood; {SYNTAX}')
        name, kind = KEYS.get(key, (key, str))
        if name in dict(pairs):
            raise InputError(f'--refine {text!r}: {key} is given twice')
        pairs.append((name, _number(text, key, value, kind)
                      if kind is not str else value.strip()))
    names = dict(pairs)
    if {'model', 'model_path'} & names.keys() and 'calculator' not in names:
        pairs.append(('calculator', 'mace'))
    return pairs


def _number(text: str, what: str, value: str, kind: type) -> Any:
    try:
        number = kind(value)
    except ValueError as error:
        raise InputError(f'--refine {text!r}: {what} is {value!r}, not a '
                         'number' + (' without fraction' if kind is int
                                     else '')) from error
    if not math.isfinite(number):
        raise InputError(f'--refine {text!r}: {what} is not finite')
    return number


def label(changes: dict[str, Any], task: str) -> str:
    """Return a word for a stage that may stand in a file name."""
    words = [str(changes[key]).rsplit('/', 1)[-1].split('.')[0]
             if key == 'model_path' else str(changes[key])
             for key in ('calculator', 'model', 'model_path')
             if key in changes and changes[key] != 'mace']
    return re.sub(r'[^A-Za-z0-9.+-]', '_', '_'.join(words or [task]))


def share_of(stage: Stage) -> float:
    """Return a guess of the share of all records that a stage computes."""
    return 1.0 if stage.selection in ('all', 'unique') else 0.1
