"""What lies downhill of a saddle point, on both sides.

The geometry is moved along the mode that leads down and relaxed, forward and
back; the ends are compared with reactant and product by their bonds, and by
their geometries where these two have the same bonds.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mpiapp.chemistry.geometry import superposed_rmsd
from mpiapp.optimize.driver import Limits, Relaxed, Task, relax
from mpiapp.optimize.registry import optimizer
from mpiapp.optimize.tasks import CONVERGED, STEP_LIMIT
from mpiapp.records import Batch, Evaluation, Floats
from mpiapp.saddle.base import Sample, Stopped, Stopping, Surface, SurfaceError
from mpiapp.saddle.judge import Look

#: move off the saddle: the atom that moves most, A
SHIFT = 0.1
#: steps down at first, their length and the least one, A
STRIDES, STRIDE, LEAST_STRIDE = 40, 0.05, 0.01
#: largest force of an end, eV/A, and steps to it
FMAX, STEPS = 0.03, 500
#: ends of surfaces without bonds are the same within this distance, A
SAME_PLACE = 0.1

Bonds = frozenset[tuple[int, int]]


def ends_of(sample: Sample, surface: Surface, here: Look,
            stopping: Stopping) -> str:
    """Return ok, half, other or unknown.

    ok: one end is the reactant, the other the product; half: one of them
    was found; other: neither; unknown: the sample has not both or they are
    the same, or an end was not reached.

    Raises:
        Stopped: all ranks are to stop.
    """
    if sample.reactant is None or sample.product is None:
        return 'unknown'
    known = [sample.reactant, sample.product]
    near = np.inf
    if alike(sample, surface, *known):
        # what bonds do not tell apart: an inversion, a rotation
        apart = superposed_rmsd(*known)
        if surface.flat is not None or apart < SAME_PLACE:
            return 'unknown'
        near = 0.5 * apart
    found = [downhill(sample, surface, shifted(surface, here, sign), stopping)
             for sign in (1.0, -1.0)]
    if any(end is None for end in found):
        return 'unknown'
    ends = [end.positions for end in found if end is not None]
    same = np.array([[
        alike(sample, surface, end, other)
        and superposed_rmsd(end, other) < near
        for other in known] for end in ends])
    if (same[0, 0] and same[1, 1]) or (same[0, 1] and same[1, 0]):
        return 'ok'
    return 'half' if same.any() else 'other'


def shifted(surface: Surface, here: Look, sign: float) -> Floats:
    """Return the geometry moved along the lowest mode, to one side."""
    scale = np.repeat(1.0 / np.sqrt(surface.masses), 3)
    way = (scale * here.modes.vectors[:, 0]).reshape(-1, 3)
    way *= SHIFT / np.linalg.norm(way, axis=1).max()
    return np.asarray(here.positions + sign * way)


def downhill(sample: Sample, surface: Surface, start: Floats,
             stopping: Stopping) -> Relaxed | None:
    """Return the minimum below a geometry; None if it is not reached."""
    try:
        start = descent(surface, start, stopping)
    except SurfaceError:
        return None
    tasks = [Task(0, sample.numbers, start, sample.charge, sample.unpaired)]

    def take(n: int) -> Sequence[Task]:
        return [tasks.pop()] if tasks else []

    def evaluate(batch: Batch) -> Evaluation:
        try:
            point = surface.point(batch.positions)
        except SurfaceError as error:
            return Evaluation(
                np.full(1, np.nan), np.full_like(batch.positions, np.nan),
                np.full(1, np.nan),
                {0: ('calculator_error', error.message)})
        return Evaluation(np.array([point.energy]), point.forces,
                          np.full(1, np.nan))

    ended: Iterator[object] = relax(
        take, evaluate, optimizer('lbfgs'), Limits(FMAX, STEPS), 1, stopping)
    end = next(iter(ended), None)
    if stopping() or not isinstance(end, Relaxed):
        raise Stopped
    return end if end.outcome in (CONVERGED, STEP_LIMIT) else None


def descent(surface: Surface, start: Floats, stopping: Stopping) -> Floats:
    """Return where short steps along mass-weighted forces lead.

    Near the saddle an optimiser would take long ones, into another valley.
    The step is halved where the energy rises, and ends below 0.01 A.
    """
    here, length = start, STRIDE
    point = surface.point(here)
    for _ in range(STRIDES):
        if stopping():
            raise Stopped
        way = point.forces / surface.masses[:, None]
        longest = float(np.linalg.norm(way, axis=1).max())
        if longest < 1e-6:
            break
        there = here + way * (length / longest)
        found = surface.point(there)
        if found.energy > point.energy:
            length *= 0.5
            if length < LEAST_STRIDE:
                break
            continue
        here, point = there, found
    return here


def alike(sample: Sample, surface: Surface, end: Floats,
          known: Floats) -> bool:
    """Tell whether an end is a known geometry: the same atoms are bonded."""
    if surface.flat is not None:
        off = (end - known).ravel()[surface.flat]
        return bool(np.linalg.norm(off) < SAME_PLACE)
    if not surface.bonded:
        gaps = [np.sort(distances(x)) for x in (end, known)]
        return bool(np.abs(gaps[0] - gaps[1]).max() < SAME_PLACE)
    return connectivity(sample.numbers, end) == connectivity(
        sample.numbers, known)


def distances(positions: Floats) -> Floats:
    """Return the distances of all pairs, A."""
    first, second = np.triu_indices(len(positions), 1)
    return np.asarray(np.linalg.norm(
        positions[first] - positions[second], axis=1))


def connectivity(numbers: NDArray[np.int32], positions: Floats) -> Bonds:
    """Return the bonded pairs that RDKit finds from a geometry."""
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds
    from rdkit.Geometry import Point3D
    molecule = Chem.RWMol()
    place = Chem.Conformer(len(numbers))
    for i, (number, x) in enumerate(zip(numbers, positions, strict=True)):
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
        place.SetAtomPosition(i, Point3D(*map(float, x)))
    molecule.AddConformer(place)
    rdDetermineBonds.DetermineConnectivity(molecule)
    pairs = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx())
             for b in molecule.GetBonds()]
    return frozenset((min(pair), max(pair)) for pair in pairs)
