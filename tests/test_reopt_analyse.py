"""`reopt --analyse`: a finished file once more, without relaxing."""
from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from mpiapp.parallel.serial import SerialComm
from mpiapp.records import RELAX, Column, Schema
from mpiapp.store.campaign import write_campaign
from mpiapp.store.digest import differences
from mpiapp.store.layout import data_paths
from mpiapp.store.reader import Campaign, FileSource, load
from mpiapp.store.seal import seal
from mpiapp.store.sources import MemorySource
from mpiapp.structures import Collection, write_sdf_record
from tests.jobs import Ended, needs_mpirun, run

TABLES = ('all_conformers.csv', 'summary.csv', 'boltzmann.csv',
          'boltzmann_298K.csv', 'ensembles.csv', 'shortlist.csv',
          'final.sdf')
#: A; what a bond by distance can do to a chromophore: nothing
EXACT = 1e-9


@pytest.fixture(scope='module')
def source(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a result with a duplicate, a charged and a broken record."""
    out = tmp_path_factory.mktemp('source')
    anions = Collection.open([data_dir / 'dimers/moe_et_5.sdf'])
    turn = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    first = anions.load(0)
    again = write_sdf_record(first, first.positions @ turn, first.tags)
    (out / 'et.sdf').write_text(
        (data_dir / 'dimers/moe_et_5.sdf').read_text() + again
        + 'broken\n\n\nno counts\n$$$$\n')
    ended = run('reopt', '--calculator', 'lj', '--sdf', out / 'et.sdf',
                data_dir / 'dimers/library_sample.sdf', '--fmax', 0.5,
                '--output-dir', out, '--output-prefix', 'a', n=0)
    assert ended.code == 3, ended.output
    return out / 'a.h5'


def analyse(source: Path, out: Path, *words: object, n: int = 0) -> Ended:
    return run('reopt', '--analyse', source, '--output-dir', out,
               '--output-prefix', 'x', *words, n=n)


def rows_differ(one: Path, other: Path) -> list[str]:
    """Return the columns of rows that differ, leaving out how and what of
    the analysis itself."""
    return [name for name in differences(one, other)
            if not name.startswith(('/ensembles', '/meta'))]


def test_the_source_has_ensembles(source: Path) -> None:
    campaign = load(source)
    assert campaign.table['status'].tolist() == [1] * 6 + [4] + [1] * 4
    table = campaign.ensembles['molecules']
    assert table['n'].tolist()[0] == 6
    assert table['n_unique'].tolist()[0] == 5
    assert campaign.ensembles['records']['duplicate_of'].tolist() == [
        -1] * 5 + [0] + [-1] * 5
    assert table['note'].tolist()[1] == (
        'no converged conformer (1 unparsable)')


@needs_mpirun
@pytest.mark.parametrize('n', [0, 2, 4])
def test_the_same_file_comes_of_it(
    source: Path, tmp_path: Path, n: int,
) -> None:
    before = source.read_bytes()
    ended = analyse(source, tmp_path, n=n)
    assert ended.code == 0, ended.output
    assert source.read_bytes() == before
    changed = differences(source, tmp_path / 'x.h5')
    assert not [name for name in changed if not name.startswith('/meta')]
    for name in TABLES:
        assert (tmp_path / f'x_{name}').read_bytes() == \
            source.with_name(f'a_{name}').read_bytes()
    assert load(tmp_path / 'x.h5').meta['analysis']['path'] == str(source)


def test_other_temperatures_and_limits(
    source: Path, tmp_path: Path,
) -> None:
    ended = analyse(source, tmp_path, '--temperatures', 77, 300.5,
                    '--dedupe-rmsd', 0, '--shortlist', 1)
    assert ended.code == 0, ended.output
    assert not rows_differ(source, tmp_path / 'x.h5')
    campaign = load(tmp_path / 'x.h5')
    assert set(campaign.ensembles['boltzmann']['temperature']) == {77, 300.5}
    assert campaign.ensembles['molecules']['n_unique'][0] == 6
    assert len(campaign.ensembles['shortlist']) <= 1
    assert (tmp_path / 'x_boltzmann_300.5K.csv').exists()
    table = pd.read_csv(tmp_path / 'x_all_conformers.csv',
                        encoding='utf-8-sig')
    weights = table.groupby('name')['boltz_weight_77K'].sum()
    assert weights.max() == pytest.approx(1.0, abs=1e-8)
    assert campaign.meta['options']['temperatures'] == [77, 300.5]
    assert campaign.meta['options']['fmax'] == 0.5


def test_neither_input_files_nor_ensembles_are_needed(
    source: Path, tmp_path: Path,
) -> None:
    other = tmp_path / 'moved.h5'
    shutil.copy(source, other)
    with h5py.File(other, 'r+') as file:
        text = file['meta/json'].asstr()[()].replace(
            str(source.parent), '/nowhere')
        del file['ensembles'], file['meta/json']
        file['meta'].create_dataset('json', data=np.bytes_(text).astype(
            h5py.string_dtype('utf-8', len(text))))
    seal(other, data_paths(RELAX))
    ended = analyse(other, tmp_path)
    assert ended.code == 0, ended.output
    assert not rows_differ(source, tmp_path / 'x.h5')
    final = Collection.open([tmp_path / 'x_final.sdf'])
    expected = Collection.open([source.with_name('a_final.sdf')])
    assert len(final) == len(expected) == 10
    for i in range(10):
        ours, theirs = final.load(i), expected.load(i)
        assert np.array_equal(ours.positions, theirs.positions)
        assert np.array_equal(ours.bonds, theirs.bonds)
        assert ours.charge == theirs.charge


def test_without_ensembles_on_request(source: Path, tmp_path: Path) -> None:
    ended = analyse(source, tmp_path, '--no-boltzmann')
    assert ended.code == 0, ended.output
    assert load(tmp_path / 'x.h5').ensembles == {}
    assert not (tmp_path / 'x_boltzmann.csv').exists()
    assert not rows_differ(source, tmp_path / 'x.h5')


def of_version_1(source: Path, path: Path) -> Path:
    """Write the file as the first format had it: no bonds, no descriptors."""
    campaign = load(source)
    old = Schema(tuple(
        c for c in RELAX.columns if c.group != 'descriptors' and c.name not in
        ('bonds', 'bond_orders', 'formal_charges', 'unpaired')))
    rows = {}
    for i, row in campaign.table.iterrows():
        rows[i] = {c.name: row[c.name] for c in old.fixed} | {
            c.name: campaign.ragged(c.name, i)  # type: ignore[arg-type]
            for c in old.ragged}
    write_campaign(SerialComm(), path, old, campaign.n_records,
                   MemorySource(old, rows),  # type: ignore[arg-type]
                   campaign.meta, campaign.timeline)
    with h5py.File(path, 'r+') as file:
        file.attrs['format_version'] = 1
    seal(path, data_paths(old))
    return path


def test_a_file_of_the_first_format_gets_bonds_and_descriptors(
    source: Path, tmp_path: Path,
) -> None:
    old = of_version_1(source, tmp_path / 'old.h5')
    ended = analyse(old, tmp_path)
    assert ended.code == 0, ended.output
    ours, theirs = load(tmp_path / 'x.h5'), load(source)
    assert ours.ensembles['molecules']['n_unique'].equals(
        theirs.ensembles['molecules']['n_unique'])
    for name in ('plane_angle', 'vertical', 'overlap', 'contact'):
        np.testing.assert_allclose(ours.table[name], theirs.table[name],
                                   atol=EXACT)
    assert sorted(map(tuple, ours.ragged('bonds', 0).tolist())) == sorted(
        tuple(sorted(pair)) for pair in theirs.ragged('bonds', 0).tolist())


def partial(source: Path, path: Path) -> Campaign:
    """Write the file of a run that was stopped before its end."""
    campaign = load(source)
    some = np.arange(0, campaign.n_records, 2)
    write_campaign(SerialComm(), path, campaign.schema, campaign.n_records,
                   FileSource(campaign, some, some), campaign.meta,
                   campaign.timeline)
    return load(path)


def test_a_partial_file_is_analysed_as_far_as_it_goes(
    source: Path, tmp_path: Path,
) -> None:
    assert not partial(source, tmp_path / 'part.h5').complete
    ended = analyse(tmp_path / 'part.h5', tmp_path)
    assert ended.code == 0, ended.output
    assert 'is not complete, 5 of 11 records are pending' in ended.output
    assert 'the analysed file is partial' in ended.output
    campaign = load(tmp_path / 'x.h5')
    assert not campaign.complete
    assert (campaign.table['status'] == 0).sum() == 5
    assert campaign.ensemble_settings['n_pending'] == 5
    assert campaign.ensembles['molecules']['n'].tolist()[0] == 3
    assert not rows_differ(tmp_path / 'part.h5', tmp_path / 'x.h5')


def damaged(source: Path, path: Path) -> Path:
    data = bytearray(source.read_bytes())
    data[40] ^= 255
    path.write_bytes(data)
    return path


def of_another_program(path: Path) -> Path:
    schema = Schema((Column('status', 'results', 'i4', '1', '', 0),))
    write_campaign(SerialComm(), path, schema, 2, MemorySource(schema, {}),
                   {'program': 'hameval', 'inputs': []}, {})
    return path


def test_files_that_can_not_be_analysed(
    source: Path, tmp_path: Path,
) -> None:
    text = tmp_path / 'text.h5'
    text.write_text('name,smiles\n' * 100)
    for path, why in (
        (tmp_path / 'none.h5', 'no such file'),
        (text, 'is not a campaign file'),
        (damaged(source, tmp_path / 'bad.h5'), 'damaged result file'),
        (of_another_program(tmp_path / 'ham.h5'), 'is a result of hameval'),
    ):
        ended = analyse(path, tmp_path)
        assert ended.code == 2, ended.output
        assert why in ended.output
    assert not list(tmp_path.glob('x*'))


@pytest.mark.parametrize('words, why', [
    (['--temperatures', '0'], '--temperatures 0.0: must be greater than 0'),
    (['--temperatures', '298', '-5'], '--temperatures -5.0: must be'),
    (['--temperatures', 'nan'], '--temperatures: not a number'),
    (['--temperatures', 'warm'], 'invalid float value'),
    (['--temperatures', '300', '300.0000001'], '300 is named twice'),
    (['--dedupe-rmsd', '-1'], '--dedupe-rmsd -1.0: must not be negative'),
    (['--energy-window', '-1'], '--energy-window -1.0: must not be'),
    (['--sdf', 'a.sdf'], '--sdf can not be given with it'),
    (['--test', '--start-index', '2', '--end-index', '4', '--smiles-csv',
      'no.csv', '--charge-policy', 'allow', '--refine', 'all:fmax=0.1'],
     '--smiles-csv, --start-index, --end-index, --test, --charge-policy, '
     '--refine can not be given with it'),
    (['--output-prefix', 'a'], 'would replace the file that is analysed'),
    (['--mirror-images', 'some'], 'invalid choice'),
    (['--systems', 'none.toml'], 'none.toml'),
    (['--compat-system', 'tea'], 'no aromatic system'),
])
def test_bad_usage_ends_before_any_work(
    source: Path, words: list[str], why: str,
) -> None:
    before = sorted(p.name for p in source.parent.iterdir())
    ended = analyse(source, source.parent, *words)
    assert ended.code == 2, ended.output
    assert why in ended.output
    assert sorted(p.name for p in source.parent.iterdir()) == before


def test_a_dry_run_says_what_would_be_done(
    source: Path, tmp_path: Path,
) -> None:
    ended = analyse(source, tmp_path, '--dry-run', '--fmax', 0.1,
                    '--calculator', 'gfn2', '--strict')
    assert ended.code == 0
    assert ('note: nothing is relaxed: --calculator, --strict, --fmax '
            'without effect') in ended.output
    assert '11 of 11 records would be analysed' in ended.output
    assert not list(tmp_path.iterdir())


def test_results_are_not_replaced_unasked(
    source: Path, tmp_path: Path,
) -> None:
    assert analyse(source, tmp_path).code == 0
    assert analyse(source, tmp_path).code == 2
    assert analyse(source, tmp_path, '--overwrite').code == 0
    resumed = analyse(source, tmp_path, '--resume', '--temperatures', 99)
    assert resumed.code == 0, resumed.output
    assert '0 are left' in resumed.output
    assert set(load(tmp_path / 'x.h5').ensembles[
        'boltzmann']['temperature']) == {99}


def test_the_example_of_the_document_runs(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (Path(__file__).parents[1] / 'docs/ensembles.md').read_text()
    block = re.search(r'```python\n(.*?)```', text, re.S)
    assert block
    (tmp_path / 'runs').mkdir()
    shutil.copy(source, tmp_path / 'runs/et.h5')
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block[1], names)
    assert len(names['room']) == 6
    assert names['weights'].groupby(
        names['campaign'].table['name']).sum().max() == pytest.approx(1.0)
