"""The float32 potential that relaxes a molecule before the float64 one."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from mpiapp.potentials.base import Potential, PotentialOptions
from mpiapp.potentials.guard import Tolerance, check, comparable
from mpiapp.potentials.mace import N_GUARD, MacePotential, load_backend
from mpiapp.records import Structure

#: Ten times what a float32 result may differ by: what it leaves behind is
#: relaxed further in float64, and its error there is measured and stored.
#: The force stays a tenth of the default force of the change, 0.02 eV/A.
TOLERANCE = Tolerance(energy=2e-5, force=2e-3, relative=1e-4)

log = logging.getLogger(__name__)


def build_first(
    options: PotentialOptions, exact: Potential,
    structures_sample: Sequence[Structure],
) -> MacePotential | None:
    """Build the back end of resolved options in float32.

    None, with a warning, where it disagrees with `exact`.

    Raises:
        InputError: the back end can't run the model in float32.
    """
    fast = load_backend(options.backend, replace(options, dtype='float32'))
    sample = comparable(structures_sample, exact.elements)[:N_GUARD]
    report = check(fast, exact, sample, TOLERANCE)
    if report.passed:
        return fast.noting(guard=str(report))
    log.warning('warning: %s in float32 as a first stage: %s; one stage '
                'only, in float64', fast.name, report)
    return None
