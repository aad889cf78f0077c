"""The batch scripts, with stand-ins for Slurm that note their calls."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(p.name for p in (ROOT / 'jobs').glob('*.sbatch'))
#: notes its words; ends with the code that CODES has for one of them
STAND_IN = '''#!/bin/bash
echo "$(basename "$0") $*" >>"$CALLS"
for pair in $CODES; do
    [[ " $* " != *" ${pair%=*} "* ]] || exit "${pair#*=}"
done
'''
MOLECULES = 'name,r_group,screen_group,smiles\n' + ''.join(
    f'm{i},,,{"C" * (i + 1)}\n' for i in range(12))


@dataclass(frozen=True)
class Site:
    """A folder with jobs/, on a cluster that runs nothing."""

    folder: Path

    def submit(
        self, script: str, *words: str, slurm: bool = True, **extra: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script as Slurm would, or without."""
        job = {'SLURM_JOB_ID': '7', 'SLURM_JOB_NAME': 'x',
               'SLURM_SUBMIT_DIR': str(self.folder), 'SLURM_NTASKS': '4',
               'SLURM_CPUS_PER_TASK': '2', 'SLURM_ARRAY_TASK_ID': '3'}
        env = {'PATH': f'{self.folder / "bin"}:/usr/bin:/bin',
               'CALLS': str(self.folder / 'calls'), 'CODES': '',
               'MPIAPP_ENV': os.devnull, **(job if slurm else {}), **extra}
        return subprocess.run(
            ['bash', f'jobs/{script}', *words], cwd=self.folder, env=env,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=60)

    def calls(self) -> list[str]:
        """Return what was started, but for the daemon of MPS."""
        path = self.folder / 'calls'
        return [line for line in path.read_text().splitlines()
                if 'nvidia-cuda' not in line] if path.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    shutil.copytree(ROOT / 'jobs', tmp_path / 'jobs')
    (tmp_path / 'jobs/site.sh').write_text('echo site.sh was read\n')
    (tmp_path / 'bin').mkdir()
    for name in ('srun', 'mpirun', 'python', 'scontrol', 'sleep',
                 'nvidia-cuda-mps-control'):
        (tmp_path / 'bin' / name).write_text(STAND_IN)
        (tmp_path / 'bin' / name).chmod(0o755)
    (tmp_path / 'molecules.csv').write_text(MOLECULES)
    (tmp_path / 'w_0.h5').touch()
    return Site(tmp_path)


def words_of(script: str) -> tuple[str, ...]:
    return {'distill.sbatch': ('molecules.csv',),
            'merge.sbatch': ('w', 'all.h5')}.get(script, ())


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_script_reads_the_site_and_starts_all_by_srun(
    site: Site, script: str,
) -> None:
    done = site.submit(script, *words_of(script), MPIAPP_SRUN='--mpi=pmi2',
                       MPIAPP_PREFIX='apptainer exec a.sif')
    assert done.returncode == 0, done.stdout
    assert 'site.sh was read' in done.stdout
    assert site.calls()
    for call in site.calls():
        assert re.match(r'srun .*--mpi=pmi2 apptainer exec a\.sif '
                        r'python -m mpiapp\.\w+ ', call), call


def test_further_words_go_to_merge(site: Site) -> None:
    site.submit('merge.sbatch', 'w', 'all.h5', '--overwrite')
    assert site.calls()[0].endswith(
        'mpiapp.merge w_0.h5 --output all.h5 --overwrite')


@pytest.mark.parametrize('script', [
    s for s in SCRIPTS
    if '--gpus-per-node' in (ROOT / 'jobs' / s).read_text()
    and s != 'distill.sbatch'])
def test_a_script_that_asks_for_gpus_does_not_fall_back_on_the_cpu(
    site: Site, script: str,
) -> None:
    site.submit(script)
    device = 'gpu' if script.startswith('md17') else 'cuda'
    assert [f'--device {device}' in c for c in site.calls()] == [True]


def test_a_step_that_stops_early_is_requeued_and_one_that_fails_is_not(
    site: Site,
) -> None:
    for code, again in ((4, True), (1, True), (0, False), (3, False),
                        (2, False)):
        (site.folder / 'calls').unlink(missing_ok=True)
        done = site.submit('cpu_24.sbatch', CODES=f'--resume={code}')
        assert f'mpiapp.reopt ended with exit code {code}' in done.stdout
        assert ('scontrol requeue 7' in site.calls()) == again, code
        assert done.returncode == code


def test_distill_tests_on_molecules_that_were_held_back(site: Site) -> None:
    done = site.submit('distill.sbatch', 'molecules.csv')
    assert done.returncode == 0, done.stdout
    label, unseen, train, test = site.calls()
    held = (site.folder / 'runs/distill/held_back.csv').read_text()
    assert held.splitlines() == [
        'name,r_group,screen_group,smiles', 'm0,,,C', f'm10,,,{"C" * 11}']
    assert '--held-back runs/distill/held_back.csv' in label
    assert '--smiles-csv runs/distill/held_back.csv --held-back none' \
        in unseen
    assert '--data runs/distill/labels.h5' in train
    assert '--data runs/distill/unseen.h5 ' in test
    assert '--smiles-csv runs/distill/held_back.csv' in test
    assert '--nodes=1 --ntasks=1' in train and '--threads 8' in train


def test_the_gpu_recipe_trains_on_the_gpu(site: Site) -> None:
    for recipe, device in (('cpu', 'cpu'), ('gpu', 'cuda')):
        (site.folder / 'calls').unlink(missing_ok=True)
        site.submit('distill.sbatch', 'molecules.csv', RECIPE=recipe)
        assert f'--recipe {recipe} --device {device} ' in site.calls()[2]


def test_distill_goes_on_after_3_and_is_requeued_after_4(site: Site) -> None:
    done = site.submit('distill.sbatch', 'molecules.csv',
                       CODES='label=3 train=4')
    assert done.returncode == 4, done.stdout
    programs = [re.sub(r'.*mpiapp\.distill (\w+).*', r'\1', c)
                for c in site.calls()]
    assert programs[:3] == ['label', 'label', 'train']
    assert programs[3] == 'scontrol requeue 7'


def test_distill_runs_without_slurm(site: Site) -> None:
    done = site.submit('distill.sbatch', 'molecules.csv', slurm=False,
                       MPIAPP_RANKS='3')
    assert done.returncode == 0, done.stdout
    starts = [c.split(' -m ')[0] for c in site.calls()]
    assert starts == ['mpirun -n 3 python', 'mpirun -n 3 python', 'python',
                      'python']
    again = site.submit('distill.sbatch', 'molecules.csv', slurm=False,
                        CODES='train=4')
    assert again.returncode == 4
    assert not any('scontrol' in c for c in site.calls())
