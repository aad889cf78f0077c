"""The method `sella`: Sella of order 1 in internal coordinates.

The package and ASE's optimiser under it come from `parallel.ase_serial`,
which keeps MPI, threads and files of theirs away.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from mpiapp.parallel import ase_serial
from mpiapp.records import Floats
from mpiapp.saddle.base import (
    Sample, SearchSettings, Stopped, Stopping, Surface, SurfaceError
)
from mpiapp.saddle.eckart import without_rigid
from mpiapp.saddle.gad import Ended
from mpiapp.saddle.judge import broken, largest, look, looked

#: the Hessian is computed anew whenever this many steps have passed since
HESSIAN_EVERY = 1
#: shares of the largest force that Sella is asked for, one after the other
TIGHTER = (1.0, 0.5, 0.2, 0.1)
#: steps between two looks whether a molecule has fallen apart
LOST_EVERY = 25


def search(
    sample: Sample, surface: Surface, settings: SearchSettings,
    stopping: Stopping, clock: Callable[[int], None],
) -> Ended:
    """Search from the start of a sample; settings are checked ones.

    Raises:
        SurfaceError: the surface can't be evaluated, or internal
            coordinates can't be made (`internals_error`).
        Stopped: all ranks stop; and what `clock` raises, which is
            told the steps made.
    """
    if surface.flat is not None:
        raise SurfaceError('internals_error',
                           'sella needs a molecule, not a toy in a plane')
    hessians = Hessians(surface, settings)
    atoms = ase_serial.atoms_of(surface.numbers, sample.start, surface.point)
    steps = 0
    limit = settings.max_steps or 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for steps in run(atoms, hessians, settings, limit):
                if stopping():
                    raise Stopped
                clock(steps)
                if steps % LOST_EVERY == LOST_EVERY - 1 and broken(
                        surface, sample, np.array(atoms.positions),
                        settings.min_distance)[0]:
                    break
                if settings.stop == 'index' and hessians.n_neg == 1:
                    break
    except (SurfaceError, Stopped):
        raise
    except FOREIGN as error:
        raise SurfaceError('internals_error',
                           f'sella: {type(error).__name__}: {error}'
                           ) from error
    return Ended(look(surface, np.array(atoms.positions), settings), steps)


#: what Sella raises where its coordinates or its steps fail
FOREIGN = (RuntimeError, ValueError, AssertionError, IndexError,
           ArithmeticError, np.linalg.LinAlgError, TypeError, KeyError)


class Hessians:
    """The function that Sella asks; remembers the last count."""

    def __init__(self, surface: Surface, settings: SearchSettings) -> None:
        self._surface, self._settings = surface, settings
        self.n_neg = -1

    def __call__(self, atoms: Any) -> Floats:
        """Return the Hessian at the positions of Atoms."""
        positions = np.array(atoms.positions)
        found = self._surface.hessian(positions)
        if self._settings.stop == 'index':
            point = self._surface.point(positions)
            self.n_neg = looked(self._surface, positions, point, found,
                                self._settings).n_neg
        if self._settings.params['apply_eckart']:
            return without_rigid(found, self._surface.masses, positions)
        return found


def run(atoms: Any, hessians: Hessians, settings: SearchSettings,
        limit: int) -> Any:
    """Yield the number of steps made, after each, from 0.

    Sella judges forces along its internal coordinates, which may miss a
    part of those on the atoms: it goes on to smaller ones until these are
    small too.
    """
    p = settings.params
    optimiser = ase_serial.sella(
        atoms, order=1, internal=True, gamma=0.0,
        hessian_function=hessians, diag_every_n=HESSIAN_EVERY,
        delta0=p['delta0'], rho_dec=p['rho_dec'], rho_inc=p['rho_inc'],
        sigma_dec=p['sigma_dec'], sigma_inc=p['sigma_inc'],
        allow_fragments=True)
    for share in TIGHTER:
        yield from ase_serial.steps_of(
            optimiser, share * settings.fmax, limit - optimiser.nsteps)
        if optimiser.nsteps >= limit \
                or largest(atoms.get_forces()) < settings.fmax:
            return
