"""Which oxygens of an anion take a proton."""
from __future__ import annotations

import numpy as np

from mpiapp.bonding import bond_list
from mpiapp.records import Rejection, Structure

#: what the oxygen is bonded to, the first choice first
_CENTRES = (15, 16, 6)
#: oxygens that stay double bonded: one at P, two at a sulphur(VI), ...
_OXO_OF_PHOSPHORUS = 1
_OXO_OF_SULPHUR = {4: 2, 3: 1}


def protonation_sites(structure: Structure,
                      n_needed: int) -> list[tuple[int, int]]:
    """Return n_needed pairs (oxygen, the P, S or C that it is bonded to).

    By formal charges, where the file has them, else by the neighbours.
    Raises Rejection (`charged`) if there are too few, or if it can't be told
    which.
    """
    if n_needed < 0:
        raise Rejection('charged', f'total charge {-n_needed:+d}: no '
                        'hydrogen is ever removed to make it neutral')
    if len(structure.formal_charges):
        sites = _by_formal_charge(structure)
    else:
        sites = _by_neighbours(structure, n_needed)
    if len(sites) < n_needed:
        raise Rejection('charged', f'total charge {-n_needed:+d}, and only '
                        f'{len(sites)} O- at P, S or C to protonate')
    return sites[:n_needed]


def _by_formal_charge(structure: Structure) -> list[tuple[int, int]]:
    sites = []
    neighbours = _neighbours(structure.bonds.tolist(), structure)
    for oxygen in np.flatnonzero(structure.numbers == 8).tolist():
        bonded = neighbours[oxygen]
        if (structure.formal_charges[oxygen] == -1 and len(bonded) == 1
                and structure.numbers[bonded[0]] in _CENTRES):
            sites.append((oxygen, bonded[0]))
    return sorted(sites, key=lambda site: (
        _CENTRES.index(structure.numbers[site[1]]), site))


def _by_neighbours(structure: Structure,
                   n_needed: int) -> list[tuple[int, int]]:
    """Sort bare oxygens into sure and possible anions by their centres."""
    neighbours = _neighbours(
        bond_list(structure.numbers, structure.positions).tolist(), structure)
    sure, possible = [], []
    for kind in _CENTRES:
        for centre in np.flatnonzero(structure.numbers == kind).tolist():
            bare = [o for o in neighbours[centre]
                    if structure.numbers[o] == 8 and len(neighbours[o]) == 1]
            bare.sort(key=lambda o: (-_length(structure, o, centre), o))
            n_oxo = _n_oxo(structure, centre, neighbours[centre], len(bare))
            sites = [(oxygen, centre) for oxygen in bare]
            sure += sites[:max(len(bare) - n_oxo, 0)]
            possible += sites if kind == 6 and len(bare) == 1 else []
    if len(sure) >= n_needed:
        return sure
    # A phenolate looks like a ketone; it is one if nothing else could be.
    possible = [site for site in possible if site not in sure]
    if len(sure) + len(possible) > n_needed:
        raise Rejection('charged', f'total charge {-n_needed:+d}, and it '
                        'can not be told which oxygen has it: no bond orders')
    return sure + possible


def _n_oxo(structure: Structure, centre: int, bonded: list[int],
           n_bare: int) -> int:
    """Return how many bare oxygens of a centre are double bonded."""
    kind = structure.numbers[centre]
    if kind == 15:
        return _OXO_OF_PHOSPHORUS
    if kind == 16:
        return _OXO_OF_SULPHUR.get(len(bonded), n_bare)
    return 0 if len(bonded) == 4 else 1


def _length(structure: Structure, i: int, j: int) -> float:
    """Return a distance, rounded so that equal ones are equal."""
    return round(float(np.linalg.norm(
        structure.positions[i] - structure.positions[j])), 4)


def _neighbours(bonds: list[list[int]],
                structure: Structure) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in structure.numbers]
    for i, j in bonds:
        found[i].append(j)
        found[j].append(i)
    return found
