"""Frames with a known answer, evaluated one by one in this process."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpiapp.hamiltonians.frame import frame_from
from mpiapp.potentials.gaussians import checked_molecule, overlap_of, shells_of
from mpiapp.potentials.kohn_sham import Field
from mpiapp.records import Finished, Row, Status, Suspended
from mpiapp.workers.hamiltonian import HamiltonianWorker
from tests.workers.hamiltonian_frames import (
    AMMONIA, CHEAP, SVP, WATER, Given, OneByOne, done, evaluation, frame, pair
)

#: exact in floating point but for rounding
EXACT = 1e-10
#: what is left of an SCF that has converged to 1e-7 Hartree
SCF_ENERGY, SCF_FORCE = 1e-7, 1e-4
#: of a grid that does not turn with the molecule (level 3)
GRID = 1e-5
SHIFT = 0.02


def metrics(row: Row, pair_: str) -> dict[str, float]:
    """Return the metrics of a pair that have a value."""
    return {name.partition('/')[2]: value for name, value in row.items()
            if name.startswith(f'{pair_}/') and np.isfinite(value)}


def test_a_perfect_prediction_has_no_error_and_restarts_at_once() -> None:
    row, = done(frame())
    assert (row['status'], row['reason'], row['flags']) == (1, '', '')
    found = metrics(row, 'pred-gt')
    assert len(found) > 25
    for name, value in found.items():
        assert value == pytest.approx(
            1.0 if 'similarity' in name else 0.0, abs=EXACT), name
    assert row['cycles_pred'] <= 2 and row['converged_pred'] == 1
    assert row['cycles_saved_pred'] == row['cycles_minao'] \
        - row['cycles_pred'] > 3
    assert row['proof'] == 'overlap' and row['ao_order'] == 'e3nn'
    assert row['delta'] == 1 and row['overlap_error'] < EXACT


def test_a_reference_of_the_same_settings_is_the_scf() -> None:
    row, = done(frame())
    for pair_ in ('gt-calc', 'pred-calc', 'gt-data', 'calc-data'):
        found = metrics(row, pair_)
        assert found['energy_diff'] < SCF_ENERGY
        assert found['force_mae'] < SCF_FORCE
    assert metrics(row, 'gt-calc')['hamiltonian_diff'] < SCF_ENERGY
    assert metrics(row, 'init-calc')['energy_diff'] > 0.01
    assert abs(row['pred-calc/energy_one_cycle']) < SCF_ENERGY


def test_a_shift_by_the_overlap_moves_orbital_energies_alone() -> None:
    made = frame(error='shift', size=SHIFT)
    row, = done(made)
    found = metrics(row, 'pred-gt')
    for name in ('occupied_orbital_energy_mae', 'orbital_energy_mae_all',
                 'homo_error', 'lumo_error'):
        assert found[name] == pytest.approx(SHIFT, abs=EXACT), name
    np.testing.assert_allclose(row['eps_pred'] - row['eps_gt'], SHIFT,
                               atol=EXACT)
    for name in ('gap_error', 'energy_diff', 'dipole_vec_error',
                 'mulliken_mae', 'subspace_loss', 'wa_offdiag'):
        assert found[name] == pytest.approx(0.0, abs=EXACT), name
    overlap = made.overlap
    assert overlap is not None
    assert found['hamiltonian_diff'] == pytest.approx(
        SHIFT * np.abs(overlap).mean())


def test_a_shift_changes_forces_by_the_derivative_of_the_overlap() -> None:
    made = frame(error='shift', size=SHIFT)
    row, = done(made, settings=evaluation(matrices=True))
    n = row['nao']
    density = row['p_gt'].reshape(n, n)

    def electrons(x: Any) -> float:
        molecule = checked_molecule(made.numbers, x, 'sto-3g', 0, 1000)
        return float(np.sum(density * overlap_of(molecule)))
    step, expected = 1e-3, np.zeros((3, 3))
    for i in np.ndindex(3, 3):
        x = made.positions.copy()
        x[i] += step
        above = electrons(x)
        x[i] -= 2 * step
        expected[i] = SHIFT * (above - electrons(x)) / (2 * step)
    np.testing.assert_allclose(row['forces_pred'] - row['forces_gt'],
                               expected, atol=1e-7)
    assert np.abs(expected).max() > 1e-3


def test_noise_makes_every_metric_see_something() -> None:
    row, = done(frame(error='noise', size=0.02),
                settings=evaluation(force_cycles=2,
                                    restarts=('pred', 'gt', 'init', 'atom'),
                                    init_forces=True))
    found = metrics(row, 'pred-gt')
    assert found['hamiltonian_diff'] == pytest.approx(
        0.02 * np.sqrt(2 / np.pi), rel=0.3)
    assert found['hamiltonian_rms'] == pytest.approx(0.02, rel=0.3)
    assert all(abs(v) > 0 for v in found.values())
    assert metrics(row, 'pred-calc')['energy_error'] > 0
    # two cycles on the way to the minimum
    assert row['pred_scf-calc/force_mae'] < row['pred-calc/force_mae'] / 3
    assert abs(row['pred-calc/energy_one_cycle']) \
        < row['pred-calc/energy_diff']
    for start in ('pred', 'gt', 'init', 'atom', 'minao'):
        assert row[f'converged_{start}'] == 1
        assert row[f'start_error_{start}'] > -1e-9 or start in (
            'minao', 'atom')
    assert row['cycles_gt'] < row['cycles_pred'] <= row['cycles_minao']
    assert row['gradient_pred'] > 10 * row['gradient_gt']
    assert np.isfinite(row['init-calc/force_mae'])


def test_noise_in_one_block_stays_there() -> None:
    row, = done(frame(error='block', size=0.01))
    found = metrics(row, 'pred-gt')
    assert found['h_mae_diagonal'] > 0 and found['h_mae_offdiagonal'] == 0.0


def test_float32_storage_is_below_a_microhartree() -> None:
    row, = done(frame(error='float32'))
    found = metrics(row, 'pred-gt')
    assert 0 < found['hamiltonian_diff'] < 1e-7
    assert found['energy_diff'] < 1e-6


def test_a_turned_and_shifted_molecule_has_the_same_scalars() -> None:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    fine = replace(CHEAP, grid_level=3)
    numbers, where = WATER
    moved = (numbers, where @ turn.T + [3.0, -2.0, 1.0])
    one, other = (
        done(frame(of, field=fine), settings=evaluation(fine))[0]
        for of in (WATER, moved))
    for name in ('e_calc', 'e_gt', 'pred-gt/energy_diff', 'e_init'):
        assert one[name] == pytest.approx(other[name], abs=GRID), name
    np.testing.assert_allclose(one['eps_gt'], other['eps_gt'], atol=GRID)
    for name in ('forces_calc', 'forces_gt'):
        np.testing.assert_allclose(one[name] @ turn.T, other[name],
                                   atol=1e-4)
    np.testing.assert_allclose(turn @ one['dipole_gt'], other['dipole_gt'],
                               atol=1e-4)


@pytest.mark.parametrize('order', ['pyscf', 'psi4', 'orca'])
def test_any_stated_order_gives_the_same_row(order: str) -> None:
    one, other = done(frame(SVPN, field=SVP), frame(
        SVPN, field=SVP, order=order), settings=evaluation(SVP))
    assert other['ao_order'] == order
    for name in ('e_gt', 'pred-gt/energy_diff', 'eps_gt', 'forces_gt'):
        np.testing.assert_allclose(one[name], other[name], atol=1e-9)


SVPN = (np.array([9, 1], np.int32), np.array([[0, 0, 0], [0.5, 0.6, 0.49]]))


def unsaid(reference: Any, prediction: Any) -> Any:
    for part in (reference, prediction):
        for key in ('format', 'length_unit', 'remove_init'):
            part.pop(key, None)
    return frame_from('x', reference, prediction)


@pytest.mark.parametrize('delta', [True, False])
def test_what_a_file_does_not_say_is_found_by_proof(delta: bool) -> None:
    row, = done(unsaid(*pair(order='psi4', delta=delta)))
    assert row['status'] == 1, row['message']
    assert (row['ao_order'], row['length_unit'], row['delta']) == (
        'psi4', 'bohr', int(delta))


def test_angstrom_is_found_by_proof_too() -> None:
    row, = done(unsaid(*pair(error='unit')))
    assert (row['status'], row['length_unit']) == (1, 'angstrom')


def test_forces_can_be_left_out() -> None:
    row, = done(frame(), settings=evaluation(forces=False))
    assert row['status'] == 1 and np.isfinite(row['e_pred'])
    assert np.isnan(row['forces_calc']).all()
    assert np.isnan(row['pred-gt/force_mae'])


def test_restarts_can_be_left_out() -> None:
    row, = done(frame(error='noise'), settings=evaluation(restarts=()))
    full, = done(frame(error='noise'))
    assert row['cycles_pred'] == row['cycles_atom'] == -1
    assert row['e_pred'] == pytest.approx(full['e_pred'], abs=EXACT)


def test_the_stored_overlap_can_be_used() -> None:
    reference, prediction = pair()
    reference['overlap'] = reference['overlap'].astype(np.float32)
    made = frame_from('x', reference, prediction)
    one, other = (done(made, settings=evaluation(stored_overlap=s))[0]
                  for s in (False, True))
    assert one['status'] == other['status'] == 1
    assert 0 < abs(one['e_gt'] - other['e_gt']) < 1e-5
    assert 0 < one['gt-calc/overlap_diff'] < 1e-6


def test_a_charge_is_taken_from_the_file_or_the_option() -> None:
    ammonium = (np.append(AMMONIA[0], 1).astype(np.int32),
                np.vstack([AMMONIA[1], [0.0, 0.0, 1.15]]))
    from mpiapp.workers.hamiltonian_synth import Synthesis, made_pair
    from tests.workers.hamiltonian_frames import structure
    made = made_pair(structure(ammonium, 1), 0, Synthesis(CHEAP))
    row, = done(frame_from('x', *made))
    assert (row['status'], row['charge'], row['n_electrons']) == (1, 1, 10)
    made[0].pop('charge')
    refused, = done(frame_from('x', *made))
    assert refused['reason'] == 'odd_electrons'
    row, = done(frame_from('x', *made), settings=evaluation(charge=1))
    assert row['status'] == 1


def test_density_fitting_changes_the_energy_and_is_the_same_on_both_sides(
) -> None:
    fitted = replace(CHEAP, density_fit=True)
    exact, = done(frame())
    row, = done(frame(field=fitted), settings=evaluation(fitted))
    assert 1e-6 < abs(row['e_calc'] - exact['e_calc']) < 5e-3
    assert row['gt-calc/energy_diff'] < SCF_ENERGY


def test_frames_without_prediction_have_the_other_pairs() -> None:
    reference, _ = pair()
    row, = done(frame_from('x', reference))
    assert row['status'] == 1 and np.isnan(row['e_pred'])
    assert row['gt-calc/energy_diff'] < SCF_ENERGY
    assert np.isfinite(row['init-gt/hamiltonian_diff'])
    assert np.isnan(row['pred-gt/hamiltonian_diff'])


def test_a_file_without_initial_matrix_gets_the_computed_one() -> None:
    reference, prediction = pair()
    del reference['init_ham']
    row, = done(frame_from('x', reference, prediction))
    assert row['status'] == 1 and row['delta'] == 1
    assert row['gt-calc/hamiltonian_diff'] < SCF_ENERGY


def test_a_stopped_frame_goes_on_with_the_scf_it_has() -> None:
    settings = evaluation()
    whole, = done(frame(error='noise'))
    states = []
    for looks in (2, 14):
        worker = HamiltonianWorker(settings, Given([frame(error='noise')]))
        item, = worker(OneByOne(1, looks))
        assert isinstance(item, Suspended)
        states.append(item.state)
        resumed, = HamiltonianWorker(settings, Given(
            [frame(error='noise')]))(OneByOne(1, None, item.state))
        assert isinstance(resumed, Finished)
        for name, value in resumed.values.items():
            if '/' in name or name.startswith(('e_', 'forces_')):
                np.testing.assert_array_equal(value, whole[name], name)
    assert not states[0] and states[1]


def test_a_damaged_state_is_dropped() -> None:
    worker = HamiltonianWorker(evaluation(), Given([frame()]))
    item, = worker(OneByOne(1, None, b'PK nonsense'))
    assert isinstance(item, Finished) and item.values['status'] == 1


def test_time_of_a_frame_is_limited() -> None:
    row, = done(frame(), settings=evaluation(record_timeout=1e-6))
    assert (row['status'], row['reason']) == (
        int(Status.UNCONVERGED), 'time_limit')
    assert np.isnan(row['pred-gt/hamiltonian_diff'])


def test_an_scf_that_no_rung_saves_is_unconverged() -> None:
    hopeless = replace(CHEAP, max_cycle=1)
    row, = done(frame(), settings=evaluation(hopeless))
    assert (row['status'], row['reason']) == (
        int(Status.UNCONVERGED), 'scf_unconverged')
    assert row['rescue'] == 'newton' and row['converged_minao'] == 0


def test_a_rescued_scf_is_told() -> None:
    short = replace(CHEAP, max_cycle=3)
    row, = done(frame(), settings=evaluation(short))
    assert row['status'] == 1 and row['rescue'] in ('level_shift', 'damping',
                                                    'newton')
    assert row['cycles_minao'] > 3
    assert row['cycles_saved_pred'] == 3 - row['cycles_pred']
    assert row['gt-calc/energy_diff'] < SCF_ENERGY


def test_an_energy_that_no_molecule_has_is_computed_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = frame()
    asked = []
    true = Field.solve

    def wild(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(1)
        solution = true(self, *args, **kwargs)
        return replace(solution, energy=5e4) if len(asked) < n_wild \
            else solution
    n_wild = 99
    monkeypatch.setattr(Field, 'solve', wild)
    row, = done(made)
    assert (row['status'], row['reason'], len(asked)) == (
        int(Status.FAILED), 'energy_overflow', 2)
    asked.clear()
    n_wild = 2
    row, = done(made)
    assert row['status'] == 1 and 'twice' in row['message']


def test_a_closed_gap_is_flagged() -> None:
    reference, prediction = pair(delta=False)
    s = prediction['overlap']
    eps, c = np.linalg.eigh(np.linalg.solve(
        np.linalg.cholesky(s), np.linalg.solve(
            np.linalg.cholesky(s), prediction['pred_hamiltonian']).T))
    back = np.linalg.cholesky(s) @ c
    eps[5] = eps[4]
    made = back @ np.diag(eps) @ back.T
    prediction['pred_hamiltonian'] = (made + made.T) / 2
    row, = done(frame_from('x', reference, prediction))
    assert row['status'] == 1 and row['flags'] == 'gap_closed'
    assert np.isfinite(row['pred-gt/energy_diff'])


def test_a_failure_of_one_frame_is_its_row_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> Any:
        raise RuntimeError('out of luck')
    rows = done(frame(), broken, frame(), settings=evaluation(debug=True))
    assert [row['reason'] for row in rows] == ['', 'error', '']
    assert 'out of luck' in rows[1]['message']


def test_shells_of_general_contractions_are_counted() -> None:
    molecule = checked_molecule(*WATER, 'cc-pvdz', 0, 1000)
    shells = shells_of(molecule)
    assert sum(2 * ang + 1 for _, ang in shells) == molecule.nao == 24


def test_the_cache_goes_by_geometry_and_settings(tmp_path: Path) -> None:
    def cached(made: Any, **changes: Any) -> int:
        settings = evaluation(changes.pop('field', CHEAP), forces=False,
                              restarts=(), cache=str(tmp_path), **changes)
        row, = done(made, settings=settings)
        assert row['status'] == 1
        return int(row['cached'])
    assert cached(frame()) == 0 and cached(frame()) == 1
    assert cached(frame(), new_calc=True) == 0
    assert cached(frame(), field=replace(CHEAP, grid_level=2)) == 0
    assert cached(frame(AMMONIA)) == 0
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert cached(frame()) == 0 and cached(frame()) == 1
