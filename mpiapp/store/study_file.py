"""The result file of a study, and its JSON tables."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from mpiapp.records import Column, Schema
from mpiapp.store.campaign import write_campaign
from mpiapp.store.files import replacing
from mpiapp.store.hdf5 import open_serial
from mpiapp.store.metadata import texts, write_dataset, write_mapping
from mpiapp.store.sources import MemorySource
from mpiapp.tuning.outcome import Outcome
from mpiapp.tuning.space import Space
from mpiapp.tuning.study import Row

_DTYPES = {'float': 'f8', 'int': 'i8', 'bool': 'bool'}
#: what is told of a trial: column, dtype, unit, description
_TOLD = (
    ('n_samples', 'i4', '1', 'samples that count'),
    ('n_success', 'i4', '1', 'successes among them'),
    ('success_rate', 'f8', '1', 'their share'),
    ('index_one_rate', 'f8', '1', 'share with one negative mode, whatever '
     'the force'),
    ('n_errors', 'i4', '1', 'samples without any result'),
    ('n_early_stopped', 'i4', '1', 'samples that the search gave up early'),
    ('mean_steps', 'f8', '1', 'mean steps of samples with a result'),
    ('mean_steps_success', 'f8', '1', 'mean steps of successes'),
    ('mean_escapes', 'f8', '1', 'mean escapes of samples with a result'),
    ('cost', 'f8', '1', 'mean calls of the calculator, failures at the cap; '
     'a Hessian is one call, also by differences'),
    ('calls', 'f8', '1', 'calls of the calculator, all samples; a Hessian is '
     'one call, also by differences'),
    ('evaluations', 'i8', '1', 'evaluations of energy and forces, all '
     'samples, those of Hessians by differences included'),
)
_UNITS = {'fmax': 'eV/angstrom', 'seconds': 's'}
_VOLATILE = frozenset({'seconds'})
_ABOUT = {
    'reason': 'how the search of the sample ended',
    'success': 'what is maximised', 'index_one': 'one negative mode',
    'stationary': 'the force vanished', 'usable': 'there is a result',
    'cost': 'calls of the calculator: gradients, and Hessians, one each '
            'also by differences',
    'evaluations': 'evaluations of energy and forces, those of Hessians by '
                   'differences included',
    'steps': 'steps', 'n_escape': 'escapes',
    'n_neg': 'negative eigenvalues at the end, -1 unknown',
    'early_stopped': 'given up early by the search',
    'fmax': 'largest force on an atom', 'seconds': 'time of computing',
}


def schema_of(space: Space, directions: Sequence[str]) -> Schema:
    """Return the columns of the table of trials."""
    def column(name: str, dtype: str, unit: str, about: str,
               volatile: bool = False, default: Any = None) -> Column:
        return Column(name, 'trials', dtype, unit, about, volatile=volatile,
                      default=default)
    return Schema((
        column('number', 'i4', '1', 'place of the trial in the study'),
        column('state', 'S12', '', 'complete, pruned, failed, or pending'),
        column('source', 'S24', '', 'who chose the settings'),
        column('note', 'S120', '', 'why it failed'),
        column('optuna_number', 'i4', '1', 'number in the storage; it counts '
               'interrupted attempts too', True),
        column('attempt', 'i4', '1', 'how often it was begun again', True),
        *(column('value' if i == 0 else f'value{i}', 'f8', '1',
                 f'objective, {word}d') for i, word in enumerate(directions)),
        *(column(f'param_{d.name}', _DTYPES[d.kind], d.unit, d.about)
          for d in space.dimensions),
        *(column(*told) for told in _TOLD),
        column('mean_seconds', 'f8', 's', 'mean time of a sample', True),
        column('total_seconds', 'f8', 's', 'time of all samples', True),
    ))


def values_of(row: Row, space: Space) -> dict[str, Any]:
    """Return the columns of a trial."""
    told = {name: row.summary.get(name)
            for name in [*(t[0] for t in _TOLD), 'mean_seconds',
                         'total_seconds']}
    return {
        'number': row.ordinal, 'state': row.state.value,
        'source': row.source, 'note': row.note[:120],
        'optuna_number': row.number, 'attempt': row.attempt,
        **{'value' if i == 0 else f'value{i}': v
           for i, v in enumerate(row.values)},
        **{f'param_{name}': row.params[name] for name in space.names},
        **{k: v for k, v in told.items() if v is not None}}


def write_study(
    comm: Any, path: Path, rows: Sequence[Row] | None, n_trials: int,
    space: Space, directions: Sequence[str], samples: Sequence[Any],
    best: Sequence[Row], meta: Mapping[str, Any],
    timeline: Mapping[str, Any], whole: bool, writer: bool | None,
) -> None:
    """Collective: write the result file; `rows` are rank 0's alone.

    Groups: /trials (one row a trial), /results (arrays [trial, sample]),
    /samples, /best, /meta, /timeline.
    """
    schema = schema_of(space, directions)
    mine = {} if rows is None else {
        r.ordinal: values_of(r, space) for r in rows if r.ordinal < n_trials}

    def extend(part: Path) -> None:
        if comm.rank == 0:
            _extend(part, rows or (), n_trials, samples, best)
        comm.barrier()
    write_campaign(
        comm, path, schema, n_trials, MemorySource(schema, mine), meta,
        timeline, parallel=writer, blank=_pending, extend=extend,
        whole=whole)


def _pending(row: int) -> dict[str, Any]:
    return {'number': row, 'state': 'pending'}


def _extend(
    part: Path, rows: Sequence[Row], n_trials: int, samples: Sequence[Any],
    best: Sequence[Row],
) -> None:
    by_place = {r.ordinal: r for r in rows if r.ordinal < n_trials}
    with open_serial(part, 'r+') as file:
        write_results(file.create_group('results'), {
            k: r.outcomes for k, r in by_place.items()}, n_trials,
            len(samples))
        write_samples(file.create_group('samples'), samples)
        group = file.create_group('best')
        write_mapping(group, {
            'number': [r.ordinal for r in best],
            'values': [list(r.values) for r in best],
            'parameters': {str(r.ordinal): dict(r.params) for r in best}})


def write_results(
    group: Any, outcomes: Mapping[int, Sequence[Outcome]], n_trials: int,
    n_samples: int,
) -> None:
    """Write an array [trial, sample] for each thing known of a sample.

    A sample that was not computed has the reason '', NaN, -1 or False.
    """
    for name, kind in ((f.name, str(f.type)) for f in fields(Outcome)):
        fill: Any = {'float': np.nan, 'int': -1, 'bool': False,
                     'str': b''}[kind]
        dtype = 'S24' if kind == 'str' else _DTYPES[kind]
        array = np.full((n_trials, n_samples), fill, dtype)
        for trial, found in outcomes.items():
            for i, outcome in enumerate(found):
                value = getattr(outcome, name)
                array[trial, i] = value.encode() if kind == 'str' else value
        if kind == 'str':
            array = texts(array.ravel().tolist()).reshape(array.shape)
        made = write_dataset(group, name, array)
        made.attrs['unit'] = made.attrs['units'] = _UNITS.get(name, '1')
        made.attrs['description'] = _ABOUT[name]
        made.attrs['volatile'] = name in _VOLATILE


def write_samples(group: Any, samples: Sequence[Any]) -> None:
    """Write which samples the columns of /results are."""
    write_dataset(group, 'name', texts(
        [s.name.encode() for s in samples] or [b'']))
    for name in ('number', 'draw', 'n_atoms'):
        write_dataset(group, name, np.array(
            [getattr(s, name) for s in samples], np.int32))


def write_json(path: Path, data: Any) -> None:
    """Write JSON that appears complete or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')


def results_json(
    rows: Sequence[Row], best: Sequence[Row], settings: Mapping[str, Any],
    importances: Mapping[str, float],
) -> dict[str, Any]:
    """Return the table of a study in the form of the original scripts."""
    def told(row: Row) -> dict[str, Any]:
        value: Any = None
        if row.values:
            value = row.values[0] if len(row.values) == 1 \
                else list(row.values)
        return {'number': row.ordinal, 'state': row.state.value,
                'value': value, 'params': dict(row.params),
                'source': row.source, 'note': row.note,
                'user_attrs': dict(row.summary)}
    top = told(best[0]) if best else None
    return {
        'study_name': settings['study_name'],
        'n_trials': len(rows),
        'best_trial': top and top['number'],
        'best_value': top and top['value'],
        'best_params': top and top['params'],
        'pareto_front': [told(r) for r in best] if len(best) > 1 else [],
        'param_importances': dict(importances),
        'settings': dict(settings), 'trials': [told(r) for r in rows]}


def outcome_table(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return outcomes as JSON data; fmax None where it is unknown."""
    return [{k: None if v != v else v for k, v in asdict(o).items()}
            for o in outcomes]
