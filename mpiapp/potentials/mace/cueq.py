"""The cueq back end: cuEquivariance's kernels, on a GPU."""
from __future__ import annotations

from mpiapp.potentials.base import PotentialOptions
from mpiapp.potentials.mace import switched
from mpiapp.potentials.mace.reference import MaceReference


def build(options: PotentialOptions, name: str) -> MaceReference:
    """Build the potential from resolved options; see `mace.build`."""
    return switched.build(options, name, 'cueq', 'cuequivariance-torch')
