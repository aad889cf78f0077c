"""Proofs of a model: what each one finds, and what follows from it."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.distillation import frames, proofs, testing, verdicts
from mpiapp.distillation.evaluating import Atoms, Failed, evaluate, kendall
from mpiapp.potentials import PotentialOptions, build
from mpiapp.potentials.base import Potential
from mpiapp.records import Batch, Evaluation
from tests.distillation import small


@pytest.fixture(scope='module')
def toy() -> Potential:
    return build(PotentialOptions('lj'))


def labelled(toy: Potential, n: int) -> list[frames.Frame]:
    """Return frames whose labels are those of the toy itself."""
    made = []
    for f in small.frames(n):
        energy, forces = evaluate(toy, Atoms(f.numbers, f.positions))
        made.append(frames.Frame(f.numbers, f.positions, energy, forces,
                                 f.molecule, f.kind))
    return made


def test_a_model_that_is_its_teacher_has_no_errors(toy: Potential) -> None:
    row = proofs.errors(toy, labelled(toy, 4))[-1]
    assert row['subset'] == 'all' and row['n'] == 4
    assert row['force_mae'] == row['energy_rmse'] == 0.0


def test_errors_are_told_in_their_units(toy: Potential) -> None:
    wrong = [frames.Frame(f.numbers, f.positions,
                          f.energy + 0.002 * len(f.numbers),
                          f.forces + 0.03, f.molecule, f.kind)
             for f in labelled(toy, 4)]
    row = proofs.errors(toy, wrong)[-1]
    assert row['force_mae'] == pytest.approx(30.0)
    assert row['energy_mae'] == pytest.approx(2.0)


def test_scans_of_a_model_that_is_its_teacher_agree(toy: Potential) -> None:
    angle = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    one = Atoms(np.array([6] * 6, np.int32), 1.39 * ring)
    rows = proofs.scans(toy, toy, {'ring': one})
    assert len(rows) == len(proofs.SLIPS) * len(proofs.DISTANCES)
    assert all(r['error'] == 0.0 for r in rows)


def test_every_back_end_has_a_row_with_its_time(toy: Potential) -> None:
    f = small.frames(1)[0]
    rows = proofs.speeds([('a', lambda: toy), ('b', lambda: toy)],
                         Atoms(f.numbers, f.positions), 2)
    assert [r['backend'] for r in rows] == ['a', 'b']
    assert all(r['median_ms'] > 0 and r['rounds'] == 2 for r in rows)


def test_energies_that_are_one_have_no_order() -> None:
    assert kendall([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]) == pytest.approx(1.0)
    assert kendall([0.0, 1.0, 2.0], [2.0, 1.0, 0.0]) == pytest.approx(-1.0)
    assert np.isnan(kendall([0.0, 1e-7], [1e-7, 0.0]))
    assert np.isnan(kendall([1.0], [1.0]))


def report(name: str, **numbers: float) -> dict[str, Any]:
    return {'model': name, 'bytes': 1, 'sha256': 'x', 'backend': 'poly',
            'teacher': {'name': 'gfn2'}, 'not_proved': {},
            'numbers': numbers, 'goals': verdicts.goals_met(numbers)}


@pytest.mark.parametrize('runs, found', [
    ([(10.0, True), (10.0, True)], 0.0), ([(10.0, True), (3.0, False)], 1.0),
    ([(1.0, True)], None), ([(1.0, False)], 1.0)])
def test_stability_is_a_number_after_long_dynamics(
    runs: list[tuple[float, bool]], found: float | None,
) -> None:
    rows = [{'picoseconds': t, 'stable': stable} for t, stable in runs]
    numbers = verdicts.key_numbers({'dynamics': rows})
    assert numbers.get('unstable') == found
    assert [g['met'] for g in verdicts.goals_met(numbers)] == (
        [] if found is None else [found == 0.0])


def test_small_and_full_size_molecules_have_numbers_of_their_own(
    toy: Potential, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proofs, 'LARGE', 9)
    rows = proofs.relaxations(
        toy, toy, {'methanol': 'CO', 'ethanol': 'CCO'},
        lambda smiles: 2 if smiles == 'CO' else 1, 0.05, 3)
    assert [r['size'] for r in rows] == ['small', 'full-size']
    numbers = verdicts.key_numbers({'relaxations': rows})
    # one conformer has no relative energy
    assert set(numbers) == {'rmsd', 'relative', 'rmsd_large'}


def test_starts_that_fail_give_way_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sometimes(smiles: str, number: int) -> Atoms:
        if number % 2 == 0:
            raise Failed('knotted')
        return Atoms(np.array([number], np.int32), np.zeros((1, 3)))

    monkeypatch.setattr(proofs, 'conformer', sometimes)
    assert [int(a.numbers[0]) for a in proofs.starts('C', 3)] == [1, 3, 5]
    assert len(proofs.starts('C', 1)) == 1


class Broken:
    """A potential that computes nothing."""

    name = 'broken'
    elements = None
    accepts_charge = topology_guards = False
    bytes_per_atom = 1.0
    dtype = 'float64'
    finisher = None

    def evaluate(self, batch: Batch) -> Evaluation:
        n = len(batch)
        return Evaluation(
            np.full(n, np.nan), np.full_like(batch.positions, np.nan),
            np.full(n, np.nan), {i: ('calculator_error', 'broken')
                                 for i in range(n)})

    def describe(self) -> dict[str, str]:
        return {'name': 'broken'}


def test_failed_rows_are_gaps_of_the_report(toy: Potential) -> None:
    rows = proofs.relaxations(toy, Broken(), {'methanol': 'CO'},
                              lambda _: 2, 0.05, 5)
    runs = proofs.dynamics(Broken(), {'methanol': 'CO'}, 0.01)
    assert rows == [{'molecule': 'methanol', 'size': 'small', 'n_atoms': 6,
                     'n': 0, 'failed': 2}]
    stack = {'dimer': 'benzene', 'start': 'pd', 'teacher_outcome':
             'converged', 'model_outcome': 'exploded'}
    gaps = verdicts.gaps({'relaxations': rows, 'dynamics': runs,
                          'stacks': [stack]})
    assert gaps.pop('stack of benzene (pd)') == 'model: exploded'
    assert gaps['relaxations of methanol'] == '2 of 2 conformers failed'
    assert 'broken' in gaps['dynamics of methanol'] and len(gaps) == 2


def test_two_models_are_compared_in_one_report(tmp_path: Path) -> None:
    pair = [report('new', force_mae=29.0, slip=0.1),
            report('old', force_mae=42.0, slip=1.0)]
    paths = testing.Paths(tmp_path / 'r')
    text = testing.write(paths, pair)
    found = json.loads(paths.json.read_text())
    assert found['better'] and len(found['comparison']) == 2
    assert paths.markdown.read_text() == text
    assert '## Against old: better' in text
    assert '| 29 | True |' in text
