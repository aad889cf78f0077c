"""Neighbour lists: equal sets in every case, and lists that are wrong."""
import json

import numpy as np
import pytest

from mpiapp import bench
from mpiapp.benchmarks import neighbour_lists, neighbours
from mpiapp.benchmarks.neighbour_lists import Pairs


@pytest.mark.parametrize('case', list(neighbours.edge_cases()),
                         ids=lambda c: c.name)
def test_installed_lists_agree_in_cases_that_went_wrong(case):
    rows = neighbours.measured(case, list(neighbour_lists.FINDERS), 0)
    states = [r['state'] for r in rows]
    assert set(states) <= {'ok', 'skipped'}, rows
    # three libraries at least, beside our own tree
    assert states.count('ok') >= 4


def changed(how):
    def find(x, cutoff, cell, pbc):
        right = neighbour_lists.dense(x, cutoff, cell, pbc)
        return how(right)
    return find


WRONG = {
    'one missing': lambda p: Pairs(p.i[1:], p.j[1:], p.shift[1:]),
    'one twice': lambda p: Pairs(*(np.concatenate([a, a[:1]])
                                   for a in (p.i, p.j, p.shift))),
    'a wrong image': lambda p: Pairs(p.i, p.j, p.shift + 1),
    'itself': lambda p: Pairs(*(np.concatenate([a, 0 * a[:1]])
                                for a in (p.i, p.j, p.shift))),
}


@pytest.mark.parametrize('how', WRONG)
def test_a_wrong_list_is_refused_and_gets_no_time(how, monkeypatch):
    monkeypatch.setitem(neighbour_lists.FINDERS, 'vesin',
                        (changed(WRONG[how]), 'torch'))
    x = np.random.default_rng(1).uniform(0, 6, (12, 3))
    rows = neighbours.measured(
        neighbours.Case('c', x, timed=True), ['tree', 'vesin'], 5)
    assert [r['state'] for r in rows] == ['ok', 'refused']
    assert 'samples' in rows[0] and 'samples' not in rows[1]


def test_a_list_that_raises_is_failed(monkeypatch):
    def broken(x, cutoff, cell, pbc):
        raise IndexError('no')
    monkeypatch.setitem(neighbour_lists.FINDERS, 'vesin', (broken, 'torch'))
    row, = neighbours.measured(
        neighbours.Case('c', np.eye(3)), ['vesin'], 0)
    assert row['state'] == 'failed' and 'IndexError' in row['traceback']


def test_an_interrupted_command_leaves_what_it_has(tmp_path, monkeypatch):
    right, path = neighbours.measured, tmp_path / 'n.json'
    words = ['neighbours', '--molecules', 'water', '--rounds', '0',
             '--lists', 'tree', 'ase', '--json', str(path)]

    def interrupted(case, lists, rounds):
        if case.name == 'water':
            raise KeyboardInterrupt
        return right(case, lists, rounds)
    monkeypatch.setattr(neighbours, 'measured', interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.main(words)
    left = json.loads(path.read_text())
    monkeypatch.undo()
    assert bench.main(words) == 0
    whole = json.loads(path.read_text())
    assert (left['complete'], whole['complete']) == (False, True)
    assert left['rows'] == whole['rows'][:-2] and len(left['rows']) > 20


def test_the_command(tmp_path, capsys):
    assert bench.main(['neighbours', '--molecules', 'water', '--rounds', '5',
                       '--lists', 'tree', 'matscipy', '--json',
                       str(tmp_path / 'n.json')]) == 0
    assert 'tree over this' in capsys.readouterr().out
    assert bench.main(['neighbours', '--molecules', 'absent']) == 2
