"""The in-flight driver: order, ends, failures, suspension."""
from dataclasses import asdict

import numpy as np
import pytest

from mpiapp.optimize import names, optimizer
from mpiapp.optimize.driver import Limits, Paused, Task, relax
from mpiapp.records import Evaluation

FMAX = 0.005  # eV/A
LIMITS = Limits(FMAX, 300)
SIZES = (7, 2, 9, 4, 6, 3)


def never():
    """Stop at no time."""
    return False


def run(source, evaluate, method=None, limits=LIMITS, slots=1,
        stopping=never, clock=lambda: 0.0):
    """Relax all and return the list of what came out."""
    return list(relax(source, evaluate, method or optimizer('lbfgs'), limits,
                      slots, stopping, clock))


def same(one, other):
    """Say whether two results are equal to the bit."""
    def frozen(result):
        return {k: v.tobytes() if isinstance(v, np.ndarray) else repr(v)
                for k, v in asdict(result).items()}
    return frozen(one) == frozen(other)


def tasks_of(toys):
    """Return molecules that need different numbers of steps."""
    return [toys.task(10 + i, toys.cluster(n, seed=i))
            for i, n in enumerate(SIZES)]


def without(failing, evaluate):
    """Return evaluate with `failing(batch, i)` as the failures."""
    def wrapped(batch):
        result = evaluate(batch)
        failures = {i: f for i in range(len(batch))
                    if (f := failing(batch, i)) is not None}
        return Evaluation(result.energies, result.forces,
                          result.e_model_minus_e0, failures)
    return wrapped


@pytest.mark.parametrize('name', names())
@pytest.mark.parametrize('slots', [2, 3, 50])
def test_results_do_not_depend_on_company(toys, name, slots):
    evaluate, method = toys.batched(toys.morse), optimizer(name)
    alone = run(toys.Source(tasks_of(toys)), evaluate, method)
    together = run(toys.Source(tasks_of(toys)), evaluate, method,
                   slots=slots)
    assert sorted(r.key for r in together) == [r.key for r in alone]
    by_key = {r.key: r for r in together}
    assert all(same(r, by_key[r.key]) for r in alone)


def test_final_values_belong_to_the_geometry_that_met_fmax(toys):
    result, = run(toys.Source(tasks_of(toys)[:1]), toys.batched(toys.morse))
    energy, forces = toys.morse(result.positions)
    assert result.outcome == 'converged' and result.message == ''
    assert result.e_final == energy
    assert result.e_model_minus_e0 == energy + 0.5
    assert result.fmax == np.linalg.norm(forces, axis=1).max() < FMAX
    assert result.e_start == toys.morse(toys.cluster(SIZES[0], 0))[0]
    assert result.atom_steps == SIZES[0] * result.evaluations
    assert result.evaluations == result.steps + 1


def test_places_are_refilled_as_molecules_leave(toys):
    loads = []

    def evaluate(batch):
        loads.append(len(batch))
        return toys.batched(toys.morse)(batch)

    source = toys.Source(tasks_of(toys))
    run(source, evaluate, slots=2)
    assert max(loads) == 2
    # a place is empty only after nothing is left to take
    first_single = loads.index(1)
    assert loads == [2] * first_single + [1] * (len(loads) - first_single)
    assert set(source.asked) <= {1, 2}


def test_take_is_asked_again_while_something_runs(toys):
    late = tasks_of(toys)[:2]
    rounds = []

    def take(n):
        rounds.append(n)
        if len(rounds) in (1, 4):
            return [late.pop(0)]
        return []

    results = run(take, toys.batched(toys.morse), slots=2)
    assert sorted(r.key for r in results) == [10, 11]


def test_nothing_to_do_evaluates_nothing(toys):
    def evaluate(batch):
        raise AssertionError('no batch is expected')
    assert run(toys.Source([]), evaluate) == []


def test_no_slots_are_refused(toys):
    with pytest.raises(ValueError, match='slots'):
        run(toys.Source([]), None, slots=0)


def suspend_and_resume(toys, method, rounds, slots, total):
    """Stop after `rounds` evaluations, then finish; return the results."""
    evaluate, calls = toys.batched(toys.morse), []

    def counted(batch):
        calls.append(len(batch))
        return evaluate(batch)

    source = toys.Source(total)
    first = run(source, counted, method, slots=slots,
                stopping=lambda: len(calls) >= rounds)
    paused = {p.key: p.state for p in first if isinstance(p, Paused)}
    assert len(calls) <= rounds
    again = [Task(t.key, t.numbers, t.positions, state=paused[t.key])
             for t in total if t.key in paused] + source.tasks
    done = [r for r in first if not isinstance(r, Paused)]
    return done + run(toys.Source(again), evaluate, method, slots=slots)


@pytest.mark.parametrize('name', names())
def test_suspension_at_any_round_changes_no_bit(toys, name):
    method = optimizer(name)
    total = tasks_of(toys)[:3]
    whole = {r.key: r for r in run(
        toys.Source(total), toys.batched(toys.morse), method, slots=2)}
    n_rounds = sum(r.evaluations for r in whole.values())
    for rounds in range(min(n_rounds, 24) + 1):
        parts = suspend_and_resume(toys, method, rounds, 2, total)
        assert len(parts) == len(whole)
        assert all(same(r, whole[r.key]) for r in parts)


def test_suspension_after_every_round_changes_no_bit(toys):
    evaluate = toys.batched(toys.lennard_jones)
    start = toys.task(0, toys.cluster(7, seed=4))
    whole, = run(toys.Source([start]), evaluate)
    state, n_stops = b'', 0
    while True:
        answers = iter([False, True])
        end, = run(toys.Source([Task(0, start.numbers, start.positions,
                                     state=state)]),
                   evaluate, stopping=lambda: next(answers, True))
        if not isinstance(end, Paused):
            break
        state, n_stops = end.state, n_stops + 1
    assert same(end, whole)
    assert n_stops == whole.steps > 5


def interrupted(toys, start, make_evaluate, rounds):
    """Return the results of a whole run and of one with a pause."""
    whole, = run(toys.Source([start]), make_evaluate())
    evaluate, answers = make_evaluate(), iter([False] * rounds + [True])
    paused, = run(toys.Source([start]), evaluate,
                  stopping=lambda: next(answers))
    resumed = Task(start.key, start.numbers, start.positions,
                   state=paused.state)
    return whole, *run(toys.Source([resumed]), evaluate)


def test_a_failure_right_after_a_pause_keeps_the_last_good_geometry(toys):
    def failing_at_the_third():
        calls = []

        def evaluate(batch):
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError('no convergence')
            return toys.batched(toys.morse)(batch)
        return evaluate

    whole, parts = interrupted(toys, tasks_of(toys)[0],
                               failing_at_the_third, 2)
    assert whole.outcome == 'calculator_error' and np.isfinite(whole.fmax)
    assert same(whole, parts)


def test_growth_is_counted_from_before_the_pause(toys):
    start = toys.task(0, toys.cluster(8, seed=0) - 1.0)
    whole, parts = interrupted(toys, start,
                               lambda: toys.batched(repulsion), 10)
    assert whole.outcome == 'exploded' and whole.steps > 12
    assert same(whole, parts)


def test_stopping_before_the_start_takes_nothing(toys):
    source = toys.Source(tasks_of(toys))
    assert run(source, None, stopping=lambda: True) == []
    assert source.asked == []


def test_time_spent_before_a_pause_counts_after_it(toys):
    times = iter(range(1000))
    start = tasks_of(toys)[0]
    answers = iter([False, False, True])
    paused, = run(toys.Source([start]), toys.batched(toys.morse),
                  stopping=lambda: next(answers), clock=lambda: next(times))
    # two rounds of an evaluation and a step, one tick each
    resumed = Task(1, start.numbers, start.positions, state=paused.state)
    result, = run(toys.Source([resumed]), toys.batched(toys.morse),
                  limits=Limits(FMAX, 2))
    assert (result.seconds, result.outcome) == (4.0, 'step_limit')


@pytest.mark.parametrize('change, text', [
    ('optimizer', 'should be'), ('molecule', 'should be'),
    ('cut', 'damaged'), ('garbage', 'damaged'),
])
def test_a_foreign_state_is_refused(toys, change, text):
    answers = iter([False, True])
    start = tasks_of(toys)[0]
    paused, = run(toys.Source([start]), toys.batched(toys.morse),
                  stopping=lambda: next(answers))
    n_atoms = SIZES[0] - (change == 'molecule')
    state = {'cut': paused.state[:-50], 'garbage': b'x' * 99}.get(
        change, paused.state)
    other = toys.task(0, toys.cluster(n_atoms, seed=0), state)
    method = optimizer('fire' if change == 'optimizer' else 'lbfgs')
    with pytest.raises(ValueError, match=text):
        run(toys.Source([other]), toys.batched(toys.morse), method)


def test_record_timeout_ends_one_record_with_its_geometry(toys):
    times = iter(np.arange(0.0, 1000.0, 0.5))
    limits = Limits(FMAX, 300, record_timeout=5.0)
    result, = run(toys.Source(tasks_of(toys)[:1]), toys.batched(toys.morse),
                  limits=limits, clock=lambda: float(next(times)))
    assert result.outcome == 'time_limit'
    # 0.5 s for each evaluation and each step: 5 s are over at the sixth
    assert (result.seconds, result.evaluations) == (5.5, 6)
    assert result.e_final == toys.morse(result.positions)[0]


def test_convergence_beats_the_limits(toys):
    rest = toys.task(0, np.zeros((3, 3)))
    result, = run(toys.Source([rest]), toys.batched(toys.harmonic),
                  limits=Limits(FMAX, 0, record_timeout=0.0))
    assert (result.outcome, result.steps, result.evaluations) == (
        'converged', 0, 1)


def test_seconds_are_shared_by_atoms(toys):
    times = iter(range(1000))
    both = [toys.task(0, toys.cluster(6, 0)), toys.task(1, toys.cluster(2, 1))]
    results = run(toys.Source(both), toys.batched(toys.morse),
                  limits=Limits(FMAX, 0), slots=2, clock=lambda: next(times))
    assert [r.seconds for r in results] == [0.75, 0.25]


def test_time_of_the_receiver_is_nobodys(toys):
    now = [0.0]
    stream = relax(toys.Source(tasks_of(toys)), toys.batched(toys.morse),
                   optimizer('lbfgs'), LIMITS, 2, never, lambda: now[0])
    for result in stream:
        assert result.seconds == 0.0
        now[0] += 100.0


@pytest.mark.parametrize('reason, outcome, message', [
    ('calculator_error', 'calculator_error', 'SCF'),
    ('nan', 'nan', 'SCF'),
    ('odd', 'calculator_error', 'odd: SCF'),
])
def test_a_failure_of_one_leaves_the_others_alone(
        toys, reason, outcome, message):
    evaluate = toys.batched(toys.morse)
    clean = {r.key: r for r in run(toys.Source(tasks_of(toys)), evaluate)}

    def failing(batch, i):
        return (reason, 'SCF') if np.diff(batch.offsets)[i] == 9 else None

    results = run(toys.Source(tasks_of(toys)), without(failing, evaluate),
                  slots=4)
    assert len(results) == len(SIZES)
    failed, = [r for r in results if r.key == 12]
    assert (failed.outcome, failed.message) == (outcome, message)
    assert np.isnan([failed.e_start, failed.e_final, failed.fmax]).all()
    np.testing.assert_array_equal(failed.positions, toys.cluster(9, 2))
    assert all(same(r, clean[r.key]) for r in results if r.key != 12)


def test_a_later_failure_keeps_the_last_good_geometry(toys):
    calls = []

    def evaluate(batch):
        calls.append(batch.positions)
        if len(calls) == 4:
            raise RuntimeError('no convergence')
        return toys.batched(toys.morse)(batch)

    result, = run(toys.Source(tasks_of(toys)[:1]), evaluate)
    assert result.outcome == 'calculator_error'
    assert result.message == 'RuntimeError: no convergence'
    np.testing.assert_array_equal(result.positions, calls[2])
    assert result.e_final == toys.morse(calls[2])[0]
    assert (result.steps, result.evaluations) == (3, 4)


@pytest.mark.parametrize('where', ['energy', 'forces'])
def test_nan_ends_with_the_last_finite_geometry(toys, where):
    calls = []

    def evaluate(batch):
        calls.append(batch.positions)
        result = toys.batched(toys.morse)(batch)
        if len(calls) == 3:
            broken = (result.energies if where == 'energy'
                      else result.forces[1])
            broken[:] = np.nan
        return result

    result, = run(toys.Source(tasks_of(toys)[:1]), evaluate)
    assert result.outcome == 'nan'
    np.testing.assert_array_equal(result.positions, calls[1])
    assert np.isfinite([result.e_start, result.e_final, result.fmax]).all()


def repulsion(x):
    """All atoms are driven from the origin."""
    return float(-10 * np.abs(x).sum()), 10 * np.sign(x)


def test_what_flies_apart_is_exploded_and_keeps_its_geometry(toys):
    x = toys.cluster(8, seed=0) - 1.0
    result, = run(toys.Source([toys.task(0, x)]), toys.batched(repulsion))
    assert result.outcome == 'exploded'
    assert 'radius of gyration' in result.message
    assert np.ptp(result.positions) > 2 * np.ptp(x)
    assert result.e_final == repulsion(result.positions)[0]


def test_huge_forces_at_the_start_are_exploded(toys):
    x = np.array([[0.0, 0, 0], [0.3, 0, 0]])
    result, = run(toys.Source([toys.task(0, x)]),
                  toys.batched(toys.lennard_jones))
    assert (result.outcome, result.steps) == ('exploded', 0)


def test_a_step_to_nowhere_is_nan(toys):
    class Lost:
        name = 'lost'

        def init(self, positions, numbers):
            return None

        def step(self, state, positions, energy, forces):
            return None, positions * np.inf

    start = toys.task(0, toys.cluster(4, 0) + 1.0)
    result, = run(toys.Source([start]), toys.batched(toys.morse), Lost())
    assert (result.outcome, result.evaluations) == ('nan', 1)
    np.testing.assert_array_equal(result.positions, start.positions)


def test_too_little_memory_divides_and_finishes_all(toys):
    evaluate, loads = toys.batched(toys.morse), []

    def small(batch):
        loads.append(int(batch.offsets[-1]))
        if batch.offsets[-1] > 12:
            raise MemoryError('full')
        return evaluate(batch)

    clean = {r.key: r for r in run(toys.Source(tasks_of(toys)), evaluate)}
    results = run(toys.Source(tasks_of(toys)), small, slots=6)
    assert all(same(r, clean[r.key]) for r in results)
    assert len(results) == len(SIZES)
    # halving is learnt once, not in every round
    assert sum(load > 12 for load in loads) <= 3


def test_one_molecule_too_big_for_memory_fails_alone(toys):
    evaluate = toys.batched(toys.morse)

    def failing(batch, i):
        return ('out_of_memory', 'full') if batch.offsets[-1] > 8 else None

    results = run(toys.Source(tasks_of(toys)), without(failing, evaluate),
                  slots=3)
    assert {r.key for r in results if r.outcome == 'out_of_memory'} == {12}
    assert sum(r.outcome == 'converged' for r in results) == len(SIZES) - 1


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through(toys, error):
    def evaluate(batch):
        raise error

    with pytest.raises(error):
        run(toys.Source(tasks_of(toys)), evaluate, slots=2)


def test_charge_and_spin_reach_the_potential(toys):
    seen = []

    def evaluate(batch):
        seen.append((batch.charges.tolist(), batch.unpaired.tolist(),
                     batch.numbers.tolist()))
        return toys.batched(toys.harmonic)(batch)

    ion = Task(0, np.array([8, 1]), np.zeros((2, 3)), charge=-1, unpaired=2)
    run(toys.Source([ion]), evaluate)
    assert seen == [([-1], [2], [8, 1])]


def test_the_callers_positions_stay_as_they_were(toys):
    start = tasks_of(toys)[0]
    before = start.positions.tobytes()
    run(toys.Source([start]), toys.batched(toys.morse))
    assert start.positions.tobytes() == before


@pytest.mark.parametrize('max_steps', range(1, 9))
def test_a_limit_ends_with_the_lowest_geometry_seen(toys, max_steps):
    seen = {}
    surface = toys.batched(toys.lennard_jones)

    def evaluate(batch):
        found = surface(batch)
        seen[float(found.energies[0])] = batch.positions.copy()
        return found
    tasks = [toys.task(0, toys.cluster(6, seed=5))]
    end, = relax(lambda n: [tasks.pop()] if tasks else [], evaluate,
                 optimizer('internal'), Limits(1e-9, max_steps), 1,
                 lambda: False)
    assert end.outcome == 'step_limit'
    assert end.e_final == min(seen)
    np.testing.assert_array_equal(end.positions, seen[end.e_final])
