"""Saddle-point searches as the samples of a study."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpiapp.errors import InputError
from mpiapp.saddle.base import (
    NO_RESULT, REASONS, Sample, SearchResult, SearchSettings, Stopped
)
from mpiapp.saddle.parameters import PARAMETERS, check_bounds, checked
from mpiapp.tuning.outcome import Outcome, Unfinished
from mpiapp.tuning.space import (
    Dimension, Space, Value, named_once, parse_range, parse_value
)
from mpiapp.workers.saddle_process import Searcher
from mpiapp.workers.saddle_search import SurfaceChoice
from mpiapp.workers.tune import Stopping

#: reasons with vanishing forces
STATIONARY = frozenset({'ts', 'minimum', 'higher_order'})


class SaddleSamples:
    """An evaluator: sample i of a study is a search from `samples[i]`."""

    reasons: Sequence[str] = tuple(REASONS)

    def __init__(
        self, choice: SurfaceChoice, samples: Sequence[Sample],
        settings: SearchSettings, searcher: Searcher | None = None,
    ) -> None:
        self.samples = samples
        self.settings = settings
        # toys neither hang nor crash
        self.searcher = searcher or Searcher(choice, helper=not choice.toy)

    def warm(self) -> None:
        """Load the calculator; raises InputError where it can't be."""
        _ = self.searcher.about

    def evaluate(
        self, sample: int, params: dict[str, Any], attempt: int,
        stopping: Stopping,
    ) -> Outcome:
        """Search one sample; raises Unfinished."""
        settings = replace(self.settings, params=params)
        try:
            found = self.searcher.search(
                self.samples[sample], settings, stopping)
        except Stopped:
            raise Unfinished from None
        return outcome_of(found, settings)

    def close(self) -> None:
        """End the helper process."""
        self.searcher.close()


def outcome_of(found: SearchResult, settings: SearchSettings) -> Outcome:
    """Return what a search means to a study.

    Usable is what has an end: a molecule in pieces may be the reason why
    there is none.
    """
    ended = found.reason not in NO_RESULT and found.n_neg >= 0
    wanted = {'ts'} if settings.stop == 'both' else {'ts', 'index_only'}
    return Outcome(
        found.reason, found.reason in wanted, found.has_index_one,
        found.reason in STATIONARY, ended,
        float(found.n_calls + found.n_hess), found.steps, found.n_escape,
        found.n_neg, found.early_stopped, found.fmax, found.seconds,
        evaluations_of(found))


def evaluations_of(found: SearchResult) -> int:
    """Return the evaluations of a search, a Hessian of one's own as one.

    By differences a Hessian is 6 evaluations an atom.
    """
    return found.n_calls + (found.n_displaced or found.n_hess)


def cost_cap(settings: SearchSettings) -> float:
    """Return the calls of a search that takes all its steps.

    One call of energy and forces and one of the Hessian a step: calls and
    not evaluations, so that the cap is that of molecules of any size.
    """
    return 2.0 * (settings.max_steps or 1)


def space_of(
    method: str, ranges: str, changes: Sequence[str], fixed: Sequence[str],
) -> Space:
    """Return what is tuned of a method.

    `ranges` is hip or scine; `changes` are texts NAME=LOW:HIGH[:SCALE],
    `fixed` texts NAME=VALUE.

    Raises:
        InputError: unknown names, reversed bounds, nothing left to tune.
    """
    known = {p.name: p for p in PARAMETERS[method]}
    values = dict(map(parse_value, fixed))
    named_once('--fix', [parse_value(t)[0] for t in fixed])
    new: dict[str, list[Any]] = {
        name: rest for name, *rest in map(parse_range, changes)}
    named_once('--range', [parse_range(t)[0] for t in changes])
    for name in [*values, *new]:
        if name not in known:
            raise InputError(f'{method} has no parameter {name!r}; it has '
                             f'{", ".join(known)}')
    for name in values.keys() & new.keys():
        raise InputError(f'{name} is named by --fix and by --range')
    check_bounds(method, {n: (r[0], r[1]) for n, r in new.items()})
    frozen = {p.name: p.baseline for p in known.values() if p.fixed
              and p.name not in new}
    frozen |= {n: checked(known[n], v) for n, v in values.items()}
    space = Space(tuple(
        dimension_of(p, ranges, new.get(p.name)) for p in known.values()
        if p.name not in frozen), frozen)
    space.check()
    return space


def dimension_of(parameter: Any, ranges: str,
                 change: Sequence[Any] | None) -> Dimension:
    """Return the dimension of a parameter, its bounds perhaps replaced."""
    low, high = parameter.range_of(ranges)
    log = parameter.scale == 'log'
    if change is not None:
        low, high, scale = change
        log = log if scale is None else scale
    return Dimension(
        parameter.name, parameter.kind, parameter.baseline, float(low),
        float(high), log, parameter.unit, parameter.about)


@dataclass(frozen=True, eq=False)
class Split:
    """Samples for tuning and samples held out, by a fixed rule."""

    tuning: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    faulty: tuple[Sample, ...]


def split_samples(
    samples: Sequence[Sample], every: int, most: int,
) -> Split:
    """Hold out every so many-th reaction; keep the first `most` of others.

    The rule knows the number of the reaction alone: reactions `every` - 1,
    2 `every` - 1, ... are held out (none for 0), so that more samples or
    draws move none from one set to the other.  Faulty ones are in neither.
    """
    sound = [s for s in samples if not s.fault[0]]
    away = [s for s in sound if every and s.number % every == every - 1]
    stay = [s for s in sound if not (every and
                                     s.number % every == every - 1)]
    return Split(first(stay, most), first(away, most),
                 tuple(s for s in samples if s.fault[0]))


def first(samples: Sequence[Sample], most: int) -> tuple[Sample, ...]:
    """Return the samples of the first `most` reactions."""
    numbers = list(dict.fromkeys(s.number for s in samples))[:most]
    return tuple(s for s in samples if s.number in set(numbers))


def identity(samples: Sequence[Sample]) -> list[list[Any]]:
    """Return what tells sets of samples apart, starts included."""
    from hashlib import sha256
    return [[s.number, s.draw, s.name,
             sha256(s.numbers.tobytes() + s.start.tobytes()).hexdigest()[:16]]
            for s in samples]


def reactions_of(samples: Sequence[Sample]) -> dict[str, str]:
    """Return names by what tells reactions apart: atoms and structures.

    Neither the place in a file, nor the start, nor its noise counts.
    """
    from hashlib import sha256
    found: dict[str, str] = {}
    for s in samples:
        known = [x.tobytes() for x in (s.reactant, s.ts, s.product)
                 if x is not None]
        key = sha256(b''.join([s.numbers.tobytes(), *known])).hexdigest()
        found.setdefault(key[:16], s.name)
    return found


def complete(space: Space, params: Mapping[str, Value], about: str,
             ) -> dict[str, Value]:
    """Return the varied part of given parameters, the rest at baseline.

    Raises:
        InputError: unknown names, or a fixed parameter of another value.
    """
    for name, value in params.items():
        if name in space.fixed and space.fixed[name] != value:
            raise InputError(f'{about}: {name} = {value}, but it is fixed at '
                             f'{space.fixed[name]}')
        if name not in space.fixed and name not in space.names:
            raise InputError(f'{about}: there is no parameter {name!r}')
    return {**space.baseline(), **{n: params[n] for n in space.names
                                   if n in params}}
