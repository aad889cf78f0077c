"""Dimers: measures of the published ones, starts, kicks, rings."""
from __future__ import annotations

from dataclasses import astuple, fields
from functools import lru_cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mpiapp.chemistry.dimer_names import START_NAMES
from mpiapp.chemistry.dimer_sets import (
    MONOMERS, RECIPES, Dimer, dimer_of, embedded, recipe_of, starts_of
)
from mpiapp.chemistry.dimers import (
    KICK, STARTS, Measures, assembled, kicked, kind_of, laid_flat, measure,
    n_aromatic, sideways
)
from mpiapp.data_files import data_file
from mpiapp.records import InputError
from mpiapp.structures import Collection

#: A; the published values are rounded to this
PUBLISHED = 1e-3
#: sums in another order
ROUNDING = 1e-6

#: vertical, slip, centroid [A] and the kind, of the files
KNOWN = {
    'S22-11': (3.361, 1.698, 3.765, 'stacked'),
    'S66-24': (3.498, 1.645, 3.865, 'stacked'),
    'S66-25': (3.436, 1.354, 3.693, 'stacked'),
    'S66-27': (3.448, 1.541, 3.777, 'stacked'),
    'S66-28': (3.270, 0.987, 3.416, 'stacked'),
    'S22-12': (3.237, 1.274, 3.479, 'crossed'),
    'S22-14': (3.305, 1.170, 3.506, 'stacked'),
    'S22-15': (3.166, 0.270, 3.177, 'stacked'),
    'S22-20': (np.nan, np.nan, 4.909, 't'),
    'S66-47': (np.nan, np.nan, 4.899, 't'),
}


@lru_cache(maxsize=1)
def frames() -> dict[str, Dimer]:
    """Return all bundled dimers by name."""
    found = {}
    for name in ('s22', 's66', 'nbc10'):
        collection = Collection.open([data_file(f'benchmarks/{name}.xyz')])
        for i in range(len(collection)):
            structure = collection.load(i)
            key = structure.tags['name']
            found[key] = dimer_of(key, ('', ''), structure)
    return found


def measured(dimer: Dimer) -> Measures:
    assert dimer.positions is not None
    return measure(dimer.numbers, dimer.positions, dimer.n_first)


def values(m: Measures) -> np.ndarray:
    return np.array(astuple(m))


@pytest.mark.parametrize('name', KNOWN)
def test_measures_of_the_files_are_the_published_ones(name: str) -> None:
    m = measured(frames()[name])
    vertical, slip, centroid, kind = KNOWN[name]
    np.testing.assert_allclose(
        [m.vertical, m.slip, m.centroid], [vertical, slip, centroid],
        atol=PUBLISHED)
    assert kind_of(m.plane_angle, m.twist, m.contact) == kind


@pytest.mark.parametrize('curve, vertical', [('PD32', 3.2), ('PD36', 3.6)])
def test_the_scans_have_the_slips_of_their_names(
    curve: str, vertical: float,
) -> None:
    for slip in (0.2, 1.6, 3.0):
        m = measured(frames()[f'NBC10-BzBz_{curve}-{slip}'])
        np.testing.assert_allclose([m.vertical, m.slip], [vertical, slip],
                                   atol=PUBLISHED)


def test_benzene_has_no_long_axis() -> None:
    m = measured(frames()['S22-11'])
    assert np.isnan([m.twist, m.slip_long, m.slip_short]).all()


@pytest.mark.parametrize('name', ['S22-11', 'S22-15', 'S66-47'])
def test_swapping_the_monomers_changes_nothing(name: str) -> None:
    dimer = frames()[name]
    assert dimer.positions is not None
    order = np.roll(np.arange(len(dimer.numbers)), -dimer.n_first)
    swapped = measure(dimer.numbers[order], dimer.positions[order],
                      len(order) - dimer.n_first)
    names = [f.name for f in fields(Measures)]
    i, j = names.index('d12'), names.index('d21')
    there = values(swapped)
    there[[i, j]] = there[[j, i]]
    np.testing.assert_allclose(there, values(measured(dimer)),
                               atol=ROUNDING)


@pytest.mark.parametrize('name', ['S22-11', 'S22-15', 'S66-47'])
def test_turning_and_moving_the_dimer_changes_nothing(name: str) -> None:
    dimer = frames()[name]
    assert dimer.positions is not None
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    moved = dimer.positions @ turn.T + [3.0, -8.0, 1.0]
    np.testing.assert_allclose(
        values(measure(dimer.numbers, moved, dimer.n_first)),
        values(measured(dimer)), atol=ROUNDING)


def test_a_molecule_without_a_plane_has_no_measures() -> None:
    m = measured(frames()['S22-2'])  # water
    assert np.isnan(m.vertical) and np.isnan(m.plane_angle)
    assert kind_of(m.plane_angle, m.twist, m.contact) == ''


@pytest.mark.parametrize('angle, twist, contact, kind', [
    (3.0, np.nan, 3.5, 'stacked'), (3.0, 5.0, 3.5, 'stacked'),
    (3.0, 45.0, 3.5, 'twisted'), (3.0, 80.0, 3.5, 'crossed'),
    (90.0, np.nan, 3.8, 't'), (40.0, 5.0, 3.8, 'tilted'),
    (3.0, 5.0, 9.0, 'apart')])
def test_kinds(angle: float, twist: float, contact: float,
               kind: str) -> None:
    assert kind_of(angle, twist, contact) == kind


@pytest.fixture(scope='module')
def naphthalene() -> tuple[np.ndarray, np.ndarray]:
    monomer = embedded('naphthalene', str(MONOMERS['naphthalene']))
    return monomer.numbers, laid_flat(monomer.numbers, monomer.positions)


def test_laid_flat_is_flat_with_its_long_axis_on_x(
    naphthalene: tuple[np.ndarray, np.ndarray],
) -> None:
    numbers, x = naphthalene
    heavy = x[numbers > 1]
    np.testing.assert_allclose(heavy.mean(axis=0), 0, atol=ROUNDING)
    assert np.abs(heavy[:, 2]).max() < 0.01
    assert np.ptp(heavy[:, 0]) > np.ptp(heavy[:, 1]) + 1.0


@pytest.mark.parametrize('name', STARTS)
def test_starts_have_the_stated_geometry(
    naphthalene: tuple[np.ndarray, np.ndarray], name: str,
) -> None:
    numbers, x = naphthalene
    start = STARTS[name]
    m = measure(np.tile(numbers, 2), assembled(x, x, start), len(numbers))
    assert m.centroid == pytest.approx(np.linalg.norm(start.shift),
                                       abs=PUBLISHED)
    if start.standing:
        assert m.plane_angle == pytest.approx(90, abs=0.1)
    else:
        assert m.vertical == pytest.approx(start.shift[2], abs=PUBLISHED)
        assert m.twist == pytest.approx(start.twist, abs=0.01)


def test_a_standing_benzene_points_an_edge_atom_at_the_ring() -> None:
    dimer = frames()['S22-11']
    assert dimer.positions is not None
    numbers = dimer.numbers[:12]
    x = laid_flat(numbers, dimer.positions[:12])
    upper = assembled(x, x, STARTS['t'])[12:]
    lowest = upper[numbers > 1][:, 2].min()
    # one carbon alone is lowest, below the centre by a whole ring radius
    assert lowest == pytest.approx(5.0 - 1.39, abs=0.02)


def test_kicks_depend_on_their_seed_alone() -> None:
    x = np.zeros((500, 3))
    assert (kicked(x, 3) == kicked(x, 3)).all()
    assert (kicked(x, 3) != kicked(x, 4)).all()
    assert kicked(x, 3).std() == pytest.approx(KICK, rel=0.1)


def test_the_four_shifts_stay_in_the_plane(
    naphthalene: tuple[np.ndarray, np.ndarray],
) -> None:
    numbers, x = naphthalene
    both, start = np.tile(numbers, 2), assembled(x, x, STARTS['sandwich'])
    slips = []
    for moved in sideways(both, start, len(numbers), 0.3):
        m = measure(both, moved, len(numbers))
        assert (m.vertical, m.slip) == pytest.approx((3.6, 0.3),
                                                     abs=PUBLISHED)
        slips.append(m.slip_long)
    np.testing.assert_allclose(slips, [0.3, 0.3, 0, 0], atol=PUBLISHED)


@pytest.mark.parametrize('name, n', [
    ('S22-11', 12), ('S22-14', 15), ('S22-15', 15), ('S22-2', 0),
    ('S22-10', 6), ('S66-38', 0), ('S66-28', 12)])
def test_ring_atoms_are_counted(name: str, n: int) -> None:
    dimer = frames()[name]
    assert dimer.n_aromatic == n
    assert dimer.positions is not None
    assert n_aromatic(dimer.numbers, dimer.positions) == n


def test_all_frames_are_there() -> None:
    names = list(frames())
    assert [sum(name.startswith(s) for name in names)
            for s in ('S22-', 'S66-', 'NBC10-')] == [22, 66, 184]


def test_start_names_are_those_of_the_table() -> None:
    assert set(STARTS) == set(START_NAMES) - {'reference', 'single_point'}


def test_dimers_have_the_starts_they_can_have() -> None:
    for name, recipe in RECIPES.items():
        assert starts_of(name, ()) == recipe.starts
        assert set(recipe.monomers) <= set(MONOMERS)
        assert recipe.frame == '' or recipe.frame in frames()
    assert starts_of('pyrene_pd', ('reference', 'original')) == ('original',)
    assert starts_of('benzene_t', ('reference', 'original', 'single_point')
                     ) == ('reference',)
    with pytest.raises(InputError, match='unknown dimer'):
        recipe_of('benzene')
