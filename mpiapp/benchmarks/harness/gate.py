"""Equivalence before timing (R2): every check against the float64 oracle.

The oracle is mace-torch's own model in float64, eager, on the CPU, one
structure at a time.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiapp.benchmarks.harness.clock import Way, copies
from mpiapp.benchmarks.harness.variants import AUTOCAST, LINEAR, TF32
from mpiapp.potentials.guard import TOLERANCES, Tolerance
from mpiapp.records import Batch, Evaluation, Floats, Structure

#: What a way is allowed, by its arithmetic; float64 and float32 as in
#: campaigns.  Half precision keeps 8 (bf16) or 11 (fp16) bits: its cells
#: are timed to be seen beside their errors, which are printed with them.
ALLOWED: Mapping[str, Tolerance] = {
    **TOLERANCES,
    'tf32': Tolerance(energy=1e-3, force=1e-2, relative=1e-2),
    'bf16': Tolerance(energy=5e-2, force=0.1, relative=0.1),
    'fp16': Tolerance(energy=5e-3, force=2e-2, relative=2e-2),
}
#: A; displacement of finite differences, and what their error adds
STEP, STEP_FORCE = 1e-3, 1e-4
#: A; far from the origin, float64 keeps 1e-12 of a coordinate
FAR = 1000.0


@dataclass(frozen=True)
class Check:
    """One comparison: the worst number over what is allowed."""

    name: str
    excess: float
    note: str = ''

    @property
    def passed(self) -> bool:
        """Whether it is within what is allowed; NaN is not."""
        return bool(self.excess <= 1.0)

    def as_row(self) -> dict[str, Any]:
        """Return it as data."""
        return {'name': self.name, 'excess': self.excess, 'note': self.note,
                'passed': self.passed}


def arithmetic(way: str, dtype: str) -> str:
    """Return the key of `ALLOWED` for a way."""
    if way == TF32:
        return 'tf32'
    return way.rpartition('-')[2] if way in {**AUTOCAST, **LINEAR} else dtype


class Oracle:
    """Energies and forces of structures, one at a time, remembered.

    The oracle is no way on trial: only its answers are remembered.
    """

    def __init__(self, potential: Any) -> None:
        self._potential = potential

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return what the reference says of every molecule alone."""
        energies, forces = [], []
        for i in range(len(batch)):
            part = batch.part(i)
            found = self._potential.evaluate(Batch.join([(
                batch.numbers[part], batch.positions[part],
                int(batch.charges[i]), int(batch.unpaired[i]))]))
            energies.append(found.energies)
            forces.append(found.forces)
        nan = np.full(len(batch), np.nan)
        return Evaluation(np.concatenate(energies), np.concatenate(forces),
                          nan)


def compare(
    name: str, found: Evaluation, expected: Evaluation, offsets: Any,
    allowed: Tolerance, forces: bool,
) -> Check:
    """Return the worst difference over what is allowed."""
    sizes = np.diff(offsets)
    energy = np.abs(found.energies - expected.energies) / sizes
    excess = _worst(energy) / allowed.energy
    note = f'dE {_worst(energy):.1e} eV/atom'
    if forces:
        apart = np.abs(found.forces - expected.forces)
        largest = np.abs(expected.forces).max(initial=0.0)
        limit = allowed.force + allowed.relative * largest
        excess = max(excess, _worst(apart) / limit)
        note += f', dF {_worst(apart):.1e} eV/A'
    return Check(name, float(excess), note)


def _worst(values: Floats) -> float:
    worst = np.max(values, initial=0.0)
    return float(worst) if np.isfinite(values).all() else float('inf')


def errors(
    found: Evaluation, expected: Evaluation, offsets: Any, forces: bool,
) -> dict[str, float]:
    """Return the errors that are told beside a time."""
    sizes = np.diff(offsets)
    d_energy = np.abs(found.energies - expected.energies) / sizes
    told = {'d_energy_per_atom': float(d_energy.max())}
    if forces:
        apart = found.forces - expected.forces
        scale = float(np.sqrt((expected.forces ** 2).mean()))
        told |= {'d_force_max': float(np.abs(apart).max()),
                 'd_force_rms': float(np.sqrt((apart ** 2).mean())),
                 'force_rms': scale}
        told['d_force_scaled'] = told['d_force_rms'] / max(scale, 1e-12)
    return told


def own(
    way: Way, oracle: Oracle, batch: Batch, allowed: Tolerance,
    forces: bool,
) -> list[Check]:
    """Check a cell's own batch: value, batch v single, order, repetition."""
    def ask(b: Batch) -> Evaluation:
        return way.evaluate(b, forces)

    expected, first = oracle.evaluate(batch), ask(batch)
    found = [compare('equal', first, expected, batch.offsets, allowed,
                     forces)]
    if len(batch) > 1:
        single = _part(batch, [0])
        found.append(compare(
            'batch v single', _pick(first, batch, [0]), ask(single),
            single.offsets, allowed, forces))
        back = list(range(len(batch)))[::-1]
        found.append(compare(
            'order of the batch', ask(_part(batch, back)),
            _pick(first, batch, back), _part(batch, back).offsets,
            allowed, forces))
    again = ask(batch)
    same = np.array_equal(again.energies, first.energies) and \
        np.array_equal(again.forces, first.forces, equal_nan=True)
    check = compare('repeated', again, first, batch.offsets, allowed, forces)
    return [*found, Check(check.name, check.excess,
                          'bitwise' if same else check.note)]


def proved(
    way: Way, model_path: str, batches: Sequence[Batch], key: str,
) -> str:
    """Return why a way must not be timed on these batches, or '' (R2).

    `key` is that of its arithmetic in `ALLOWED`.
    """
    from mpiapp.potentials import PotentialOptions
    from mpiapp.potentials.mace import load_backend
    oracle = Oracle(load_backend('reference', PotentialOptions(
        model_path=model_path, device='cpu')))
    return verdict([check for batch in batches for check in own(
        way, oracle, batch, ALLOWED[key], True)])


def battery(
    way: Way, oracle: Oracle, molecule: Structure, allowed: Tolerance,
    forces: bool, cutoff: float,
) -> list[Check]:
    """Check what must hold for every molecule, on one small one."""
    batch = copies(molecule, 1)
    x, rng = batch.positions, np.random.default_rng(5)
    first = oracle.evaluate(batch)
    found = []

    def against(name: str, positions: Floats, expected: Evaluation,
                numbers: Any = batch.numbers) -> None:
        asked = Batch.join([(numbers, positions, molecule.charge,
                             molecule.unpaired)])
        found.append(compare(name, way.evaluate(asked, forces), expected,
                             asked.offsets, allowed, forces))

    turn = rotation(rng)
    against('rotation', x @ turn.T, _with(first, first.forces @ turn.T))
    against('far from the origin', x + FAR, first)
    order = rng.permutation(len(x))
    against('order of atoms', x[order], _with(first, first.forces[order]),
            batch.numbers[order])
    # an atom with no neighbour, and a pair exactly at the cut-off
    lone = np.concatenate([x, x[:1] + 10 * cutoff])
    numbers = np.concatenate([batch.numbers, batch.numbers[:1]])
    against('an atom alone', lone, oracle.evaluate(
        Batch.join([(numbers, lone, 0, 0)])), numbers)
    pair = np.array([[0.0, 0.0, 0.0], [cutoff, 0.0, 0.0]])
    against('a pair at the cut-off', pair, oracle.evaluate(
        Batch.join([(batch.numbers[[0, 0]], pair, 0, 0)])),
        batch.numbers[[0, 0]])
    if forces:
        found += [no_net_force(way, batch, allowed),
                  differences(way, batch, allowed)]
    return found


def rotation(rng: np.random.Generator) -> Floats:
    """Return a random rotation [3, 3]."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q * np.sign(np.linalg.det(q)), np.float64)


def no_net_force(way: Way, batch: Batch, allowed: Tolerance) -> Check:
    """Check that forces add up to nothing."""
    forces = way.evaluate(batch, True).forces
    net = float(np.abs(forces.sum(axis=0)).max())
    limit = len(forces) * (
        allowed.force + allowed.relative * np.abs(forces).max())
    return Check('sum of forces', net / limit, f'{net:.1e} eV/A')


def differences(way: Way, batch: Batch, allowed: Tolerance) -> Check:
    """Check the force on one atom against differences of energies."""
    force = way.evaluate(batch, True).forces[0, 0]
    energies = []
    for sign in (1, -1):
        x = batch.positions.copy()
        x[0, 0] += sign * STEP
        energies.append(way.evaluate(Batch(
            batch.numbers, x, batch.offsets, batch.charges, batch.unpaired,
        ), False).energies[0])
    slope = -(energies[0] - energies[1]) / (2 * STEP)
    apart = abs(float(force - slope))
    # rounding of energies is divided by the step
    noise = len(batch.numbers) * allowed.energy / STEP
    limit = STEP_FORCE + noise + allowed.relative * abs(force)
    return Check('finite differences', apart / limit, f'{apart:.1e} eV/A')


def verdict(checks: Sequence[Check]) -> str:
    """Return why a way is refused, or ''."""
    return '; '.join(f'{c.name}: {c.note} ({c.excess:.1f} times what is '
                     'allowed)' for c in checks if not c.passed)


def _with(evaluation: Evaluation, forces: Floats) -> Evaluation:
    return Evaluation(evaluation.energies, forces,
                      evaluation.e_model_minus_e0)


def _part(batch: Batch, chosen: Sequence[int]) -> Batch:
    return Batch.join([(
        batch.numbers[batch.part(i)], batch.positions[batch.part(i)],
        int(batch.charges[i]), int(batch.unpaired[i])) for i in chosen])


def _pick(
    found: Evaluation, batch: Batch, chosen: Sequence[int],
) -> Evaluation:
    return Evaluation(
        found.energies[list(chosen)],
        np.concatenate([found.forces[batch.part(i)] for i in chosen]),
        found.e_model_minus_e0[list(chosen)])
