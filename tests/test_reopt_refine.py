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
    if ended.code:
        with h5py.File(tmp_path / 'x.h5') as file:
            assert not file.attrs['complete']
    again = run('reopt', *words(alcohols, tmp_path, '--resume'), n=1)
    assert again.code == 0, again.output
    assert '0 records are left' not in again.output
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
