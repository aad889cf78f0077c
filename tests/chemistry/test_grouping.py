"""Which records make one molecule."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpiapp.chemistry.grouping import Identities, group_records, split_by_graph
from tests.chemistry.ensemble_molecules import embedded


def grouped(how: str = 'name', **columns: Any) -> list[list[int]]:
    """Group records that differ in the given columns alone."""
    n = len(next(iter(columns.values())))
    given: dict[str, Any] = {
        'names': ['a'] * n, 'numbered': [False] * n,
        'file_numbers': [0] * n, 'charges': [0] * n, 'n_atoms': [9] * n,
        'cip': [''] * n, **columns}
    arrays = {k: v if isinstance(v[0], str) else np.array(v)
              for k, v in given.items()}
    return [g.tolist() for g in group_records(
        Identities(**arrays), np.arange(n), how)]


def test_names_charges_and_atoms_tell_molecules_apart() -> None:
    assert grouped(names=list('abab')) == [[0, 2], [1, 3]]
    assert grouped(charges=[0, -1, 0, -1]) == [[0, 2], [1, 3]]
    assert grouped(n_atoms=[9, 9, 8, 9]) == [[0, 1, 3], [2]]


def test_records_named_by_number_belong_together_by_file() -> None:
    names = ['x_0', 'x_1', 'y_0', 'y_1']
    assert grouped(names=names) == [[0], [1], [2], [3]]
    assert grouped(names=names, numbered=[True] * 4,
                   file_numbers=[0, 0, 1, 1]) == [[0, 1], [2, 3]]


def test_records_without_geometry_go_to_the_only_molecule() -> None:
    assert grouped(n_atoms=[0, 9, 9]) == [[0, 1, 2]]
    assert grouped(n_atoms=[0, 9, 8]) == [[0], [1], [2]]
    assert grouped(n_atoms=[0, 0]) == [[0, 1]]


def test_stereo_and_graph_are_other_ways() -> None:
    cip = ['3R', '3S', '3R']
    assert grouped(cip=cip) == [[0, 1, 2]]
    assert grouped('stereo', cip=cip) == [[0, 2], [1]]
    assert grouped('graph', names=list('abc')) == [[0, 1, 2]]
    with pytest.raises(ValueError, match='no way to group'):
        grouped('mood', cip=cip)


def test_other_graphs_are_split_off() -> None:
    isomers = [embedded(s)[0].skeleton
               for s in ('CCCO', 'CC(C)O', 'CCCO', 'CCOC')]
    assert [part.tolist() for part in split_by_graph(isomers)] == [
        [0, 2], [1], [3]]
