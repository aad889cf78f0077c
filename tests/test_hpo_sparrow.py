"""A study of real reactions with a real calculator, on any ranks."""
from __future__ import annotations

from pathlib import Path

import pytest

from mpiapp.store.digest import differences
from mpiapp.store.hdf5 import open_serial
from mpiapp.store.reader import load
from tests.jobs import needs_mpirun, run

DFTB0 = ('--calculator', 'sparrow', '--functional', 'DFTB0')


def study(data_dir: Path, out: Path, n: int, *words: object) -> Path:
    """Run the command that the issue of `hpo` names; return its result."""
    pytest.importorskip('scine_sparrow')
    ended = run(
        'hpo', 'run', '--mode', 'exact', '--data',
        data_dir / 'saddles' / 't1x_C3H8O.extxyz', *DFTB0, *words,
        '--plots', 'none', '--storage', out.with_suffix('.log'), '--output',
        out, n=n)
    assert ended.code == 0, ended.output
    assert (load(out).table['n_errors'] == 0).all()
    return out


def forces(out: Path) -> list[list[float]]:
    """Return the largest force at the end of each trial's samples, eV/A."""
    with open_serial(out, 'r') as file:
        return [list(map(float, row)) for row in file['results/fmax'][:]]


@needs_mpirun
def test_two_ranks_give_the_study_of_one_with_dftb(
    data_dir: Path, tmp_path: Path,
) -> None:
    words = ('--n-trials', 2, '--max-samples', 2, '--start-from',
             'ts_noise0.05A', '--n-steps', 20)
    alone, two = (study(data_dir, tmp_path / f'{n}.h5', n, *words)
                  for n in (1, 2))
    assert differences(alone, two) == []
    # four searches with an end each, all different
    assert len({x for row in forces(alone) for x in row if x > 0}) == 4


@needs_mpirun
@pytest.mark.slow
def test_a_study_with_dftb_is_the_same_on_one_two_and_three_ranks(
    data_dir: Path, tmp_path: Path,
) -> None:
    words = ('--n-trials', 4, '--max-samples', 6, '--n-steps', 40)
    alone, *others = (study(data_dir, tmp_path / f'{n}.h5', n, *words)
                      for n in (1, 2, 3))
    for other in others:
        assert differences(alone, other) == []
    table = load(alone).table
    assert len(table) == 4 and (table['n_samples'] == 6).all()
    assert table['source'].tolist() == ['baseline'] + 3 * ['sampler']
