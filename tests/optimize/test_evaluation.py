"""One molecule never takes others down, and memory limits are learnt."""
import numpy as np
import pytest

from mpiapp.optimize.evaluation import evaluate_all
from mpiapp.records import Evaluation

POISON = 666.0  # x of the first atom of a molecule that can't be evaluated


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class Potential:
    """Energy = number of atoms; remembers the batches; fails on demand."""

    def __init__(self, room=10**9, error=None, memory=None):
        self.room, self.error, self.memory = room, error, memory
        self.batches = []

    def __call__(self, batch):
        sizes = np.diff(batch.offsets)
        self.batches.append(sizes.tolist())
        failures = {}
        if sizes.sum() > self.room:
            if self.memory:
                raise self.memory
            failures = {i: ('out_of_memory', 'full')
                        for i in range(len(batch))}
        if self.error and (batch.positions[:, 0] == POISON).any():
            raise self.error
        return Evaluation(sizes.astype(float), batch.positions * 2.0,
                          sizes - 1.0, failures)


def molecules(*sizes, poisoned=()):
    """Return (numbers, positions, charge, unpaired) tuples."""
    result = []
    for i, n in enumerate(sizes):
        x = np.full((n, 3), float(i))
        x[0, 0] = POISON if i in poisoned else x[0, 0]
        result.append((np.ones(n, np.int32), x, 0, 0))
    return result


def test_answers_are_those_of_each_molecule():
    answers, limit = evaluate_all(Potential(), molecules(2, 3, 1))
    assert [a.energy for a in answers] == [2.0, 3.0, 1.0]
    assert [a.e_model_minus_e0 for a in answers] == [1.0, 2.0, 0.0]
    assert [a.forces.tolist() for a in answers] == [
        np.full((n, 3), 2.0 * i).tolist() for i, n in enumerate((2, 3, 1))]
    assert limit is None


def test_forces_are_copies_in_float64():
    kept = np.zeros((2, 3), np.float32)
    answers, _ = evaluate_all(
        lambda batch: Evaluation(np.zeros(1), kept, np.zeros(1)),
        molecules(2))
    kept[:] = 9.0
    assert answers[0].forces.dtype == np.float64
    assert not answers[0].forces.any()


def test_an_exception_hits_only_its_own_molecule():
    potential = Potential(error=ValueError('no such basis'))
    answers, limit = evaluate_all(potential, molecules(2, 3, 1, poisoned=[1]))
    assert [a.reason for a in answers] == ['', 'calculator_error', '']
    assert answers[1].message == 'ValueError: no such basis'
    assert np.isnan(answers[1].energy) and np.isnan(answers[1].forces).all()
    assert potential.batches == [[2, 3, 1], [2], [3], [1]]
    assert limit is None


def test_a_single_molecule_that_raises_is_tried_once():
    potential = Potential(error=ValueError('x'))
    evaluate_all(potential, molecules(3, poisoned=[0]))
    assert potential.batches == [[3]]


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through(error):
    with pytest.raises(error):
        evaluate_all(Potential(error=error()), molecules(2, 2, poisoned=[0]))


def test_wrong_shapes_are_calculator_errors():
    answers, _ = evaluate_all(
        lambda batch: Evaluation(np.zeros(1), np.zeros((1, 3)), np.zeros(1)),
        molecules(2))
    assert answers[0].reason == 'calculator_error'


@pytest.mark.parametrize('memory', [
    None, MemoryError('full'), OutOfMemoryError('full')], ids=repr)
def test_a_batch_that_is_too_big_is_halved(memory):
    potential = Potential(room=5, memory=memory)
    answers, limit = evaluate_all(potential, molecules(2, 2, 2, 2))
    assert [a.energy for a in answers] == [2.0] * 4
    assert not any(a.reason for a in answers)
    assert potential.batches == [[2, 2, 2, 2], [2, 2], [2, 2]]
    assert limit == 4


def test_the_learnt_limit_divides_the_next_round():
    potential = Potential(room=5)
    _, limit = evaluate_all(potential, molecules(2, 2, 2, 2))
    potential.batches.clear()
    answers, again = evaluate_all(potential, molecules(1, 2, 2, 3, 1), limit)
    assert potential.batches == [[1, 2], [2], [3, 1]]
    assert [a.energy for a in answers] == [1.0, 2.0, 2.0, 3.0, 1.0]
    assert again == limit


def test_one_that_is_too_big_alone_fails_alone_and_limits_nobody():
    potential = Potential(room=5)
    answers, limit = evaluate_all(potential, molecules(1, 9, 1))
    assert [a.reason for a in answers] == ['', 'out_of_memory', '']
    assert answers[1].message == 'full'
    assert limit is None


def test_out_of_memory_of_some_repeats_only_those():
    calls = []

    def evaluate(batch):
        calls.append(len(batch))
        failures = {1: ('out_of_memory', 'x')} if len(calls) == 1 else {}
        return Evaluation(np.full(len(batch), float(len(calls))),
                          batch.positions, np.zeros(len(batch)), failures)

    answers, _ = evaluate_all(evaluate, molecules(1, 1, 1))
    assert calls == [3, 1]
    assert [a.energy for a in answers] == [1.0, 2.0, 1.0]


def test_an_exception_and_too_little_memory_together():
    potential = Potential(room=5, error=ValueError('x'))
    answers, _ = evaluate_all(potential, molecules(2, 2, 2, 2, poisoned=[3]))
    assert [a.reason for a in answers] == ['', '', '', 'calculator_error']
