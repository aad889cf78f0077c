"""Ensembles from SMILES, as users make them: one file for any ranks."""
from __future__ import annotations

import csv
import os
import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

from mpiapp import conformers
from mpiapp.chemistry.molecules import MoleculeTable
from mpiapp.chemistry.stereo import stereo_labels
from mpiapp.config import read_options
from mpiapp.records import Status, Structure
from mpiapp.reporting.registry import report_of
from mpiapp.store.digest import differences
from mpiapp.store.reader import load
from mpiapp.structures import Collection
from tests.jobs import Ended, needs_mpirun, run, run_and

ROOT = Path(__file__).resolve().parent.parent
#: small molecules: open centres, a double bond, a dimer that folds, rings
SMALL = {
    'alcohol': 'CCC(O)CCC', 'alkene': 'CC=CCOC', 'ether': 'COCCOCC',
    'dimer': 'c1ccc2cc(OCCCOc3ccc4ccccc4c3)ccc2c1', 'amine': 'CC1CCCCN1',
}
#: kcal/mol; the tags have six digits
TAG_ROUNDING = 2e-6
#: bytes of journals: two heads, and some of the 12 blocks of the long run
SOME_BLOCKS = 12000


def table(path: Path, smiles: dict[str, str]) -> Path:
    """Write a molecule table."""
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['name', 'r_group', 'screen_group', 'smiles'])
        writer.writerows([n, 'R', 'S', s] for n, s in smiles.items())
    return path


@pytest.fixture(scope='session')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp('small') / 'small.csv', SMALL)


def made(small: Path, output: Path, *more: object, n: int = 0) -> Ended:
    return run('conformers', '--smiles-csv', small, '--per-molecule', 4,
               '--output', output, *more, n=n)


@pytest.fixture(scope='session')
def reference(
    small: Path, tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Give the SD file of an undisturbed run on one rank."""
    output = tmp_path_factory.mktemp('reference') / 'x.sdf'
    ended = made(small, output)
    assert ended.code == 0, ended.output
    return output


def structures(path: Path) -> list[Structure]:
    collection = Collection.open([path])
    return [collection.load(i) for i in range(len(collection))]


def test_the_file_has_the_records_asked_for_with_the_tags_of_moe(
    reference: Path,
) -> None:
    records = structures(reference)
    names = [s.title for s in records]
    assert names == [n for n in SMALL for _ in range(4)]
    assert [s.tags['mseq'] for s in records] == [
        str(i) for i in range(1, 6) for _ in range(4)]
    for name in SMALL:
        of = [s for s in records if s.tags['name'] == name]
        energies = np.array([float(s.tags['E']) for s in of])
        relative = np.array([float(s.tags['dE']) for s in of])
        assert (np.diff(energies) >= 0).all()
        assert np.abs(energies - energies[0] - relative).max() < TAG_ROUNDING
        assert {s.tags['force_field'] for s in of} == {'MMFF94s'}


def test_all_conformers_of_a_molecule_are_one_isomer(
    reference: Path,
) -> None:
    wanted = {'alcohol': '', 'alkene': '', 'ether': '', 'dimer': '',
              'amine': '2R'}
    for structure in structures(reference):
        found = stereo_labels(structure, structure.positions)
        assert found.cip == structure.tags['cip']
        assert found.cip.startswith(wanted[structure.title])
        if structure.title == 'alkene':
            assert found.double_bonds == '2=3E'


def test_the_result_has_a_row_a_molecule(reference: Path) -> None:
    campaign = load(reference.with_suffix('.h5'))
    rows = campaign.table
    assert rows['name'].tolist() == list(SMALL)
    assert (rows['status'] == Status.CONVERGED).all()
    assert (rows['n_written'] == 4).all()
    assert rows['left_open'].tolist() == ['3', '2=3', '', '', '2']
    assert (rows['n_unique'] >= 4).all()
    assert rows['n_folded'].tolist()[3] > 0
    assert campaign.ragged('record', 2).tolist() == [8, 9, 10, 11]
    energies = [float(s.tags['E']) for s in structures(reference)[4:8]]
    assert np.abs(campaign.ragged('e_conformer', 1)
                  - energies).max() < TAG_ROUNDING


def test_the_page_of_the_attempts_shows_when_each_was_made(
    reference: Path,
) -> None:
    attempts = load(reference.with_name('x_attempts.h5'))
    done = attempts.table['finished_at'] > 0
    assert done.sum() == (attempts.table['status'] == 1).sum() > 0
    spans = [b for s in report_of(attempts).sections for b in s.blocks
             if getattr(b, 'name', '') == 'ranks']
    assert len(spans) == 1


@needs_mpirun
@pytest.mark.parametrize('n', [2, 4])
def test_the_file_is_the_same_on_any_number_of_ranks(
    small: Path, reference: Path, tmp_path: Path, n: int,
) -> None:
    ended = made(small, tmp_path / 'x.sdf', n=n)
    assert ended.code == 0, ended.output
    assert (tmp_path / 'x.sdf').read_bytes() == reference.read_bytes()
    assert not differences(tmp_path / 'x.h5', reference.with_suffix('.h5'))


def journalled(out: Path) -> int:
    return sum(p.stat().st_size for p in out.glob('*.journal/*.jnl'))


def long_run(output: Path) -> list[object]:
    """Return the options of a run that takes seconds on any machine."""
    return ['--smiles', SMALL['dimer'], '--per-molecule', 4, '--oversample',
            6, '--output', output]


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the SD file of the long run when nothing disturbs it."""
    output = tmp_path_factory.mktemp('whole') / 'x.sdf'
    ended = run('conformers', *long_run(output))
    assert ended.code == 0, ended.output
    return output


@needs_mpirun
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_or_stopped_run_is_resumed_to_the_same_file(
    whole: Path, tmp_path: Path, number: signal.Signals,
) -> None:
    def tell(job: int, ranks: list[int]) -> None:
        for pid in ranks:
            os.kill(pid, number)

    output = tmp_path / 'x.sdf'
    ended = run_and(
        tell, lambda: journalled(tmp_path) > SOME_BLOCKS, 'conformers',
        *long_run(output), marker=str(output))
    assert ended.code != 0 and not output.exists(), ended.output
    if number == signal.SIGTERM:
        assert ended.code == 4, ended.output
    ended = run('conformers', *long_run(output), '--resume')
    assert ended.code == 0, ended.output
    assert 'resuming' in ended.output
    assert output.read_bytes() == whole.read_bytes()


def test_a_time_limit_ends_with_code_4(small: Path, tmp_path: Path) -> None:
    ended = made(small, tmp_path / 'x.sdf', '--time-limit', '0.001')
    assert ended.code == 4, ended.output
    assert not (tmp_path / 'x.sdf').exists()


def test_a_total_is_filled_up_by_those_that_have_more(
    tmp_path: Path,
) -> None:
    ended = run('conformers', '--smiles', 'C', 'CCCCCO', '--total', 8,
                '--output', tmp_path / 'x.sdf')
    assert ended.code == 0, ended.output
    rows = load(tmp_path / 'x.h5').table
    assert rows['n_written'].tolist() == [1, 7]
    assert rows['reason'].tolist() == ['few_conformers', '']
    assert len(structures(tmp_path / 'x.sdf')) == 8


def test_a_total_of_fewer_than_molecules_leaves_some_out(
    tmp_path: Path,
) -> None:
    ended = run('conformers', '--smiles', 'C', 'CC', 'CCC', '--total', 2,
                '--output', tmp_path / 'x.sdf')
    assert ended.code == 0, ended.output
    rows = load(tmp_path / 'x.h5').table
    assert rows['n_written'].tolist() == [1, 1, 0]
    assert rows['status'].tolist()[2] == Status.SKIPPED


def test_all_isomers_share_the_records(tmp_path: Path) -> None:
    ended = run('conformers', '--smiles', 'CCC(O)C(F)Cl', '--stereo',
                'enumerate', '--per-molecule', 8, '--output',
                tmp_path / 'x.sdf')
    assert ended.code == 0, ended.output
    cips = [s.tags['cip'] for s in structures(tmp_path / 'x.sdf')]
    assert {c: cips.count(c) for c in set(cips)} == {
        '3R,5R': 2, '3R,5S': 2, '3S,5R': 2, '3S,5S': 2}


def test_a_dry_run_writes_nothing(small: Path, tmp_path: Path) -> None:
    ended = made(small, tmp_path / 'new' / 'x.sdf', '--dry-run')
    assert ended.code == 0, ended.output
    assert list(tmp_path.iterdir()) == []
    assert 'records      20' in ended.output
    assert 'alkene               2=3' in ended.output


def relaxed(sdf: Path, csv_file: Path, out: Path) -> list[str]:
    """Run reopt on a file; return how each record was matched."""
    ended = run('reopt', '--sdf', sdf, '--smiles-csv', csv_file,
                '--calculator', 'lj', '--max-steps', 2, '--output-dir', out,
                '--output-prefix', 'r')
    assert ended.code == 0, ended.output
    rows = load(out / 'r.h5').table
    assert set(rows['status']) <= {Status.CONVERGED, Status.UNCONVERGED}
    assert not rows['moe_energy_kcal'].isna().any()
    return list(rows['match'])


def test_reopt_takes_every_record(
    small: Path, reference: Path, tmp_path: Path,
) -> None:
    assert relaxed(reference, small, tmp_path) == ['mseq'] * 20


def test_reopt_takes_library_molecules(
    data_dir: Path, tmp_path: Path,
) -> None:
    library = MoleculeTable.read(
        data_dir / 'dimers/binaph_dimer_smiles.csv')
    part = table(tmp_path / 'two.csv', {
        r.name: r.smiles for r in library.rows
        if r.name in ('DCV_Th_H', 'DCV_Th_F')})
    ended = run('conformers', '--smiles-csv', part, '--total', 2,
                '--output', tmp_path / 'x.sdf')
    assert ended.code == 0, ended.output
    assert relaxed(tmp_path / 'x.sdf', part, tmp_path) == ['mseq'] * 2
    cips = [s.tags['cip'] for s in structures(tmp_path / 'x.sdf')]
    assert [re.sub('[0-9,]', '', c) for c in cips] == ['RRR', 'RRR']


def test_the_commands_of_the_docs_have_options_that_exist() -> None:
    pages = [ROOT / 'README.md', ROOT / 'docs/conformers.md']
    lines = [
        line.partition('#')[0].partition('mpiapp.conformers')[2]
        for page in pages for line in re.findall(
            r'^[ ]*(?:mpirun.*)?python -m mpiapp\.conformers[^`\n]*',
            page.read_text().replace('\\\n', ' '), re.M)]
    assert len(lines) >= 4
    for line in lines:
        conformers.settle(read_options(
            conformers.Options, 'conformers', '', shlex.split(line)))


def test_every_option_of_the_docs_is_in_the_help() -> None:
    ended = run('conformers', '--help')
    assert ended.code == 0
    described = set(re.findall(
        r'`(--[a-z][a-z-]+)', (ROOT / 'docs/conformers.md').read_text()))
    missing = {o for o in described if o not in ended.output}
    assert described and not missing
