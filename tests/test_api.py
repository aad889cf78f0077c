"""The Python interface, in a process of its own as it starts MPI."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.jobs import environment, needs_mpirun

SCRIPT = """
import sys
import mpiapp
assert 'numpy' not in sys.modules
from mpiapp.errors import InputError
sdf, out = sys.argv[1:]
campaign = mpiapp.relax(sdf, calculator='lj', output_prefix=out + '/x')
assert (campaign.table.status == 1).sum() == 5
for wrong in ({'fmax': -1.0}, {'device': 'tpu'}, {'calculator': 'no'}):
    try:
        mpiapp.relax(sdf, output_prefix=out + '/y', **wrong)
    except InputError:
        continue
    raise AssertionError(wrong)
print('all well')
"""


@needs_mpirun
def test_a_script_relaxes_and_reads(data_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ['mpirun', '-n', '2', sys.executable, '-c', SCRIPT,
         str(data_dir / 'dimers/moe_et_5.sdf'), str(tmp_path)],
        capture_output=True, text=True, timeout=100,
        env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('all well') == 2


def test_a_gpu_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    script = """
import mpiapp
from mpiapp.errors import InputError
try:
    mpiapp.relax('x.sdf', calculator='lj', device='cuda')
except InputError:
    print('all well')
"""
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True,
        timeout=100, env=environment(CUDA_VISIBLE_DEVICES=''), cwd=tmp_path)
    assert done.stdout == 'all well\n', done.stdout + done.stderr
    assert 'no NVIDIA GPU is visible' in done.stderr
