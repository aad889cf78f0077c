"""The charge policy: what happens to a charged record."""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpiapp.chemistry.bonds import atom_name
from mpiapp.chemistry.oxyanions import protonation_sites
from mpiapp.records import Floats, Rejection, Structure

POLICIES = ('refuse', 'neutralise', 'allow')

OH_LENGTH = 0.97  # A
#: X-O-H of phosphonic and carboxylic acids and of alcohols is 105 to 115
XOH_DEGREES = 110.0
#: directions tried round the X-O bond
N_TORSIONS = 36


@dataclass(frozen=True)
class Prepared:
    """A structure as it will be computed, and what was done to it.

    Added hydrogens are the last atoms.  `charge_ignored`: the structure is
    charged and the model knows no charge.
    """

    structure: Structure
    n_added_hydrogens: int = 0
    input_charge: int = 0
    charge_ignored: bool = False


def apply_policy(structure: Structure, policy: str,
                 accepts_charge: bool) -> Prepared:
    """Return the structure to compute; raises Rejection.

    Reasons are `charged`, and `radical` for unpaired electrons under a model
    that knows none, which only `allow` lets pass.

    `refuse`: no charge, unless the model takes one.  `neutralise`: a
    hydrogen on as many O- at P, S or C as the charge asks for, whatever the
    model takes.  `allow`: as it is, and marked if the model takes no charge.
    """
    if policy not in POLICIES:
        raise ValueError(f'no charge policy {policy!r} in {POLICIES}')
    charge = structure.charge
    if structure.unpaired and not accepts_charge and policy != 'allow':
        raise Rejection('radical', f'{structure.unpaired} unpaired '
                        'electron(s), and the model knows closed shells only '
                        '(see --charge-policy)')
    if charge == 0:
        return Prepared(structure, 0, 0,
                        bool(structure.unpaired) and not accepts_charge)
    if policy == 'neutralise':
        sites = protonation_sites(structure, -charge)
        return Prepared(_with_hydrogens(structure, sites), len(sites), charge)
    if policy == 'refuse' and not accepts_charge:
        raise Rejection('charged', f'total charge {charge:+d}, and the model '
                        'knows no charge (see --charge-policy)')
    return Prepared(structure, 0, charge, not accepts_charge)


def _with_hydrogens(structure: Structure,
                    sites: list[tuple[int, int]]) -> Structure:
    """Add a hydrogen at the end for each (oxygen, its neighbour)."""
    for oxygen, centre in sites:
        structure = _with_hydrogen(structure, oxygen, centre)
    return structure


def _with_hydrogen(structure: Structure, oxygen: int,
                   centre: int) -> Structure:
    place = _least_crowded(structure, oxygen, centre)
    formal = structure.formal_charges
    if len(formal):
        formal = np.append(formal, 0).astype(np.int32)
        formal[oxygen] += 1
    bonds, orders = structure.bonds, structure.orders
    if len(bonds):
        bonds = np.vstack([bonds, [oxygen, len(structure.numbers)]])
        orders = np.append(orders, 2)
    return replace(
        structure,
        numbers=np.append(structure.numbers, 1).astype(np.int32),
        positions=np.vstack([structure.positions, place]),
        charge=structure.charge + 1,
        formal_charges=formal,
        bonds=bonds,
        orders=orders,
    )


def _least_crowded(structure: Structure, oxygen: int,
                   centre: int) -> Floats:
    """Return the place [3] A, of those round the X-O bond, farthest off all.

    The torsions start at a neighbour of X, so that the place turns with the
    molecule.
    """
    positions = structure.positions
    axis = positions[oxygen] - positions[centre]
    length = np.linalg.norm(axis)
    if length == 0:
        raise Rejection('atoms_overlap',
                        f'{atom_name(structure.numbers, oxygen)} lies on '
                        f'{atom_name(structure.numbers, centre)}')
    axis /= length
    across = _reference(structure, oxygen, centre, axis)
    aside = np.cross(axis, across)
    torsions = 2 * np.pi * np.arange(N_TORSIONS)[:, None] / N_TORSIONS
    angle = np.radians(180 - XOH_DEGREES)
    places = positions[oxygen] + OH_LENGTH * (
        np.cos(angle) * axis + np.sin(angle) * (
            np.cos(torsions) * across + np.sin(torsions) * aside))
    others = np.delete(positions, oxygen, axis=0)
    distances = np.linalg.norm(places[:, None] - others, axis=2).min(axis=1)
    # Rounded, so that equal places are one and the first is taken.
    return np.asarray(places[np.argmax(distances.round(6))])


def _reference(structure: Structure, oxygen: int, centre: int,
               axis: Floats) -> Floats:
    """Return a unit vector across `axis`, towards the atom nearest to X."""
    arms = structure.positions - structure.positions[centre]
    arms -= np.outer(arms @ axis, axis)
    off_axis = np.linalg.norm(arms, axis=1)
    distances = np.linalg.norm(
        structure.positions - structure.positions[centre], axis=1)
    distances[(off_axis < 0.1) | (np.arange(len(arms)) == oxygen)] = np.inf
    nearest = int(np.argmin(distances.round(6)))
    if np.isfinite(distances[nearest]):
        return np.asarray(arms[nearest] / off_axis[nearest])
    # A linear molecule: any direction across it is as good.
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    return np.asarray(across / np.linalg.norm(across))
