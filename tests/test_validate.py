"""`validate` as its users start it, with a cheap force field."""
from __future__ import annotations

import os
import re
import shlex
import signal
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from mpiapp import validate as program
from mpiapp.config import parser, read_options
from mpiapp.engine import Outcome
from mpiapp.records import InputError, Status
from mpiapp.store.digest import content_digest, differences
from mpiapp.store.reader import load
from tests.jobs import Ended, needs_mpirun, run, run_and

#: the columns of the original, in its order
OLD = ['benchmark', 'method', 'distance_A', 'reference_A', 'error_A',
       'abs_error_A', 'energy', 'time_s', 'n_aromatic_atoms']
#: and those that follow them
NEW = ['start', 'structure', 'vertical_A', 'slip_A', 'slip_long_A',
       'slip_short_A', 'twist_deg', 'plane_angle_deg', 'contact_A', 'd12_A',
       'd21_A', 'binding_kcal', 'interaction_kcal', 'ref_vertical_A',
       'ref_energy_kcal', 'ref_source', 'ref_confirmed', 'energy_eV',
       'steps', 'fmax_final', 'converged', 'status', 'reason', 'load_time_s',
       'verdict']
#: what may differ from run to run
TIMES = ['time_s', 'load_time_s']
#: dimers with starts of their own, a few seconds of work
DIMERS = ['benzene_pd', 'benzene_t', 'naphthalene_cross']
N_ITEMS = (5 + 1) + (2 + 1) + 2


#: a choice of which nothing is gated but that it is sound
SOUND = ['--dimers', 'benzene_t', '--starts', 't']


def words(out: Path, *more: object, dimers: tuple[str, ...] = ()
          ) -> list[object]:
    return ['--methods', 'mmff94s', '--dimers', *(dimers or DIMERS),
            '-o', out / 'x.csv', *more]


def validate(*options: object, n: int = 0, **extra: str) -> Ended:
    ended = run('validate', *options, n=n, **extra)
    assert 'Traceback' not in ended.output
    return ended


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=['NaN'])


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of an undisturbed run on one rank."""
    out = tmp_path_factory.mktemp('reference')
    ended = validate(*words(out, '--xyz', '--kicks', 1))
    # the force field slides the benzenes too far apart
    assert ended.code == 3, ended.output
    assert 'mmff94s: fail' in ended.output
    (out / 'log').write_text(ended.output)
    return out


def test_the_table_has_the_columns_of_the_original_first(
    reference: Path,
) -> None:
    rows = table(reference / 'x.csv')
    assert list(rows.columns[:len(OLD + NEW)]) == OLD + NEW
    assert len(rows) == 2 * (N_ITEMS - 2) + 2
    assert set(rows.method) == {'MMFF94s'}
    assert rows.energy_eV.notna().all()
    first = rows.iloc[0]
    assert first.benchmark == 'benzene_pd' and first.n_aromatic_atoms == 12
    assert first.error_A == pytest.approx(
        first.distance_A - first.reference_A, abs=2e-4)
    assert first.distance_A**2 == pytest.approx(
        first.vertical_A**2 + first.slip_A**2, abs=1e-2)


def test_every_file_is_there_and_whole(reference: Path) -> None:
    rows = table(reference / 'x.csv')
    campaign = load(reference / 'x.h5')
    assert campaign.complete
    assert campaign.meta['methods']['mmff94s']['backend'] == 'rdkit'
    png = (reference / 'x.png').read_bytes()
    assert png.startswith(b'\x89PNG') and len(png) > 10_000
    n_saddles = int((rows.after_binding_kcal.notna()).sum())
    frames = (reference / 'x.xyz').read_text().count('first=')
    assert n_saddles and frames == len(rows) + n_saddles
    i = int(np.flatnonzero(rows.start == 'single_point')[0])
    np.testing.assert_array_equal(campaign.ragged('x_start', i),
                                  campaign.ragged('x_final', i))


def test_records_without_a_result_are_not_called_done() -> None:
    lost = Outcome(np.array([1, 0], np.int8), '', 1.0, ())
    code, why = program.verdict(
        read_options(program.Options, 'validate', '', []),
        None, lost, [])  # type: ignore[arg-type]
    assert code == 1 and '1 record(s)' in why and '--resume' in why


def test_the_end_tells_verdicts_and_the_gate_of_the_original(
    reference: Path,
) -> None:
    log = (reference / 'log').read_text()
    for text in ('benzene_pd slip', 'pyrene_pd found: not computed',
                 'original\'s gate', 'exit code 3', 'mean absolute errors'):
        assert text in log


def test_the_original_start_is_compared_with_its_own_reference(
    reference: Path,
) -> None:
    rows = table(reference / 'x.csv')
    old = rows[rows.start == 'original']
    assert set(old.reference_A) == {3.40} and set(old.verdict) == {'ungated'}


@needs_mpirun
@pytest.mark.timeout(600)
@pytest.mark.parametrize('n', [2, 4])
def test_rows_do_not_depend_on_the_number_of_ranks(
    reference: Path, tmp_path: Path, n: int,
) -> None:
    ended = validate(*words(tmp_path, '--kicks', 1), n=n)
    assert ended.code == 3, ended.output
    assert not differences(tmp_path / 'x.h5', reference / 'x.h5')
    pd.testing.assert_frame_equal(
        table(tmp_path / 'x.csv').drop(columns=TIMES),
        table(reference / 'x.csv').drop(columns=TIMES))


@needs_mpirun
def test_more_ranks_than_items_do_no_harm(tmp_path: Path) -> None:
    for n in (0, 4):
        ended = validate('--methods', 'mmff94s', *SOUND, '-o',
                         tmp_path / f'{n}.csv', n=n)
        assert ended.code == 0, ended.output
    assert not differences(tmp_path / '0.h5', tmp_path / '4.h5')


def journals(out: Path) -> int:
    return sum(p.stat().st_size for p in out.glob('*.journal/*.jnl'))


@needs_mpirun
@pytest.mark.timeout(600)
@pytest.mark.parametrize('victims', ['one', 'all'])
def test_a_killed_run_is_resumed_to_the_same_table(
    reference: Path, tmp_path: Path, victims: str,
) -> None:
    def kill(job: int, ranks: list[int]) -> None:
        for pid in ranks if victims == 'all' else ranks[:1]:
            os.kill(pid, signal.SIGKILL)

    ended = run_and(
        kill, lambda: journals(tmp_path) > 12_000, 'validate',
        *words(tmp_path, '--kicks', 1), marker=str(tmp_path / 'x.csv'))
    assert ended.code not in (0, 3)
    assert not (tmp_path / 'x.csv').exists()
    ended = validate(*words(tmp_path, '--kicks', 1, '--resume'), n=2)
    assert ended.code == 3, ended.output
    assert not differences(tmp_path / 'x.h5', reference / 'x.h5')


@pytest.mark.timeout(600)
def test_a_time_limit_stops_and_items_go_on_where_they_were(
    reference: Path, tmp_path: Path,
) -> None:
    limit, drained = 0.3, 0
    for _ in range(10):
        ended = validate(*words(tmp_path, '--kicks', 1, '--resume',
                                '--time-limit', limit))
        if ended.code != 4:
            break
        limit *= 2
        with h5py.File(tmp_path / 'x.h5') as file:
            drained += bool((file['results/status'][:] > 0).any())
    assert ended.code == 3, ended.output
    assert drained
    assert not differences(tmp_path / 'x.h5', reference / 'x.h5')


def test_a_finished_run_is_not_computed_again(reference: Path) -> None:
    before = content_digest(reference / 'x.h5')
    ended = validate(*words(reference, '--xyz', '--kicks', 1, '--resume'))
    assert ended.code == 3
    assert 'this run finished no record' in ended.output
    assert content_digest(reference / 'x.h5') == before
    refused = validate(*words(reference, '--kicks', 1))
    assert refused.code == 2 and '--overwrite' in refused.output
    changed = validate(*words(reference, '--kicks', 1, '--resume', '--fmax',
                              0.05))
    assert changed.code == 2 and 'fmax: was 0.005' in changed.output


def refused(fault: str, *options: object) -> None:
    """Require that the options are refused before any work."""
    given = read_options(program.Options, 'validate', '',
                         [str(option) for option in options])
    with pytest.raises(InputError, match=fault):
        program.prepare(program.settle(given))


@pytest.mark.parametrize('required, code', [('mmff94s', 0),
                                            ('mace-off23-small', 3)])
def test_a_missing_model_is_rows_that_say_so(
    tmp_path: Path, required: str, code: int,
) -> None:
    ended = validate(
        '--methods', 'mace-off23-small', 'mmff94s', *SOUND, '-o',
        tmp_path / 'x.csv', '--require', required, '--plot', 'svg',
        XDG_CACHE_HOME=str(tmp_path / 'nothing'))
    assert ended.code == code, ended.output
    first, second = table(tmp_path / 'x.csv').to_dict('records')
    assert first['method'] == 'MACE-OFF23'
    assert (first['status'], first['verdict']) == ('skipped', 'not_run')
    assert '--model-path mace-off23-small=FILE' in first['reason']
    assert np.isnan(first['binding_kcal'])
    assert first['reference_A'] == 4.96
    # the force field holds the rings more than 0.3 A too far apart
    assert (second['status'], second['verdict']) == ('converged', 'fail')
    assert load(tmp_path / 'x.h5').table.status.tolist() == [
        Status.SKIPPED, Status.CONVERGED]
    assert (tmp_path / 'x.svg').read_text().lstrip().startswith('<?xml')


def test_a_named_file_that_is_no_model_is_not_run(tmp_path: Path) -> None:
    bad = tmp_path / 'page.model'
    bad.write_text('<html>not found</html>')
    ended = validate('--methods', 'mmff94s', '--model-path', bad,
                     f'mine={tmp_path / "none.model"}', *SOUND, '-o',
                     tmp_path / 'x.csv')
    assert ended.code == 3, ended.output  # without gfn2 all are required
    rows = table(tmp_path / 'x.csv')
    assert rows.method.tolist() == ['MMFF94s', 'page', 'mine']
    assert 'HTML' in rows.reason[1] and 'No such file' in rows.reason[2]


def test_a_failing_method_is_rows_and_exit_3(tmp_path: Path) -> None:
    # bonds alone: no start is within reach of the toy
    ended = validate('--methods', 'lj', *SOUND, '-o', tmp_path / 'x.csv')
    assert ended.code == 3
    row, = table(tmp_path / 'x.csv').to_dict('records')
    assert row['status'] == 'rejected'
    assert row['reason'].startswith('beyond_cutoff')
    assert 'none of 1 optimisations converged' in ended.output


@pytest.mark.parametrize('options, fault', [
    (['--dimers', 'benzene'], 'unknown dimer'),
    (['--methods', 'gfn3'], 'unknown method'),
    (['--methods', 'gfn2', 'gfn2'], 'twice'),
    (['--starts', 'upright'], 'unknown start'),
    (['--starts', 'reference', '--dimers', 'pyrene_pd'], 'has such a start'),
    (['--sets', 's12'], 'unknown set'),
    (['--methods', 'gfn2', '--require', 'gfn1'], '--require gfn1'),
    (['--methods', 'gfn2', '--all-methods'], 'not both'),
    (['--model-path', 'gfn2=x.model'], 'has no model file'),
    (['--model-path', '=x.model'], 'METHOD=FILE'),
    (['--references', 'none.toml'], 'none.toml'),
    (['--gate', 'none.toml'], 'none.toml'),
    (['--resume', '--overwrite'], 'exclude'),
    (['--time-limit', 'soon'], 'soon'),
    (['--output-dir', 'there'], 'not both'),
])
def test_bad_usage_is_refused_before_any_work(
    tmp_path: Path, options: list[str], fault: str,
) -> None:
    refused(fault, '-o', tmp_path / 'x.csv', *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('options, fault', [
    (['--kicks', '-1'], 'negative'), (['--fmax', '0'], 'greater than 0'),
    (['--max-steps', '0'], 'greater than 0')])
def test_numbers_out_of_range_are_refused(
    options: list[str], fault: str,
) -> None:
    with pytest.raises(InputError, match=fault):
        read_options(program.Options, 'validate', '', options)


def test_what_is_refused_ends_with_exit_2_on_all_ranks(
    tmp_path: Path,
) -> None:
    ended = validate('-o', tmp_path / 'x.csv', '--dimers', 'benzene', n=2)
    assert ended.code == 2 and 'unknown dimer' in ended.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('text, more, fault', [
    ('required = ["benzene_xx"]', [], 'unknown dimer \'benzene_xx\''),
    ('required = ["pyrene_pd"]', ['--dimers', 'benzene_pd'],
     'which --dimers leaves out')])
def test_a_gate_file_with_a_dimer_that_is_not_there_is_refused(
    tmp_path: Path, text: str, more: list[str], fault: str,
) -> None:
    gate = tmp_path / 'gate.toml'
    gate.write_text(text)
    ended = validate('-o', tmp_path / 'x.csv', '--gate', gate, *more)
    assert ended.code == 2 and fault in ended.output
    assert not (tmp_path / 'x.h5').exists()


def test_an_output_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    refused('.csv', '-o', tmp_path / 'x.h5')


def test_no_method_at_all_is_refused(tmp_path: Path) -> None:
    ended = validate('--methods', 'mace-off23-large', *SOUND, '-o',
                     tmp_path / 'x.csv',
                     XDG_CACHE_HOME=str(tmp_path / 'nothing'))
    assert ended.code == 2
    assert 'no method is available' in ended.output
    assert not (tmp_path / 'x.csv').exists()


def test_references_and_gate_of_files_count(tmp_path: Path) -> None:
    references, gate = tmp_path / 'ref.toml', tmp_path / 'gate.toml'
    references.write_text('[benzene_t]\ncentroid = 9.0\nsource = "mine"\n')
    gate.write_text('required = ["benzene_t"]\norder = []\n')
    ended = validate('--methods', 'mmff94s', *SOUND, '-o',
                     tmp_path / 'x.csv', '--references', references,
                     '--gate', gate)
    assert ended.code == 3, ended.output
    row, = table(tmp_path / 'x.csv').to_dict('records')
    assert (row['reference_A'], row['ref_source'], row['verdict']) == (
        9.0, 'mine', 'fail')


def test_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    ended = validate(*words(tmp_path, '--dry-run'))
    assert ended.code == 0
    assert f'{N_ITEMS} items' in ended.output
    assert not list(tmp_path.iterdir())


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    ended = validate('--methods', 'mmff94s', *SOUND, '-q', '-o',
                     tmp_path / 'x.csv')
    assert ended.code == 0 and not ended.output.strip()
    assert len(table(tmp_path / 'x.csv')) == 1


def test_a_published_set_is_computed_whole(tmp_path: Path) -> None:
    ended = validate('--methods', 'mmff94s', '--sets', 's22', *SOUND, '-o',
                     tmp_path / 'x.csv', '--h5', tmp_path / 'other.h5')
    assert ended.code == 0, ended.output
    rows = table(tmp_path / 'x.csv')
    found = rows[rows.data_set == 's22']
    assert len(found) == 22 and set(found.verdict) == {'ungated'}
    assert found.interaction_kcal.notna().all()
    assert load(tmp_path / 'other.h5').n_records == len(rows) == 23


def test_commands_and_options_of_the_page_exist() -> None:
    root = Path(__file__).resolve().parent.parent
    text = (root / 'docs' / 'validate.md').read_text() \
        + (root / 'README.md').read_text()
    lines = re.findall(r'mpiapp\.validate ([^`\n]+)', text)
    assert len(lines) > 4
    for line in lines:
        options = read_options(program.Options, 'validate', '',
                               shlex.split(line))
        program.settle(options)
        program.chosen_methods_of(options)
    page = (root / 'docs' / 'validate.md').read_text()
    flags = set(parser(program.Options, 'validate', '').format_help().split())
    described = set(re.findall(r'`(--[a-z][a-z0-9-]+)', page))
    assert not {flag for flag in described
                if not {flag, f'{flag},'} & flags} - {'--no-saddle-test'}
