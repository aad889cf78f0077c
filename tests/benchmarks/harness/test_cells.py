"""The matrix file: what it declares, and what is wrong with one."""
import pytest

from mpiapp.benchmarks import inference, shapes
from mpiapp.benchmarks.harness.cells import expanded, matrix_of, read_matrix
from mpiapp.benchmarks.harness.molecules import molecule, names
from mpiapp.benchmarks.harness.variants import NAMES, make
from mpiapp.data_files import data_file
from mpiapp.errors import InputError

TABLE = {'models': ['student'], 'molecules': ['water'], 'ways': ['poly']}


def test_tables_are_products_and_their_cells_are_there_once():
    matrix = matrix_of({'matrix': [
        TABLE | {'dtypes': ['float64', 'float32']},
        TABLE | {'batches': [1, 2]}]}, 'here')
    assert [(c.dtype, c.batch) for c in matrix.cells] == [
        ('float64', 1), ('float32', 1), ('float64', 2)]
    assert [len(g) for g in matrix.groups] == [2, 1]


@pytest.mark.parametrize('found, text', [
    ({}, 'at least one'),
    ({'matrix': [{}]}, 'models must be a list'),
    ({'matrix': [TABLE | {'speed': [1]}]}, "unknown axis 'speed'"),
    ({'matrix': [TABLE | {'batches': [0]}]}, 'batches has 0'),
    ({'matrix': [TABLE | {'batches': ['4']}]}, "batches has '4'"),
    ({'matrix': [TABLE | {'dtypes': ['half']}]}, 'allowed: float64'),
    ({'matrix': [TABLE | {'ways': []}]}, 'ways must be a list'),
    ({'matrix': [TABLE], 'timing': {'seconds': 3}}, 'timing has no'),
    ({'matrix': [TABLE], 'timing': {'rounds': -1}}, 'not negative'),
    ({'matrix': [TABLE], 'colour': 1}, 'unknown'),
])
def test_a_wrong_matrix_is_refused(found, text):
    with pytest.raises(InputError, match=text):
        matrix_of(found, 'here')


@pytest.mark.parametrize('content', ['= 1', None])
def test_an_unreadable_file_is_refused(tmp_path, content):
    path = tmp_path / 'm.toml'
    if content:
        path.write_text(content)
    with pytest.raises(InputError, match='m.toml'):
        read_matrix(path)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('way, reason', [
    ('autocast-bf16', 'raises under autocast on cpu: '),
    ('compile-reduce-overhead', 'needs a GPU')])
def test_ways_that_cannot_run_here_say_why(way, reason, tmp_path):
    path = tmp_path / 'tiny.model'
    shapes.write_model(shapes.TINY, path)
    cell = next(expanded(TABLE | {'ways': [way], 'dtypes': ['float32']}, ''))
    with pytest.raises(InputError, match=reason):
        make(cell, str(path))


@pytest.mark.parametrize('name', inference.MATRICES.values())
def test_the_bundled_matrices_name_what_there_is(name):
    matrix = read_matrix(data_file(name))
    assert {c.way for c in matrix.cells} <= set(NAMES)
    assert {c.molecule for c in matrix.cells} <= set(names())


def test_the_full_matrix_has_every_way_and_sizes_from_3_to_154():
    matrix = read_matrix(data_file(inference.MATRICES['']))
    assert {c.way for c in matrix.cells} == set(NAMES)
    sizes = [len(molecule(n).numbers) for n in ('water', 'library-dimer')]
    assert sizes == [3, 154]


@pytest.mark.parametrize('name', names())
def test_molecules_are_physical(name):
    assert 3 <= len(molecule(name).numbers) <= 154
