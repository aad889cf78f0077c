"""The main job as its users start it, with a cheap potential."""
from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from mpiapp.records import Status
from mpiapp.store.digest import content_digest, differences
from mpiapp.store.reader import load
from tests.jobs import Ended, bytes_of_results, needs_mpirun, run, run_and

#: 13 real records: neutral library starts and anions, 109-160 atoms
N_RECORDS = 13
#: kills at this many moments of a run of a few seconds
N_KILLS = 3


@pytest.fixture(scope='session')
def files(data_dir: Path) -> list[Path]:
    names = ('library_sample.sdf', 'moe_binaph_H_10.sdf', 'moe_et_5.sdf')
    return [data_dir / 'dimers' / name for name in names]


def words(files: Sequence[Path], out: Path, prefix: str) -> list[object]:
    """Return the options of a run of some seconds on two ranks."""
    return ['--calculator', 'lj', '--sdf', *files, '--output-dir', out,
            '--output-prefix', prefix, '--max-steps', '60',
            '--max-failed', '9']


@pytest.fixture(scope='session')
def reference(
    files: list[Path], tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Give the result of an undisturbed run on one rank."""
    out = tmp_path_factory.mktemp('reference')
    ended = run('reopt', *words(files, out, 'ref'))
    assert ended.code == 0, ended.output
    return out / 'ref.h5'


def test_every_record_has_a_row_and_every_file_is_there(
    reference: Path, files: list[Path],
) -> None:
    table = load(reference).table
    counts = [4, 10, 5]
    assert table['file_number'].tolist() == np.repeat([0, 1, 2],
                                                      counts).tolist()
    assert table['record'].tolist() == [i for n in counts for i in range(n)]
    assert set(table['status']) <= {1, 2}
    stem = reference.with_suffix('')
    rows = pd.read_csv(f'{stem}_all_conformers.csv', encoding='utf-8-sig')
    assert len(rows) == sum(counts)
    assert Path(f'{stem}_summary.csv').stat().st_size
    text = Path(f'{stem}_final.sdf').read_text()
    assert text.count('$$$$') == sum(counts)
    with h5py.File(reference) as file:
        assert bool(file.attrs['complete'])


@needs_mpirun
@pytest.mark.parametrize('n, writer', [
    (1, 'gather'), (2, 'auto'), (2, 'gather'), (4, 'auto'), (25, 'auto')])
def test_the_content_does_not_depend_on_ranks_or_writer(
    reference: Path, files: list[Path], tmp_path: Path, n: int, writer: str,
) -> None:
    ended = run('reopt', *words(files, tmp_path, 'x'), '--writer', writer,
                n=n)
    assert ended.code == 0, ended.output
    assert not differences(tmp_path / 'x.h5', reference)
    for name in ('final.sdf', 'summary.csv'):
        assert (tmp_path / f'x_{name}').read_bytes() == \
            reference.with_name(f'ref_{name}').read_bytes()


def finished(out: Path, n: int) -> bool:
    """Tell whether the journals hold about n results."""
    return bytes_of_results(out) > 12_000 * n


def journalled(out: Path) -> int:
    """Count the entries, results and states, of all journals."""
    from mpiapp.store.journal import scan
    return sum(len(scan(p).rows) for p in out.glob('*.journal/*.jnl'))


def resumed(
    files: list[Path], out: Path, reference: Path, n: int,
) -> Ended:
    """Resume and require the result of the undisturbed run."""
    ended = run('reopt', *words(files, out, 'x'), '--resume', n=n)
    assert ended.code == 0, ended.output
    assert not differences(out / 'x.h5', reference)
    return ended


@needs_mpirun
@pytest.mark.parametrize('victims', ['one', 'all'])
@pytest.mark.parametrize('trial', range(N_KILLS))
def test_after_sigkill_nothing_finished_is_lost(
    reference: Path, files: list[Path], tmp_path: Path, victims: str,
    trial: int,
) -> None:
    chance = random.Random(100 * trial + len(victims))
    moment = chance.uniform(0, 10)

    def kill(job: int, ranks: list[int]) -> None:
        time.sleep(chance.uniform(0, 0.03))
        for pid in ranks if victims == 'all' else [chance.choice(ranks)]:
            os.kill(pid, signal.SIGKILL)

    ended = run_and(kill, lambda: finished(tmp_path, int(moment)), 'reopt',
                    *words(files, tmp_path, 'x'), marker=str(tmp_path))
    assert ended.code != 0
    left = 19 - sum(finished_rows(tmp_path))
    after = resumed(files, tmp_path, reference, n=1 + trial)
    done = f'this run      {left} record(s)' if left else 'no record'
    assert done in after.output


def finished_rows(out: Path) -> list[int]:
    """Count the finished rows in each journal."""
    from mpiapp.store.journal import ROW, scan
    return [int((scan(p).kinds == ROW).sum())
            for p in out.glob('*.journal/*.jnl')]


@pytest.fixture(scope='module')
def long_work(
    files: list[Path], tmp_path_factory: pytest.TempPathFactory,
) -> list[object]:
    """Give the options of a run that takes seconds on any machine."""
    folder = tmp_path_factory.mktemp('long')
    copies = [folder / f'{number}_{path.name}'
              for number in range(3) for path in files]
    for number, copy in enumerate(copies):
        shutil.copy(files[number % len(files)], copy)
    return [*words(copies, folder, 'x'), '--fmax', '1e-9',
            '--max-failed', '99']


@pytest.fixture(scope='module')
def whole(long_work: list[object],
          tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the result of the long run when nothing disturbs it."""
    out = tmp_path_factory.mktemp('whole')
    ended = run('reopt', *long_work, '--output-dir', out)
    assert ended.code == 0, ended.output
    return out / 'x.h5'


@needs_mpirun
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_ranks_drains_and_can_be_resumed(
    long_work: list[object], whole: Path, tmp_path: Path,
    number: signal.Signals,
) -> None:
    options = [*long_work, '--output-dir', tmp_path]

    def tell(job: int, ranks: list[int]) -> None:
        os.kill(ranks[0], number)

    ended = run_and(tell, lambda: finished(tmp_path, 3), 'reopt', *options,
                    marker=str(tmp_path))
    assert ended.code == 4, ended.output
    assert number.name in ended.output
    with h5py.File(tmp_path / 'x.h5') as file:
        assert not bool(file.attrs['complete'])
        status = file['results/status'][:]
    assert (status == Status.PENDING).any() and (status > 0).any()
    ended = run('reopt', *options, '--resume', n=3)
    assert ended.code == 0, ended.output
    assert not differences(tmp_path / 'x.h5', whole)


def test_a_time_limit_drains_and_running_work_goes_on_where_it_was(
    long_work: list[object], whole: Path, tmp_path: Path,
) -> None:
    options = [*long_work, '--output-dir', tmp_path]
    limit, size, drained = 0.3, 0, 0
    for _ in range(60):
        ended = run('reopt', *options, '--time-limit', str(limit), '--resume')
        if ended.code == 0:
            break
        assert ended.code == 4, ended.output
        before, size = size, journalled(tmp_path)
        if size == before:
            # too short for this machine to start in
            limit *= 1.3
        else:
            drained += 1
            limit += 0.1
    assert ended.code == 0, ended.output
    assert drained > 2
    assert not differences(tmp_path / 'x.h5', whole)


def test_the_end_of_a_slurm_job_is_a_time_limit(
    files: list[Path], tmp_path: Path,
) -> None:
    ended = run('reopt', *words(files, tmp_path, 'x'),
                SLURM_JOB_END_TIME=str(int(time.time()) - 5))
    assert ended.code == 4
    assert 'end of the Slurm job' in ended.output


def test_changed_settings_are_refused_with_a_list(
    reference: Path, files: list[Path],
) -> None:
    ended = run('reopt', *words(files[:2], reference.parent, 'ref'),
                '--resume', '--fmax', '0.1', '--optimizer', 'fire')
    assert ended.code == 2
    for part in ('fmax: was 0.005, now 0.1', 'optimizer: was "internal", now '
                 '"fire"', 'moe_et_5.sdf, now missing'):
        assert part in ended.output


def test_existing_results_are_not_touched_without_being_told(
    reference: Path, files: list[Path],
) -> None:
    before = reference.read_bytes()
    ended = run('reopt', *words(files, reference.parent, 'ref'))
    assert ended.code == 2
    assert '--resume' in ended.output and '--overwrite' in ended.output
    assert reference.read_bytes() == before


def test_resuming_a_finished_run_computes_nothing(
    reference: Path, files: list[Path],
) -> None:
    digest = content_digest(reference)
    ended = run('reopt', *words(files, reference.parent, 'ref'), '--resume')
    assert ended.code == 0
    assert 'this run finished no record' in ended.output
    assert content_digest(reference) == digest


def test_files_can_be_added_to_a_finished_campaign(
    reference: Path, files: list[Path], tmp_path: Path,
) -> None:
    for given in (files[:1], files):
        ended = run('reopt', *words(given, tmp_path, 'x'), '--resume')
        assert ended.code == 0, ended.output
    assert not differences(tmp_path / 'x.h5', reference)


def test_the_window_limits_the_work_and_can_be_widened(
    reference: Path, files: list[Path], tmp_path: Path,
) -> None:
    ended = run('reopt', *words(files, tmp_path, 'x'), '--start-index', '2',
                '--test')
    assert ended.code == 0, ended.output
    table = load(tmp_path / 'x.h5').table
    done = np.flatnonzero(table['status'] != Status.SKIPPED)
    assert done.tolist() == [2, 3, 4]
    assert set(table['reason'][table['status'] == 6]) == {'window'}
    resumed(files, tmp_path, reference, n=0)


def test_a_dry_run_checks_and_writes_nothing(
    files: list[Path], tmp_path: Path,
) -> None:
    out = tmp_path / 'new'
    ended = run('reopt', *words(files, out, 'x'), '--dry-run')
    assert ended.code == 0, ended.output
    for part in ('19 of 19 records', '15 x -1', 'predicted', 'C H N O'[:1]):
        assert part in ended.output
    assert not out.exists()


def test_a_dry_run_refuses_what_the_run_would_refuse(
    reference: Path, files: list[Path],
) -> None:
    ended = run('reopt', *words(files, reference.parent, 'ref'),
                '--dry-run')
    assert ended.code == 2
    assert '--overwrite' in ended.output


def test_failures_above_the_limit_give_exit_code_3(
    tmp_path: Path, data_dir: Path,
) -> None:
    bad = tmp_path / 'two.xyz'
    bad.write_text('2\nfirst\nO 0 0 0\nO 0 0 1.4\n'
                   '2\nsecond\nH 0 0 0\nH 0 0 0.1\n')
    base = ['--calculator', 'lj', '--sdf', bad, '--output-dir', tmp_path]
    assert run('reopt', *base, '--output-prefix', 'a').code == 3
    ended = run('reopt', *base, '--output-prefix', 'b', '--max-failed', '1')
    assert ended.code == 0
    table = load(tmp_path / 'a.h5').table
    assert table['reason'].tolist() == ['', 'atoms_overlap']


def test_unconverged_records_count_under_strict_only(
    files: list[Path], tmp_path: Path,
) -> None:
    base = [*words(files[:1], tmp_path, 'x')[:-4], '--max-steps', '1']
    assert run('reopt', *base).code == 0
    assert run('reopt', *base, '--resume', '--strict').code == 3


def test_two_jobs_do_not_share_an_output(
    files: list[Path], tmp_path: Path,
) -> None:
    import fcntl
    folder = tmp_path / 'x.journal'
    folder.mkdir()
    with open(folder / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = run('reopt', *words(files, tmp_path, 'x'))
    assert ended.code == 2
    assert 'another job' in ended.output


@needs_mpirun
def test_ranks_are_busy_until_the_list_has_ended(
    files: list[Path], data_dir: Path, tmp_path: Path,
) -> None:
    small = data_dir / 'bad_inputs/ethane.xyz'
    mixed = [*files * 2, *[small] * 20]
    shares = []
    for trial in range(3):
        ended = run('reopt', *words(mixed, tmp_path, f'x{trial}'), n=2)
        assert ended.code == 0, ended.output
        shares.append(float(ended.output.split('busy ')[1].split()[0]))
    assert float(np.median(shares)) >= 95


def test_windows_of_a_job_array_are_joined(
    reference: Path, files: list[Path], tmp_path: Path,
) -> None:
    for name, window in (('a', ('0', '7')), ('b', ('7', '19'))):
        ended = run('reopt', *words(files, tmp_path, name),
                    '--start-index', window[0], '--end-index', window[1])
        assert ended.code == 0, ended.output
    joined = run('merge', tmp_path / 'a.h5', tmp_path / 'b.h5', '--output',
                 tmp_path / 'c.h5')
    assert joined.code == 0, joined.output
    whole, parts = load(reference).table, load(tmp_path / 'c.h5').table
    for column in ('status', 'e_total', 'name', 'steps'):
        assert whole[column].tolist() == parts[column].tolist()
    for end in ('final.sdf', 'summary.csv'):
        assert (tmp_path / f'c_{end}').read_bytes() == \
            reference.with_name(f'ref_{end}').read_bytes()


def test_a_dry_run_that_could_relax_nothing_says_why(
    data_dir: Path, tmp_path: Path,
) -> None:
    ended = run('reopt', '--sdf', data_dir / 'dimers/moe_et_5.sdf',
                '--model', 'student', '--output-dir', tmp_path, '--dry-run')
    assert ended.code == 2
    assert 'charged' in ended.output and 'charge-policy' in ended.output
