"""Choose the back end of a MACE model by a short race."""
from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np

from mpiapp.potentials.base import Potential, PotentialOptions
from mpiapp.potentials.guard import check
from mpiapp.potentials.mace import (
    BACKENDS, N_GUARD, MacePotential, available, load_backend, native
)
from mpiapp.potentials.mace.reference import MaceReference
from mpiapp.records import Batch, InputError, Structure

#: seconds of the race at most, and rounds that suffice
RACE_SECONDS, RACE_ROUNDS = 10.0, 3

log = logging.getLogger(__name__)


def choose_backend(
    options: PotentialOptions, structures: Sequence[Structure],
) -> PotentialOptions:
    """Return resolved options with the back end named; on one rank only.

    A named back end stays, unless it can't run the model here: then the
    next one of `BACKENDS` takes its place.  With `auto` the fastest of
    those that agree with the float64 reference on the first structures is
    chosen; without structures there is nothing to prove, and the reference
    is.  Every refusal is logged with its reason.
    """
    sample = structures[:N_GUARD]
    if options.backend in ('auto', 'reference') and not sample:
        return replace(options, backend='reference')
    exact = load_backend('reference', replace(options, dtype='float64'))
    if options.backend != 'auto':
        later = list(BACKENDS)[list(BACKENDS).index(options.backend):]
        name = next(b for b in later if _built(b, options) is not None)
        return replace(options, backend=name)
    entrants = _entrants(options, exact, sample)
    seconds = race(entrants, sample)
    for name, value in seconds.items():
        log.info('back end %s: %.2f ms per evaluation', name, 1e3 * value)
    return replace(options, backend=min(seconds, key=lambda b: seconds[b]))


def race(
    entrants: Mapping[str, Potential], structures: Sequence[Structure],
) -> dict[str, float]:
    """Return the median seconds of each potential, run in turns.

    Every call has new positions, a little off those of the structures; the
    first round does not count.
    """
    rng = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in entrants}
    end = perf_counter() + RACE_SECONDS
    while True:
        batches = [_batch(s, rng) for s in structures]
        for name, potential in entrants.items():
            start = perf_counter()
            for batch in batches:
                potential.evaluate(batch)
            taken[name].append(perf_counter() - start)
        rounds = len(next(iter(taken.values())))
        if rounds > RACE_ROUNDS or rounds > 1 and perf_counter() > end:
            break
    return {name: float(np.median(values[1:])) / max(1, len(structures))
            for name, values in taken.items()}


def _batch(structure: Structure, rng: np.random.Generator) -> Batch:
    moved = structure.positions + rng.normal(
        0.0, 1e-3, structure.positions.shape)
    return Batch.join([(structure.numbers, moved, structure.charge,
                        structure.unpaired)])


def _entrants(
    options: PotentialOptions, exact: MacePotential,
    sample: Sequence[Structure],
) -> dict[str, Potential]:
    """Return the back ends that run and agree; the reference always is."""
    found: dict[str, Potential] = {}
    for name in available():
        reason = _unsuitable(name, options, exact, sample)
        if reason:
            log.info('back end %s is not used: %s', name, reason)
            continue
        potential = exact if (name, options.dtype) == (
            'reference', 'float64') else _built(name, options)
        if potential is None:
            continue
        report = check(potential, exact, sample)
        if report.passed or name == 'reference':
            found[name] = potential
        else:
            log.warning('back end %s is not used: %s', name, report)
    return found


def _unsuitable(
    name: str, options: PotentialOptions, exact: MacePotential,
    sample: Sequence[Structure],
) -> str:
    """Return why a back end is not for this run, or ''."""
    if name != 'native' or not isinstance(exact, MaceReference):
        return ''
    if exact.device != 'cpu':
        return 'it runs on the CPU only'
    if options.threads > 1:
        return 'with several threads its last digits differ from run to run'
    elements = {int(z) for s in sample for z in s.numbers}
    needed = native.table_bytes(exact.model, len(elements))
    share = _memory() / (os.cpu_count() or 1)
    if needed > share:
        return (f'its tables take {needed / 1e9:.1f} GB in each process, '
                f'and there are {share / 1e9:.1f} GB for each core')
    return ''


def _memory() -> float:
    """Return the memory of this machine in bytes."""
    return float(os.sysconf('SC_PAGE_SIZE')) * os.sysconf('SC_PHYS_PAGES')


def _built(name: str, options: PotentialOptions) -> MacePotential | None:
    """Return a back end, or None, with a log entry, where it can't run."""
    try:
        return load_backend(name, options)
    except InputError as error:
        if name == 'reference':
            raise
        log.warning('back end %s is not used: %s', name, error)
        return None
