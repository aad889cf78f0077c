"""The registry of optimisers: a file of this folder is one of them.

Its name is the key, and it has `build(**options) -> Optimizer`.  Numpy is
not needed here: options are read before a rank has chosen its cores.
"""
from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, cast

from mpiapp.errors import InputError

if TYPE_CHECKING:
    from mpiapp.optimize.base import Optimizer

#: parts of this folder that are no optimisers
PARTS = frozenset({'base', 'convergence', 'device', 'driver',
                   'evaluation', 'internals', 'registry', 'running', 'tasks'})
#: further names: ours takes the very steps of ASE's (test_against_ase.py)
ALIASES = {'ase-lbfgs': 'lbfgs'}


def names() -> list[str]:
    """List the optimisers; loads none of them."""
    folder = str(Path(__file__).parent)
    return sorted({m.name for m in iter_modules([folder])} - PARTS
                  | set(ALIASES))


def optimizer(name: str, **options: float) -> Optimizer[Any]:
    """Return the optimiser of that name; InputError for a wrong request."""
    if name not in names():
        raise InputError(
            f'no optimiser {name!r}; there are: {", ".join(names())}')
    module = import_module(f'mpiapp.optimize.{ALIASES.get(name, name)}')
    try:
        return cast('Optimizer[Any]', module.build(**options))
    except TypeError as error:
        raise InputError(f'optimiser {name}: {error}') from error


def require(rules: Mapping[str, bool]) -> None:
    """Raise InputError with the first rule that does not hold."""
    for rule, holds in rules.items():
        if not holds:
            raise InputError(rule)
