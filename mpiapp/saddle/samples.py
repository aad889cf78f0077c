"""Starts of searches: which geometry, disturbed by how much, and faults."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mpiapp.errors import InputError
from mpiapp.records import Floats
from mpiapp.saddle.base import Sample
from mpiapp.saddle.interpolation import middle

#: starts, the share of the TS in each, and what each needs of a reaction
KINDS = ('reactant', 'ts', 'midpoint_rt', 'three_quarter_rt', 'interp',
         'interp_linear')
NEEDS = {
    'reactant': ('reactant',), 'ts': ('ts',),
    'midpoint_rt': ('reactant', 'ts'),
    'three_quarter_rt': ('reactant', 'ts'),
    'interp': ('reactant', 'product'),
    'interp_linear': ('reactant', 'product'),
}
_RULE = re.compile(r'(?P<kind>[a-z_]+?)(?:_noise(?P<noise>.*))?')


@dataclass(frozen=True)
class StartRule:
    """`kind` is one of `KINDS`, `noise` A a coordinate (0: none)."""

    kind: str
    noise: float = 0.0

    @property
    def uses_answer(self) -> bool:
        """Whether the start is made from the transition state."""
        return 'ts' in NEEDS[self.kind]


@dataclass(frozen=True, eq=False)
class Reaction:
    """One reaction of a file: [n, 3] A each, None what there is not.

    `other` holds the atomic numbers of those geometries that differ from
    `numbers` and so do not fit; `fault` is why nothing was read.
    """

    number: int
    name: str
    numbers: NDArray[np.int32]
    reactant: Floats | None = None
    ts: Floats | None = None
    product: Floats | None = None
    charge: int = 0
    unpaired: int = 0
    fault: tuple[str, str] = ('', '')
    about: Mapping[str, str] = field(default_factory=dict)


def parse_start(text: str) -> StartRule:
    """Read a start such as midpoint_rt_noise1.0A.

    Raises:
        InputError: an unknown kind, noise without a number, of zero or
            less.
    """
    found = _RULE.fullmatch(text)
    if not found or found['kind'] not in KINDS:
        raise InputError(f'--start-from {text}: there are {", ".join(KINDS)}'
                         ', each with _noise<X>A or without')
    if found['noise'] is None:
        return StartRule(found['kind'])
    number = re.fullmatch(r'(\d+\.?\d*|\.\d+)A?', found['noise'])
    if not number:
        raise InputError(f'--start-from {text}: expected a number of angstrom'
                         f' after _noise, found {found["noise"]!r}; an '
                         f'example is {found["kind"]}_noise1.0A')
    noise = float(number[1])
    if not 0 < noise <= 10:
        raise InputError(f'--start-from {text}: noise must lie above 0 and '
                         'be 10 A at most; leave _noise out for none')
    return StartRule(found['kind'], noise)


def noise_of(n_atoms: int, noise: float, seed: int, number: int,
             draw: int) -> Floats:
    """Return displacements [n_atoms, 3] A, normally distributed.

    The same on any machine and any rank: NumPy's PCG64 seeded by
    (noise seed, number of the sample, draw).
    """
    generator = np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([seed, number, draw])))
    return noise * generator.standard_normal((n_atoms, 3))


def samples_of(
    reaction: Reaction, rule: StartRule, seed: int, draws: int,
) -> Iterator[Sample]:
    """Yield the samples of a reaction, one for each draw."""
    plain = Sample(
        reaction.number, 0, reaction.name, reaction.numbers,
        np.empty((0, 3)), reaction.reactant, reaction.ts, reaction.product,
        reaction.charge, reaction.unpaired, rule.kind, rule.noise, seed,
        reaction.fault, reaction.about)
    missing = [what for what in NEEDS[rule.kind]
               if getattr(reaction, what) is None]
    if plain.fault[0] == '' and missing:
        plain = replace(plain, fault=(
            'bad_input', f'no {" and no ".join(missing)} for a start '
            f'from {rule.kind}'))
    if plain.fault[0]:
        yield from (replace(plain, draw=k) for k in range(draws))
        return
    start = undisturbed(reaction, rule.kind)
    for k in range(draws):
        moved = start if not rule.noise else start + noise_of(
            len(start), rule.noise, seed, reaction.number, k)
        yield replace(plain, draw=k, start=moved)


def undisturbed(reaction: Reaction, kind: str) -> Floats:
    """Return the start [n, 3] A without noise; what it needs is there."""
    if kind.startswith('interp'):
        assert reaction.reactant is not None
        assert reaction.product is not None
        return middle(reaction.numbers, reaction.reactant, reaction.product,
                      relaxed=kind == 'interp')
    if kind in ('reactant', 'ts'):
        found = getattr(reaction, kind)
        return np.array(found, np.float64)
    assert reaction.reactant is not None and reaction.ts is not None
    share = {'midpoint_rt': 0.5, 'three_quarter_rt': 0.75}[kind]
    return (1.0 - share) * reaction.reactant + share * reaction.ts
