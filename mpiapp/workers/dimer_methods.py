"""The methods that `validate` compares: names, potentials, what is missing."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpiapp import potentials
from mpiapp.potentials import Potential, PotentialOptions
from mpiapp.records import InputError, Structure

#: optimiser steps at most, of xTB and of others
XTB_STEPS, STEPS = 1000, 500


@dataclass(frozen=True)
class Method:
    """A method by the name among options and that in tables."""

    name: str
    label: str
    options: PotentialOptions

    @property
    def max_steps(self) -> int:
        """Steps of an optimisation where the options name none."""
        xtb = self.options.calculator in ('gfn1', 'gfn2', 'tblite')
        return XTB_STEPS if xtb else STEPS


#: name: (name in tables, calculator, model)
KNOWN: Mapping[str, tuple[str, str, str | None]] = {
    'mmff94s': ('MMFF94s', 'mmff94s', None),
    'student': ('student', 'mace', 'student'),
    'mace-off23-small': ('MACE-OFF23', 'mace', 'small'),
    'mace-off23-medium': ('MACE-OFF23-medium', 'mace', 'medium'),
    'mace-off23-large': ('MACE-OFF23-large', 'mace', 'large'),
    'gfn1': ('GFN1-xTB', 'gfn1', None),
    'gfn2': ('GFN2-xTB', 'gfn2', None),
}


def chosen_methods(
    names: Sequence[str], model_paths: Sequence[str],
    shared: PotentialOptions,
) -> list[Method]:
    """Return the methods in the order of their names, then of files.

    A model file is `METHOD=FILE`, or FILE alone: a method with the name of
    the file.  `shared` has dtype, device, backend and threads for MACE.

    Raises:
        InputError: unknown or double name, unknown method of a file.
    """
    files = dict(_named_file(text) for text in model_paths)
    for name in files:
        if name in KNOWN and KNOWN[name][1] != 'mace':
            raise InputError(f'--model-path: {name} has no model file')
    wanted = [*names, *(name for name in files if name not in names)]
    if len(set(names)) < len(names):
        raise InputError('--methods: a name stands there twice')
    return [method_of(name, files.get(name), shared) for name in wanted]


def _named_file(text: str) -> tuple[str, str]:
    name, equals, path = text.partition('=')
    if not equals:
        return Path(text).stem, text
    if not name or not path:
        raise InputError(f'--model-path {text}: expected METHOD=FILE or FILE')
    return name, path


def method_of(
    name: str, path: str | None, shared: PotentialOptions,
) -> Method:
    """Return a method by its name, that of a potential, or of a file.

    Raises:
        InputError: there is none of this name.
    """
    label, calculator, model = KNOWN.get(name, (name, name, None))
    if path is not None:
        calculator, model = 'mace', None
    known = name in KNOWN or name in potentials.names() or '/' in name
    if not known and path is None:
        raise InputError(
            f'unknown method {name!r}; there are {", ".join(KNOWN)}, and '
            f'the potentials {", ".join(potentials.names())}, '
            'functional/basis')
    if calculator == 'mace':
        return Method(name, label, replace(
            shared, calculator='mace', model=model, model_path=path))
    return Method(name, label, PotentialOptions(
        calculator, device='cpu' if shared.device == 'cpu' else 'auto',
        threads=shared.threads))


@dataclass(frozen=True)
class Available:
    """What came of looking for a method, equal on all ranks.

    `missing` says why it can't run, or is empty; `about` is the description
    that its potential gives of itself, `sha256` that of its model file.
    """

    method: Method
    missing: str = ''
    about: Mapping[str, str] | None = None
    sha256: str = ''

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its results."""
        options = self.method.options
        return {'calculator': options.calculator, 'dtype': options.dtype,
                'backend': options.backend, 'sha256': self.sha256,
                'available': not self.missing}


def look_for(method: Method, sample: Sequence[Structure]) -> Available:
    """Build a method once, to learn whether it can run here.

    A model is taken from where it is: nothing is downloaded.  To be called
    by one rank.
    """
    options = method.options
    try:
        resolved = potentials.resolve(options)
        if options.calculator == 'mace' and resolved.model_path is None:
            return Available(method, not_there(method))
        resolved = potentials.obtain(resolved, sample)
        potential = potentials.build(resolved, sample)
    except InputError as error:
        return Available(method, str(error).partition('\n')[0])
    sha256 = potentials.file_sha256(resolved.model_path) \
        if resolved.model_path else ''
    return Available(replace(method, options=resolved), '',
                     potential.describe(), sha256)


def not_there(method: Method) -> str:
    """Say where a model was looked for and what helps."""
    from mpiapp.potentials.mace.files import cached_path
    where = cached_path(str(method.options.model)).name
    return (f'{where} is not in the cache of mace-torch; name it with '
            f'--model-path {method.name}=FILE')


def load(method: Method, sample: Sequence[Structure]) -> Potential:
    """Build a method that was found."""
    return potentials.build(method.options, sample)
