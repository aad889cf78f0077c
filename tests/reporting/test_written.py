"""What report writes: nobody's files, whatever the names are."""
from __future__ import annotations

import os
import shutil
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from mpiapp.report import main
from mpiapp.reporting.exporting import planned
from mpiapp.reporting.measured import report_of_json
from tests.jobs import run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return the JSON of a measurement."""
    path = tmp_path / 'x.json'
    path.write_text('{"rows": [{"a": 1}, {"a": 2}]}')
    return path


def refused(capsys: Any, *words: object) -> str:
    """Return what report says when it ends with 2."""
    assert main([*map(str, words), '--quiet']) == 2
    error: str = capsys.readouterr().err
    return error


def test_a_page_replaces_pages_alone(
    table: Path, tmp_path: Path, capsys: Any,
) -> None:
    page = tmp_path / 'x.html'
    page.write_text('<html>mine</html>')
    assert 'no page of a report' in refused(capsys, table, '--html', page)
    assert page.read_text() == '<html>mine</html>'
    assert main([str(table), '--quiet', '--html', str(page),
                 '--overwrite']) == 0
    assert main([str(table), '--quiet', '--html', str(page)]) == 0


def test_an_export_replaces_its_own_files_alone(
    table: Path, tmp_path: Path, capsys: Any,
) -> None:
    folder, page = tmp_path / 'ow', tmp_path / 'x.html'
    folder.mkdir()
    (folder / 'rows.csv').write_text('mine')
    told = refused(capsys, table, '--export', folder, '--html', page)
    assert 'rows.csv there already, and not written by report' in told
    assert (folder / 'rows.csv').read_text() == 'mine' and not page.exists()
    assert os.listdir(folder) == ['rows.csv']
    words = [str(table), '--quiet', '--export', str(folder)]
    assert main([*words, '--overwrite']) == 0
    assert (folder / 'rows.csv').read_text() == 'a\n1\n2\n'
    # now the file is report's own
    assert main(words) == 0


def test_keys_of_json_stay_in_the_folder(tmp_path: Path) -> None:
    path = tmp_path / 'x.json'
    row = '[{"[/y]": 1}]'
    keys = (f'{tmp_path}/evil', '../up', 'a/b', 'a_b', '.hidden', '[/y]',
            '\\ud800', 'long' * 99)
    path.write_text('{' + ', '.join(f'"{k}": {row}' for k in keys) + '}')
    stems = list(planned(report_of_json(path)))
    assert len(stems) == len(keys) and stems[2:4] == ['a_b', 'a_b_2']
    ended = run('report', path, '--export', tmp_path / 'out',
                '--html', tmp_path / 'x.html')
    assert ended.code == 0, ended.output
    assert '[/y]' in ended.output
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'out', 'x.html', 'x.json']
    assert len(os.listdir(tmp_path / 'out')) == len(keys) + 1


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1'])
def test_any_terminal_and_any_name_of_a_file_will_do(
    encoding: str, small_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9.h5')
    shutil.copy(small_path, odd)
    screen = TextIOWrapper(BytesIO(), encoding)
    monkeypatch.setattr('sys.stdout', screen)
    assert main([odd, '--html', str(tmp_path / 'c.html')]) == 0
    screen.flush()
    shown = screen.buffer.getvalue().decode(encoding)
    assert 'caf?' in shown and ' > ' in shown
    assert {'ascii': 'vertical A', 'latin-1': 'vertical \xc5'}[
        encoding] in shown
    assert (tmp_path / 'c.html').stat().st_size > 100_000
