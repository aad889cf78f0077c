"""A study the way the original scripts ran it, to compare with `hpo`.

One trial at a time; spawned worker processes take its samples from a queue
in the order of their numbers; the parent only asks, waits and tells.  Same
samples, same settings and same searches as `hpo`, so only the schedule
differs.
"""
from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

from mpiapp.config import read_options
from mpiapp.tuner import Options, Prepared, prepare, settle


def work(tasks: Any, results: Any, prepared: Prepared) -> None:
    """Take (trial, sample, params) until None comes."""
    from mpiapp.workers.saddle_process import Searcher
    from mpiapp.workers.saddle_tuning import SaddleSamples
    evaluator = SaddleSamples(
        prepared.choice, prepared.samples, prepared.settings,
        Searcher(prepared.choice, helper=False))
    evaluator.warm()
    results.put(None)
    while (task := tasks.get()) is not None:
        trial, sample, params = task
        began = time.perf_counter()
        outcome = evaluator.evaluate(sample, params, 0, lambda: False)
        results.put((trial, sample, outcome, time.perf_counter() - began))


def main(words: Sequence[str], n_workers: int) -> None:
    """Run a study; print wall seconds, busy share and values as JSON."""
    from mpiapp.tuner import given_trials
    from mpiapp.tuning.objective import OBJECTIVES
    options = settle(read_options(Options, 'hpo', '', words))
    prepared = prepare(options, 'run')
    context = multiprocessing.get_context('spawn')
    tasks, results = context.Queue(), context.Queue()
    workers = [context.Process(target=work, args=(tasks, results, prepared))
               for _ in range(n_workers)]
    for worker in workers:
        worker.start()
    for _ in workers:
        results.get()
    began = time.perf_counter()
    outcomes, busy = _study(options, prepared, tasks, results,
                            given_trials(options, prepared.space))
    wall = time.perf_counter() - began
    for _ in workers:
        tasks.put(None)
    for worker in workers:
        worker.join()
    objective = OBJECTIVES[options.objective]
    print(json.dumps({
        'wall': wall, 'busy': busy / (n_workers * wall),
        'values': [list(objective.values(o, prepared.scale))
                   for o in outcomes]}))


def _study(
    options: Options, prepared: Prepared, tasks: Any, results: Any,
    given: dict[int, Any],
) -> tuple[list[list[Any]], float]:
    """Run the trials one after the other; return outcomes and work."""
    import optuna

    from mpiapp.tuner import startup_of
    from mpiapp.tuning.sampling import make_sampler
    from mpiapp.tuning.study import quiet
    quiet()
    objective = prepared.objective(options)
    directions: list[Any] = list(objective.directions)
    study = optuna.create_study(directions=directions)
    found, busy = [], 0.0
    n = len(prepared.samples)
    for number in range(options.n_trials or 0):
        study.sampler = make_sampler(
            options.sampler, options.seed, number, startup_of(options),
            options.population, False)
        if number in given:
            study.enqueue_trial(dict(given[number][0]))
        trial = study.ask(prepared.space.distributions())
        params = {**prepared.space.fixed, **trial.params}
        for i in range(n):
            tasks.put((number, i, params))
        got: dict[int, Any] = {}
        while len(got) < n:
            _, i, outcome, seconds = results.get()
            got[i] = outcome
            busy += seconds
        outcomes = [got[i] for i in range(n)]
        study.tell(trial, list(objective.values(outcomes, prepared.scale)))
        found.append(outcomes)
    return found, busy
