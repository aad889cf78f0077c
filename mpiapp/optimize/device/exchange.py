"""Molecules into the air and down again: host states and padded arrays.

Down here a molecule is a `Running` with the state of `Internal`, so that a
relaxation may begin on the device, stop, and go on on the host, or the other
way round.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mpiapp.optimize.device.coordinates import Frames, places_at
from mpiapp.optimize.device.flight import Flight, Points, rows
from mpiapp.optimize.device.shapes import Shape
from mpiapp.optimize.device.step import Memory, ordered
from mpiapp.optimize.internals.metric import Place
from mpiapp.optimize.internals.state import Base, InternalState, Progress
from mpiapp.optimize.running import Point, Running
from mpiapp.records import Floats

if TYPE_CHECKING:
    from torch import Tensor

#: copies a tensor to the host, which waits for the device
Fetch = Callable[['Tensor'], NDArray[Any]]
Send = Callable[[Any], 'Tensor']


def shape_of(molecules: Sequence[Running]) -> Shape:
    """Return a shape with room for all molecules."""
    return Shape.around(need(m) for m in molecules)


def need(molecule: Running) -> Shape:
    """Return what a molecule needs."""
    return Shape.of(molecule.n_atoms, molecule.state.frame.coordinates)


def board(
    molecules: Sequence[Running], shape: Shape, pairs: int, device: str,
) -> Flight:
    """Return the molecules as arrays; `pairs` are remembered at most."""
    import torch

    def send(values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values), device=device)

    states: list[InternalState] = [m.state for m in molecules]
    x = send([padded(m.positions, shape.atoms) for m in molecules])
    frames = frames_of(states, shape, send)
    return Flight(
        frames, memory_of(states, frames, shape, pairs, send), x,
        points_of([m.point for m in molecules], shape, send),
        points_of([m.best for m in molecules], shape, send),
        send([m.e_start for m in molecules]),
        send([m.start_radius for m in molecules]),
        send([m.steps for m in molecules]),
        send([m.evaluations for m in molecules]),
        send(np.zeros(len(molecules), np.int64)))


def padded(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Return values with zeros behind, up to that length."""
    full = np.zeros((length, *values.shape[1:]), values.dtype)
    full[:len(values)] = values
    return full


def points_of(
    points: Sequence[Point], shape: Shape, send: Send,
) -> Points:
    """Return geometries as arrays."""
    return Points(
        send([padded(p.positions, shape.atoms) for p in points]),
        send([p.energy for p in points]),
        send([p.e_model_minus_e0 for p in points]),
        send([padded(p.forces, shape.atoms) for p in points]))


def frames_of(
    states: Sequence[InternalState], shape: Shape, send: Send,
) -> Frames:
    """Return the coordinates as arrays."""
    import torch
    all_c = [s.frame.coordinates for s in states]
    pairs, bends, lines, torsions = (
        send([padded(getattr(c, kind), getattr(shape, kind))
              for c in all_c])
        for kind in ('pairs', 'bends', 'lines', 'torsions'))
    stiffness = np.zeros((len(states), shape.n_q))
    real = np.zeros((len(states), shape.n_q))
    atoms = np.zeros((len(states), shape.atoms))
    for i, (state, c) in enumerate(zip(states, all_c, strict=True)):
        where = shape.places(0, c)
        stiffness[i, where] = state.frame.stiffness
        real[i, where] = 1.0
        atoms[i, :c.n_atoms] = 1.0
    columns = [
        (3 * a[..., None] + torch.arange(3, device=a.device)).flatten(2)
        for a in (pairs, bends, lines, torsions)]
    columns[2] = columns[2].repeat_interleave(3, dim=1)
    return Frames(
        pairs, bends, lines, torsions, send(stiffness), send(real),
        send(atoms),
        torch.cat([c.flatten(1) for c in columns], 1),
        torch.cat([cells_of(c, 3 * shape.atoms) for c in columns], 1))


def cells_of(columns: Tensor, width: int) -> Tensor:
    """Return the cell in the lower triangle of each product of a row."""
    import torch
    i, j = torch.triu_indices(columns.shape[2], columns.shape[2],
                              device=columns.device)
    a, b = columns[:, :, i], columns[:, :, j]
    return (a.maximum(b) * width + a.minimum(b)).flatten(1)


def memory_of(
    states: Sequence[InternalState], frames: Frames, shape: Shape,
    pairs: int, send: Send,
) -> Memory:
    """Return what the optimiser remembers as arrays."""
    n = len(states)
    s, y = np.zeros((2, n, pairs, shape.size))
    pull, base_x = np.zeros((n, shape.size)), np.zeros((n, shape.atoms, 3))
    for i, state in enumerate(states):
        c = state.frame.coordinates
        where = shape.places(c.n_atoms, c)
        for k, (one, other) in enumerate(zip(state.s, state.y, strict=True)):
            s[i, k, where], y[i, k, where] = one, other
        base_x[i] = padded(state.frame_at, shape.atoms)
        if state.base is not None:
            pull[i, where] = state.base.pull
            base_x[i] = padded(state.base.place.x, shape.atoms)
    s_all, y_all = send(s), send(y)
    counts = np.array([len(state.s) for state in states])
    progress = [state.progress for state in states]
    return Memory(
        places_at(frames, send(base_x)), send(pull),
        send([b.energy if (b := state.base) else 0.0 for state in states]),
        send([state.base is not None for state in states]),
        s_all, y_all, s_all @ y_all.transpose(1, 2),
        send(counts % pairs), send(counts),
        send([state.trust for state in states]),
        send([state.length for state in states]),
        send([state.gain for state in states]),
        send([state.failures for state in states]),
        send([p.vain for p in progress]), send([p.rises for p in progress]),
        send([p.frames for p in progress]),
        send([p.energy for p in progress]),
        send([p.force for p in progress]))


def come_down(
    flight: Flight, index: Sequence[int], molecules: Sequence[Running],
    fetch: Fetch, whole: bool,
) -> list[Running]:
    """Return the molecules at `index`, by one copy; `whole`: with state.

    `molecules` are what went up.  Without its state a molecule can only be
    reported.
    """
    import torch
    part = rows(flight, torch.tensor(index, device=flight.x.device))
    names = light(part) | (heavy(part) if whole else {})
    flat = fetch(torch.cat([
        v.double().reshape(len(index), -1) for v in names.values()], 1))
    ends = np.cumsum([v[0].numel() for v in names.values()])
    found = []
    for i, molecule in enumerate(molecules):
        values = dict(zip(names, np.split(flat[i], ends[:-1]), strict=True))
        landed = reported(molecule, values)
        if whole:
            landed = replace(landed, state=state_of(
                molecule.state, values, flight.frames.shape,
                flight.memory.s.shape[1]))
        found.append(landed)
    return found


def light(part: Flight) -> dict[str, Tensor]:
    """Return what a report needs."""
    return {
        'x': part.x, 'e_start': part.e_start, 'steps': part.steps,
        'evaluations': part.evaluations,
        **{f'{name}_{key}': value for name, points in (
            ('point', part.point), ('best', part.best))
           for key, value in vars(points).items()}}


def heavy(part: Flight) -> dict[str, Tensor]:
    """Return what the optimiser needs to go on."""
    m = part.memory
    s, y, _ = ordered(m)
    return {'s': s, 'y': y, 'base_x': m.base.x} | {
        name: getattr(m, name) for name in (
            'pull', 'energy', 'has_base', 'count', 'trust', 'length',
            'gain', 'failures', 'vain', 'rises', 'n_frames', 'least_energy',
            'least_force')}


def reported(molecule: Running, values: dict[str, Floats]) -> Running:
    """Return the molecule with what has happened to it in the air."""
    n = molecule.n_atoms

    def point(name: str) -> Point:
        return Point(
            values[f'{name}_x'].reshape(-1, 3)[:n],
            float(values[f'{name}_energy'][0]),
            float(values[f'{name}_e_model_minus_e0'][0]),
            values[f'{name}_forces'].reshape(-1, 3)[:n])
    return replace(
        molecule, positions=values['x'].reshape(-1, 3)[:n],
        point=point('point'), best=point('best'),
        e_start=float(values['e_start'][0]),
        steps=int(values['steps'][0]),
        evaluations=int(values['evaluations'][0]))


def state_of(
    before: InternalState, values: dict[str, Floats], shape: Shape,
    pairs: int,
) -> InternalState:
    """Return the state of `Internal`, from that which went up."""
    one = {name: float(v[0]) for name, v in values.items() if len(v) == 1}
    c, count = before.frame.coordinates, int(one['count'])
    where = shape.places(c.n_atoms, c)
    s, y = (values[name].reshape(pairs, -1)[pairs - count:, where]
            for name in ('s', 'y'))
    base = None
    if one['has_base']:
        x = values['base_x'].reshape(-1, 3)[:c.n_atoms]
        base = Base(Place.at(before.frame, x), values['pull'][where],
                    one['energy'])
    progress = Progress(
        int(one['steps']), int(one['vain']), int(one['rises']),
        int(one['n_frames']), one['least_energy'], one['least_force'])
    return replace(
        before, s=tuple(s), y=tuple(y),
        rho=tuple(1 / float(np.dot(a, b)) for a, b in zip(s, y)),
        base=base, trust=one['trust'], length=one['length'],
        gain=one['gain'], failures=int(one['failures']), progress=progress)
