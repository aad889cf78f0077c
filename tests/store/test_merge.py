"""Joining campaign files."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpiapp.merge import main
from mpiapp.store.digest import content_digest
from mpiapp.store.reader import load


def meta(sha256: str = 'aa', **settings: Any) -> dict[str, Any]:
    """Return the metadata of a campaign over one input file."""
    return {'settings': {'fmax': 0.005, **settings}, 'inputs': [
        {'path': f'{sha256}.sdf', 'sha256': sha256, 'n_records': 6}]}


def join(*files: Path, output: Path, extra: tuple[str, ...] = ()) -> int:
    """Run the program."""
    return main([*map(str, files), '--output', str(output), *extra])


def test_different_inputs_are_put_one_after_the_other(
    write_result: Any, tmp_path: Path, values: Any,
) -> None:
    a = write_result('a.h5', meta=meta('aa'))
    b = write_result('b.h5', rows=[1, 2], n_records=3, meta=meta('bb'))
    c = tmp_path / 'c.h5'
    assert join(a, b, output=c) == 3
    joined = load(c)
    assert joined.n_records == 9 and not joined.complete
    assert joined.table['file_number'].tolist() == [0] * 6 + [0, 1, 1]
    assert [i['sha256'] for i in joined.meta['inputs']] == ['aa', 'bb']
    assert (joined.positions(7) == values(1)['x_final']).all()
    assert joined.table['message'].tolist() == [''] * 9


def skipped(row: int) -> dict[str, Any]:
    """Return a record that is outside the window of a file."""
    return {'record': row, 'status': 6, 'reason': 'window'}


def test_windows_of_one_input_become_the_whole(
    write_result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    parts = [write_result(f'{i}.h5', rows=range(2 * i, 2 * i + 2),
                          meta=meta(), blank=skipped) for i in range(3)]
    joined, whole = tmp_path / 'c.h5', write_result('w.h5', meta=meta())
    assert join(*parts, output=joined) == 0
    assert content_digest(joined) == content_digest(whole)
    capsys.readouterr()
    assert join(*parts[:2], output=joined, extra=('--overwrite',)) == 3
    assert '2 record(s) are outside the windows' in capsys.readouterr().err
    assert load(joined).table['status'].tolist() == [1] * 4 + [6] * 2
    assert not load(joined).complete


@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_unfinished_records_stay_pending_in_any_order_of_the_files(
    write_result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    order: tuple[int, int],
) -> None:
    def stopped(row: int) -> dict[str, Any]:
        return {'record': row} if row > 3 else skipped(row)
    parts = [write_result('a.h5', rows=range(3), meta=meta(), blank=skipped),
             write_result('b.h5', rows=[3], meta=meta(), blank=stopped)]
    joined = tmp_path / 'c.h5'
    assert join(*(parts[i] for i in order), output=joined) == 3
    assert '2 record(s) are pending' in capsys.readouterr().err
    assert load(joined).table['status'].tolist() == [1] * 4 + [0] * 2
    assert not load(joined).complete


def test_records_left_out_for_good_are_not_missed(
    write_result: Any, tmp_path: Path,
) -> None:
    def left_out(row: int) -> dict[str, Any]:
        return {**skipped(row), 'reason': 'not_run' if row == 5 else 'window'}
    parts = [write_result('a.h5', rows=range(3), meta=meta(), blank=skipped),
             write_result('b.h5', rows=[3, 4], meta=meta(), blank=left_out)]
    joined = tmp_path / 'c.h5'
    assert join(*parts, output=joined) == 0
    assert load(joined).table['reason'].tolist()[5] == 'not_run'
    assert load(joined).complete


def test_inputs_that_overlap_are_not_counted_twice(
    write_result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    both = {**meta(), 'inputs': [*meta('bb')['inputs'], *meta()['inputs']]}
    a = write_result('a.h5', meta=meta())
    b = write_result('b.h5', n_records=12, rows=range(12), meta=both)
    assert join(a, b, output=tmp_path / 'c.h5') == 2
    said = capsys.readouterr().err
    assert 'both hold the records of aa.sdf' in said
    assert not (tmp_path / 'c.h5').exists()


def test_no_file_that_is_joined_is_replaced(
    write_result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    a = write_result('a.h5', meta=meta('aa'))
    b = write_result('b.h5', meta=meta('bb'))
    before = a.read_bytes()
    assert join(a, b, output=a, extra=('--overwrite',)) == 2
    assert 'a.h5 would replace' in capsys.readouterr().err
    assert a.read_bytes() == before


def test_options_that_differ_are_all_told(
    write_result: Any, tmp_path: Path,
) -> None:
    windows = [{'end_index': 2, 'test': False},
               {'end_index': None, 'test': False}]
    parts = [write_result(f'{i}.h5', rows=[i],
                          meta={**meta(), 'options': options})
             for i, options in enumerate(windows)]
    output = tmp_path / 'c.h5'
    assert join(*parts, output=output) == 3
    told = load(output).meta
    assert told['options'] == {'end_index': [2, None], 'test': False}
    assert told['settings'] == meta()['settings']


@pytest.mark.parametrize('other, said', [
    ({'meta': meta(fmax=0.05)}, 'fmax: was 0.005, now 0.05'),
    ({'meta': meta()}, 'worked on in another'),
    ({'meta': {'settings': {}}}, 'does not tell its settings'),
    ({'meta': meta(), 'n_records': 7}, '7 records'),
])
def test_what_does_not_belong_together_is_refused(
    write_result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    other: dict[str, Any], said: str,
) -> None:
    a = write_result('a.h5', meta=meta())
    b = write_result('b.h5', **other)
    assert join(a, b, output=tmp_path / 'c.h5') == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'c.h5').exists()


def test_tables_of_others_are_not_replaced(
    write_result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    table, source = tmp_path / 'c_summary.csv', tmp_path / 'd_final.sdf'
    for path in (table, source):
        path.write_text('mine')
    made = {**meta(), 'program': 'reopt'}
    made['inputs'][0]['path'] = str(source)
    parts = [write_result(f'{i}.h5', rows=[i], meta=made) for i in range(2)]
    assert join(*parts, output=tmp_path / 'c.h5') == 2
    assert 'c_summary.csv exist(s) already' in capsys.readouterr().err
    assert join(*parts, output=tmp_path / 'd.h5',
                extra=('--overwrite',)) == 2
    assert 'd_final.sdf would replace' in capsys.readouterr().err
    assert not list(tmp_path.glob('[cd].h5'))
    assert table.read_text() == source.read_text() == 'mine'


def test_wrong_usage_is_code_2(
    write_result: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    a, b = write_result('a.h5', meta=meta()), write_result('b.h5')
    output = tmp_path / 'c.h5'
    assert join(a, output=output) == 2
    assert join(a, tmp_path / 'none.h5', output=output) == 2
    assert join(a, b, output=a) == 2
    assert join(a, b, output=tmp_path / 'none' / 'c.h5') == 2
    said = capsys.readouterr().err
    for text in ('at least two', 'no such file', 'exists already',
                 'no such folder'):
        assert text in said
    with pytest.raises(SystemExit) as caught:
        main(['--nonsense'])
    assert caught.value.code == 2
