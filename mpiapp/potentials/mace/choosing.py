"""Choose the back end of a MACE model by a rule, without a stopwatch.

The choice follows from the model, the work and the machine alone: a run
that is repeated, or has another number of ranks, gets the same back end and
with it the same bytes.
"""
from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mpiapp.potentials.base import PotentialOptions
from mpiapp.potentials.mace import (
    FALLBACKS, MacePotential, installed, load_backend
)
from mpiapp.potentials.mace.conversion import DISTRIBUTION
from mpiapp.potentials.mace.loading import Loaded, load
from mpiapp.potentials.mace.native import (
    SECONDS_PER_BYTE, radial_functions, table_bytes
)
from mpiapp.potentials.mace.reference import settle_torch
from mpiapp.records import InputError, Structure

#: seconds to convert a model for native; the cache is not looked at: a rule
#: that did would decide otherwise when the same run is repeated
CONVERSION_SECONDS = 20.0
#: seconds that native saves over poly for each atom-step and each component
#: of the hidden features: measured 5.6e-6 to 1.1e-5 (float64) and 2.7e-6 to
#: 6.1e-6 (float32) with 32 to 512 components
SAVED = {'float64': 6e-6, 'float32': 3e-6}
#: The saving must be so many times the start: the ranks, whose number must
#: not count here, share the work, but each has the start to itself.
WORTH = 4.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What decides: the model, its elements in use, the work, the machine.

    `atom_steps` is the predicted sum over all records of atoms times
    evaluations; `memory` [bytes] is that of the machine for each core.
    """

    model: Loaded
    n_elements: int
    atom_steps: float
    dtype: str
    device: str
    memory: float


def choose_backend(
    options: PotentialOptions, structures: Sequence[Structure],
    atom_steps: float = 0.0,
) -> PotentialOptions:
    """Return resolved options with the back end named; on one rank only.

    A named back end stays, unless it can't run the model here: then the
    next one takes its place.  `auto` is native where that is worth its
    start, else poly; without structures there is nothing to prove either
    on, and the reference is taken.  Each refusal is logged with its reason.
    """
    if options.backend == 'reference':
        return options
    chain: tuple[str, ...] = FALLBACKS
    if options.backend != 'auto':
        chain = (options.backend, *FALLBACKS)
    elif not structures:
        log.warning('back end reference, the slowest: no structure was '
                    'readable to choose by')
        return replace(options, backend='reference')
    else:
        job = job_of(options, structures, atom_steps)
        reason = unfit_for_native(job)
        if reason:
            log.info('back end native is not used: %s', reason)
        else:
            chain = ('native', *FALLBACKS)
    for name in chain:
        fit = chosen_by_rule(options, name) if options.backend == 'auto' \
            else replace(options, backend=name)
        if built(name, fit) is not None:
            return fit
    raise AssertionError('the reference runs or raises InputError')


def chosen_by_rule(
    options: PotentialOptions, backend: str,
) -> PotentialOptions:
    """Return options with the back end that `auto` stands for.

    Native gets one thread of however many: with more its last digits differ
    from run to run, and it is faster on one than others are on several.
    """
    threads = 1 if backend == 'native' else options.threads
    return replace(options, backend=backend, threads=threads)


def job_of(
    options: PotentialOptions, structures: Sequence[Structure],
    atom_steps: float,
) -> Job:
    """Gather what decides."""
    device = settle_torch(options.threads, options.device)
    model = load(str(options.model_path), 'float64', 'cpu')
    elements = {int(z) for s in structures for z in s.numbers}
    known = elements & set(model.numbers.tolist())
    return Job(model, max(1, len(known)), atom_steps, options.dtype, device,
               memory_of_machine() / (os.cpu_count() or 1))


def unfit_for_native(job: Job) -> str:
    """Return why native is not for this job, or ''."""
    if not installed('native'):
        return f'the package {DISTRIBUTION} is not installed'
    if job.device != 'cpu':
        return 'it runs on the CPU only'
    needed = table_bytes(radial_functions(job.model), job.n_elements)
    if needed > job.memory:
        return (f'its tables take {needed / 1e9:.1f} GB in each process, '
                f'and there are {job.memory / 1e9:.1f} GB for each core')
    start = CONVERSION_SECONDS + SECONDS_PER_BYTE * needed
    saved = job.atom_steps * saved_seconds(job.model, job.dtype)
    if saved < WORTH * start:
        return (f'it would save about {saved:.0f} s of all ranks together, '
                f'and its start takes about {start:.0f} s on each')
    return ''


def saved_seconds(model: Loaded, dtype: str) -> float:
    """Return what native saves over poly for each atom-step."""
    first = model.module.products[0]
    return float(SAVED[dtype] * first.linear.irreps_out.dim)


def memory_of_machine() -> float:
    """Return the memory of this machine in bytes."""
    return float(os.sysconf('SC_PAGE_SIZE')) * os.sysconf('SC_PHYS_PAGES')


def built(name: str, options: PotentialOptions) -> MacePotential | None:
    """Return a back end, or None, with a log entry, where it can't run."""
    try:
        return load_backend(name, options)
    except InputError as error:
        if name == 'reference':
            raise
        log.warning('back end %s is not used: %s', name, error)
        return None
