"""A study over ranks: the same on any number, after kills, and busy."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mpiapp.parallel.stop import StopWatch
from mpiapp.tuning.director import Director
from mpiapp.tuning.objective import OBJECTIVES, Scale
from mpiapp.tuning.pruning import Pruner
from mpiapp.tuning.sampling import make_sampler
from mpiapp.tuning.storage import open_for_writing
from mpiapp.tuning.study import (
    Book, open_study, past_of, put_away_stale, survey
)
from mpiapp.tuning.trial import Rules, State
from mpiapp.workers.toy_samples import SPACE, Toy
from mpiapp.workers.tune import capacity_for, tune

pytestmark = pytest.mark.mpi

N, STUDY, SEED = 12, 4, 42
#: trials; TPE models from the sixth on
TRIALS = 14
#: gates below the goals of 0.95 and 0.85, which are met where memory stays
#: warm (0.97 to 0.99 and 0.92 to 0.98) and not where the host makes idle pages
#: slow (0.91 to 0.95): docs/benchmarks_hpo.md
BUSY_ASYNC, BUSY_EXACT = 0.85, 0.75


class Killed(Exception):
    """Stands for a kill at this moment."""


def begin(
    path: Path, mode: str, n_trials: int, sampler: str = 'tpe',
    n_samples: int = N, pruner: Pruner = Pruner('median', 3),
    objective: str = 'bounded', most: int = 4, keep_waiting: int = 4,
) -> tuple[Director, Callable[[], None]]:
    """Open or reopen a study; to be called on rank 0."""
    rules = Rules(OBJECTIVES[objective], Scale(n_samples, 400.0, 300),
                  (4, 8) if n_samples == N else (), pruner,
                  mode == 'exact')
    opened = open_for_writing(str(path))
    study, _ = open_study(
        opened.storage, 'toy', {'mode': mode}, rules.objective.directions,
        lambda a, b: [], True, False)
    put_away_stale(study)
    rows, begun = survey(study)
    book = Book(
        study, SPACE, rules,
        lambda i: make_sampler(sampler, SEED, i, 5, 4, mode == 'async'),
        {0: (SPACE.baseline(), 'baseline')}, begun)
    pending = [i for i in range(n_trials) if i not in rows]
    made = Director(STUDY, book, rules, n_samples, pending,
                    past_of(rows, rules), mode, most=most,
                    keep_waiting=keep_waiting)
    return made, opened.close


def table(path: Path) -> list[Any]:
    """Return all that must not differ: everything but times and attempts."""
    opened = open_for_writing(str(path))
    study, _ = open_study(opened.storage, 'toy', {}, ['maximize'],
                          lambda a, b: [], True, False)
    rows, _ = survey(study)
    opened.close()
    return [(r.ordinal, r.source, r.state, r.params, r.values, r.at_rungs,
             [asdict(o) | {'seconds': 0, 'fmax': 0} for o in r.outcomes])
            for _, r in sorted(rows.items())]


def go(comm: Any, path: Path, mode: str, n_trials: int, toy: Toy,
       told: Any = None, node_comm: Any = None,
       watch: StopWatch | None = None, **changes: Any) -> Any:
    """Collective: run a study; returns stop, figures and the director."""
    director, close = None, lambda: None
    if comm.rank == 0:
        director, close = begin(path, mode, n_trials, **changes)
    try:
        reason, figures = tune(
            comm, watch or StopWatch(), SPACE, toy, director,
            capacity_for(changes.get('n_samples', N), 64),
            told or (lambda d: None), node_comm)
    finally:
        close()
    return reason, figures, director


def together(comm: Any, path: Path) -> list[Any]:
    """Collective: return the table on all ranks."""
    return list(comm.bcast(table(path) if comm.rank == 0 else None))


def alone(comm: Any, path: Path, n_trials: int, **changes: Any) -> list[Any]:
    """Collective: the table of one rank, which rank 0 computes by itself."""
    single = comm.Split(comm.rank)
    if comm.rank == 0:
        go(single, path, 'exact', n_trials, Toy(), **changes)
    single.Free()
    return together(comm, path)


@pytest.mark.parametrize('sampler', ['tpe', 'random', 'nsga2'])
def test_exact_mode_gives_the_table_of_one_rank(
    comm: Any, shared_dir: Path, node_comm: Any, sampler: str,
) -> None:
    expected = alone(comm, shared_dir / 'one.log', TRIALS, sampler=sampler)
    go(comm, shared_dir / 'many.log', 'exact', TRIALS, Toy(0.001),
       node_comm=node_comm, sampler=sampler)
    assert together(comm, shared_dir / 'many.log') == expected
    states = {row[2] for row in expected}
    assert len(expected) == TRIALS
    assert states == {State.COMPLETE, State.PRUNED}


def test_the_wilcoxon_pruner_and_errors_keep_exactness(
    comm: Any, shared_dir: Path,
) -> None:
    pruner = Pruner('wilcoxon', 2, 0.2)
    errors = (1, 5)

    def played(name: str, over: Any) -> list[Any]:
        if over is not None:
            go(over, shared_dir / name, 'exact', TRIALS,
               Toy(0.001 if name == 'many' else 0, errors), pruner=pruner)
        return together(comm, shared_dir / name)
    single = comm.Split(comm.rank)
    expected = played('one', single if comm.rank == 0 else None)
    single.Free()
    assert played('many', comm) == expected
    reasons = [o['reason'] for row in expected for o in row[6]]
    assert reasons.count('calculator_error') >= TRIALS


@pytest.mark.parametrize('when', [0, 7, 29, 70])
def test_a_run_that_ends_anywhere_is_continued_to_the_same_table(
    comm: Any, shared_dir: Path, when: int,
) -> None:
    expected = alone(comm, shared_dir / 'one.log', TRIALS)
    # the state that a kill leaves: the journal as it was at a moment, cut
    # in the middle of a line
    if comm.rank == 0:
        data = (shared_dir / 'one.log').read_bytes()
        lines = data.splitlines(keepends=True)
        at = min(len(lines) - 2, 2 + when)
        (shared_dir / 'cut.log').write_bytes(
            b''.join(lines[:at]) + lines[at][:9])
    go(comm, shared_dir / 'cut.log', 'exact', TRIALS, Toy(0.001))
    assert together(comm, shared_dir / 'cut.log') == expected


def test_a_study_is_extended_as_if_it_had_been_longer(
    comm: Any, shared_dir: Path,
) -> None:
    expected = alone(comm, shared_dir / 'one.log', TRIALS)
    for n in (3, 9, TRIALS):
        go(comm, shared_dir / 'parts.log', 'exact', n, Toy())
    assert together(comm, shared_dir / 'parts.log') == expected


def test_a_stop_keeps_the_results_of_the_running_trial(
    comm: Any, shared_dir: Path,
) -> None:
    watch = StopWatch()

    def told(director: Director) -> None:
        # by what was done, not by the clock: in the middle of a trial
        if any(3 <= len(t.outcomes) < N for t in director.running.values()):
            watch.reason = 3
    reason, _, _ = go(comm, shared_dir / 'a.log', 'exact', 50, Toy(0.03),
                      told, watch=watch)
    assert reason == 3
    if comm.rank == 0:
        opened = open_for_writing(str(shared_dir / 'a.log'))
        study, _ = open_study(opened.storage, 'toy', {}, ['maximize'],
                              lambda a, b: [], True, False)
        rows, begun = survey(study)
        opened.close()
        assert len(begun) == 1 and len(rows) < 50
        assert sum(len(b.outcomes) for b in begun.values()) \
            + sum(len(r.outcomes) for r in rows.values()) >= 3
    go(comm, shared_dir / 'a.log', 'exact', 6, Toy())
    expected = alone(comm, shared_dir / 'one.log', 6)
    found = together(comm, shared_dir / 'a.log')
    assert found[:6] == expected


def test_async_mode_ends_all_trials_and_credits_no_other(
    comm: Any, shared_dir: Path, node_comm: Any,
) -> None:
    _, _, director = go(comm, shared_dir / 'a.log', 'async', TRIALS,
                        Toy(0.002), node_comm=node_comm)
    found = together(comm, shared_dir / 'a.log')
    assert [row[0] for row in found] == list(range(TRIALS))
    toy = Toy()
    for row in found:
        for i, outcome in enumerate(row[6]):
            again = asdict(toy.evaluate(i, row[3], 0, lambda: False))
            assert outcome == again | {'seconds': 0, 'fmax': 0}


def test_several_objectives_give_a_front(
    comm: Any, shared_dir: Path,
) -> None:
    expected = alone(comm, shared_dir / 'one.log', TRIALS, sampler='nsga2',
                     objective='two', pruner=Pruner('none'))
    go(comm, shared_dir / 'many.log', 'exact', TRIALS, Toy(0.001),
       sampler='nsga2', objective='two', pruner=Pruner('none'))
    assert together(comm, shared_dir / 'many.log') == expected
    assert all(len(row[4]) == 2 for row in expected)


def shares(figures: Any) -> float:
    wall = max(f.wall for f in figures)
    return float(sum(f.work - f.dropped for f in figures)
                 / (wall * len(figures)))


def test_ranks_are_busy_in_async_mode(comm: Any, shared_dir: Path) -> None:
    _, figures, _ = go(
        comm, shared_dir / 'a.log', 'async', 3 * comm.size, Toy(0.25),
        n_samples=16,
        pruner=Pruner('none'), sampler='random', keep_waiting=2 * comm.size,
        most=comm.size + 2)
    if comm.rank == 0:
        print(f'{comm.size} ranks, async: {shares(figures):.3f} busy')
    assert shares(figures) >= BUSY_ASYNC


def test_ranks_are_busy_in_exact_mode(comm: Any, shared_dir: Path) -> None:
    _, figures, _ = go(
        comm, shared_dir / 'a.log', 'exact', 4, Toy(0.4),
        n_samples=4 * comm.size, pruner=Pruner('none'))
    if comm.rank == 0:
        print(f'{comm.size} ranks, exact: {shares(figures):.3f} busy')
    assert shares(figures) >= BUSY_EXACT
