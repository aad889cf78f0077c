"""What one sample gives for one setting, as numbers of a fixed count."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

#: reason of a sample that took longer than its time limit
TIMEOUT = 'timeout'


@dataclass(frozen=True)
class Outcome:
    """The result of one sample.

    `reason` is a word of the worker's vocabulary.  `success` is what is
    maximised, `index_one` what the original scripts called a success,
    `stationary` that forces vanished, `usable` that there is a result at
    all.  `cost` counts calls of the calculator: energies with forces, and
    Hessians, one each however they are made; `evaluations` those of energy
    and forces inside Hessians by differences too, in place of these.
    `n_neg` counts negative eigenvalues, -1 if unknown; `fmax` eV/A;
    `seconds` of computing.
    """

    reason: str
    success: bool = False
    index_one: bool = False
    stationary: bool = False
    usable: bool = True
    cost: float = 0.0
    steps: int = 0
    n_escape: int = 0
    n_neg: int = -1
    early_stopped: bool = False
    fmax: float = float('nan')
    seconds: float = 0.0
    evaluations: int = 0


class Unfinished(Exception):
    """A sample was given up: nobody wants its result, or all are to stop."""


_KINDS = {f.name: str(f.type) for f in fields(Outcome)}
#: numbers of a packed outcome
N_VALUES = len(_KINDS)


def pack(outcome: Outcome, reasons: Sequence[str]) -> list[float]:
    """Return an outcome as `N_VALUES` numbers, the reason as its place."""
    return [float(reasons.index(outcome.reason)) if name == 'reason'
            else float(getattr(outcome, name)) for name in _KINDS]


def unpack(numbers: Sequence[float], reasons: Sequence[str]) -> Outcome:
    """Return the outcome of packed numbers."""
    kinds: dict[str, Any] = {'bool': bool, 'int': int, 'float': float,
                             'str': lambda x: reasons[int(x)]}
    return Outcome(**{name: kinds[kind](x) for (name, kind), x in zip(
        _KINDS.items(), numbers, strict=True)})


def to_json(outcome: Outcome) -> list[Any]:
    """Return an outcome as a short list; fmax None where it is unknown."""
    values = [getattr(outcome, name) for name in _KINDS]
    return [None if v != v else v for v in values]


def from_json(values: Sequence[Any]) -> Outcome:
    """Return the outcome of such a list.

    Raises:
        ValueError: it is none.
    """
    if len(values) != N_VALUES or not isinstance(values[0], str):
        raise ValueError(f'not the outcome of a sample: {values!r}')
    kinds: dict[str, Any] = {'bool': bool, 'int': int, 'float': float,
                             'str': str}
    found: dict[str, Any] = {
        name: float('nan') if value is None else kinds[kind](value)
        for (name, kind), value in zip(_KINDS.items(), values, strict=True)}
    return Outcome(**found)
