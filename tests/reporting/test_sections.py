"""Sections show the numbers of the file, whatever kind it is."""
from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest

from mpiapp.errors import InputError
from mpiapp.records import RUN, Column, Schema
from mpiapp.reporting.blocks import Block, Report, Table
from mpiapp.reporting.measured import report_of_json
from mpiapp.reporting.registry import report_of, section_modules
from mpiapp.reporting.sections.timeline import begins, without_gaps
from mpiapp.store.reader import Campaign, load
from tests.jobs import run
from tests.reporting.pages import META, campaign, other_kind


def block(report: Report, name: str) -> Any:
    """Return a block by its name."""
    found: list[Block] = [b for s in report.sections for b in s.blocks
                          if getattr(b, 'name', '') == name]
    assert len(found) == 1, name
    return found[0]


def facts(report: Report) -> dict[str, str]:
    """Return the facts of the summary."""
    return {f.label: f.value for f in
            report.sections[0].blocks[0].items}  # type: ignore[union-attr]


def column(table: Table, name: str) -> Any:
    return next(f.values for f in table.fields if f.name == name)


def test_all_sections_say_where_they_belong() -> None:
    modules = section_modules()
    assert len(modules) >= 12
    assert [m.ORDER for m in modules] == sorted(m.ORDER for m in modules)
    assert all(m.TITLE and callable(m.blocks) for m in modules)


def test_names_of_blocks_are_unique(small_report: Report) -> None:
    names = [getattr(b, 'name', '') for s in small_report.sections
             for b in s.blocks]
    named = [n for n in names if n]
    assert len(named) == len(set(named)) > 20


def test_the_summary_counts(small: Campaign, small_report: Report) -> None:
    status = small.table['status']
    found = facts(small_report)
    assert found['records'] == '130'
    assert found['converged'] == str((status == 1).sum()) == '127'
    assert found['failed'] == str(status.isin([3, 4, 5]).sum()) == '2'
    assert found['unconverged'] == '1'
    assert found['molecules'] == '64'
    assert found['ranks'] == '4'


def test_the_timing_is_that_of_the_ranks(small_report: Report) -> None:
    found = facts(small_report)
    # 0.3 s of 975 s were not work; 130 records in 979 s
    assert found['busy'] == '100.0 %'
    assert found['records/s'] == '0.133'
    assert found['per atom-step'] == '50000.0 us'


def test_the_heat_map_holds_shares_of_the_classes(
    small: Campaign, small_report: Report,
) -> None:
    heat = block(small_report, 'classes_excimer')
    table = small.table.query('status == 1')
    i, j = heat.row_labels.index('Pyr'), heat.column_labels.index('Me')
    mine = table[table['name'] == 'Pyr_Me']['classification']
    assert heat.values[i][j] == pytest.approx(
        100 * mine.isin(['strong', 'weak']).mean())
    assert len(heat.row_labels) == 4 and len(heat.column_labels) == 16


def test_histograms_hold_every_converged_record(
    small: Campaign, small_report: Report,
) -> None:
    hist = block(small_report, 'geometry_vertical')
    before, after = hist.series
    done = small.table[small.table['status'] == 1]
    assert np.array_equal(after.values, done['vertical'])
    assert np.array_equal(before.values, done['vertical_start'])


def test_energies_are_relative_within_molecules(
    small: Campaign, small_report: Report,
) -> None:
    scatter = block(small_report, 'energy_vertical')
    for name in set(scatter.groups):
        at = [i for i, g in enumerate(scatter.groups) if g == name]
        assert min(scatter.y[i] for i in at) == 0
    one = scatter.rows.index(5)
    same = small.table.query('status == 1 and name == "Pyr_nBu"')
    above = small.table.e_total[5] - same.e_total.min()
    assert scatter.y[one] == pytest.approx(23.060541945329334 * above)


def test_failures_are_listed_with_their_messages(
    small_report: Report,
) -> None:
    table = block(small_report, 'failures_by_reason')
    assert sorted(column(table, 'reason')) == [
        'charged', 'nan', 'step_limit']
    listed = block(small_report, 'failed_records')
    assert column(listed, 'row') == [40, 81, 122]
    assert 'model knows no charge' in column(listed, 'message')[0]


def test_the_boltzmann_table_begins_at_room_temperature(
    small: Campaign, small_report: Report,
) -> None:
    table = block(small_report, 'boltzmann')
    boltzmann = small.ensembles['boltzmann']
    n = (boltzmann['temperature'] == 298).sum()
    assert set(column(table, 'temperature')[:n]) == {298}
    shown = dict(zip(column(table, 'molecule')[:n],
                     column(table, 'frac_excimer')[:n], strict=True))
    mine = boltzmann.query('temperature == 298 and name == "Pyr_Et"')
    assert shown['Pyr_Et'] == 100 * mine['frac_excimer'].max()


def test_spans_are_those_of_the_records(
    small: Campaign, small_report: Report,
) -> None:
    gantt = block(small_report, 'ranks')
    assert len(gantt.rows) == 130 and len(gantt.lanes) == 4
    lengths = np.asarray(gantt.stop) - np.asarray(gantt.start)
    order = np.argsort(gantt.rows)
    # times of day are known to a tenth of a microsecond
    assert np.allclose(lengths[order], small.table['seconds'], atol=1e-6)
    assert min(gantt.start) == 0


def test_a_resumed_record_begins_after_the_one_before() -> None:
    stop = np.array([10.0, 20.0, 30.0])
    rank = np.zeros(3, int)
    start = begins(stop, np.array([10.0, 15.0, 10.0]), rank)
    assert start.tolist() == [0, 10, 20]
    in_flight = begins(stop, np.array([10.0, 20.0, 30.0]), rank)
    assert in_flight.tolist() == [0, 0, 0]


def test_a_night_between_two_runs_is_cut_out() -> None:
    start, stop, n_cut = without_gaps(
        np.array([0.0, 36000.0]), np.array([10.0, 36010.0]))
    assert n_cut == 1
    assert start.tolist() == pytest.approx([0, 10.4])
    assert stop.tolist() == pytest.approx([10, 20.4])


def test_a_kind_that_nobody_knows_is_shown(tmp_path: Path) -> None:
    schema = Schema((*RUN, Column('yield_', 'mine', 'f8', 'kg', 'a yield'),
                     Column('label', 'records', 'S8', '', 'a label')))
    rows = {i: {'status': 1 + 2 * (i == 3), 'reason': 'odd' if i == 3
                else '', 'yield_': float(i), 'label': f'l{i}'}
            for i in range(6)}
    report = report_of(load(other_kind(
        tmp_path / 'x.h5', schema, rows, 'alchemy')))
    assert block(report, 'column_yield_').x_label == 'yield_, kg'
    assert 'odd' in column(block(report, 'failures_by_reason'), 'reason')
    assert 'mine/yield_' in column(block(report, 'columns'), 'column')
    assert facts(report)['failed'] == '1'


def test_an_empty_campaign_has_a_report(tmp_path: Path) -> None:
    report = report_of(load(campaign(tmp_path / 'x.h5', 1)))
    assert facts(report)['records'] == '1'
    none = report_of(load(other_kind(
        tmp_path / 'y.h5', Schema(RUN), {}, 'reopt')))
    assert facts(none)['records'] == '0'


def test_what_was_skipped_is_not_held_against_the_rest(
    tmp_path: Path,
) -> None:
    rows = {i: {'status': 1 if i < 2 else 6} for i in range(52)}
    for program, hint in (('conformers', ''), ('hpo', 'trials of the study')):
        report = report_of(load(other_kind(
            tmp_path / f'{program}.h5', Schema(RUN), rows, program)))
        summary: Any = report.sections[0].blocks[0]
        told = {f.label: f.hint for f in summary.items}
        assert told['records'] == hint
        assert told['converged'] == '100.0 % of 2 that were not skipped'
        # there is nothing to count in the attempts of conformers
        assert 'generation' not in {s.name for s in report.sections}


def test_records_of_a_relaxation_are_those_of_its_input(
    small_report: Report,
) -> None:
    first: Any = small_report.sections[0].blocks[0]
    assert first.items[0].hint == 'in all input files'


def test_settings_are_shown_by_name(small_report: Report) -> None:
    table = block(small_report, 'settings')
    assert 'fmax' in column(table, 'name')
    assert META['potential']['note'] in column(  # type: ignore[index]
        table, 'value')


def columns(group: str, **types: str) -> tuple[Column, ...]:
    """Return columns by name and dtype."""
    return tuple(Column(name.replace('__', '/'), group, dtype, '1', name)
                 for name, dtype in types.items())


def test_transition_states_are_counted(tmp_path: Path) -> None:
    schema = Schema((*(c for c in RUN if c.name != 'fmax_final'), *columns(
        'samples', name='S8', start_from='S8', noise='f8', n_calls='i4',
        n_hess='i4', n_neg='i4', lambda0='f8', lambda1='f8', ends='S8')))
    rows = {i: {'status': 1 if i % 3 else 2, 'reason': 'ts' if i % 3
                else 'minimum', 'name': 'r', 'start_from': 'reactant',
                'noise': 0.1 * (i % 2), 'n_calls': 100 + i, 'n_hess': i,
                'n_neg': 1, 'lambda0': -1.0, 'lambda1': 0.5, 'ends': 'ok'}
            for i in range(12)}
    report = report_of(load(other_kind(
        tmp_path / 'x.h5', schema, rows, 'tssearch')))
    heat = block(report, 'success')
    assert heat.column_labels == ['0 Å', '0.1 Å']
    assert heat.values[0] == pytest.approx([100 * 4 / 6, 100 * 4 / 6])
    assert block(report, 'outcomes').series[0].values == [8, 4]
    ok = block(report, 'n_calls').series[0]
    assert ok.values.tolist() == [100 + i for i in range(12) if i % 3]


def test_metrics_of_hamiltonians_are_means_over_frames() -> None:
    metrics = dict.fromkeys(('pred-gt__energy_diff', 'gt-calc__h_mae'), 'f8')
    schema = Schema((
        *RUN, *columns('metrics', **metrics),
        *columns('scf', cycles_minao='i4', cycles_pred='i4',
                 converged_pred='i4')))
    overall = pandas.DataFrame([
        {'molecule': 'all', 'pair': pair, 'metric': metric, 'unit': 'Hartree',
         'n': 5, 'mean': -1.0, 'mean_abs': 2.0, 'median': -1.5, 'p95': 4.0,
         'max': 5.0, 'abs_ci_low': 1.0, 'abs_ci_high': 3.0}
        for pair, metric in (('pred-gt', 'h_mae'), ('scf', 'cycles_pred'))])
    rows = [schema.complete({
        'status': 1, 'pred-gt/energy_diff': float(i), 'cycles_minao': 12,
        'cycles_pred': 4 + i % 2 if i else 50, 'converged_pred': i > 0})
        for i in range(5)]
    results: Any = SimpleNamespace(
        path=Path('x.h5'), schema=schema, n_records=5, complete=True,
        meta={'program': 'hameval'}, timeline={}, ensembles={}, stages={},
        table=pandas.DataFrame(rows), summary={
            'overall': overall, 'molecules': overall.assign(molecule='H2O')})
    report = report_of(results)
    table = block(report, 'metrics_overall')
    assert column(table, 'metric') == ['h_mae']
    assert column(table, 'mean_abs') == [2.0]
    assert column(table, 'mean') == [-1.0]
    assert (column(table, 'abs_ci_low'), column(table, 'abs_ci_high')) == (
        [1.0], [3.0])
    assert column(block(report, 'metrics_molecules'), 'molecule') == ['H2O']
    drawn = block(report, 'pred-gt_energy_diff')
    assert drawn.series[0].values.tolist() == [0, 1e3, 2e3, 3e3, 4e3]
    assert drawn.x_label == 'energy_diff, mHa'
    assert block(report, 'scf_cycles').series[0].values == [12.0, 4.5]


def test_a_study_shows_its_best_trial(tmp_path: Path) -> None:
    value = Column('value', 'trials', 'f8', '1', 'objective, maximized')
    schema = Schema((value, *columns(
        'trials', state='S12', param_step='f8', param_kind='S8')))
    rows = {i: {'state': 'failed' if i == 3 else 'complete',
                'value': [0.2, 0.9, 0.5, 5.0][i], 'param_step': 0.1 * i,
                'param_kind': 'a'} for i in range(4)}
    report = report_of(load(other_kind(
        tmp_path / 'x.h5', schema, rows, 'hpo')))
    assert facts(report)['converged'] == '3'
    assert column(block(report, 'trials'), 'trial') == [1, 2, 0, 3]
    best = block(report, 'course').series[1]
    assert best.values.tolist() == [0.2, 0.9, 0.9]
    assert len(block(report, 'param_step').x) == 3


def test_a_study_of_two_objectives_shows_its_front(tmp_path: Path) -> None:
    schema = Schema((
        Column('value', 'trials', 'f8', '1', 'objective, maximized'),
        Column('value1', 'trials', 'f8', '1', 'objective, minimized'),
        *columns('trials', state='S12', n_success='i4', n_samples='i4',
                 cost='f8')))
    values = [(0.6, 58.0), (0.6, 61.0), (0.7, 61.0), (0.5, 64.0), (0.9, 1.0)]
    rows = {i: {'state': 'failed' if i == 4 else 'complete', 'value': x,
                'value1': y, 'cost': y, 'n_success': int(10 * x),
                'n_samples': 10} for i, (x, y) in enumerate(values)}
    report = report_of(load(other_kind(
        tmp_path / 'x.h5', schema, rows, 'hpo')))
    front = block(report, 'front')
    assert front.y.tolist() == [58, 61, 61, 64]
    assert [front.legend[k][0] for k in front.kinds] == [
        'Pareto front', 'other', 'Pareto front', 'other']
    assert 'Trials: 0, 2.' in front.caption
    table = block(report, 'trials')
    assert column(table, 'trial')[:2] == [2, 0]
    for name, wanted in (('value1', [61, 58]), ('n_success', [7, 6]),
                         ('n_samples', [10, 10]), ('cost', [61, 58])):
        assert list(column(table, name)[:2]) == wanted


def test_times_of_a_bench_are_shown_from_its_result_file(
    tmp_path: Path,
) -> None:
    cells = [[{'way': 'ours', 'steady': {'median': 1.5}},
              {'way': 'ase', 'steady': {'median': 2.5}}],
             [{'way': 'ours', 'steady': {'median': 0.5}}]]
    schema = Schema((*RUN, *columns('cells', batch='i4'), Column(
        'rows_json', 'json', 'u1', '', 'cells', default=0, ragged='byte')))
    report = report_of(load(other_kind(tmp_path / 'x.h5', schema, {
        i: {'status': 1, 'batch': i, 'rows_json': np.frombuffer(
            json.dumps(part).encode(), np.uint8)}
        for i, part in enumerate(cells)}, 'bench inference')))
    table = block(report, 'cells')
    assert column(table, 'way') == ['ours', 'ase', 'ours']
    assert column(table, 'steady.median') == [1.5, 2.5, 0.5]
    names = {getattr(b, 'name', '') for s in report.sections
             for b in s.blocks}
    assert 'column_batch' not in names


def test_the_json_of_bench_is_a_report(tmp_path: Path) -> None:
    path = tmp_path / 'bench.json'
    path.write_text('{"rows": [{"q": [1, 2], "n": 1, "way": "ours", "s": 1.5'
                    '}, {"way": "ase", "n": 1, "s": 120}], '
                    '"machine": {"cores": 2}}')
    report = report_of_json(path)
    assert column(block(report, 'rows'), 's') == [1.5, 120.0]
    assert column(block(report, 'rows'), 'q') == ['1, 2', '']
    # what tells the lines apart comes first
    assert [f.name for f in block(report, 'rows').fields] == [
        'way', 's', 'q', 'n']
    assert 'machine.cores' in column(block(report, 'values'), 'name')
    path.write_text('[1]')
    with pytest.raises(InputError, match='an object'):
        report_of_json(path)


@pytest.mark.parametrize('program, words', [
    ('conformers', ('--smiles', 'CCO', '--per-molecule', '1', '--output',
                    'x.sdf')),
    ('validate', ('--methods', 'mmff94s', '--dimers', 'benzene_pd',
                  '--starts', 'reference', '-o', 'x.csv'))])
def test_files_of_other_programs_have_sections_of_their_own(
    program: str, words: tuple[str, ...], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(program, *words)
    assert (tmp_path / 'x.h5').exists(), ended.output
    report = report_of(load(tmp_path / 'x.h5'))
    names = {s.name for s in report.sections}
    assert {'conformers': 'generation', 'validate': 'stacking'}[
        program] in names
    if program == 'validate':
        # as in every other table, not as among options
        assert block(report, 'distance_errors').column_labels == ['MMFF94s']
