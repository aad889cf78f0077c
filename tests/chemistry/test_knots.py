"""Bonds through rings are found, bonds beside them are not."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpiapp.chemistry.embedding import structure_of
from mpiapp.chemistry.knots import knotted
from mpiapp.records import Structure
from mpiapp.structures import Collection


@pytest.fixture(scope='module')
def threaded() -> Structure:
    """Give a benzene ring in the plane and an ethane along its axis.

    Both without hydrogens; the middle of the ethane is that of the ring.
    """
    from rdkit import Chem
    turns = np.arange(6) * np.pi / 3
    ring = 1.4 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    structure = structure_of(Chem.MolFromSmiles('c1ccccc1.CC'), '')
    return replace(structure, positions=np.concatenate(
        [ring, [[0.1, 0.2, -0.75], [0.1, 0.2, 0.75]]]))


def test_a_bond_through_a_ring_is_named(threaded: Structure) -> None:
    assert knotted(threaded, threaded.positions) \
        == '7-8 through 1-2-3-4-5-6'


@pytest.mark.parametrize('shift', [
    (0.0, 0.0, 0.8), (0.0, 0.0, -0.8), (1.6, 0.0, 0.0), (0.0, -1.5, 0.0)])
def test_a_bond_beside_a_ring_is_none(
    threaded: Structure, shift: tuple[float, float, float],
) -> None:
    positions = threaded.positions.copy()
    positions[6:] += shift
    assert knotted(threaded, positions) == ''


def test_a_bond_parallel_to_the_plane_is_none(threaded: Structure) -> None:
    positions = threaded.positions.copy()
    positions[6:] = [[-0.7, 0, 1.0], [0.7, 0, 1.0]]
    assert knotted(threaded, positions) == ''


def test_real_dimers_have_no_knots(
    library: Collection, anions: Collection,
) -> None:
    for collection in (library, anions):
        for i in range(len(collection)):
            structure = collection.load(i)
            assert knotted(structure, structure.positions) == ''
