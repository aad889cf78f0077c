"""The measurements of `hameval`, on small settings."""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from mpiapp.benchmarks import hameval
from mpiapp.errors import InputError
from tests.jobs import needs_mpirun, run


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    hameval.add_options(parser)
    made = parser.parse_args([*words, '--basis', 'sto-3g', '--grid-level',
                              '0'])
    made.words = list(words)
    return made


def test_ways_of_sharing_have_their_makespans() -> None:
    # every second frame is long: a static deal gives them to one rank
    costs = np.array([10.0, 1.0] * 4)
    found = hameval.makespans(costs, costs, 2)
    assert found == {'static': 40.0, 'pulling': 22.0, 'longest_first': 22.0,
                     'bound': 22.0}
    last = np.array([1.0, 1.0, 1.0, 1.0, 6.0])
    found = hameval.makespans(last, last, 2)
    assert (found['pulling'], found['longest_first']) == (8.0, 6.0)


def test_what_is_left_out_is_timed(tmp_path: Path) -> None:
    found = hameval.redundant(options(), tmp_path)
    assert set(found['seconds']) >= {'scf', 'gradient', 'energy'}
    assert found['repeated_s'] > found['seconds']['gradient'] > 0
    assert found['needed_s'] > found['repeated_s']


def test_one_rank_is_no_comparison() -> None:
    with pytest.raises(InputError, match='--ranks'):
        hameval.run(options('--ranks', '1'))


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_mpirun
def test_ranks_and_order_are_measured(tmp_path: Path) -> None:
    ended = run('bench', 'hameval', '--part', 'ranks', 'order', '--frames',
                2, '--mixed', 1, 1, 0, '--basis', 'sto-3g', '--grid-level',
                0, '--no-forces', '--json', tmp_path / 'x.json')
    assert ended.code == 0, ended.output
    made = json.loads((tmp_path / 'x.json').read_text())
    assert made['ranks']['equal'] and len(made['ranks']['runs']) == 2
    assert made['order']['n_atoms'] == [9, 12]
    assert 'static deal' in ended.output
