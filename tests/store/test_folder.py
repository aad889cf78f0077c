"""Starting, resuming and refusing campaigns."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpiapp.errors import InputError
from mpiapp.records import RELAX, Schema
from mpiapp.store import folder as module
from mpiapp.store.folder import (
    CampaignFolder, check_campaign, describe, folder_of, journal_name,
    journal_names, open_campaign
)

SETTINGS: dict[str, Any] = {
    'fmax': 0.005, 'model': {'name': 'lj', 'dtype': 'float64'}, 'steps': 500}
INPUTS = [{'path': 'a.sdf', 'sha256': 'aa' * 32, 'n_records': 3}]


def start(result: Path, **changes: Any) -> CampaignFolder:
    """Open a campaign and close it at once."""
    arguments = {'settings': SETTINGS, 'inputs': INPUTS, 'schema': RELAX,
                 **changes}
    campaign = open_campaign(result, **arguments)
    campaign.close()
    return campaign


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """Return the path of a result in a folder that isn't there yet."""
    return tmp_path / 'runs' / 'x.v2.h5'


def test_a_first_start_makes_the_folder(result: Path) -> None:
    campaign = start(result)
    assert (campaign.run, campaign.fresh) == (1, True)
    assert campaign.path == folder_of(result) == result.with_name(
        'x.v2.journal')


def test_resume_counts_runs_and_keeps_the_digest(result: Path) -> None:
    first, second = start(result), start(result, resume=True)
    third = start(result, resume=True)
    assert [second.run, third.run] == [2, 3]
    assert first.digest == second.digest and not second.fresh


def test_resume_of_nothing_is_a_fresh_start(result: Path) -> None:
    assert start(result, resume=True).fresh


def test_a_second_start_is_refused_naming_what_is_there(
    result: Path,
) -> None:
    start(result)
    with pytest.raises(InputError, match=r'x\.v2\.journal.*--resume'):
        start(result)
    result.write_bytes(b'')
    with pytest.raises(InputError, match=r'x\.v2\.h5 and .*x\.v2\.journal'):
        start(result)


def test_overwrite_removes_the_old_results(result: Path) -> None:
    campaign = start(result)
    journal = campaign.path / journal_name(1, 0)
    journal.write_bytes(b'')
    other = campaign.path / 'notes.txt'
    other.write_text('mine')
    result.write_bytes(b'')
    assert start(result, overwrite=True, settings={}).run == 1
    assert not result.exists() and not journal.exists()
    assert other.read_text() == 'mine'


def test_overwrite_removes_the_tables_of_stages_that_were(
    result: Path,
) -> None:
    start(result)
    stage = result.with_name('x.v2.stages') / '1_lj.h5'
    stage.parent.mkdir()
    start(stage)
    gone = ('1_lj_all_conformers.csv', '1_lj_boltzmann_298K.csv',
            '1_lj_final.sdf', 'refinement.csv', 'rankings.csv')
    kept = ('2_lj_final.sdf', '1_lj_notes.csv')
    for name in (*gone, *kept):
        result.with_name(f'x.v2_{name}').write_text('')
    start(result, overwrite=True)
    assert sorted(p.name for p in result.parent.iterdir()) == sorted([
        'x.v2.journal', *(f'x.v2_{name}' for name in kept)])


def test_changed_settings_are_listed_one_by_one(result: Path) -> None:
    start(result)
    with pytest.raises(InputError) as caught:
        start(result, resume=True, settings={
            'fmax': 0.01, 'model': {'name': 'gfn2', 'dtype': 'float64'},
            'policy': 'allow', 'steps': 500})
    lines = [line.strip() for line in str(caught.value).split('\n')[1:]]
    assert lines == ['fmax: was 0.005, now 0.01',
                     'model.name: was "lj", now "gfn2"',
                     'policy: was absent, now "allow"',
                     'steps: was 500, now absent'][:3]


def test_other_columns_are_refused(result: Path) -> None:
    start(result)
    with pytest.raises(InputError, match='columns'):
        start(result, resume=True, schema=Schema(RELAX.columns[:3]))


def test_inputs_may_be_added_but_not_changed(result: Path) -> None:
    start(result)
    more = [*INPUTS, {'path': 'b.sdf', 'sha256': 'bb' * 32, 'n_records': 1}]
    start(result, resume=True, inputs=more)
    with pytest.raises(InputError, match=r'input 2: was b\.sdf, now miss'):
        start(result, resume=True)
    moved = [dict(more[0], path='elsewhere/a.sdf'), more[1]]
    start(result, resume=True, inputs=moved)
    with pytest.raises(InputError, match='input 1: was'):
        start(result, resume=True, inputs=more[::-1])


def test_a_result_without_journals_cannot_be_resumed(result: Path) -> None:
    result.parent.mkdir()
    result.write_bytes(b'')
    with pytest.raises(InputError, match='journals .* are gone'):
        start(result, resume=True)


@pytest.mark.parametrize('text', [
    '', '{', '[]', '{"format": "other"}', '\x00\x01',
    '{"format": "mpiapp campaign", "file_version": 1, "settings": 3}',
    '{"format": "mpiapp campaign", "file_version": 1, "settings": {}, '
    '"runs": 1, "inputs": []}', '[' * 10**5,
])
def test_a_damaged_description_is_named(result: Path, text: str) -> None:
    campaign = start(result)
    (campaign.path / 'campaign.json').write_text(text)
    with pytest.raises(InputError, match=r'campaign\.json'):
        start(result, resume=True)


def test_journals_without_description_are_not_taken(result: Path) -> None:
    campaign = start(result)
    (campaign.path / 'campaign.json').unlink()
    (campaign.path / journal_name(1, 0)).write_bytes(b'')
    with pytest.raises(InputError, match=r'campaign\.json'):
        start(result, resume=True)


def test_an_unwritable_place_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write'):
        start(tmp_path / 'file' / 'x.h5')


def test_a_folder_of_the_results_name_is_refused(result: Path) -> None:
    result.mkdir(parents=True)
    with pytest.raises(InputError, match='in the way'):
        start(result)


def test_the_check_changes_nothing(result: Path) -> None:
    described = describe(SETTINGS, INPUTS, RELAX)
    assert check_campaign(result, described, False, False)
    assert not result.parent.exists()


LOCKED = '''
import sys
from pathlib import Path
from mpiapp.errors import InputError
from mpiapp.records import RELAX
from mpiapp.store.folder import open_campaign
try:
    open_campaign(Path(sys.argv[1]), {}, [], RELAX, resume=True)
except InputError as error:
    print(error)
'''


def test_a_second_job_is_told_who_works_there(result: Path) -> None:
    held = open_campaign(result, {}, [], RELAX)
    root = Path(module.__file__).parents[2]

    def second() -> str:
        return subprocess.run(
            [sys.executable, '-c', LOCKED, str(result)], text=True,
            capture_output=True, check=True,
            env={**os.environ, 'PYTHONPATH': str(root)}).stdout
    assert f'another job works on {held.path}: pid {os.getpid()} on ' \
        in second()
    held.close()
    assert second() == ''


def test_journal_names_sort_by_run_and_rank(tmp_path: Path) -> None:
    wanted = [journal_name(2, 9), journal_name(2, 10000),
              journal_name(1000, 0)]
    for name in [*wanted, '.run001-rank0000.jnl.part', 'lock']:
        (tmp_path / name).write_bytes(b'')
    assert journal_names(tmp_path) == wanted
