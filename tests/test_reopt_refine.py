"""A relaxation and its refinement in one restartable run."""
from __future__ import annotations

import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from mpiapp.records import Status
from mpiapp.store.digest import differences
from mpiapp.store.reader import load
from mpiapp.structures import Collection
from tests.jobs import needs_mpirun, run, run_and

STAGES = ['top:2:calculator=gfn2,fmax=0.01', 'all:calculator=hf/sto-3g']
#: eV; a relaxation that begins at its end can only go down
NOISE = 1e-5


@pytest.fixture(scope='session')
def alcohols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give conformers of two small molecules, which share no name."""
    from rdkit import Chem
    from rdkit.Chem import AllChem
    path = tmp_path_factory.mktemp('alcohols') / 'alcohols.sdf'
    with Chem.SDWriter(str(path)) as writer:
        for smiles in ('OCCCO', 'NCCO'):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMultipleConfs(mol, 5, randomSeed=3)
            mol.SetProp('_Name', smiles)
            mol.SetProp('lot', f'7 {smiles}')
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
    return path


def words(alcohols: Path, out: Path, *more: object) -> list[object]:
    """Return the options of a run with two stages, of some seconds."""
    return ['--sdf', alcohols, '--calculator', 'gfn1', '--output-dir', out,
            '--output-prefix', 'x', '--fmax', '0.02', '--refine', *STAGES,
            *more]


@pytest.fixture(scope='session')
def whole(
    alcohols: Path, tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Give the result of an undisturbed run."""
    out = tmp_path_factory.mktemp('refined')
    ended = run('reopt', *words(alcohols, out))
    assert ended.code == 0, ended.output
    return out / 'x.h5'


def test_stages_are_in_the_same_file_row_by_row(whole: Path) -> None:
    campaign = load(whole)
    assert campaign.complete
    assert list(campaign.stages) == ['1_gfn2', '2_hf_sto-3g']
    relaxed, single = campaign.stages.values()
    n_done = [int((s.table['status'] == Status.CONVERGED).sum())
              for s in (relaxed, single)]
    assert n_done == [4, 4]
    left = relaxed.table[relaxed.table['status'] == Status.SKIPPED]
    assert set(left['reason']) == {'not_selected'} and len(left) == 6
    assert relaxed.table['name'].tolist() == campaign.table['name'].tolist()
    assert relaxed.meta['potential']['name'] == 'gfn2'
    assert single.meta['potential']['method'] == 'hf/sto-3g'


def test_a_stage_begins_where_the_one_before_ended(whole: Path) -> None:
    campaign = load(whole)
    relaxed, single = campaign.stages.values()
    rows = np.flatnonzero(relaxed.table['status'] == Status.CONVERGED)
    for row in rows.tolist():
        # centred again: the same to the last digits
        assert np.allclose(relaxed.ragged('x_start', row),
                           campaign.positions(row), atol=1e-12)
        assert np.array_equal(single.ragged('x_start', row),
                              relaxed.positions(row))
        assert np.array_equal(single.positions(row), relaxed.positions(row))
    done = relaxed.table.loc[rows]
    assert (done['e_total'] <= done['e_start'] + NOISE).all()
    assert (single.table.loc[rows, 'steps'] == 0).all()


def test_the_structures_of_a_stage_keep_their_tags(whole: Path) -> None:
    final = Collection.open([whole.with_name('x_2_hf_sto-3g_final.sdf')])
    assert len(final) == 4
    for structure in map(final.load, range(4)):
        assert structure.tags['lot'] == f'7 {structure.title}'
        assert structure.tags['mpiapp_method'] == 'hf/sto-3g'


def test_the_tables_compare_the_rankings(whole: Path) -> None:
    stem = whole.with_suffix('')
    lines = pd.read_csv(f'{stem}_refinement.csv')
    assert lines['conformer_id'].nunique() == len(lines) == 4
    assert {'main_rel_energy_kcal', '1_gfn2_rel_energy_kcal',
            '2_hf_sto-3g_status'} <= set(lines.columns)
    pairs = pd.read_csv(f'{stem}_rankings.csv')
    assert pairs[['stage', 'before']].drop_duplicates().values.tolist() == [
        ['1_gfn2', 'main'], ['2_hf_sto-3g', '1_gfn2']]
    assert (pairs['n'] == 2).all()


@needs_mpirun
@pytest.mark.parametrize('n', [2, 4])
def test_the_content_does_not_depend_on_ranks(
    whole: Path, alcohols: Path, tmp_path: Path, n: int,
) -> None:
    ended = run('reopt', *words(alcohols, tmp_path), n=n)
    assert ended.code == 0, ended.output
    assert not differences(tmp_path / 'x.h5', whole)


@needs_mpirun
@pytest.mark.parametrize('number, stage', [
    (signal.SIGKILL, '1_gfn2'), (signal.SIGKILL, '2_hf_sto-3g'),
    (signal.SIGTERM, '1_gfn2')])
def test_an_end_in_any_stage_loses_nothing(
    whole: Path, alcohols: Path, tmp_path: Path, number: signal.Signals,
    stage: str,
) -> None:
    def begun() -> bool:
        journals = tmp_path.glob(f'x.stages/{stage}.journal/*.jnl')
        return any(p.stat().st_size > 4_000 for p in journals)

    def end(job: int, ranks: list[int]) -> None:
        for pid in ranks[:1]:
            os.kill(pid, number)

    ended = run_and(end, begun, 'reopt', *words(alcohols, tmp_path),
                    marker=str(tmp_path))
    assert ended.code != 0
    with h5py.File(tmp_path / 'x.h5') as file:
        assert not file.attrs['complete']
    again = run('reopt', *words(alcohols, tmp_path, '--resume'), n=1)
    assert again.code == 0, again.output
    assert 'of 10 records are done, 0 are left' in again.output
    assert not differences(tmp_path / 'x.h5', whole)


def test_a_stage_can_be_added_later_and_not_be_changed(
    whole: Path, alcohols: Path, tmp_path: Path,
) -> None:
    base = words(alcohols, tmp_path)
    cut = base.index('--refine')
    assert run('reopt', *base[:cut]).code == 0
    for more in (STAGES[:1], STAGES):
        ended = run('reopt', *base[:cut], '--refine', *more, '--resume')
        assert ended.code == 0, ended.output
    changed = [STAGES[0].replace('0.01', '0.03'), STAGES[1]]
    ended = run('reopt', *base[:cut], '--refine', *changed, '--resume')
    assert ended.code == 2
    assert 'fmax: was 0.01, now 0.03' in ended.output


@pytest.mark.parametrize('stage, said', [
    ('best:3:calculator=gfn2', 'unknown selection'),
    ('top:3:calculator=gfn9', 'gfn9'),
    ('top:3:calculator=mace', 'name the model'),
    ('top:3:model-path=/no/such.model', 'no such'),
    ('top:3:calculator=gfn2,model=small', 'takes no MACE model'),
    ('top:3:calculator=gfn2,fmax=-1', 'fmax'),
])
def test_a_bad_stage_is_refused_before_any_work(
    alcohols: Path, tmp_path: Path, stage: str, said: str,
) -> None:
    ended = run('reopt', '--sdf', alcohols, '--calculator', 'gfn1',
                '--output-dir', tmp_path / 'new', '--refine', stage)
    assert ended.code == 2, ended.output
    assert said.lower() in ended.output.lower()
    assert 'Traceback' not in ended.output


def test_a_dry_run_names_the_stages(alcohols: Path, tmp_path: Path) -> None:
    ended = run('reopt', *words(alcohols, tmp_path, '--dry-run'))
    assert ended.code == 0, ended.output
    assert '1_gfn2: ' + STAGES[0] in ended.output


@pytest.mark.parametrize('stage, said', [
    ('all:calculator=pbee/sto-3g', 'PBEE'),
    ('all:calculator=gfn2,solvent=nosuch', 'nosuch'),
])
def test_what_a_stage_cannot_run_is_known_before_any_work(
    alcohols: Path, tmp_path: Path, stage: str, said: str,
) -> None:
    ended = run('reopt', '--sdf', alcohols, '--calculator', 'gfn1',
                '--output-dir', tmp_path / 'new', '--refine', stage)
    assert ended.code == 2 and said in ended.output
    assert '10/10 done' not in ended.output
    assert not list(tmp_path.glob('new/*.h5'))


def test_a_refused_stage_leaves_the_result_as_it_was(
    whole: Path, alcohols: Path,
) -> None:
    before = whole.read_bytes()
    base = words(alcohols, whole.parent)
    cut = base.index('--refine')
    for stages in (
            [], [STAGES[0].replace('0.01', '0.03'), STAGES[1]],
            [STAGES[0], 'all:calculator=gfn2,task=single'], STAGES[:1]):
        more = ['--refine', *stages] if stages else []
        ended = run('reopt', *base[:cut], *more, '--resume')
        assert ended.code == 2, ended.output
        assert whole.read_bytes() == before


def test_overwriting_starts_the_stages_anew(
    alcohols: Path, tmp_path: Path,
) -> None:
    base = words(alcohols, tmp_path)
    cut = base.index('--refine')
    assert run('reopt', *base[:cut], '--refine', 'top:1').code == 0
    assert run('reopt', *base[:cut]).code == 2
    ended = run('reopt', *base[:cut], '--overwrite')
    assert ended.code == 0, ended.output
    assert not (tmp_path / 'x.stages').exists()


def test_stages_have_tables_and_structures_of_their_own(whole: Path) -> None:
    stem = whole.with_suffix('')
    lines = pd.read_csv(f'{stem}_1_gfn2_all_conformers.csv')
    assert set(lines['method']) == {'gfn2'} and len(lines) == 4
    text = Path(f'{stem}_1_gfn2_final.sdf').read_text()
    assert text.count('$$$$') == 4
    stage = load(whole).stages['1_gfn2']
    own = load(whole.parent / 'x.stages/1_gfn2.h5')
    for name, table in own.ensembles.items():
        pd.testing.assert_frame_equal(stage.ensembles[name], table)
    weights = stage.ensembles['boltzmann']
    assert (weights['n'] == 2).all()


def test_untitled_records_of_a_file_are_ranked_together(
    alcohols: Path, tmp_path: Path,
) -> None:
    first, second = tmp_path / 'a.sdf', tmp_path / 'b.sdf'
    records = alcohols.read_text().split('$$$$\n')
    for path, part in ((first, records[:5]), (second, records[5:10])):
        path.write_text(''.join(
            '\n' + r.split('\n', 1)[1] + '$$$$\n' for r in part))
    ended = run('reopt', '--sdf', first, second, '--calculator', 'gfn1',
                '--output-dir', tmp_path, '--output-prefix', 'x',
                '--fmax', '0.05', '--refine',
                'all:calculator=gfn2,task=single')
    assert ended.code == 0, ended.output
    pairs = pd.read_csv(tmp_path / 'x_rankings.csv')
    assert pairs['n'].tolist() == [5, 5]
    # no aromatic rings: the classes are all the same
    assert (pairs['n_class_changed'] == 0).all()
    lines = pd.read_csv(tmp_path / 'x_refinement.csv')
    assert {'main_class', '1_gfn2_class'} <= set(lines.columns)
    assert (lines['main_rel_energy_kcal'] == 0).sum() == 2


def test_a_stage_that_knows_no_charge_follows_the_policy(
    tmp_path: Path,
) -> None:
    formate = tmp_path / 'formate.xyz'
    formate.write_text('4\ncharge=-1\nC 0 0 0\nO 1.13 0.7 0\n'
                       'O -1.13 0.7 0\nH 0 -1.1 0\n')
    base = ['--sdf', formate, '--calculator', 'gfn2', '--output-dir',
            tmp_path, '--refine', 'all:model=student,task=single']
    refused = run('reopt', *base, '--output-prefix', 'a')
    assert refused.code == 3, refused.output
    stage, = load(tmp_path / 'a.h5').stages.values()
    assert stage.table['reason'].tolist() == ['charged']
    allowed = run('reopt', *base, '--output-prefix', 'b',
                  '--charge-policy', 'allow')
    stage, = load(tmp_path / 'b.h5').stages.values()
    assert stage.table['charge_ignored'].tolist() == [1], allowed.output


def test_another_job_waits_until_the_stages_are_done(
    alcohols: Path, tmp_path: Path,
) -> None:
    import fcntl

    from mpiapp.store.folder import held
    (tmp_path / 'x.journal').mkdir()
    with held(tmp_path / 'x.h5'):
        ended = run('reopt', *words(alcohols, tmp_path))
    assert ended.code == 2 and 'another job' in ended.output
    with open(tmp_path / 'x.journal/lock') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
