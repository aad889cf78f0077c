"""Aromatic systems: their names, patterns and the limits of excimer classes.

The limits and the six systems are those of pyrene_analyzer 1.1.0 (github
fulopjoz/pyrene-dimer-analyzer), which names Ge et al., J. Mater. Chem. C 8
(2020) 10223, Basuroy et al., J. Chem. Phys. 155 (2021) 234304 and Dai et al.,
Molecules 29 (2024) 507 as sources.  Its patterns of phenanthrene and perylene
matched other molecules; ours are checked against the molecules themselves.
"""
from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mpiapp.errors import InputError

#: atoms from which on a fused aromatic system is a chromophore
MIN_ATOMS = 10
#: bytes of a name in the result file
NAME_WIDTH = 16


@dataclass(frozen=True)
class Limits:
    """Limits of the classes of two rings: degrees, A, per cent.

    strong: angle < strong_angle, distance in [strong_from, strong_to] and
    overlap > strong_overlap.  weak: angle < weak_angle, distance <
    weak_distance and overlap > weak_overlap.  Above `warn_angle` a distance
    between the planes is not to be trusted.
    """

    strong_angle: float
    strong_from: float
    strong_to: float
    strong_overlap: float
    weak_angle: float
    weak_distance: float
    weak_overlap: float
    warn_angle: float = 60.0

    def stricter(self, other: Limits) -> Limits:
        """Return the stricter of each limit, for a mixed pair."""
        floors = {'strong_from', 'strong_overlap', 'weak_overlap'}
        return Limits(*(
            (max if f.name in floors else min)(
                getattr(self, f.name), getattr(other, f.name))
            for f in fields(Limits)))


@dataclass(frozen=True)
class System:
    """A named aromatic system.

    `smarts` matches all of its ring atoms and no others.  `min_atoms`: ring
    sets of compatibility mode have at least so many atoms.
    """

    name: str
    smarts: str
    limits: Limits
    min_atoms: int = MIN_ATOMS


_PYRENE = Limits(20, 3.3, 3.7, 50, 60, 4.5, 30)

SYSTEMS: tuple[System, ...] = (
    System('naphthalene', 'c1ccc2ccccc2c1', _PYRENE, 8),
    System('anthracene', 'c1ccc2cc3ccccc3cc2c1',
           Limits(20, 3.4, 3.93, 50, 60, 4.5, 30)),
    System('phenanthrene', 'c1ccc2c(c1)ccc1ccccc12', _PYRENE),
    System('pyrene', 'c1cc2ccc3cccc4ccc(c1)c2c34', _PYRENE),
    System('chrysene', 'c1ccc2c(c1)ccc1c2ccc2ccccc21', _PYRENE),
    System('perylene', 'c1cc2cccc3c4cccc5cccc(c(c1)c23)c54',
           Limits(20, 3.4, 3.8, 50, 60, 4.5, 30), 14),
    System('binaphthalene', 'c1ccc2c(-c3cccc4ccccc34)cccc2c1',
           Limits(20, 3.0, 3.6, 40, 50, 4.5, 25, 50), 16),
)

#: what a user's table of a system has; the last two may be left out
_KEYS = {'name', 'smarts', 'strong_angle', 'strong_distance',
         'strong_overlap', 'weak_angle', 'weak_distance', 'weak_overlap'}
_OPTIONAL = {'warn_angle', 'min_atoms'}


def limits_of(name: str, systems: tuple[System, ...] = SYSTEMS) -> Limits:
    """Return the limits of a system; those of pyrene for an unknown one."""
    known = {system.name: system.limits for system in systems}
    return known.get(name, _PYRENE)


def read_systems(path: Path | str) -> tuple[System, ...]:
    """Return the systems of a TOML file, then the built-in ones.

    Each table `[[system]]` has `name`, `smarts` and the limits; a built-in
    system of the same name is replaced.

    Raises:
        InputError: unreadable, or a system that is none; names the fault.
    """
    try:
        with open(path, 'rb') as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: {error}') from error
    tables = content.get('system')
    if set(content) != {'system'} or not isinstance(tables, list) \
            or not all(isinstance(t, dict) for t in tables):
        raise InputError(f'{path}: expected tables [[system]] alone')
    found = [_system(table, f'{path}, system {n}')
             for n, table in enumerate(tables, 1)]
    names = [system.name for system in found]
    if len(set(names)) != len(names):
        raise InputError(f'{path}: two systems have one name')
    return (*found, *(s for s in SYSTEMS if s.name not in names))


def _system(table: Mapping[str, Any], where: str) -> System:
    lacking = _KEYS - set(table)
    unknown = set(table) - _KEYS - _OPTIONAL
    if lacking or unknown:
        what = f'lacks {", ".join(sorted(lacking))}' if lacking \
            else f'does not know {", ".join(sorted(unknown))}'
        raise InputError(f'{where} {what}')
    name, smarts = table['name'], table['smarts']
    if not (isinstance(name, str) and name.isascii() and name.isprintable()
            and 0 < len(name) <= NAME_WIDTH):
        raise InputError(f'{where}: name must be ASCII of 1 to {NAME_WIDTH} '
                         f'characters, not {name!r}')
    if not isinstance(smarts, str) or pattern_of(smarts) is None:
        raise InputError(f'{where}: {smarts!r} is no SMARTS pattern')
    return System(name, smarts, _limits(table, where),
                  int(_number(table.get('min_atoms', MIN_ATOMS), where,
                              'min_atoms')))


def _limits(table: Mapping[str, Any], where: str) -> Limits:
    span = table['strong_distance']
    if not isinstance(span, list) or len(span) != 2:
        raise InputError(f'{where}: strong_distance must be [from, to]')
    low, high = (_number(v, where, 'strong_distance') for v in span)
    values = {key: _number(table.get(key, 60.0), where, key)
              for key in (*_KEYS, 'warn_angle')
              if key not in ('name', 'smarts', 'strong_distance')}
    if not low <= high <= values['weak_distance']:
        raise InputError(f'{where}: strong_distance {span} must ascend and '
                         'end below weak_distance')
    if values['strong_angle'] > values['weak_angle']:
        raise InputError(f'{where}: strong_angle exceeds weak_angle')
    return Limits(strong_from=low, strong_to=high, **values)


def _number(value: Any, where: str, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) \
            or not math.isfinite(value) or value <= 0:
        raise InputError(f'{where}: {key} must be a positive number, not '
                         f'{value!r}')
    return float(value)


def pattern_of(smarts: str) -> Any:
    """Return RDKit's query of a SMARTS, None if it is none."""
    from rdkit import Chem
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        pattern = Chem.MolFromSmarts(smarts) if smarts else None
    return pattern if pattern is not None and pattern.GetNumAtoms() else None
