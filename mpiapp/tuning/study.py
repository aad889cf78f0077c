"""A study kept by Optuna: ask, tell, and going on after a kill.

A trial's *ordinal* is its place in the study; Optuna's own number differs
from it after a kill, since the trial that was running is told as failed and
begun again.  The results of its samples are kept with it, so that they are
not computed twice.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpiapp.errors import InputError
from mpiapp.tuning import outcome as outcomes_
from mpiapp.tuning.objective import summary
from mpiapp.tuning.outcome import Outcome
from mpiapp.tuning.pruning import Past
from mpiapp.tuning.space import Space
from mpiapp.tuning.trial import Rules, State, Trial, Verdict

SETTINGS = 'mpiapp'
INTERRUPTED = 'interrupted'
#: seconds between two times of keeping a running trial's results
SAVE_SECONDS = 1.0


@dataclass(frozen=True)
class Row:
    """A finished trial as it is stored."""

    ordinal: int
    number: int
    attempt: int
    source: str
    state: State
    params: Mapping[str, Any]
    values: tuple[float, ...]
    at_rungs: Mapping[int, float]
    outcomes: tuple[Outcome, ...]
    note: str
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Begun:
    """A trial that a killed or stopped run left unfinished."""

    ordinal: int
    attempt: int
    source: str
    params: Mapping[str, Any]
    outcomes: Mapping[int, Outcome]


@dataclass
class Book:
    """Optuna's study behind ask and tell (an `Advisor`).

    `sampler(ordinal)` makes the sampler of a trial; `fixed` maps ordinals
    to the settings and source of trials that are given.  `rows` are the
    finished trials; `ended` is told of each.
    """

    study: Any
    space: Space
    rules: Rules
    sampler: Callable[[int], Any]
    fixed: dict[int, tuple[Mapping[str, Any], str]]
    begun: dict[int, Begun] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    ended: Callable[[Row], None] = lambda row: None
    clock: Callable[[], float] = time.monotonic
    _saved: dict[int, set[int]] = field(default_factory=dict)
    _last: dict[int, float] = field(default_factory=dict)

    def ask(self, ordinal: int) -> Trial:
        """Return the next trial, with the results an earlier run left."""
        left = self.begun.pop(ordinal, None)
        params, source = self.fixed.get(ordinal, (None, 'sampler'))
        if left is not None:
            params, source = left.params, left.source
        self.study.sampler = self.sampler(ordinal)
        if params is not None:
            self.study.enqueue_trial(dict(params))
        asked = self.study.ask(self.space.distributions())
        attempt = left.attempt + 1 if left is not None else 0
        for name, value in (('source', source), ('attempt', attempt),
                            ('ordinal', ordinal)):
            asked.set_user_attr(name, value)
        found = {n: asked.params[n] for n in self.space.names}
        return Trial(
            ordinal, attempt, found, source, self.rules.scale.n_samples,
            asked, dict(left.outcomes) if left is not None else {})

    def report(self, trial: Trial, rung: int, value: float) -> None:
        """Keep the value at a rung; Optuna has none for several values."""
        if self.rules.objective.single:
            trial.handle.report(value, rung)

    def save(self, trial: Trial, at_once: bool = False) -> None:
        """Keep the results so far, once a second at most."""
        now = self.clock()
        last = self._last.setdefault(trial.ordinal, now)
        if not at_once and now - last < SAVE_SECONDS:
            return
        saved = self._saved.setdefault(trial.ordinal, set())
        fresh = sorted(trial.outcomes.keys() - saved)
        if fresh:
            trial.handle.set_user_attr(f'samples_{len(saved):06d}', {
                str(i): outcomes_.to_json(trial.outcomes[i]) for i in fresh})
            saved.update(fresh)
        self._last[trial.ordinal] = now

    def tell(self, trial: Trial, verdict: Verdict) -> None:
        """Keep how a trial ended."""
        from optuna.trial import TrialState
        self.save(trial, at_once=True)
        judged = trial.first(verdict.n_judged)
        told = summary(judged, self.rules.scale)
        trial.handle.set_user_attr('end', {
            'state': verdict.state.value, 'n_judged': verdict.n_judged,
            'note': verdict.note,
            'at_rungs': {str(k): v for k, v in trial.at_rungs.items()},
            'summary': told})
        if verdict.state is State.COMPLETE:
            self.study.tell(trial.handle, list(verdict.values))
        else:
            self.study.tell(trial.handle, state={
                State.PRUNED: TrialState.PRUNED,
                State.FAILED: TrialState.FAIL}[verdict.state])
        self._saved.pop(trial.ordinal, None)
        self._last.pop(trial.ordinal, None)
        row = Row(
            trial.ordinal, trial.handle.number, trial.attempt, trial.source,
            verdict.state, dict(trial.params), verdict.values,
            dict(trial.at_rungs), tuple(judged), verdict.note, told)
        self.rows[row.ordinal] = row
        self.ended(row)


def quiet() -> None:
    """Keep Optuna's own messages off the terminal, warnings apart."""
    import warnings

    import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings(
        'ignore', category=optuna.exceptions.ExperimentalWarning)


def open_study(
    storage: Any, name: str, settings: Mapping[str, Any],
    directions: Sequence[Any], differences: Callable[[Any, Any], list[str]],
    resume: bool, overwrite: bool,
) -> tuple[Any, bool]:
    """Return the study and whether it is a new one.

    `settings` is JSON data that must not change on resume; `differences`
    tells in lines what did.

    Raises:
        InputError: the name is in use; other settings; not made by us.
    """
    import optuna
    quiet()
    old = find_study(storage, name)
    if old is not None and overwrite:
        optuna.delete_study(study_name=name, storage=storage)
        old = None
    if old is None:
        made = optuna.create_study(
            storage=storage, study_name=name, directions=list(directions))
        made.set_user_attr(SETTINGS, dict(settings))
        return made, True
    if not resume:
        raise in_use(old, name)
    was = old.user_attrs.get(SETTINGS)
    if was is None:
        raise InputError(f'the study {name!r} was not made by this program')
    lines = differences(was, dict(settings))
    if lines:
        raise InputError(
            f'the study {name!r} was begun with other settings:\n  '
            + '\n  '.join(lines)
            + '\nrepeat them, or give another --study-name')
    return old, False


def in_use(study: Any, name: str) -> InputError:
    """Return the error of a name that a new study can't have."""
    return InputError(
        f'the storage has a study {name!r} with {len(study.trials)} '
        'trial(s) already: go on with --resume, replace it with '
        '--overwrite, or give another --study-name')


def find_study(storage: Any, name: str) -> Any:
    """Return a study by its name, None if there is none."""
    import optuna
    quiet()
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None


def names_in(storage: Any) -> list[str]:
    """Return the names of all studies of a storage."""
    import optuna
    return sorted(optuna.get_all_study_names(storage))


def put_away_stale(study: Any) -> None:
    """Tell what a killed run left running or waiting as failed.

    Their settings and results stay; `survey` finds them.
    """
    from optuna.trial import TrialState

    # one that was enqueued but never begun is nobody's
    while study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
        study.ask()
    stale = [t.number for t in study.get_trials(
        deepcopy=False, states=[TrialState.RUNNING])]
    # first the note, so that a kill in between loses nothing
    study.set_user_attr(INTERRUPTED, sorted({*_interrupted(study), *stale}))
    for number in stale:
        study.tell(number, state=TrialState.FAIL)


def _interrupted(study: Any) -> set[int]:
    return set(study.user_attrs.get(INTERRUPTED, ()))


def survey(study: Any) -> tuple[dict[int, Row], dict[int, Begun]]:
    """Return the finished trials and those to begin again, by ordinal.

    Raises:
        InputError: a trial that does not hold what it should.
    """
    rows: dict[int, Row] = {}
    begun: dict[int, Begun] = {}
    cut = _interrupted(study)
    for trial in study.get_trials(deepcopy=False):
        attrs = trial.user_attrs
        if 'ordinal' not in attrs:
            continue
        ended = trial.state.is_finished() and 'end' in attrs \
            and trial.number not in cut
        try:
            if ended:
                rows[attrs['ordinal']] = _row(trial)
            else:
                begun[attrs['ordinal']] = _begun(
                    trial, begun.get(attrs['ordinal']))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f'trial {trial.number} of study {study.study_name!r} is '
                f'damaged ({type(error).__name__}: {error})') from error
    return rows, {k: v for k, v in begun.items() if k not in rows}


def _outcomes(trial: Any) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for name, part in sorted(trial.user_attrs.items()):
        if name.startswith('samples_'):
            found.update({int(i): outcomes_.from_json(o)
                          for i, o in part.items()})
    return found


def _row(trial: Any) -> Row:
    attrs = trial.user_attrs
    end = attrs['end']
    found = _outcomes(trial)
    state = State(end['state'])
    return Row(
        attrs['ordinal'], trial.number, attrs['attempt'], attrs['source'],
        state, dict(trial.params),
        tuple(trial.values or ()) if state is State.COMPLETE else (),
        {int(k): v for k, v in end['at_rungs'].items()},
        tuple(found[i] for i in range(end['n_judged'])), end['note'],
        end['summary'])


def _begun(trial: Any, before: Begun | None) -> Begun:
    """Join what several attempts on a trial left."""
    attrs = trial.user_attrs
    kept = dict(before.outcomes) if before is not None else {}
    return Begun(attrs['ordinal'], attrs['attempt'], attrs['source'],
                 dict(trial.params), {**kept, **_outcomes(trial)})


def past_of(rows: Mapping[int, Row], rules: Rules) -> list[Past]:
    """Return what later trials are compared with, in order."""
    return [
        Past(row.ordinal, row.state is State.COMPLETE,
             row.values[0] if row.values else None,
             rules.objective.scores(row.outcomes, rules.scale),
             dict(row.at_rungs))
        for _, row in sorted(rows.items()) if row.state is not State.FAILED]


def best_row(rows: Sequence[Row], maximise: bool) -> Row | None:
    """Return the best complete trial with any result, the first of equals."""
    sign = -1.0 if maximise else 1.0
    able = [r for r in rows if r.state is State.COMPLETE
            and any(o.usable for o in r.outcomes)]
    if not able:
        return None
    return min(able, key=lambda r: (sign * r.values[0], r.ordinal))


def front(rows: Sequence[Row], directions: Sequence[str]) -> list[Row]:
    """Return the complete trials that no other beats in all values."""
    signs = [-1.0 if d == 'maximize' else 1.0 for d in directions]
    able = [r for r in rows if r.state is State.COMPLETE
            and any(o.usable for o in r.outcomes)]
    points = [tuple(s * v for s, v in zip(signs, r.values, strict=True))
              for r in able]

    def beaten(p: tuple[float, ...]) -> bool:
        return any(q != p and all(a <= b for a, b in zip(q, p, strict=True))
                   for q in points)
    kept = [(p, r) for r, p in zip(able, points, strict=True)
            if not beaten(p)]
    return [r for _, r in sorted(kept, key=lambda x: (x[0], x[1].ordinal))]


def best_rows(rows: Sequence[Row], directions: Sequence[str]) -> list[Row]:
    """Return the best trial, or the front from the best first value on."""
    if len(directions) > 1:
        return front(rows, directions)
    found = best_row(rows, directions[0] == 'maximize')
    return [] if found is None else [found]
